"""A function that is exported: pure, of named arrays, one time step of several states at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr
from jax.typing import DTypeLike
from jaxtyping import Array

from armillary.nets.conv import plainly
from armillary.spec import Field

Arrays = dict[str, Array]
Fields = dict[str, Field]
"""The shape and type of one row of each array, by name."""

NEXT = "next_"
"""Begins the names of the state that a program leads to."""


@dataclass(frozen=True, eq=False)
class Program:
    """A pure function from named arrays to named arrays, all with one leading axis.

    Attributes:
        name: of its file.
        about: what it gives, in a few words.
        inputs: what it takes, in this order.
        function: from a dictionary of these to what it gives.
    """

    name: str
    about: str
    inputs: Fields
    function: Callable[[Arrays], Arrays]

    def __call__(self, *arrays: Array) -> tuple[Array, ...]:
        """Returns the outputs in their order, for the inputs in theirs."""
        with plainly(True):
            return tuple(self.function(dict(zip(self.inputs, arrays, strict=True))).values())

    @property
    def outputs(self) -> Fields:
        """What it gives, in order."""
        names: list[str] = []

        def named(rows: Arrays) -> list[Array]:
            given = self.function(rows)
            names.extend(given)  # JAX would sort them
            return list(given.values())

        with plainly(True):
            rows = {name: _row(field) for name, field in self.inputs.items()}
            given = jax.eval_shape(named, rows)
        return {
            name: Field(x.shape[1:], str(x.dtype)) for name, x in zip(names, given, strict=True)
        }

    def arguments(self, count: Any) -> list[jax.ShapeDtypeStruct]:
        """Returns what to trace it with.

        Args:
            count: rows: a number, or a symbol of `jax.export.symbolic_shape`.
        """
        return [_row(field, count) for field in self.inputs.values()]

    def traced(self, count: Any) -> ClosedJaxpr:
        """Returns what it does, without that of which nothing comes, and its parameters."""
        whole = jax.make_jaxpr(self)(*self.arguments(count))
        jaxpr, wanted, equations = whole.jaxpr, set(), []
        wanted |= {atom for atom in jaxpr.outvars if not hasattr(atom, "val")}
        for equation in reversed(jaxpr.eqns):
            if wanted & set(equation.outvars):
                wanted |= {atom for atom in equation.invars if not hasattr(atom, "val")}
                equations.append(equation)
        constants = [
            pair for pair in zip(jaxpr.constvars, whole.consts, strict=True) if pair[0] in wanted
        ]
        names, arrays = zip(*constants, strict=True) if constants else ((), ())
        jaxpr = jaxpr.replace(eqns=equations[::-1], constvars=list(names))
        return ClosedJaxpr(jaxpr, list(arrays))


def after(state: Arrays) -> Arrays:
    """Returns a state with the names of one that a program leads to."""
    return {NEXT + name: x for name, x in state.items()}


def _row(field: Field, count: Any = 1) -> jax.ShapeDtypeStruct:
    dtype: DTypeLike = jnp.dtype(field.dtype)
    return jax.ShapeDtypeStruct((count, *field.shape), dtype)
