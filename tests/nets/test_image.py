"""The networks of PlaNet, Appendix A, against XLA's convolutions, and the treatment of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax import lax

from armillary.errors import UsageError
from armillary.nets.conv import plainly
from armillary.nets.image import (
    Decoder,
    Encoder,
    batch_first,
    batch_last,
    postprocess,
    preprocess,
)


@pytest.fixture
def shapes_unchecked() -> Iterator[None]:
    """Without the checks of annotations that the tests add, as a user has it."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_encoder_is_four_convolutions() -> None:
    encoder = Encoder(4, key=jax.random.key(0))
    assert [k.shape for k in encoder.kernels] == [
        (4, 4, 3, 4),
        (4, 4, 4, 8),
        (4, 4, 8, 16),
        (4, 4, 16, 32),
    ]
    encoder.biases[0] += 0.1
    images = jax.random.uniform(jax.random.key(1), (2, 64, 64, 3)) - 0.5
    x = images
    for kernel, bias in zip(encoder.kernels, encoder.biases, strict=True):
        numbers = ("NHWC", "HWIO", "NHWC")
        x = lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=numbers)
        x = jnp.maximum(x + bias, 0)
    expected = x.transpose(0, 3, 1, 2).reshape(2, 128)
    assert encoder.embedding_size == 128
    embeddings = eqx.filter_jit(encoder)(batch_last(images))
    np.testing.assert_allclose(embeddings, expected, rtol=1e-4, atol=1e-5)


def test_decoder_is_a_linear_layer_and_four_transposed_convolutions() -> None:
    decoder = Decoder(7, 4, "elu", key=jax.random.key(0))
    features = jax.random.normal(jax.random.key(1), (2, 7))
    x = (features @ decoder.weight + decoder.bias).reshape(2, 1, 1, 128)
    sizes = []
    for layer, (kernel, bias) in enumerate(zip(decoder.kernels, decoder.biases, strict=True)):
        x = jax.nn.elu(x) if layer else x
        x = lax.conv_transpose(
            x,
            kernel,
            (2, 2),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            transpose_kernel=True,
        )
        x += bias
        sizes.append(x.shape[1:])
    assert sizes == [(5, 5, 16), (13, 13, 8), (30, 30, 4), (64, 64, 3)]
    images = batch_first(eqx.filter_jit(decoder)(features))
    np.testing.assert_allclose(images, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "elu"])
def test_only_products_are_in_bfloat16(activation: Literal["relu", "elu"]) -> None:
    """Parameters, results and gradients are float32, and near those of float32."""
    images = jax.random.uniform(jax.random.key(1), (3, 64, 64, 5)) - 0.5
    keys = jax.random.split(jax.random.key(0))

    def networks(precision: Literal["float32", "bfloat16"]) -> tuple[Encoder, Decoder]:
        return (
            Encoder(4, activation, precision, key=keys[0]),
            Decoder(128, 4, activation, precision, key=keys[1]),
        )

    def loss(networks: tuple[Encoder, Decoder]) -> tuple[jax.Array, jax.Array]:
        encoder, decoder = networks
        decoded = decoder(encoder(images))
        return jnp.sum((decoded - images) ** 2), decoded

    gradient_of = eqx.filter_jit(eqx.filter_grad(loss, has_aux=True))
    (exact, expected), (rough, found) = (
        gradient_of(networks(precision)) for precision in ("float32", "bfloat16")
    )
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=0.03)
    assert (found != expected).mean() > 0.9  # it is not float32 after all
    for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(rough), strict=True):
        assert b.dtype == jnp.float32
        assert jnp.vdot(a, b) > 0.99 * jnp.linalg.norm(a) * jnp.linalg.norm(b)
    bias, expected_bias = rough[1].biases[-1], exact[1].biases[-1]
    np.testing.assert_allclose(bias, expected_bias, rtol=1e-3)  # a sum of 20,480 numbers
    with plainly(True):  # for other programs
        np.testing.assert_allclose(networks("bfloat16")[0](images), networks("float32")[0](images))


def test_paper_size_has_the_papers_number_of_parameters() -> None:
    key = jax.random.key(0)

    def count(make: Callable[[], object]) -> int:
        return sum(x.size for x in jax.tree.leaves(eqx.filter_eval_shape(make)))

    convolutions = 16 * (3 * 32 + 32 * 64 + 64 * 128 + 128 * 256) + 32 + 64 + 128 + 256
    assert count(lambda: Encoder(32, key=key)) == convolutions
    transposed = 25 * (1024 * 128 + 128 * 64) + 36 * (64 * 32 + 32 * 3) + 128 + 64 + 32 + 3
    assert count(lambda: Decoder(230, 32, key=key)) == transposed + 230 * 1024 + 1024


def test_kernels_start_glorot_uniform() -> None:
    kernel = np.asarray(Encoder(32, key=jax.random.key(0)).kernels[2])
    limit = np.sqrt(6 / (16 * (64 + 128)))
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3), rtol=0.01)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("shape", [(3, 32, 32, 2), (1, 64, 64, 2), (3, 64, 64)])
def test_encoder_refuses_other_sizes(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="64"):
        Encoder(4, key=jax.random.key(0))(jnp.zeros(shape))


@pytest.mark.parametrize("bits", [1, 5, 8])
def test_bit_depth_is_reduced(bits: int) -> None:
    images = jnp.arange(256, dtype=jnp.uint8)
    expected = np.floor(np.arange(256) / 2 ** (8 - bits)) / 2**bits - 0.5
    np.testing.assert_array_equal(preprocess(images, bits), expected)


def test_dequantisation_noise_is_uniform_within_a_level() -> None:
    images = jax.random.randint(jax.random.key(0), (4, 33, 33, 3), 0, 256).astype(jnp.uint8)
    noise = 32 * (preprocess(images, 5, jax.random.key(1)) - preprocess(images, 5))
    assert float(noise.min()) >= 0
    assert float(noise.max()) < 1
    counts = np.histogram(noise, 16, (0, 1))[0]
    expected = noise.size / 16
    assert np.sum((counts - expected) ** 2 / expected) < 40  # chi square, 15 degrees of freedom
    neighbours = np.corrcoef(noise.ravel()[:-1], noise.ravel()[1:])[0, 1]
    assert abs(neighbours) < 0.04
    again = preprocess(images, 5, jax.random.key(2))
    assert not np.array_equal(again, preprocess(images, 5, jax.random.key(1)))


@pytest.mark.usefixtures("shapes_unchecked")
def test_preprocess_refuses_what_it_would_misread() -> None:
    with pytest.raises(UsageError, match="uint8"):
        preprocess(jnp.zeros(3, jnp.float32))
    with pytest.raises(UsageError, match="bits"):
        preprocess(jnp.zeros(3, jnp.uint8), 9)


def test_postprocess_gives_the_image_back() -> None:
    images = jnp.arange(256, dtype=jnp.uint8)
    assert int(jnp.abs(postprocess(preprocess(images, 8)).astype(int) - images).max()) <= 1
    np.testing.assert_array_equal(postprocess(jnp.array([-9.0, 9.0])), [0, 255])


def test_layouts_are_each_others_inverse() -> None:
    images = jax.random.uniform(jax.random.key(0), (2, 4, 5, 3))
    assert batch_last(images).shape == (3, 4, 5, 2)
    np.testing.assert_array_equal(batch_first(batch_last(images)), images)
