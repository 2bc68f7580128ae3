"""Gradient times of the image networks, beside this machine's own matrix rate.

    taskset -c 0,1 python benchmarks/convolutions.py

An update of paper size has 50 x 50 images. The work is counted as 2 operations for each
multiplication of a forward pass, twice that again for the derivatives with respect to weights and
inputs; what is computed a second time to save memory is not counted. XLA's own convolutions (in
the same layout, batch last) get fewer images, all at once, scaled up. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from armillary.nets import conv
from armillary.nets.image import Decoder, Encoder, batch_last, preprocess
from armillary.nets.pieces import images_on_cpu, in_pieces, sum_in_pieces

FEATURES = 230


def best_of(runs: int, function: Callable[..., Any], *arguments: Any) -> float:
    """Returns the least time of a call in seconds."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return min(times)


def matrix_rate(size: int = 4096) -> float:
    """Returns the rate of a float32 product of two square matrices, operations a second."""
    a = jax.random.normal(jax.random.key(0), (size, size))
    return 2 * size**3 / best_of(5, jax.jit(jnp.matmul), a, a)


def operations(depth: int) -> tuple[float, float]:
    """Returns the operations of the encoder's and the decoder's gradient for one image."""
    channels = [3, depth, 2 * depth, 4 * depth, 8 * depth]
    outputs = [31, 14, 6, 2]
    layers = [
        2 * 16 * a * b * n**2 for a, b, n in zip(channels[:-1], channels[1:], outputs, strict=True)
    ]
    encoder = 3 * sum(layers) - layers[0]  # no gradient with respect to the images
    channels = [32 * depth, 4 * depth, 2 * depth, depth, 3]
    inputs, kernels = [1, 5, 13, 30], [5, 5, 6, 6]
    layers = [
        2 * k**2 * a * b * n**2
        for k, a, b, n in zip(kernels, channels[:-1], channels[1:], inputs, strict=True)
    ]
    return encoder, 3 * (sum(layers) + 2 * FEATURES * 32 * depth)


def encoder_gradient(count: int, depth: int, piece: int | None) -> tuple[Callable, tuple]:
    encoder = Encoder(depth, key=jax.random.key(0))
    images = jnp.zeros((count, 64, 64, 3), jnp.uint8)
    weights = jax.random.normal(jax.random.key(1), (count, encoder.embedding_size))

    def loss(encoder: Encoder, images: jax.Array) -> jax.Array:
        floats = preprocess(images, 5, jax.random.key(2))
        size = piece or images_on_cpu(encoder)
        return jnp.sum(weights * in_pieces(lambda x, _: encoder(batch_last(x)), floats, size))

    return jax.grad(loss), (encoder, images)


def decoder_gradient(count: int, depth: int, piece: int | None) -> tuple[Callable, tuple]:
    decoder = Decoder(FEATURES, depth, key=jax.random.key(0))
    images = jnp.zeros((count, 64, 64, 3), jnp.uint8)
    features = jax.random.normal(jax.random.key(1), (count, FEATURES))

    def squared_error(decoder: Decoder, inputs: tuple, _: None) -> jax.Array:
        features, images = inputs
        return 0.5 * jnp.sum((decoder(features) - batch_last(images)) ** 2)

    def loss(decoder: Decoder, features: jax.Array, images: jax.Array) -> jax.Array:
        floats = preprocess(images, 5, jax.random.key(2))
        size = piece or images_on_cpu(decoder)
        return sum_in_pieces(squared_error, decoder, (features, floats), size)

    return jax.grad(loss, argnums=(0, 1)), (decoder, features, images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=2500)
    parser.add_argument("--piece", type=int, help="images in a piece (default: the library's)")
    parser.add_argument("--runs", type=int, default=3, help="the best of so many")
    parser.add_argument("--xla-images", type=int, default=250, help="for XLA's own; 0: leave out")
    options = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")

    chosen = conv._method
    methods = [("patches", options.images), ("lax", options.xla_images)]
    for depth in (32, 16, 8):
        work = operations(depth)
        for method, count in (m for m in methods if m[1]):
            conv._method = lambda _, method=method: method  # what a platform would choose
            for name, make, each in (
                ("encoder", encoder_gradient, work[0]),
                ("decoder with loss", decoder_gradient, work[1]),
            ):
                function, arguments = make(
                    count, depth, options.piece if method == "patches" else count
                )
                compiled = jax.jit(function).lower(*arguments).compile()
                memory = compiled.memory_analysis().temp_size_in_bytes / 1e6
                limit = matrix_rate()
                seconds = best_of(options.runs, compiled, *arguments)
                limit = max(limit, matrix_rate())
                rate = count * each / seconds
                print(
                    f"depth {depth} {name:17} {method:7} {count:4} images: "
                    f"{seconds:6.3f} s ({seconds / count * options.images:6.2f} s for "
                    f"{options.images}), {count * each / 1e9:4.0f} GFLOP, "
                    f"{rate / 1e9:4.0f} GFLOP/s = {rate / limit:4.0%} of {limit / 1e9:.0f}, "
                    f"{memory:.0f} MB",
                    flush=True,
                )
    conv._method = chosen


if __name__ == "__main__":
    main()
