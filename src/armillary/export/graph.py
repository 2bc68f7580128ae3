"""A traced program as a graph of ONNX operators, written down in plain Python.

What JAX traces of a program is a short list of primitive operations. Each becomes one operator of
ONNX or a few (`armillary.export.operators`), with numpy's broadcasting in place of JAX's explicit
one. The graph is what the ONNX files hold and what the page in the browser runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jax import export

from armillary.errors import UsageError
from armillary.export.program import Fields, Program
from armillary.spec import Field

ROWS = "N"
"""The name of the leading axis, where it is left open."""


@dataclass(frozen=True)
class Node:
    """One operator, from named arrays to named arrays.

    Attributes:
        operator: its name in ONNX, opset 18.
        inputs: names of arrays.
        outputs: names of arrays.
        attributes: numbers, strings and lists of integers.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """Operators in an order in which they can be run.

    Attributes:
        name: of the program.
        inputs: the shape and type of one row of each input.
        outputs: the same of each output.
        nodes: the operators.
        constants: parameters, and the few numbers that operators need.
    """

    name: str
    inputs: Fields
    outputs: Fields
    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Value:
    """An array of the traced program.

    Attributes:
        shape: of the array; the leading axis may be a symbol.
        dtype: its type.
        name: in the graph; empty: it is a constant, and not in the graph yet.
        narrow: the name of an array that broadcasts to it; empty: none.
        constant: its content, if that is known.
    """

    shape: tuple[Any, ...]
    dtype: Any
    name: str = ""
    narrow: str = ""
    constant: Any = None


def graph_of(program: Program, rows: int | None = None) -> Graph:
    """Returns the graph of a program.

    Args:
        program: what to trace.
        rows: length of the leading axis; None: it is left open.

    Raises:
        UsageError: it does something that has no counterpart here.
    """
    count: Any = export.symbolic_shape(ROWS)[0] if rows is None else rows
    traced = program.traced(count)
    builder = Builder(program.name)
    inputs = []
    for (name, _), variable in zip(program.inputs.items(), traced.jaxpr.invars, strict=True):
        shape, dtype = variable.aval.shape, variable.aval.dtype
        inputs.append(Value(shape, dtype, name))
        builder.inputs.append(name)
    outputs = builder.run(traced.jaxpr, traced.consts, inputs)
    named = {}
    for value, (name, _) in zip(outputs, program.outputs.items(), strict=True):
        builder.nodes.append(Node("Identity", (builder.whole(value),), (name,)))
        named[name] = Field(value.shape[1:], str(value.dtype))
    nodes = _needed(builder.nodes, named)
    used = {name for node in nodes for name in node.inputs}
    constants = {name: x for name, x in builder.constants.items() if name in used}
    return Graph(program.name, program.inputs, named, tuple(nodes), constants)


