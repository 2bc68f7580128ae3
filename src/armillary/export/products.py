"""JAX's products and convolutions as operators of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from armillary.export.graph import Builder, Value, result


def dot(builder: Builder, equation: Any, left: Value, right: Value) -> Value:
    ((of_left, of_right), (batch_left, batch_right)) = equation.params["dimension_numbers"]
    if len(of_left) != 1 or batch_left or batch_right:
        return _batched(builder, equation, left, right)
    first = _last(builder, left, of_left[0])
    free = [axis for axis in range(len(right.shape)) if axis != of_right[0]]
    second = builder.turned(builder.whole(right), [*of_right, *free])
    if len(free) == 1:
        return result(equation, builder.add("MatMul", first, second))
    size = np.prod([right.shape[axis] for axis in free]) if free else 1
    second = builder.reshaped(second, [right.shape[of_right[0]], size])
    product = builder.add("MatMul", first, second)
    return result(equation, builder.reshaped(product, equation.outvars[0].aval.shape))


def _last(builder: Builder, value: Value, axis: int) -> str:
    others = [a for a in range(len(value.shape)) if a != axis]
    return builder.turned(builder.whole(value), [*others, axis])


def _batched(builder: Builder, equation: Any, left: Value, right: Value) -> Value:
    """A product for each entry of leading axes, of matrices or vectors."""
    ((of_left, of_right), (batch_left, batch_right)) = equation.params["dimension_numbers"]
    if len(of_left) != 1 or not batch_left:
        raise builder.cannot(f"a product over {len(of_left)} axes")
    names, free = [], []
    for value, (contracted,), batch, order in (
        (left, of_left, batch_left, (0, 1)),
        (right, of_right, batch_right, (1, 0)),
    ):
        own = [a for a in range(len(value.shape)) if a not in (contracted, *batch)]
        if len(own) > 1:
            raise builder.cannot("a product of more than matrices")
        name, parts = builder.whole(value), (own, [contracted])
        name = builder.turned(name, [*batch, *parts[order[0]], *parts[order[1]]])
        if not own:  # a vector is a matrix of one row, or of one column
            shape = [value.shape[a] for a in batch]
            size = value.shape[contracted]
            name = builder.reshaped(name, [*shape, *([1, size] if order[0] == 0 else [size, 1])])
        names.append(name)
        free.append(own)
    product = builder.add("MatMul", *names)
    if all(free):
        return result(equation, product)
    return result(equation, builder.reshaped(product, equation.outvars[0].aval.shape))


def convolution(builder: Builder, equation: Any, x: Value, kernel: Value) -> Value:
    """A convolution; one that spreads its input out is a transposed one in ONNX."""
    settings = equation.params
    order = settings["dimension_numbers"]
    spread, strides = settings["lhs_dilation"], settings["window_strides"]
    pads = settings["padding"]
    images = builder.turned(builder.whole(x), order.lhs_spec)
    weights = _turned_kernel(kernel, order.rhs_spec)
    if weights is None or settings["batch_group_count"] != 1:
        raise builder.cannot("a convolution with a kernel that is computed, or in groups of rows")
    common = {"dilations": list(settings["rhs_dilation"]), "group": settings["feature_group_count"]}
    if all(n == 1 for n in spread):
        low, high = zip(*pads, strict=True)
        found = builder.add(
            "Conv",
            images,
            builder.constant(weights),
            pads=[*low, *high],
            strides=list(strides),
            **common,
        )
    else:
        if any(n != 1 for n in strides) or common["group"] != 1 or set(common["dilations"]) != {1}:
            raise builder.cannot("a transposed convolution with strides, groups or dilation")
        cropped = [
            size - 1 - pad
            for side in zip(*pads, strict=True)
            for size, pad in zip(weights.shape[2:], side, strict=True)
        ]
        if min(cropped) < 0:
            raise builder.cannot("a transposed convolution with so much padding")
        flipped = np.ascontiguousarray(weights[:, :, ::-1, ::-1].swapaxes(0, 1))
        found = builder.add(
            "ConvTranspose",
            images,
            builder.constant(flipped),
            pads=cropped,
            strides=list(spread),
            **common,
        )
    return result(equation, builder.turned(found, np.argsort(order.out_spec).tolist()))


def _turned_kernel(kernel: Value, order: Sequence[int]) -> np.ndarray | None:
    """Returns the weights as (out, in, rows, columns); None: they are not known."""
    if kernel.constant is None or len(order) != 4:
        return None
    return np.ascontiguousarray(np.asarray(kernel.constant).transpose(order))
