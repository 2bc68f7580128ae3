"""JAX's operations on shapes, cuts and windows as operators of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from armillary.export.graph import Builder, Value, fixed, is_zero, renamed, result


def reshape(builder: Builder, equation: Any, x: Value) -> Value:
    shape = equation.outvars[0].aval.shape
    if shape == x.shape:
        return renamed(x, equation)
    return result(equation, builder.reshaped(builder.whole(x), shape))


def broadcast_in_dim(builder: Builder, equation: Any, x: Value) -> Value:
    shape, axes = equation.params["shape"], equation.params["broadcast_dimensions"]
    wide = dict(zip(map(int, axes), x.shape, strict=True))
    thin = tuple(wide.get(axis, 1) for axis in range(len(shape)))
    name = builder.whole(x)
    narrow = name if thin == x.shape else builder.reshaped(name, thin)
    if thin == tuple(shape):
        return result(equation, narrow)
    return result(equation, builder.expanded(narrow, shape), narrow)


def transpose(builder: Builder, equation: Any, x: Value) -> Value:
    return result(equation, builder.turned(builder.whole(x), equation.params["permutation"]))


def iota(builder: Builder, equation: Any) -> Value:
    shape, axis = equation.params["shape"], equation.params["dimension"]
    numbers = np.arange(shape[axis], dtype=equation.params["dtype"])
    thin = [1] * len(shape)
    thin[axis] = len(numbers)
    narrow = builder.constant(numbers.reshape(thin))
    return result(equation, builder.expanded(narrow, shape), narrow)


def concatenate(builder: Builder, equation: Any, *parts: Value) -> Value:
    axis = equation.params["dimension"]
    names = [builder.whole(part) for part in parts if not is_zero(part.shape[axis])]
    if len(names) == 1:
        return result(equation, names[0])
    return result(equation, builder.add("Concat", *names, axis=axis))


def stack(builder: Builder, equation: Any, *parts: Value) -> Value:
    axis, shape = equation.params["axis"], list(parts[0].shape)
    thin = [*shape[:axis], 1, *shape[axis:]]
    names = [builder.reshaped(builder.whole(part), thin) for part in parts]
    return result(equation, builder.add("Concat", *names, axis=axis))


def sliced(builder: Builder, equation: Any, x: Value) -> Value:
    starts, limits = equation.params["start_indices"], equation.params["limit_indices"]
    return _cut(builder, equation, x, starts, limits, equation.params["strides"])


def dynamic_slice(builder: Builder, equation: Any, x: Value, *starts: Value) -> Value:
    if any(start.constant is None for start in starts):
        raise builder.cannot("a slice from a place that is computed")
    sizes = equation.params["slice_sizes"]
    first = [
        int(start.constant) if fixed([(whole, size)]) and whole != size else 0
        for start, whole, size in zip(starts, x.shape, sizes, strict=True)
    ]
    limits = [start + size for start, size in zip(first, sizes, strict=True)]
    return _cut(builder, equation, x, first, limits, None)


def gather(builder: Builder, equation: Any, x: Value, indices: Value) -> Value:
    """One window of an array at a known place, `x[..., 0]` or `x[:, :2]`: no others are here."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    axes = numbers.start_index_map
    if indices.constant is None or indices.shape != (len(axes),) or numbers.operand_batching_dims:
        raise builder.cannot("a look-up of entries by computed numbers")
    starts, limits = [0] * len(x.shape), list(sizes)
    for axis, number in zip(axes, np.asarray(indices.constant).tolist(), strict=True):
        starts[axis], limits[axis] = number, number + sizes[axis]
    cut = _cut(builder, equation, x, starts, limits, None)
    return result(equation, builder.reshaped(cut.name, equation.outvars[0].aval.shape))


def _cut(
    builder: Builder,
    equation: Any,
    x: Value,
    starts: Sequence[Any],
    limits: Sequence[Any],
    strides: Sequence[int] | None,
) -> Value:
    steps = strides or [1] * len(x.shape)
    axes = [
        axis
        for axis, (start, limit, step) in enumerate(zip(starts, limits, steps, strict=True))
        if step != 1 or not is_zero(start) or limit != x.shape[axis]
    ]
    if not axes:
        return result(equation, builder.whole(x))
    numbers = [builder.integers([of[axis] for axis in axes]) for of in (starts, limits)]
    others = [builder.integers(axes), builder.integers([steps[axis] for axis in axes])]
    return result(equation, builder.add("Slice", builder.whole(x), *numbers, *others))


def split(builder: Builder, equation: Any, x: Value) -> list[Value]:
    sizes, axis = equation.params["sizes"], equation.params["axis"]
    names = builder.several(
        "Split", len(sizes), builder.whole(x), builder.integers(sizes), axis=axis
    )
    return [
        Value(tuple(variable.aval.shape), variable.aval.dtype, name)
        for variable, name in zip(equation.outvars, names, strict=True)
    ]


def pad(builder: Builder, equation: Any, x: Value, value: Value) -> Value:
    low, high, inside = zip(*equation.params["padding_config"], strict=True)
    if any(inside) or min(*low, *high) < 0:
        raise builder.cannot("padding between entries, or a negative one")
    pads = builder.integers([*low, *high])
    return result(equation, builder.add("Pad", builder.whole(x), pads, builder.whole(value)))
