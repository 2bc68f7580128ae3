"""JAX's primitive operations as operators of ONNX, opset 18.

Only those are here that networks of this library, and small changes of them, are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from armillary.export import products, shapes
from armillary.export.graph import Builder, Value, fixed, result

_ELEMENTWISE = {
    "abs": "Abs",
    "add": "Add",
    "add_any": "Add",
    "ceil": "Ceil",
    "cos": "Cos",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tanh": "Tanh",
}
"""One operator with numpy's broadcasting for each."""
_LOGICAL = {"and": "And", "or": "Or", "xor": "Xor", "not": "Not"}
"""The same of truth values."""
_REDUCTIONS = {
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
    "reduce_sum": "ReduceSum",
}
_NOTHING = ("copy", "copy_p", "optimization_barrier", "stop_gradient", "sharding_constraint")
_CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Where an operation keeps the function that it calls."""
_LOOPS = ("cond", "scan", "while")


def translate(builder: Builder, equation: Any, given: Sequence[Value]) -> list[Value]:
    """Adds the operators of one equation; returns the values of its outputs.

    Raises:
        UsageError: it has no counterpart.
    """
    name, parameters = equation.primitive.name, equation.params
    if name in _LOOPS:
        raise builder.cannot(f"a {name}")
    called = next((parameters[key] for key in _CALLS if key in parameters), None)
    if called is not None:
        return builder.run(getattr(called, "jaxpr", called), getattr(called, "consts", ()), given)
    given_shapes = [variable.aval.shape for variable in equation.outvars]
    if all(v.constant is not None for v in given) and fixed(given_shapes):
        return _computed(equation, given)
    if name in _NOTHING:
        return list(given)
    if name == "split":
        return shapes.split(builder, equation, given[0])
    return [_single(builder, equation, given)]


def _single(builder: Builder, equation: Any, given: Sequence[Value]) -> Value:
    """Translates an operation with one output."""
    name = equation.primitive.name
    if name in _ELEMENTWISE:
        return result(equation, builder.add(_ELEMENTWISE[name], *_broadcast(builder, given)))
    if name in _LOGICAL and all(v.dtype == jnp.bool_ for v in given):
        return result(equation, builder.add(_LOGICAL[name], *_broadcast(builder, given)))
    if name in _REDUCTIONS:
        axes = builder.integers(equation.params["axes"])
        whole = builder.whole(given[0])
        return result(equation, builder.add(_REDUCTIONS[name], whole, axes, keepdims=0))
    if name not in _OTHERS:
        raise builder.cannot(f"the operation {name!r}")
    return _OTHERS[name](builder, equation, *given)


def _computed(equation: Any, given: Sequence[Value]) -> list[Value]:
    """Computes what depends on nothing but constants."""
    found = equation.primitive.bind(*(v.constant for v in given), **equation.params)
    arrays = found if equation.primitive.multiple_results else [found]
    return [Value(tuple(x.shape), x.dtype, constant=x) for x in arrays]


def _broadcast(builder: Builder, given: Sequence[Value]) -> list[str]:
    """Returns the names of operands: where one of them has the whole shape the others may be
    smaller."""
    whole = [v for v in given if v.name and not v.narrow]
    largest = max((len(v.shape) for v in given), default=0)
    if any(len(v.shape) == largest for v in whole):
        return [builder.loose(v) for v in given]
    return [builder.whole(v) for v in given]


# Of several operators


def _integer_pow(builder: Builder, equation: Any, x: Value) -> Value:
    name, power = builder.whole(x), equation.params["y"]
    if power == 2:
        return result(equation, builder.add("Mul", name, name))
    return result(equation, builder.add("Pow", name, builder.constant(np.asarray(power, x.dtype))))


def _square(builder: Builder, equation: Any, x: Value) -> Value:
    name = builder.whole(x)
    return result(equation, builder.add("Mul", name, name))


def _rsqrt(builder: Builder, equation: Any, x: Value) -> Value:
    root = builder.add("Sqrt", builder.whole(x))
    return result(equation, builder.add("Reciprocal", root))


def _one(builder: Builder, x: Value) -> str:
    return builder.constant(np.ones((), x.dtype))


def _log1p(builder: Builder, equation: Any, x: Value) -> Value:
    more = builder.add("Add", builder.whole(x), _one(builder, x))
    return result(equation, builder.add("Log", more))


def _expm1(builder: Builder, equation: Any, x: Value) -> Value:
    power = builder.add("Exp", builder.whole(x))
    return result(equation, builder.add("Sub", power, _one(builder, x)))


def _ne(builder: Builder, equation: Any, *given: Value) -> Value:
    equal = builder.add("Equal", *_broadcast(builder, given))
    return result(equation, builder.add("Not", equal))


def _clamp(builder: Builder, equation: Any, least: Value, x: Value, greatest: Value) -> Value:
    above = builder.add("Max", builder.whole(x), builder.whole(least))
    return result(equation, builder.add("Min", above, builder.whole(greatest)))


def _select(builder: Builder, equation: Any, which: Value, *cases: Value) -> Value:
    if len(cases) != 2 or which.dtype != jnp.bool_:
        raise builder.cannot(f"a choice of {len(cases)} cases by {which.dtype}")
    condition, no, yes = _broadcast(builder, (which, *cases))
    return result(equation, builder.add("Where", condition, yes, no))


def _shift(builder: Builder, equation: Any, x: Value, count: Value) -> Value:
    names = _broadcast(builder, (x, count))
    return result(equation, builder.add("BitShift", *names, direction="RIGHT"))


def _cast(builder: Builder, equation: Any, x: Value) -> Value:
    dtype = np.dtype(equation.params["new_dtype"])
    if x.dtype == dtype:
        return x
    narrow = builder.add("Cast", x.narrow, to=dtype) if x.narrow else ""
    return result(equation, builder.add("Cast", builder.whole(x), to=dtype), narrow)


def _argmax(builder: Builder, equation: Any, x: Value) -> Value:
    (axis,) = equation.params["axes"]
    found = builder.add("ArgMax", builder.whole(x), axis=axis, keepdims=0)
    return result(equation, builder.add("Cast", found, to=np.dtype(equation.params["index_dtype"])))


_OTHERS: dict[str, Callable[..., Value]] = {
    "argmax": _argmax,
    "broadcast_in_dim": shapes.broadcast_in_dim,
    "clamp": _clamp,
    "concatenate": shapes.concatenate,
    "conv_general_dilated": products.convolution,
    "convert_element_type": _cast,
    "dot_general": products.dot,
    "dynamic_slice": shapes.dynamic_slice,
    "expand_dims": shapes.reshape,
    "expm1": _expm1,
    "gather": shapes.gather,
    "integer_pow": _integer_pow,
    "iota": shapes.iota,
    "log1p": _log1p,
    "ne": _ne,
    "pad": shapes.pad,
    "reshape": shapes.reshape,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "shift_right_logical": _shift,
    "slice": shapes.sliced,
    "square": _square,
    "squeeze": shapes.reshape,
    "stack": shapes.stack,
    "transpose": shapes.transpose,
}
