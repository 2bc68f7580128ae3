"""A search tree as a picture: it grows to the right, the most visited states at the top."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from armillary.errors import UsageError
from armillary.files import write_atomically
from armillary.search.nodes import Node, fewest_visits, fold
from armillary.studies.tidy import tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEPTH, MOST = 8, 60
"""What a picture shows unless it is told otherwise: actions from the root, and about how many
states."""
_COLUMN, _ROW, _RADIUS, _STRAIGHT = 1.45, 0.5, 0.18, 0.78
"""Inches: from a state to those behind it, between neighbours, of a circle, of a line's end."""
_LEFT, _PANEL, _MARGIN, _TITLE = 0.25, 2.6, 0.35, 0.95
_INK, _PALE, _MAIN = "#26323d", "#9aa5ae", "#d98a00"
_PRINCIPAL = "orange: principal variation"
_LEGEND = (
    "in a circle: visits\n"
    "above a line: action, its prior\n"
    "below a line: value of the state\n"
    "width of a line: visits"
)


@dataclass(frozen=True)
class Tree:
    """What a picture shows.

    Attributes:
        nodes: of one search, see `search.nodes`.
        players: 1 or 2. With two players all values are shown from the view of who is to move at
            the root.
        mover: who that is, in words.
        place: where the search began, in words.
        image: of that place, if there is one.
    """

    nodes: tuple[Node, ...]
    players: int
    mover: str
    place: str
    image: UInt8[np.ndarray, "height width 3"] | None = None

    def folded(self, depth: int | None, visits: int | None) -> tuple[tuple[Node, ...], int, int]:
        """Returns the states that are shown, and the depth and the visits that decide so.

        Args:
            depth: actions from the root, at most; None: `DEPTH`.
            visits: of a state, at least; None: so that no more than `MOST` states are shown.
        """
        depth = DEPTH if depth is None else depth
        if visits is None:
            visits = fewest_visits(self.nodes, depth=depth, most=MOST)
        return fold(self.nodes, depth=depth, visits=visits), depth, visits

    def shown(self, node: Node) -> float:
        """Returns the value of a state as it is shown."""
        return -node.value if self.players == 2 and node.depth % 2 else node.value

    @property
    def heading(self) -> str:
        """What is found, in a line."""
        root, *others = self.nodes
        best = next((node.name for node in others if node.principal), None)
        chosen = f", {best} is chosen" if best else ", none was chosen"
        whose = f" for {self.mover}" if self.players == 2 else ""
        return f"{root.visits - 1} simulations: value {self._text(root)}{whose}{chosen}"

    def _text(self, node: Node) -> str:
        value = self.shown(node)
        return f"{value:+z.2f}" if self.players == 2 else f"{value:z.3g}"


def draw_tree(
    tree: Tree,
    path: str | os.PathLike[str],
    *,
    depth: int | None = None,
    visits: int | None = None,
) -> Path:
    """Draws a search tree into a PNG.

    Args:
        tree: what to draw.
        path: the picture.
        depth: see `Tree.folded`.
        visits: likewise.

    Returns:
        The path.

    Raises:
        UsageError: the file's name is not that of a PNG.
        StorageError: the picture could not be written.
    """
    from matplotlib.figure import Figure

    path = Path(path)
    check_name(path)
    nodes, depth, visits = tree.folded(depth, visits)
    y = -_ROW * np.array(tidy([node.children for node in nodes]))
    x = _COLUMN * np.array([float(node.depth) for node in nodes])
    low, high = y.min() - _MARGIN, y.max() + _MARGIN
    width = _PANEL + 2 * _MARGIN + max(float(x.max()), 3 * _COLUMN)
    height = _TITLE + max(high - low, 2.1 if tree.image is None else 4.25)
    figure = Figure(figsize=(width, height), dpi=110, facecolor="white")
    figure.text(
        _LEFT / width, 1 - 0.28 / height, tree.place, fontsize=13, weight="bold", color=_INK
    )
    figure.text(_LEFT / width, 1 - 0.53 / height, tree.heading, fontsize=10, color=_INK)
    if len(nodes) < len(tree.nodes):
        told = (
            f"{len(nodes)} of {len(tree.nodes)} states are shown: within {depth} actions, with "
            f"at least {visits} visit{'s' * (visits != 1)}; +n: n more behind a state"
        )
        figure.text(_LEFT / width, 1 - 0.76 / height, told, fontsize=9, color="0.35")

    size = (width - _PANEL, height - _TITLE)
    axis = figure.add_axes((_PANEL / width, 0, size[0] / width, size[1] / height))
    axis.set_axis_off()
    axis.set_xlim(-_MARGIN, size[0] - _MARGIN)
    axis.set_ylim(high - size[1], high)
    circles = _draw(axis, tree, nodes, x, y)
    _explain(figure, circles, tree, any(not n.possible for n in nodes), (width, height))
    write_atomically(path, lambda file: figure.savefig(file, format="png"))
    return path