class Builder:
    """Translates equations one after the other; the methods add operators.

    Attributes:
        program: the name of the program, for what cannot be translated.
        inputs: names of the graph's inputs.
        nodes: what has been added.
        constants: arrays by their names in the graph.
    """

    def __init__(self, program: str) -> None:
        self.program = program
        self.inputs: list[str] = []
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self._known: dict[tuple[Any, ...], str] = {}
        self._turned: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._count = 0

    def run(self, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Value]) -> list[Value]:
        """Translates a traced function; returns the values of its outputs."""
        from armillary.export.operators import translate

        known: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
        known |= {v: of_constant(x) for v, x in zip(jaxpr.constvars, constants, strict=True)}

        def value(atom: Any) -> Value:
            if hasattr(atom, "val"):
                return of_constant(np.asarray(atom.val, atom.aval.dtype))
            return known[atom]

        for equation in jaxpr.eqns:
            given = [value(atom) for atom in equation.invars]
            known |= zip(equation.outvars, translate(self, equation, given), strict=True)
        return [value(atom) for atom in jaxpr.outvars]

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds an operator with one output; returns its name."""
        return self.several(operator, 1, *inputs, **attributes)[0]

    def several(
        self, operator: str, count: int, *inputs: str, **attributes: Any
    ) -> tuple[str, ...]:
        """Adds an operator; returns the names of its outputs."""
        outputs = tuple(self._new() for _ in range(count))
        self.nodes.append(Node(operator, inputs, outputs, attributes))
        return outputs

    def constant(self, array: Any) -> str:
        """Returns the name of a constant; the same for equal small ones."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 64 else (id(array),)
        if key not in self._known:
            self._known[key] = name = f"{'c' if array.size <= 64 else 'w'}{len(self.constants)}"
            self.constants[name] = array
        return self._known[key]

    def integers(self, numbers: Sequence[Any]) -> str:
        """Returns the name of a constant list of integers."""
        return self.constant(np.array([int(n) for n in numbers], np.int64))

    def whole(self, value: Value) -> str:
        """Returns the name of a value in its own shape."""
        return value.name or self.constant(value.constant)

    def loose(self, value: Value) -> str:
        """Returns the name of what broadcasts to a value, the value itself if there is nothing."""
        if value.narrow:
            return value.narrow
        if value.constant is not None and (array := np.asarray(value.constant)).size > 1:
            first = array.reshape(-1)[0]
            if (array == first).all():
                return self.constant(np.full((1,) * array.ndim, first))
        return self.whole(value)

    def reshaped(self, name: str, shape: Sequence[Any]) -> str:
        """Adds a change of shape; one entry may be a symbol.

        Raises:
            UsageError: more of them are.
        """
        entries = [n if isinstance(n, int) else -1 for n in map(_plain, shape)]
        if entries.count(-1) > 1:
            raise self.cannot(f"a reshape to {tuple(shape)}")
        return self.add("Reshape", name, self.integers(entries))

    def expanded(self, name: str, shape: Sequence[Any]) -> str:
        """Adds a broadcast to a shape."""
        parts, entries = [], [_plain(n) for n in shape]
        if all(isinstance(n, int) for n in entries):
            return self.add("Expand", name, self.integers(entries))
        for n in entries:
            if not isinstance(n, int) and str(n) != ROWS:
                raise self.cannot(f"a broadcast to {tuple(shape)}")
            parts.append(self.integers([n]) if isinstance(n, int) else self._rows())
        return self.add("Expand", name, self.add("Concat", *parts, axis=0))

    def turned(self, name: str, axes: Sequence[int]) -> str:
        """Adds a transposition; two of them become one, or none."""
        source, before = self._turned.get(name, (name, tuple(range(len(axes)))))
        axes = tuple(before[axis] for axis in axes)
        if axes == tuple(range(len(axes))):
            return source
        found = self.add("Transpose", source, perm=list(axes))
        self._turned[found] = (source, axes)
        return found

    def cannot(self, what: str) -> UsageError:
        """Returns the error of what has no counterpart."""
        return UsageError(
            f"the program {self.program!r} has {what}, for which there is no translation to ONNX "
            "here: export it to stablehlo, which takes all that JAX can do"
        )

    def _rows(self) -> str:
        """Returns the length of the leading axis, as a list of one integer."""
        return self.add("Shape", self.inputs[0], start=0, end=1)

    def _new(self) -> str:
        self._count += 1
        return f"v{self._count}"


def of_constant(content: Any) -> Value:
    """Returns the value of an array that is known."""
    return Value(tuple(content.shape), content.dtype, constant=content)


def result(equation: Any, name: str, narrow: str = "") -> Value:
    """Returns the value of an equation with one output."""
    aval = equation.outvars[0].aval
    return Value(tuple(aval.shape), aval.dtype, name, narrow)


def renamed(value: Value, equation: Any) -> Value:
    """Returns a value as the output of an equation that changes nothing."""
    return replace(value, shape=tuple(equation.outvars[0].aval.shape))


def _plain(entry: Any) -> Any:
    """Returns an entry of a shape as an int, unless it is a symbol."""
    try:
        return int(entry)
    except Exception:
        return entry


def _needed(nodes: Sequence[Node], outputs: Mapping[str, Any]) -> list[Node]:
    """Returns the nodes without those of which nothing comes."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            wanted |= set(node.inputs)
            kept.append(node)
    return kept[::-1]


def fixed(shapes: Sequence[Sequence[Any]]) -> bool:
    """Whether all entries of shapes are numbers, none a symbol."""
    return all(isinstance(n, (int, np.integer)) for shape in shapes for n in shape)


def is_zero(entry: Any) -> bool:
    """Whether an entry of a shape, or a place along it, is known to be 0."""
    return isinstance(entry, (int, np.integer)) and entry == 0
