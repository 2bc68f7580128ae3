"""Towers of residual blocks on planes (He et al., 2016), as MuZero uses them.

Arrays are (batch, height, width, channels). The published networks normalise over the batch; these
normalise each position over its channels (Ba et al., 2016), so that a state is a function of its
own observation alone, in training as in a search.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.nets.conv import by_products

_he = jax.nn.initializers.he_normal()

Planes = Float[Array, "batch _ _ _"]
"""(batch, height, width, channels); a layer changes all but the first."""


class Convolution(eqx.Module):
    """A convolution that keeps height and width, or halves them (rounding up)."""

    kernel: Float[Array, "rows columns channels_in channels_out"]
    bias: Float[Array, " channels_out"]
    stride: int = eqx.field(static=True)

    def __init__(
        self, inputs: int, outputs: int, size: int = 3, stride: int = 1, *, key: PRNGKeyArray
    ) -> None:
        self.kernel = _he(key, (size, size, inputs, outputs))
        self.bias = jnp.zeros(outputs)
        self.stride = stride

    def __call__(self, x: Planes) -> Planes:
        if self.stride > 1 and by_products():
            return _as_product(x, self.kernel, self.stride) + self.bias
        strides = (self.stride, self.stride)
        return self.bias + lax.conv_general_dilated(
            x, self.kernel, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )


def _as_product(x: Planes, kernel: Array, stride: int) -> Planes:
    """Convolves by patches and one matrix product.

    On a CPU that is half as fast as XLA's own convolution, but with a stride XLA's derivatives are
    many times slower. (Without a stride they are, too, in a loop of the program that is compiled;
    an update is none.)
    """
    size, channels = kernel.shape[0], kernel.shape[-1]
    height, width = (-(-n // stride) for n in x.shape[1:3])
    pads = [
        max((out - 1) * stride + size - n, 0)
        for out, n in zip((height, width), x.shape[1:3], strict=True)
    ]
    x = jnp.pad(x, ((0, 0), *((pad // 2, pad - pad // 2) for pad in pads), (0, 0)))
    patches = jnp.concatenate(
        [
            x[:, i : i + (height - 1) * stride + 1 : stride,
              j : j + (width - 1) * stride + 1 : stride]
            for i in range(size)
            for j in range(size)
        ],
        axis=-1,
    )  # fmt: skip
    return patches @ kernel.reshape(-1, channels)


class Norm(eqx.Module):
    """Brings the last axis to mean 0 and variance 1, then scales and shifts it."""

    scale: Float[Array, " channels"]
    shift: Float[Array, " channels"]

    def __init__(self, channels: int) -> None:
        self.scale, self.shift = jnp.ones(channels), jnp.zeros(channels)

    def __call__(self, x: Float[Array, "*batch channels"]) -> Float[Array, "*batch channels"]:
        x = x - jnp.mean(x, axis=-1, keepdims=True)
        return (
            x * lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-5) * self.scale + self.shift
        )


class Block(eqx.Module):
    """Two convolutions, around which the input goes."""

    convolutions: tuple[Convolution, Convolution]
    norms: tuple[Norm, Norm]

    def __init__(self, channels: int, *, key: PRNGKeyArray) -> None:
        first, second = jax.random.split(key)
        self.convolutions = (
            Convolution(channels, channels, key=first),
            Convolution(channels, channels, key=second),
        )
        self.norms = (Norm(channels), Norm(channels))

    def __call__(self, x: Planes) -> Planes:
        hidden = jax.nn.relu(self.norms[0](self.convolutions[0](x)))
        return jax.nn.relu(x + self.norms[1](self.convolutions[1](hidden)))


class Tower(eqx.Module):
    """A convolution, then residual blocks of the same number of channels."""

    first: Convolution
    norm: Norm
    blocks: list[Block]

    def __init__(
        self, inputs: int, channels: int, blocks: int, stride: int = 1, *, key: PRNGKeyArray
    ) -> None:
        first, *others = jax.random.split(key, blocks + 1)
        self.first = Convolution(inputs, channels, stride=stride, key=first)
        self.norm = Norm(channels)
        self.blocks = [Block(channels, key=k) for k in others]

    def __call__(self, x: Planes) -> Planes:
        x = jax.nn.relu(self.norm(self.first(x)))
        for block in self.blocks:
            x = block(x)
        return x
