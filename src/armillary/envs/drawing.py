"""Pictures of board games: flat colours, drawn large and shrunk so that edges are smooth."""

from __future__ import annotations

from functools import cache
from math import cos, radians, sin, sqrt
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from armillary.envs.faces import EMPTY, FIRST, Cells, Look

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

_SMOOTH = 4
"""Pixels that are drawn for one that is returned, in each direction."""

INK, PAPER = "#26323d", "#f5f1e8"
WOOD, GRAIN = "#dcb87b", "#7d5f33"
BLUE, RED, YELLOW = "#2f5d8c", "#d1495b", "#edc453"
GREEN, LEAF = "#3f8f6b", "#2f6f53"
LIGHT, DARK = "#efe0c5", "#b58a63"
BLACK, WHITE = "#1d1f21", "#fbfaf7"

SIDES: dict[Look, tuple[str, str]] = {
    "marks": ("X", "O"),
    "discs": ("red", "yellow"),
    "stones": ("black", "white"),
    "reversi": ("black", "white"),
    "hexagons": ("red", "blue"),
    "chess": ("white", "black"),
    "shogi": ("the first player", "the second player"),
}
"""What the players are called in a picture, who began first."""


def draw(look: Look, cells: Cells, size: int = 384) -> UInt8[np.ndarray, "size size 3"]:
    """Returns a picture of a board, square, with the board in its middle.

    Args:
        look: how it is drawn, see `faces.Face`.
        cells: what lies on it.
        size: pixels of a side.
    """
    from PIL import Image, ImageDraw

    large = size * _SMOOTH
    image = Image.new("RGB", (large, large), _GROUND[look])
    pen = ImageDraw.Draw(image)
    {"hexagons": _hexagons}.get(look, _squares)(pen, look, cells, large)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def _squares(pen: ImageDraw.ImageDraw, look: Look, cells: Cells, large: int) -> None:
    """Draws a board of squares."""
    rows, columns = cells.shape
    side = large * 0.94 / max(rows, columns)
    left, top = (large - side * columns) / 2, (large - side * rows) / 2
    line = max(1, round(side * 0.03))
    centres = {
        (row, column): (left + side * (column + 0.5), top + side * (row + 0.5))
        for row in range(rows)
        for column in range(columns)
    }
    if look == "discs":
        corners = (left, top, left + side * columns, top + side * rows)
        pen.rounded_rectangle(corners, side * 0.2, fill=BLUE)
    elif look == "chess":
        for (row, column), (x, y) in centres.items():
            colour = DARK if (rows - 1 - row + column) % 2 == 0 else LIGHT
            pen.rectangle(_around(x, y, side / 2), fill=colour)
    elif look == "stones":
        for i in range(rows):
            _line(pen, centres[i, 0], centres[i, columns - 1], line)
            _line(pen, centres[0, i], centres[rows - 1, i], line)
    else:
        inner = range(1, columns) if look == "marks" else range(columns + 1)
        for column in inner:
            x = left + side * column
            _line(pen, (x, top), (x, top + side * rows), line, _LINES[look])
        inner = range(1, rows) if look == "marks" else range(rows + 1)
        for row in inner:
            y = top + side * row
            _line(pen, (left, y), (left + side * columns, y), line, _LINES[look])
    for (row, column), (x, y) in centres.items():
        _piece(pen, look, str(cells[row, column]), x, y, side)


