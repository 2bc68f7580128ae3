"""Learning curves from the metrics of one or several runs (PlaNet, Figures 4 and 5)."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from armillary.config import Config, flatten, to_dict
from armillary.errors import RunError, UsageError
from armillary.files import open_regular, parse_json, write_atomically
from armillary.training.judges import JUDGES
from armillary.training.run import Run
from armillary.training.saved_config import MAY_CHANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAND = (5, 95)
"""Percentiles that the band spans, as in the paper's figures."""
Against = Literal["episodes", "steps", "minutes"]
Score = Literal["return", "judge"]
_COLUMNS = {
    "episodes": ("episode", 1),
    "steps": ("environment_steps", 1),
    "minutes": ("seconds", 60),
}
"""What a curve can be drawn against: its column in the metrics, and how much of that is one."""
_SINGLE = {"environment_steps", "seconds", "collect/return"}
_LARGEST = 1e100
"""No run logs a number as large; not a number is not below it either."""


@dataclass(frozen=True)
class Curve:
    """Scores against collected episodes: at `episodes[i]`, the test returns `scores[i]`."""

    episodes: list[int]
    scores: list[list[float]]

    def percentile(self, percent: float) -> np.ndarray:
        """Returns that percentile of the scores (over seeds and trajectories) at each point."""
        return self.of(lambda scores: np.percentile(scores, percent))

    def of(self, statistic: Callable[[list[float]], Any]) -> np.ndarray:
        """Returns a statistic of the scores at each point."""
        return np.array([statistic(scores) for scores in self.scores])


