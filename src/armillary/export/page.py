"""A page that dreams: a world model, its decoder and start states in one HTML file.

What runs in the browser are the graphs of the same programs as in the other exports, by the few
operators in `page/runtime.js`. (ONNX Runtime Web would run them, too; its WebAssembly alone is
larger than most models of this library, and has to be fetched.)
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO

import jax
import numpy as np

from armillary.dynamics.learned import LearnedModel
from armillary.errors import UsageError
from armillary.export.folder import card_of
from armillary.export.graph import Graph, graph_of
from armillary.export.programs import States, programs_of
from armillary.export.starts import Start, starts_of
from armillary.files import write_atomically
from armillary.spec import Spec
from armillary.training.player import Player
from armillary.video import frames_per_second

_PARTS = Path(__file__).parent / "page"
_LARGE = 64
"""Entries of a constant from which on it is among the weights, and not written out as numbers."""


def write_page(player: Player, run: Path, path: Path, starts: int = 6) -> dict[str, Any]:
    """Writes the page; returns what it says of itself.

    Args:
        player: the agent.
        run: its folder, with the episodes in which dreams begin.
        path: of the page.
        starts: in how many states a dream can begin, at most.

    Raises:
        UsageError: the agent predicts no frames, or its model does what the page cannot.
        StorageError: the page cannot be written.
    """
    model: Any = player.world_model
    check_frames(player, model)
    weights = Weights()
    wanted = ("transition", "reward", "goes_on", "decoder", "value", "actor")
    programs = {
        program.name: weights.described(graph_of(program, rows=1))
        for program in programs_of(player)
        if program.name in wanted
    }
    image = min(player.agent.spec.images)
    card = card_of(player, run)
    data = card | {
        "image": image,
        "size": list(player.agent.spec.images[image].shape[:2]),
        "rate": frames_per_second(player.config),
        "action": _action(player.agent.spec),
        "state": {name: list(field.shape) for name, field in States(model).fields.items()},
        "starts": [_described(model, start) for start in starts_of(player, run, starts)],
        "programs": programs,
        "parameters": weights.count,
    }
    content = assembled(data, weights.bytes)
    write_atomically(path, partial(_put, content))
    return data | {"bytes": len(content)}


def check_frames(player: Player, model: Any) -> None:
    """Makes sure that there are frames to show.

    Raises:
        UsageError: there are none.
    """
    why = ""
    if not isinstance(model, LearnedModel):
        why = f"{player.config.agent} predicts rewards, values and policies, not what is seen"
    elif model.model.decoder is None:
        why = "this world model has no decoder, because it does not learn by reconstruction"
    elif not player.agent.spec.images:
        why = "this world model observes no images"
    if why:
        raise UsageError(
            f"{why}: there are no frames for a page to show. Export to onnx or stablehlo, or train "
            "planet or dreamer with images and reconstruction"
        )


class Weights:
    """The parameters of several graphs, one after the other.

    Attributes:
        bytes: float32, the least significant byte first.
        count: numbers that were learned.
    """

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.count = 0

    def described(self, graph: Graph) -> dict[str, Any]:
        """Returns a graph for `program` in `page/runtime.js`; its parameters are kept here.

        Raises:
            UsageError: it has an operator that the page does not know.
        """
        unknown = {node.operator for node in graph.nodes} - operators()
        if unknown:
            raise UsageError(
                f"the program {graph.name!r} needs {', '.join(sorted(unknown))}, which the page "
                "cannot do: export to onnx or stablehlo"
            )
        constants: dict[str, Any] = {}
        for name, array in graph.constants.items():
            constants[name] = {"shape": list(array.shape)}
            if array.size > _LARGE and array.dtype == np.float32:
                constants[name]["start"] = len(self.bytes)
                self.bytes += np.ascontiguousarray(array, "<f4").tobytes()
                self.count += array.size
            else:
                constants[name]["numbers"] = [float(x) for x in array.ravel()]
        nodes = [
            [node.operator, node.inputs, node.outputs, _attributes(node.attributes)]
            for node in graph.nodes
        ]
        inputs, outputs = list(graph.inputs), list(graph.outputs)
        return {"inputs": inputs, "outputs": outputs, "nodes": nodes, "constants": constants}


@cache
def operators() -> frozenset[str]:
    """Returns the operators that the page can do: the entries of a table in its script."""
    _, _, table = (_PARTS / "runtime.js").read_text().partition("const OPERATORS = {")
    return frozenset(re.findall(r"^  (\w+):", table.partition("\n};")[0], re.MULTILINE))


def assembled(data: Mapping[str, Any], weights: bytes | bytearray) -> bytes:
    """Returns the page as one file.

    Args:
        data: what `page/dream.js` reads.
        weights: of its programs.
    """
    page = (_PARTS / "dream.html").read_text()
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")  # it may name anything
    parts = {
        "title": html.escape(f"{data['task']} — a dream"),
        "style": (_PARTS / "dream.css").read_text(),
        "data": text,
        "weights": base64.b64encode(weights).decode(),
        "runtime": (_PARTS / "runtime.js").read_text(),
        "script": (_PARTS / "dream.js").read_text(),
    }
    pieces = page.split("@@")  # text, name, text, name, ..., text
    return "".join(parts[x] if i % 2 else x for i, x in enumerate(pieces)).encode()


def _attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: str(x) if key == "to" else x for key, x in attributes.items()}


def _action(spec: Spec) -> dict[str, Any]:
    return {"discrete": spec.discrete, "size": spec.action.size}


def _described(model: LearnedModel, start: Start) -> dict[str, Any]:
    """Returns a start for the page: its state's arrays as numbers."""
    arrays = States(model).named(jax.tree.map(lambda x: np.asarray(x)[None], start.state))
    return {
        "label": start.label,
        "state": {name: np.asarray(x).ravel().tolist() for name, x in arrays.items()},
        "mask": None if start.mask is None else [bool(x) for x in start.mask],
    }


def _put(content: bytes, file: BinaryIO) -> None:
    file.write(content)
