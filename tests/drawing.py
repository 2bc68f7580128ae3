"""What a reader sees in a figure: a picture that is not empty may still show no curve."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D


def curves(figure: Figure) -> set[str]:
    """Returns the labels of the lines and points that can be seen, without reference lines."""
    return {str(line.get_label()) for axis in figure.axes for line in axis.lines if _is_seen(line)}


def _is_seen(line: Line2D) -> bool:
    """Whether something of it lies in its frame and is drawn, not of one value across the frame."""
    axis = line.axes
    if axis is None or not line.get_visible() or line.get_transform() != axis.transData:
        return False
    points = np.column_stack(line.get_data()).astype(float)
    points = points[np.isfinite(points).all(1)]
    (left, right), (low, high) = sorted(axis.get_xlim()), sorted(axis.get_ylim())
    x, y = points.T
    inside = (left <= x) & (x <= right) & (low <= y) & (y <= high)
    stroke = line.get_linestyle() not in ("None", " ", "") and line.get_linewidth() > 0
    marked = line.get_marker() not in ("None", None, " ", "") and line.get_markersize() > 0
    opaque = (line.get_alpha() or 1) * to_rgba(line.get_color())[3] > 0 and line.get_alpha() != 0
    return bool(opaque and inside.any() and (marked or (stroke and len(points) > 1)))