def read_metrics(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Returns the rows of a run's `metrics.jsonl`; a last line that is half written is left out.

    Raises:
        RunError: there is no such file, or a line is damaged.
    """
    path = Path(folder) / "metrics.jsonl"
    try:
        with open_regular(path) as file:
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError as error:
        raise RunError(
            f"{str(folder)!r} has no metrics.jsonl: give the folder of a run that `armillary "
            "train` has begun"
        ) from error
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})") from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = parse_json(line)
            _check_row(row)
        except ValueError as error:
            raise RunError(
                f"line {number} of {path} is damaged ({error}): start its run again, which writes "
                "the lines that its checkpoint knows anew, or remove the line"
            ) from error
        rows.append(row)
    return rows


def _check_row(row: Any) -> None:
    """Raises ValueError if a row is not what a run logs, as far as curves are drawn from it."""
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object")
    if not (isinstance(row.get("episode"), int) and _is_number(row["episode"])):
        raise ValueError("it has no episode")
    for name, value in row.items():
        if name.endswith("/scores"):
            right = value is None or (isinstance(value, list) and all(map(_is_score, value)))
        else:
            right = (name not in _SINGLE and not name.endswith("/mean")) or _is_score(value)
        if not right:
            raise ValueError(f"its {name} is {value!r}"[:80])


def _is_score(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def learning_curve(
    folders: Sequence[str | os.PathLike[str]],
    path: str | os.PathLike[str],
    against: Against = "episodes",
    score: Score = "return",
) -> Path:
    """Draws test scores against collected episodes, or what they cost, into a PNG.

    Runs that differ only in their seed become one line, the median over seeds and trajectories,
    with a band from the 5th to the 95th percentile. Other configurations get a line each, other
    tasks a panel each. The random agent's score is the dashed line. A run that has not been
    evaluated yet shows its training episodes.

    Args:
        folders: run folders.
        path: the picture.
        against: the axis: collected episodes, environment steps, or minutes since the run began, of
            several seeds their mean at each episode.
        score: returns of test episodes, or what the judge of a game found at each test.

    Returns:
        The path.

    Raises:
        UsageError: no run was given, or the file's name is not that of a PNG.
        RunError: a folder is not a run, or has no such score yet.
        StorageError: the picture could not be written.
    """
    from matplotlib.figure import Figure

    path = Path(path)
    if not folders:
        raise UsageError("no run to plot: give one or several run folders")
    if path.suffix.lower() != ".png":
        raise UsageError(f"cannot draw into {path}: its name must end in .png")
    tasks: dict[str, list[tuple[Config, list[dict[str, Any]]]]] = defaultdict(list)
    for folder in folders:
        config, rows = Run(Path(folder)).config, read_metrics(folder)
        if score == "judge" and not any("judge/mean" in row for row in rows):
            raise RunError(
                f"{str(folder)!r} has not been judged: train a game that has a judge (tic_tac_toe, "
                "connect_four) with --evaluation.judge, and wait for its first test"
            )
        if not any("evaluate/mean" in row or "collect/return" in row for row in rows):
            raise RunError(
                f"{str(folder)!r} has no score yet: wait until its first episode is over; if it is "
                "over, the metrics are lost: `armillary train --run` writes them again"
            )
        tasks[config.task].append((config, rows))
    columns = min(3, len(tasks))
    height = -(-len(tasks) // columns)
    size = (7.2, 4.4) if len(tasks) == 1 else (4.6 * columns, 3.5 * height)
    figure = Figure(figsize=size, dpi=150, layout="constrained", facecolor="white")
    axes = figure.subplots(height, columns, squeeze=False).ravel()
    for axis, (task, runs) in zip(axes, sorted(tasks.items()), strict=False):
        _panel(axis, task, runs, against, score)
    for axis in axes[len(tasks) :]:
        axis.remove()
    write_atomically(path, lambda file: figure.savefig(file, format="png"))
    return path


def _panel(
    axis: Axes,
    task: str,
    runs: list[tuple[Config, list[dict[str, Any]]]],
    against: Against,
    score: Score,
) -> None:
    groups: dict[str, list[tuple[Config, list[dict[str, Any]]]]] = defaultdict(list)
    for config, rows in runs:
        groups[json.dumps(_settings(config), sort_keys=True)].append((config, rows))
    labels = _labels([members[0][0] for members in groups.values()])
    for number, (label, members) in enumerate(zip(labels, groups.values(), strict=True)):
        every = [rows for _, rows in members]
        color = f"C{number}"
        if score == "judge":
            _judged(axis, label, every, color, against)
        else:
            _line(axis, label, every, color, alone=len(runs) == 1, against=against)
    every_row = [row for _, rows in runs for row in rows]
    chance = [row["random/mean"] for row in every_row if row.get("random/mean") is not None]
    if chance and score == "return":
        axis.axhline(
            float(np.mean(chance)), color="0.35", linestyle=(0, (5, 4)), linewidth=1.2,
            label=f"random agent ({np.mean(chance):.0f})",
        )  # fmt: skip
    axis.set_title(task, fontsize=11)
    names = {"steps": "environment steps", "minutes": "minutes"}
    axis.set_xlabel(names.get(against) or "collected episodes" + _steps(every_row))
    returns = f"return (median, {BAND[0]} to {BAND[1]} percentile)"
    axis.set_ylabel(JUDGES[task].shown if score == "judge" else returns, fontsize=9)
    dress(axis, lines=len(groups) + 1)


def dress(axis: Axes, lines: int) -> None:
    """Gives a panel of curves its limits, grid and legend, above the curves.

    Args:
        axis: the panel.
        lines: how many entries its legend has.
    """
    axis.set_xlim(left=0)
    axis.set_ylim(with_headroom(*axis.get_ylim(), lines))
    axis.grid(color="0.92", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, loc="upper left", edgecolor="none", framealpha=0.8)


def with_headroom(low: float, high: float, lines: int) -> tuple[float, float]:
    """Returns the limits of a panel that leave room for a legend above its curves."""
    low = min(0.0, low)
    return low, high + (0.08 + 0.07 * lines) * (high - low)


def _line(
    axis: Axes,
    label: str,
    runs: list[list[dict[str, Any]]],
    color: str,
    alone: bool,
    against: Against,
) -> None:
    tested, training = evaluation_curve(runs), _training(runs)
    if alone or not tested.episodes:
        means = [float(np.mean(scores)) for scores in training.scores]
        places = places_of(training, runs, "collect/return", against)
        axis.plot(places, means, "o", color=color, alpha=0.45, markersize=4,
                  markeredgewidth=0, label=f"{label}, training episodes")  # fmt: skip
    if tested.episodes:
        curves = [evaluation_curve([rows]) for rows in runs]
        counts = sorted({len(scores) for curve in curves for scores in curve.scores})
        many = "s" if counts[-1] > 1 else ""
        trajectories = f"{' or '.join(map(str, counts))} test episode{many}"
        seeds = f"{len(runs)} seeds × " if len(runs) > 1 else ""
        places = places_of(tested, runs, "evaluate/mean", against)
        axis.plot(places, tested.percentile(50), color=color, linewidth=2, marker="o",
                  markersize=4, label=f"{label}, {seeds}{trajectories}")  # fmt: skip
        low, high = (tested.percentile(percent) for percent in BAND)
        axis.fill_between(places, low, high, color=color, alpha=0.18, linewidth=0)


def _judged(
    axis: Axes, label: str, runs: list[list[dict[str, Any]]], color: str, against: Against
) -> None:
    """Draws what the judge found in each run as a thin line, and their mean as a thick one."""
    curves = [evaluation_curve([rows], "judge") for rows in runs]
    for curve, rows in zip(curves, runs, strict=True):
        means = [float(np.mean(scores)) for scores in curve.scores]
        axis.plot(places_of(curve, [rows], "judge/mean", against), means, color=color, alpha=0.45,
                  linewidth=1 if len(runs) > 1 else 2)  # fmt: skip
    pooled = evaluation_curve(runs, "judge")
    means = [float(np.mean(scores)) for scores in pooled.scores]
    of = f"{label}, {len(runs)} seeds" if len(runs) > 1 else label
    axis.plot(places_of(pooled, runs, "judge/mean", against), means, color=color, linewidth=2,
              marker="o", markersize=4, label=f"{of} ({means[-1]:.3g} at last)")  # fmt: skip


def places_of(
    curve: Curve, runs: list[list[dict[str, Any]]], name: str, against: Against
) -> list[float]:
    """Returns where the points of a curve of this name lie on the axis, on average over runs."""
    column, unit = _COLUMNS[against]
    found: dict[int, list[float]] = defaultdict(list)
    for rows in runs:
        latest = {row["episode"]: row.get(column) for row in rows if row.get(name) is not None}
        for episode, value in latest.items():
            if value is not None:
                found[episode].append(value / unit)
    return [float(np.mean(found.get(episode, np.nan))) for episode in curve.episodes]


def evaluation_curve(runs: list[list[dict[str, Any]]], name: str = "evaluate") -> Curve:
    """Returns the scores of all evaluations, pooled over runs and trajectories.

    Args:
        runs: the rows of each run's metrics.
        name: `evaluate`, or `evaluate/<task>` of an agent that learns several.
    """
    found: dict[int, list[float]] = defaultdict(list)
    for rows in runs:
        latest = {row["episode"]: row for row in rows if row.get(f"{name}/mean") is not None}
        for episode, row in latest.items():  # evaluated twice at one episode: the later counts
            scores = [score for score in row.get(f"{name}/scores") or [] if score is not None]
            found[episode] += scores or [row[f"{name}/mean"]]
    return Curve(sorted(found), [found[episode] for episode in sorted(found)])


def _training(runs: list[list[dict[str, Any]]]) -> Curve:
    """Returns the returns of the collected episodes."""
    found: dict[int, list[float]] = defaultdict(list)
    for rows in runs:
        for row in rows:
            if row.get("collect/return") is not None:
                found[row["episode"]].append(row["collect/return"])
    return Curve(sorted(found), [found[episode] for episode in sorted(found)])


def _settings(config: Config) -> dict[str, Any]:
    """Returns every field, by dotted name, that makes two runs of a task different experiments."""
    ignored = MAY_CHANGE | {"seed", "task"}
    return {name: v for name, v in flatten(to_dict(config)).items() if name not in ignored}


def _labels(configs: list[Config]) -> list[str]:
    """Returns the agent's name for each configuration, and in what it differs from the others of
    that agent: their presets, or some settings."""
    if len({config.preset for config in configs}) == len(configs) > 1:
        return [f"{config.agent} ({config.preset})" for config in configs]
    labels = []
    for config in configs:
        values = _settings(config)
        others = [_settings(other) for other in configs if other.agent == config.agent]
        differ = [name for name in values if any(o.get(name) != values[name] for o in others)]
        shown = [f"{name.rpartition('.')[2]} {values[name]}" for name in differ]
        more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
        labels.append(f"{config.agent} ({', '.join(shown[:3])}{more})" if shown else config.agent)
    return labels


def _steps(rows: list[dict[str, Any]]) -> str:
    """Says how many environment steps an episode has, if it is always the same number."""
    ratios = {
        row["environment_steps"] / row["episode"]
        for row in rows
        if row.get("episode") and row.get("environment_steps")
    }
    return f" (of {ratios.pop():,.0f} environment steps)" if len(ratios) == 1 else ""