def check_name(path: Path) -> None:
    """Makes sure that a picture can have a name.

    Raises:
        UsageError: it is not that of a PNG.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"cannot draw into {str(path)!r}: its name must end in .png")


def _draw(axis: Axes, tree: Tree, nodes: Sequence[Node], x: np.ndarray, y: np.ndarray) -> Any:
    """Draws the states and the lines between them; returns the circles."""
    from matplotlib.colors import CenteredNorm
    from matplotlib.path import Path as Line

    total = max(1, nodes[0].visits)
    for node in nodes[1:]:
        start, end = (x[node.parent], y[node.parent]), (x[node.number], y[node.number])
        bend, corner = (start[0] + end[0] - _STRAIGHT) / 2, end[0] - _STRAIGHT
        points = [start, (bend, start[1]), (bend, end[1]), (corner, end[1]), end]
        codes = [Line.MOVETO, Line.CURVE4, Line.CURVE4, Line.CURVE4, Line.LINETO]
        axis.add_patch(_line(Line(points, codes), node, total))
        weight = "bold" if node.principal else "normal"
        at = (corner + end[0] - _RADIUS) / 2
        above = f"{node.name}  {_percent(node.prior)}"
        lift = 0.04 + _width(node, total) / 144
        axis.text(at, end[1] + lift, above, fontsize=8, weight=weight, ha="center", va="bottom",
                  color=_INK if node.possible else "0.5")  # fmt: skip
        axis.text(at, end[1] - lift, tree._text(node), fontsize=7, ha="center", va="top",
                  color="0.35")  # fmt: skip

    values = np.array([tree.shown(node) for node in nodes])
    if tree.players == 2:
        norm = CenteredNorm(0, 1)
    else:  # better and worse than the root
        norm = CenteredNorm(values[0], max(float(np.abs(values - values[0]).max()), 1e-6))
    circles = axis.scatter(
        x,
        y,
        s=(2 * _RADIUS * 72) ** 2,
        c=values,
        cmap="RdBu",
        norm=norm,
        edgecolors=[_MAIN if node.principal else _INK for node in nodes],
        linewidths=[2.4 if node.principal else 0.8 for node in nodes],
        zorder=3,
    )
    for node, place, colour in zip(
        nodes, zip(x, y, strict=True), circles.to_rgba(values), strict=True
    ):
        light = float(colour[:3] @ [0.299, 0.587, 0.114]) > 0.55
        axis.text(*place, str(node.visits), fontsize=8, ha="center", va="center_baseline",
                  color="black" if light else "white", zorder=4)  # fmt: skip
        if node.folded:
            axis.text(place[0], place[1] - _RADIUS - 0.03, f"+{node.folded}", fontsize=6.5,
                      ha="center", va="top", color="0.35", zorder=4)  # fmt: skip
    return circles


def _width(node: Node, total: int) -> float:
    """Returns the width of the line to a state, in points."""
    return 0.7 + 6 * node.visits / total


def _line(line: Any, node: Node, total: int) -> Any:
    from matplotlib.patches import PathPatch

    return PathPatch(
        line,
        fill=False,
        edgecolor=_MAIN if node.principal else _PALE,
        linewidth=_width(node, total),
        linestyle="solid" if node.possible else (0, (3, 2)),
        capstyle="butt",
        zorder=2 if node.principal else 1,
    )


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "<1%"


def _explain(
    figure: Any, circles: Any, tree: Tree, impossible: bool, size: tuple[float, float]
) -> None:
    """Draws the panel at the left: the place, what colours mean, and what else is to be known."""
    from matplotlib.ticker import MaxNLocator

    width, height = size

    def box(left: float, top: float, wide: float, high: float) -> tuple[float, ...]:
        return left / width, 1 - (top + high) / height, wide / width, high / height

    top = _TITLE + 0.1
    if tree.image is not None:
        axis = figure.add_axes(box(_LEFT, top, 2.0, 2.0))
        axis.imshow(tree.image)
        axis.set_axis_off()
        top += 2.15
    bar = figure.colorbar(circles, cax=figure.add_axes(box(_LEFT, top + 0.2, 2.0, 0.14)),
                          orientation="horizontal")  # fmt: skip
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.locator = MaxNLocator(4)
    whose = f"value for {tree.mover}" if tree.players == 2 else "value: discounted return to come"
    bar.ax.set_title(whose, fontsize=8, loc="left", color=_INK, pad=4)
    legend = _LEGEND + "\ndashed: cannot be played there" * impossible
    for text, colour, weight in ((_PRINCIPAL, _MAIN, "bold"), (legend, _INK, "normal")):
        figure.text(_LEFT / width, 1 - (top + 0.75) / height, text, fontsize=8, va="top",
                    color=colour, weight=weight, linespacing=1.5)  # fmt: skip
        top += 0.22
