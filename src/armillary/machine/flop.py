"""How many floating-point operations a program takes: an update, an action, of any agent.

The program is traced, not run. Only matrix products and convolutions count, two operations for
each multiplication with its addition. Non-linearities, samples and Adam do not, nor what no result
depends on (a gradient to the image, which nobody asks for), nor what is computed twice to save
memory (`armillary.nets.pieces`) or copied to save time (the patches of a convolution): the number
is the work that the mathematics asks for.

What the program computes and then masks does count: predictions over several steps (PlaNet, Eq. 6
and 7) start at every step of a chunk, also where they would have to begin before it, and one more
trajectory than Algorithm 2 names predicts the return of the plan itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr

from armillary.nets.pieces import in_one_piece


def matrix_flop(function: Callable[..., Any], *arguments: Any) -> int:
    """Returns the operations of the matrix products and convolutions of a function.

    A scan counts as often as it is long, a conditional as its longest branch. How often a `while`
    loop goes round is not known before it runs: it counts once.

    Args:
        function: anything that JAX can trace.
        arguments: PyTrees of arrays, or of their shapes; other leaves are constants.
    """
    dynamic, static = eqx.partition(arguments, lambda x: hasattr(x, "shape"))
    with in_one_piece(True):
        traced = jax.make_jaxpr(lambda dynamic: function(*eqx.combine(dynamic, static)))(dynamic)
    needed, _ = dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    return _products(needed)


def _products(jaxpr: Any) -> int:
    return sum(_operations(equation) for equation in jaxpr.eqns)


def _operations(equation: Any) -> int:
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        sizes = equation.invars[0].aval.shape
        return 2 * math.prod(sizes[axis] for axis in contracted) * equation.outvars[0].aval.size
    if name == "conv_general_dilated":
        return _convolution(equation)
    if name == "cond":
        return max(_products(branch.jaxpr) for branch in parameters["branches"])
    inner = (getattr(value, "jaxpr", value) for value in parameters.values())
    once = sum(_products(jaxpr) for jaxpr in inner if hasattr(jaxpr, "eqns"))
    return parameters.get("length", 1) * once  # of a scan


def _convolution(equation: Any) -> int:
    """Returns the operations with pixels that there are: not with padding, nor between dilated."""
    parameters, (image, kernel), (output,) = equation.params, equation.invars, equation.outvars
    numbers = parameters["dimension_numbers"]
    pairs = 1
    for axis, (low, _) in enumerate(parameters["padding"]):
        pixels, taps, outputs = (
            array.aval.shape[spec[2 + axis]]
            for array, spec in zip(
                (image, kernel, output),
                (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec),
                strict=True,
            )
        )
        gap = parameters["lhs_dilation"][axis]
        place = (
            np.arange(outputs)[:, None] * parameters["window_strides"][axis]
            + np.arange(taps) * parameters["rhs_dilation"][axis]
            - low
        )
        inside = (place >= 0) & (place <= (pixels - 1) * gap) & (place % gap == 0)
        pairs *= int(inside.sum())
    batch, channels = (output.aval.shape[axis] for axis in numbers.out_spec[:2])
    return 2 * pairs * batch * channels * kernel.aval.shape[numbers.rhs_spec[1]]
