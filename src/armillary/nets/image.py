"""Images to embeddings and features to images: the networks of World Models and PlaNet.

Inside, images are (channels, height, width, batch), see `armillary.nets.conv`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, Shaped, UInt8

from armillary.config.world_model import Precision
from armillary.errors import UsageError
from armillary.nets.conv import convolution, plainly, transposed_convolution

SIZE = 64
"""Height and width in pixels of the images of these networks."""


def preprocess(
    images: UInt8[Array, "*shape"], bits: int = 5, key: PRNGKeyArray | None = None
) -> Float[Array, "*shape"]:
    """Reduces the bit depth, dequantises and centres: values in [-0.5, 0.5).

    `floor(x / 2^(8 - bits)) / 2^bits + u - 0.5`, where u is uniform in [0, 2^-bits) (PlaNet,
    Appendix A; Kingma and Dhariwal, 2018). The noise has 16 random bits, half of what a float32
    usually gets, because drawing them takes time on a CPU.

    Args:
        images: any shape.
        bits: from 1 to 8.
        key: None: no noise, u = 0.

    Raises:
        UsageError: the images are not bytes, or `bits` is out of range.
    """
    if images.dtype != jnp.uint8:
        raise UsageError(f"images have type {images.dtype}, but bytes (uint8) are expected")
    if not 1 <= bits <= 8:
        raise UsageError(f"bits is {bits}, but it must be from 1 to 8")
    levels = (images >> (8 - bits)).astype(jnp.float32)
    if key is not None:
        words = jax.random.bits(key, (-(-images.size // 2),), jnp.uint32)
        halves = lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[: images.size]
        levels += halves.reshape(images.shape).astype(jnp.float32) / 2**16
    return levels / 2**bits - 0.5


def postprocess(images: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """Returns centred images, `preprocess`'s or a decoder's, as bytes to be looked at."""
    return jnp.clip(jnp.floor((images + 0.5) * 256), 0, 255).astype(jnp.uint8)


def batch_last(images: Shaped[Array, "batch h w channels"]) -> Shaped[Array, "channels h w batch"]:
    """Returns stored images in the layout of the convolutions."""
    return images.transpose(3, 1, 2, 0)


def batch_first(images: Shaped[Array, "channels h w batch"]) -> Shaped[Array, "batch h w channels"]:
    """Returns images of the convolutions in the layout in which they are stored and shown."""
    return images.transpose(3, 1, 2, 0)


class Encoder(eqx.Module):
    """Four convolutions of 4x4 with stride 2, a non-linearity after each (Ha and Schmidhuber, 2018;
    PlaNet, Appendix A).

    Kernels start Glorot uniform and biases zero, the defaults of Keras, with which the published
    results were made.
    """

    kernels: list[Float[Array, "4 4 channels_in channels_out"]]
    biases: list[Float[Array, " channels"]]
    activation: Literal["relu", "elu"] = eqx.field(static=True)
    precision: Precision = eqx.field(static=True, default="float32")

    def __init__(
        self,
        depth: int = 32,
        activation: Literal["relu", "elu"] = "relu",
        precision: Precision = "float32",
        *,
        key: PRNGKeyArray,
    ):
        """Makes the initial parameters.

        Args:
            depth: channels of the first convolution; the others have 2, 4 and 8 times as many.
            activation: the non-linearity.
            precision: of the products in the layers; all else is float32.
            key: for the initial kernels.
        """
        channels = (3, depth, 2 * depth, 4 * depth, 8 * depth)
        shapes = zip((4, 4, 4, 4), (4, 4, 4, 4), channels[:-1], channels[1:], strict=True)
        self.kernels = _glorot(list(shapes), key)
        self.biases = [jnp.zeros(n) for n in channels[1:]]
        self.activation, self.precision = activation, precision

    @property
    def embedding_size(self) -> int:
        """Numbers in the embedding of one image, 32 * depth."""
        return 4 * self.kernels[-1].shape[-1]

    def __call__(self, images: Float[Array, "3 64 64 batch"]) -> Float[Array, "batch embedding"]:
        """Embeds centred images.

        Raises:
            UsageError: the images are not 3x64x64.
        """
        _check(images)
        x = images
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            x = _in_precision(convolution, self.precision)(x, kernel)
            x = _activate(x + bias[:, None, None, None], self.activation)
        return x.reshape(-1, x.shape[-1]).T


class Decoder(eqx.Module):
    """A linear layer, then four transposed convolutions of 5x5, 5x5, 6x6 and 6x6 with stride 2, a
    non-linearity between them (Ha and Schmidhuber, 2018; PlaNet, Appendix A).

    The output is the mean of a Gaussian with unit variance. Initialised as the encoder.
    """

    weight: Float[Array, "features hidden"]
    bias: Float[Array, " hidden"]
    kernels: list[Float[Array, "rows columns channels_out channels_in"]]
    biases: list[Float[Array, " channels"]]
    activation: Literal["relu", "elu"] = eqx.field(static=True)
    precision: Precision = eqx.field(static=True, default="float32")

    def __init__(
        self,
        feature_size: int,
        depth: int = 32,
        activation: Literal["relu", "elu"] = "relu",
        precision: Precision = "float32",
        *,
        key: PRNGKeyArray,
    ):
        """Makes the initial parameters.

        Args:
            feature_size: numbers in the features of one image.
            depth: channels of the last layer but one; those before it have 2 and 4 times as many.
            activation: the non-linearity.
            precision: of the products in the layers; all else is float32.
            key: for the initial weights.
        """
        first, rest = jax.random.split(key)
        channels = (32 * depth, 4 * depth, 2 * depth, depth, 3)
        self.weight = jax.nn.initializers.glorot_uniform()(first, (feature_size, channels[0]))
        self.bias = jnp.zeros(channels[0])
        shapes = zip((5, 5, 6, 6), (5, 5, 6, 6), channels[1:], channels[:-1], strict=True)
        self.kernels = _glorot(list(shapes), rest)
        self.biases = [jnp.zeros(n) for n in channels[1:]]
        self.activation, self.precision = activation, precision

    def __call__(self, features: Float[Array, "batch features"]) -> Float[Array, "3 64 64 batch"]:
        """Returns the mean images, centred as `preprocess` gives them."""
        x = _in_precision(jnp.matmul, self.precision)(self.weight.T, features.T)
        x = (x + self.bias[:, None])[:, None, None, :]
        for layer, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            x = x if layer == 0 else _activate(x, self.activation)
            x = _in_precision(transposed_convolution, self.precision)(x, kernel)
            x = x + bias[:, None, None, None]
        return x


def _in_precision(
    product: Callable[[Array, Array], Array], precision: Precision
) -> Callable[[Array, Array], Array]:
    """Returns a product that takes and gives float32, and computes in a precision.

    All else is float32: the sums over a batch that the gradient of a bias is lose too much in
    bfloat16. For programs that others read it is the product itself.
    """
    if precision == "float32" or plainly.value:
        return product
    return lambda x, y: product(x.astype(precision), y.astype(precision)).astype(jnp.float32)


def _activate(x: Array, activation: Literal["relu", "elu"]) -> Array:
    return jax.nn.relu(x) if activation == "relu" else jax.nn.elu(x)


def _glorot(shapes: list[tuple[int, int, int, int]], key: PRNGKeyArray) -> list[Array]:
    """Glorot uniform kernels; the fans count the receptive field, as in Keras."""
    glorot = jax.nn.initializers.glorot_uniform()
    return [glorot(k, s) for k, s in zip(jax.random.split(key, len(shapes)), shapes, strict=True)]


def _check(images: Array) -> None:
    if images.ndim != 4 or images.shape[:3] != (3, SIZE, SIZE):
        raise UsageError(
            f"images have shape {images.shape}, but the paper's networks need "
            f"(3, {SIZE}, {SIZE}, batch): set the environment's size to {SIZE}"
        )
