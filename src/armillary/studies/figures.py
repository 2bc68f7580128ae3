"""The picture and the numbers of a comparison, from the runs that it compares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from armillary.files import write_atomically
from armillary.studies.comparisons import Comparison, Published
from armillary.studies.plots import (
    BAND,
    Curve,
    dress,
    places_of,
    read_metrics,
    with_headroom,
)
from armillary.studies.runs import Member
from armillary.studies.scores import (
    ALL_TASKS,
    curve,
    finals,
    published,
    random_finals,
    statistics,
)
from armillary.studies.tables import write as write_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OFF_SCALE = 1.5
"""The scale is widened for a reference of up to so many times the height of the curves."""


def write(comparison: Comparison, members: Sequence[Member], folder: Path, name: str) -> list[Path]:
    """Writes the picture, the numbers and perhaps the table of a study; returns their paths."""
    numbers = statistics(comparison, members)
    text = json.dumps(numbers, indent=2).encode()
    write_atomically(folder / f"{name}.json", lambda file: file.write(text))
    files = [draw(comparison, members, folder / f"{name}.png"), folder / f"{name}.json"]
    if comparison.table:
        files.append(write_table(name, numbers, published(comparison, members), folder))
    return files


def draw(comparison: Comparison, members: Sequence[Member], path: Path) -> Path:
    """Draws a comparison as it says, a panel for each task.

    Curves are test scores against collected episodes: lines are medians over seeds and trajectories
    together, areas reach from the 5th to the 95th percentile; over all tasks lines are means and
    areas one standard deviation, over tasks, seeds and trajectories together. Points and bars are
    means of final scores, areas and whiskers one standard deviation, over seeds and trajectories
    together. Dotted lines are published final scores, dashed ones those of random actions.

    Args:
        comparison: what the lines are.
        members: its runs; those without a score yet are left out.
        path: the picture, a PNG.
    """
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(task for member in members for task in member.config.tasks))
    if comparison.picture == "bars":
        size = (max(7.2, 1 + 0.85 * len(tasks)), 4.6)
        figure = Figure(figsize=size, dpi=130, layout="constrained", facecolor="white")
        _bars(figure.subplots(), comparison, members, tasks)
    else:
        panels = [tasks] if comparison.over_tasks else [[task] for task in tasks]
        columns = min(3 if len(panels) < 10 else 4, len(panels))
        height = -(-len(panels) // columns)
        size = (7.2, 4.6) if len(panels) == 1 else (4.6 * columns, 3.6 * height)
        figure = Figure(figsize=size, dpi=130, layout="constrained", facecolor="white")
        axes = figure.subplots(height, columns, squeeze=False).ravel()
        panel_of = _points if comparison.picture == "points" else _panel
        for axis, panel in zip(axes, panels, strict=False):
            panel_of(axis, comparison, members, panel)
        for axis in axes[len(panels) :]:
            axis.remove()
    figure.suptitle(comparison.title, fontsize=12)
    write_atomically(path, lambda file: figure.savefig(file, format="png"))
    return path


def _panel(axis: Axes, comparison: Comparison, members: Sequence[Member], tasks: list[str]) -> None:
    lines = 0
    for number, variant in enumerate(comparison.variants):
        mine = [member for member in members if member.variant == variant]
        scores = curve(mine, tasks)
        if not scores.episodes:
            continue
        if comparison.over_tasks:
            middle, spread = scores.of(np.mean), scores.of(np.std)
            low, high = middle - spread, middle + spread
        else:
            middle, low, high = (scores.percentile(percent) for percent in (50, *BAND))
        style = {"color": f"C{number}"}
        label = with_seeds(variant.label, [m for m in mine if curve([m], tasks).episodes])
        places = _places(comparison, scores, mine)
        axis.plot(
            places, middle, marker="o", markersize=3, linewidth=2, label=label,
            **style,  # type: ignore[arg-type]
        )  # fmt: skip
        axis.fill_between(places, low, high, alpha=0.18, linewidth=0, **style)  # type: ignore[arg-type]
        lines += 1
    lines += chance(axis, members, tasks)
    others = published(comparison, members)
    if len(tasks) == 1 and tasks[0] in others.scores:
        lines += _references(axis, others, tasks[0], lines)
    axis.set_title(tasks[0] if len(tasks) == 1 else f"{len(tasks)} tasks", fontsize=11)
    steps = comparison.against == "steps"
    axis.set_xlabel("environment steps" if steps else "collected episodes of each task")
    spread_label = "mean, one standard deviation" if comparison.over_tasks else "median, 5 to 95%"
    axis.set_ylabel(f"test return ({spread_label})", fontsize=9)
    dress(axis, lines)


def _places(comparison: Comparison, scores: Curve, members: Sequence[Member]) -> Sequence[float]:
    """Returns where the points of a curve lie; of steps on average over the runs."""
    if comparison.against == "episodes":
        return scores.episodes
    rows = [read_metrics(m.folder) for m in members if (m.folder / "metrics.jsonl").exists()]
    return places_of(scores, rows, "evaluate/mean", comparison.against)


def with_seeds(label: str, members: Sequence[Member]) -> str:
    """Returns a label of the legend with the number of seeds that its runs have."""
    seeds = len({member.config.seed for member in members})
    return f"{label}, {seeds} seed{'s' if seeds > 1 else ''}"


def chance(axis: Axes, members: Sequence[Member], tasks: Sequence[str]) -> int:
    """Draws the score of random actions; returns how many entries the legend got."""
    chance = [score for member in members for score in random_finals(member, tasks)]
    if chance:
        label = f"random actions ({np.mean(chance):.0f})"
        axis.axhline(float(np.mean(chance)), color="0.35", linestyle="--", linewidth=1, label=label)
    return int(bool(chance))


def _references(axis: Axes, others: Published, task: str, lines: int) -> int:
    """Draws published scores; those far above the curves would press them together: not drawn.

    Args:
        axis: the panel, with its curves.
        others: what is published, on the task among others.
        task: of the panel.
        lines: entries that the legend has already.

    Returns:
        How many entries of the legend came to it.
    """
    scores: Mapping[str, float] = others.scores[task]
    names = [name for name in others.drawn if name in scores]
    low, high = axis.get_ylim()
    high = max([high, *(scores[name] for name in names if scores[name] < _OFF_SCALE * high)])
    axis.set_ylim(low, high)
    top = with_headroom(low, high, lines + len(names))[1]
    for name in names:
        value = scores[name]
        dotted = {"color": others.drawn[name], "linestyle": ":", "linewidth": 1.2}
        label = f"{name}, published ({value:.0f})"
        if value <= top:
            axis.axhline(value, label=label, **dotted)  # type: ignore[arg-type]
        else:
            axis.plot([], [], label=f"{label}, above this scale", **dotted)  # type: ignore[arg-type]
    return len(names)


def _points(
    axis: Axes, comparison: Comparison, members: Sequence[Member], tasks: list[str]
) -> None:
    """Draws final scores against what the variants differ in, a line for each label."""
    labels = list(dict.fromkeys(variant.label for variant in comparison.variants))
    for number, label in enumerate(labels):
        scores: dict[float, list[float]] = {}
        ended = []
        for member in members:
            if member.variant.label == label and (found := finals(comparison, member, tasks)):
                scores.setdefault(float(member.variant.at or 0), []).extend(found)
                ended.append(member)
        if scores:
            line_of_points(axis, scores, f"C{number}", with_seeds(label, ended))
    lines = len(labels) + chance(axis, members, tasks)
    axis.set_title(tasks[0], fontsize=11)
    axis.set_xlabel(comparison.axis)
    axis.set_ylabel("final test return (mean, one standard deviation)", fontsize=9)
    dress(axis, lines)


def line_of_points(
    axis: Axes, scores: Mapping[float, Sequence[float]], color: str, label: str
) -> None:
    """Draws the means of scores at each place as points with a line, and one deviation around it.

    Args:
        axis: the panel.
        scores: by their place on the x-axis.
        color: of all of it.
        label: for the legend.
    """
    places = sorted(scores)
    middle = np.array([np.mean(scores[place]) for place in places])
    spread = np.array([np.std(scores[place]) for place in places])
    axis.plot(places, middle, "o-", markersize=4, color=color, label=label)
    low, high = middle - spread, middle + spread
    axis.fill_between(places, low, high, color=color, alpha=0.18, linewidth=0)


def _bars(axis: Axes, comparison: Comparison, members: Sequence[Member], tasks: list[str]) -> None:
    """Draws a group of bars for each task, and published scores as strokes across the group."""
    table = statistics(comparison, members)["tasks"]
    others = published(comparison, members)
    groups = [*tasks, *([ALL_TASKS] if ALL_TASKS in table else [])]
    width = 0.8 / len(comparison.variants)
    for number, variant in enumerate(comparison.variants):
        mine = [m for m in members if m.variant == variant and finals(comparison, m, tasks)]
        ours = [table[task].get(comparison.name_of(variant)) for task in groups]
        found = [(i, one) for i, one in enumerate(ours) if one]
        if not found:
            continue
        axis.bar(
            [i - 0.4 + (number + 0.5) * width for i, _ in found],
            [one["mean"] for _, one in found],
            0.9 * width,
            yerr=[one["std"] for _, one in found],
            color=f"C{number}", alpha=0.8, error_kw={"elinewidth": 1, "ecolor": "0.3"},
            label=with_seeds(variant.label, mine),
        )  # fmt: skip
    for name, color in others.drawn.items():
        known = [others.scores.get(task, {}).get(name) for task in groups]
        places = [(i, score) for i, score in enumerate(known) if score is not None]
        if places:
            axis.hlines(
                [score for _, score in places],
                [i - 0.42 for i, _ in places],
                [i + 0.42 for i, _ in places],
                colors=color, linestyles=":", linewidth=1.4, label=f"{name}, published",
            )  # fmt: skip
    names = [group.replace("-", "\n", 1) for group in groups]
    axis.set_xticks(range(len(groups)), names, fontsize=8)
    axis.set_ylabel("final test return (mean, one standard deviation)", fontsize=9)
    axis.set_xlim(-0.6, len(groups) - 0.4)
    axis.grid(axis="y", color="0.92", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        axis.figure.legend(
            handles, labels, loc="outside lower center", ncols=3, fontsize=8, edgecolor="none"
        )
