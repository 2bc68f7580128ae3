"""Strided convolutions and transposed convolutions, fast on a CPU and on a GPU.

Arrays are (channels, height, width, batch): with the batch last, every copy of a patch is a copy of
long contiguous rows. On a CPU a convolution is patch extraction and then one matrix product; a
transposed convolution is one matrix product and then overlap-add of patches. Extraction and
overlap-add are each other's adjoint, so the derivatives are written by hand with the same two
pieces, which is faster than XLA's own convolutions there. On other platforms the same
functions are `jax.lax.conv_general_dilated`.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from armillary.errors import UsageError

Method = Literal["patches", "lax"]

plainly = jax.make_user_context(False)
"""`with plainly(True):` convolutions are traced as XLA's own on a CPU, too, to be read by other
programs (`armillary.export`). What is compiled does not mix."""


def by_products() -> bool:
    """Whether convolutions are traced as matrix products here, because a CPU is faster so."""
    return jax.default_backend() == "cpu" and not plainly.value


def convolution(
    x: Float[Array, "channels_in height width batch"],
    kernel: Float[Array, "rows columns channels_in channels_out"],
    stride: int = 2,
    *,
    method: Method | None = None,
) -> Float[Array, "channels_out height_out width_out batch"]:
    """Convolves without padding: `out = (in - rows) // stride + 1`.

    As in every deep learning library the kernel is not flipped (a cross-correlation).

    Args:
        x: the images.
        kernel: the weights.
        stride: step of the kernel in both directions.
        method: `patches` or `lax`. None: `patches` on a CPU, `lax` elsewhere, chosen when the
            function is traced.

    Raises:
        UsageError: the channels do not match, or the kernel is larger than the image.
    """
    _check(x, kernel, stride, 2)
    if x.shape[1] < kernel.shape[0] or x.shape[2] < kernel.shape[1]:
        raise UsageError(
            f"a kernel of {kernel.shape[0]}x{kernel.shape[1]} does not fit an image of "
            f"{x.shape[1]}x{x.shape[2]}: give larger images"
        )
    if _method(method) == "lax":
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), "VALID", dimension_numbers=("CHWN", "HWIO", "CHWN")
        )
    return _convolution(x, kernel, stride)


def transposed_convolution(
    x: Float[Array, "channels_in height width batch"],
    kernel: Float[Array, "rows columns channels_out channels_in"],
    stride: int = 2,
    *,
    method: Method | None = None,
) -> Float[Array, "channels_out height_out width_out batch"]:
    """Adds `kernel[a, b] @ x[:, i, j]` to the output at (stride i + a, stride j + b).

    Without padding: `out = (in - 1) * stride + rows`. It is the adjoint of `convolution` with the
    same kernel.

    Args:
        x: the images.
        kernel: the weights, the channels of the output first (as in TensorFlow).
        stride: spacing of the input's pixels in the output.
        method: as in `convolution`.

    Raises:
        UsageError: the channels do not match.
    """
    _check(x, kernel, stride, 3)
    if _method(method) == "lax":
        rows, columns = kernel.shape[:2]
        return lax.conv_general_dilated(
            x,
            kernel[::-1, ::-1],  # not flipped by XLA, and it gathers where this scatters
            (1, 1),
            ((rows - 1, rows - 1), (columns - 1, columns - 1)),
            lhs_dilation=(stride, stride),
            dimension_numbers=("CHWN", "HWOI", "CHWN"),
        )
    return _transposed_convolution(x, kernel, stride)


def _method(method: Method | None) -> Method:
    return method or ("patches" if by_products() else "lax")


def _check(x: Array, kernel: Array, stride: int, axis: int) -> None:
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[0] != kernel.shape[axis]:
        raise UsageError(
            f"images of shape {x.shape} and a kernel of shape {kernel.shape} do not match: "
            f"expected (channels, height, width, batch) and the same channels in axis {axis} of "
            "the kernel"
        )
    if stride < 1:
        raise UsageError(f"stride is {stride}, but it must be at least 1")


# The two linear maps on pixels.


def extract(
    x: Float[Array, "channels height width batch"], rows: int, columns: int, stride: int
) -> Float[Array, "rows columns channels height_out width_out batch"]:
    """Returns the patch elements (a, b): `x[:, a::stride, b::stride]`, cut to the same size.

    First along the width, then along the height: XLA joins few arrays much faster than many.
    """
    h, w = (x.shape[1] - rows) // stride + 1, (x.shape[2] - columns) // stride + 1
    strips = _shifted(x, 2, columns, w, stride)
    return _shifted(lax.optimization_barrier(strips), 2, rows, h, stride)


def _shifted(x: Array, axis: int, taps: int, count: int, stride: int) -> Array:
    last = (count - 1) * stride + 1
    return jnp.stack([lax.slice_in_dim(x, a, a + last, stride, axis) for a in range(taps)])


def overlap_add(
    patches: Float[Array, "rows columns channels h w batch"], height: int, width: int, stride: int
) -> Float[Array, "channels height width batch"]:
    """The adjoint of `extract`: sums patch elements where they came from.

    Element (stride i + p, stride j + q) falls on the pixels (p, q) modulo the stride, i and j steps
    further on. For all (p, q) at once, it is a sum of shifted arrays, interleaved at the end.
    """
    rows, columns, channels, h, w, batch = patches.shape
    down, right = -(-rows // stride), -(-columns // stride)
    tall, wide = -(-height // stride), -(-width // stride)
    spare = ((0, down * stride - rows), (0, right * stride - columns))
    taps = jnp.pad(patches, (*spare, *((0, 0),) * 4))
    taps = taps.reshape(down, stride, right, stride, channels, h, w, batch)
    total = sum(
        jnp.pad(
            taps[i, :, j],
            (*((0, 0),) * 3, (i, tall - h - i), (j, wide - w - j), (0, 0)),
        )
        for i in range(down)
        for j in range(right)
    )
    pixels = lax.optimization_barrier(total).transpose(2, 3, 0, 4, 1, 5)
    return pixels.reshape(channels, tall * stride, wide * stride, batch)[:, :height, :width]


def _matrix(patches: Float[Array, "rows columns channels h w batch"]) -> Float[Array, "k m"]:
    rows, columns, channels, h, w, batch = patches.shape
    return patches.reshape(rows * columns * channels, h * w * batch)


# patches, then product


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolution(x: Array, kernel: Array, stride: int) -> Array:
    rows, columns, _, channels_out = kernel.shape
    patches = extract(x, rows, columns, stride)
    product = lax.dot_general(
        kernel.reshape(-1, channels_out), _matrix(patches), (((0,), (0,)), ((), ()))
    )
    return product.reshape(channels_out, *patches.shape[3:])


def _convolution_forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _convolution(x, kernel, stride), (x, kernel)


def _convolution_backward(
    stride: int, residuals: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    rows, columns, channels_in, channels_out = kernel.shape
    flat = gradient.reshape(channels_out, -1)
    product = kernel.reshape(-1, channels_out) @ flat
    to_x = overlap_add(
        product.reshape(rows, columns, channels_in, *gradient.shape[1:]),
        x.shape[1],
        x.shape[2],
        stride,
    )
    to_kernel = lax.dot_general(
        _matrix(extract(x, rows, columns, stride)), flat, (((1,), (1,)), ((), ()))
    )
    return to_x, to_kernel.reshape(kernel.shape)


_convolution.defvjp(_convolution_forward, _convolution_backward)


# product, then overlap-add


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _transposed_convolution(x: Array, kernel: Array, stride: int) -> Array:
    rows, columns, channels_out, channels_in = kernel.shape
    _, h, w, batch = x.shape
    product = kernel.reshape(-1, channels_in) @ x.reshape(channels_in, -1)
    return overlap_add(
        product.reshape(rows, columns, channels_out, h, w, batch),
        (h - 1) * stride + rows,
        (w - 1) * stride + columns,
        stride,
    )


def _transposed_forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _transposed_convolution(x, kernel, stride), (x, kernel)


def _transposed_backward(
    stride: int, residuals: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    rows, columns, _, channels_in = kernel.shape
    patches = _matrix(extract(gradient, rows, columns, stride))
    to_x = lax.dot_general(kernel.reshape(-1, channels_in), patches, (((0,), (0,)), ((), ())))
    to_kernel = lax.dot_general(patches, x.reshape(channels_in, -1), (((1,), (1,)), ((), ())))
    return to_x.reshape(x.shape), to_kernel.reshape(kernel.shape)


_transposed_convolution.defvjp(_transposed_forward, _transposed_backward)