def _piece(
    pen: ImageDraw.ImageDraw, look: Look, cell: str, x: float, y: float, side: float
) -> None:
    """Draws what lies on one square."""
    first = cell == FIRST
    if look == "discs":
        colour = PAPER if cell == EMPTY else RED if first else YELLOW
        pen.ellipse(_around(x, y, side * 0.4), fill=colour)
    elif cell == EMPTY:
        return
    elif look == "marks":
        reach, width = side * 0.28, round(side * 0.11)
        if first:
            pen.line((x - reach, y - reach, x + reach, y + reach), BLUE, width)
            pen.line((x - reach, y + reach, x + reach, y - reach), BLUE, width)
        else:
            pen.ellipse(_around(x, y, side * 0.33), outline=RED, width=width)
    elif look in ("stones", "reversi"):
        radius = side * (0.47 if look == "stones" else 0.4)
        rim = GRAIN if look == "stones" else LEAF
        pen.ellipse(_around(x, y, radius), BLACK if first else WHITE, rim, round(side * 0.02))
    elif look == "chess":
        glyph = "♟♞♝♜♛♚"["pnbrqk".index(cell.lower())]
        own = cell.isupper()
        edge = round(side * 0.03)
        pen.text(
            (x, y), glyph, WHITE if own else BLACK, _font(round(side * 0.8)), "mm",
            stroke_width=edge, stroke_fill=BLACK if own else "#6b6f75",
        )  # fmt: skip
    else:
        _shogi_piece(pen, cell, x, y, side)


def _shogi_piece(pen: ImageDraw.ImageDraw, cell: str, x: float, y: float, side: float) -> None:
    """Draws a wedge that points to where its owner is going, with its letter."""
    up = 1 if cell.isupper() else -1
    corners = ((0, -0.44), (0.3, -0.28), (0.38, 0.42), (-0.38, 0.42), (-0.3, -0.28))
    points = [(x + side * a, y + up * side * b) for a, b in corners]
    pen.polygon(points, PAPER, GRAIN, max(1, round(side * 0.02)))
    colour = RED if cell.startswith("+") else INK
    pen.text((x, y), cell.upper(), colour, _font(round(side * 0.42)), "mm")


def _hexagons(pen: ImageDraw.ImageDraw, look: Look, cells: Cells, large: int) -> None:
    """Draws the rhombus of hex: who began joins top and bottom, the other left and right."""
    rows, columns = cells.shape
    width = large * 0.94 / (columns + (rows - 1) / 2 + 1)
    radius = width / sqrt(3)
    high = radius * (1.5 * rows + 0.5)
    for row in range(rows):
        for column in range(columns):
            x = large * 0.03 + width * (column + row / 2 + 1)
            y = (large - high) / 2 + radius * (1 + 1.5 * row)
            points = [
                (x + radius * sin(radians(60 * i)), y - radius * cos(radians(60 * i)))
                for i in range(6)
            ]
            pen.polygon(points, PAPER, GRAIN, max(1, round(radius * 0.06)))
            edge = max(2, round(radius * 0.2))
            sides = (
                (row == 0, (5, 0, 1), RED),
                (row == rows - 1, (2, 3, 4), RED),
                (column == 0, (3, 4, 5), BLUE),
                (column == columns - 1, (0, 1, 2), BLUE),
            )
            for there, corners, colour in sides:
                if there:
                    pen.line([points[i] for i in corners], colour, edge, joint="curve")
            cell = str(cells[row, column])
            if cell != EMPTY:
                pen.ellipse(_around(x, y, radius * 0.6), fill=RED if cell == FIRST else BLUE)


def _around(x: float, y: float, reach: float) -> tuple[float, float, float, float]:
    return x - reach, y - reach, x + reach, y + reach


def _line(
    pen: ImageDraw.ImageDraw,
    start: tuple[float, float],
    end: tuple[float, float],
    width: int,
    colour: str = GRAIN,
) -> None:
    pen.line((*start, *end), colour, width)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Returns the font that comes with matplotlib, which has the pieces of chess."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans-Bold.ttf", size)


_GROUND: dict[Look, str] = {
    "marks": PAPER,
    "discs": PAPER,
    "stones": WOOD,
    "reversi": GREEN,
    "hexagons": PAPER,
    "chess": PAPER,
    "shogi": WOOD,
}
_LINES: dict[Look, str] = {"marks": INK, "reversi": LEAF, "shogi": GRAIN}
