"""What a sweep has found: as numbers, as a table, and as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armillary.files import write_atomically
from armillary.studies.proposals import Trial
from armillary.studies.space import Setting
from armillary.studies.sweep import Sweep, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 20
"""Trials that the table lists; the JSON has all."""

_LOST = {"pruned": ("v", "0.45"), "failed": ("x", "C3")}


def best(trials: Sequence[Trial]) -> Trial | None:
    """Returns the trial with the highest score, of several the first; None: none has one."""
    scored = [trial for trial in trials if trial.score is not None]
    return max(scored, key=lambda trial: trial.score or 0.0, default=None)


def numbers(sweep: Sweep, trials: Sequence[Trial]) -> dict[str, Any]:
    """Returns what came of the trials, ready for JSON.

    `trials`: for each its `number`, `values` by name, `state` (done, pruned, failed, open),
    `score`, the `scores` of its seeds, `why` it failed, and the folders of its `runs`. `best`: the
    number of the one with the highest score, or null.
    """
    found = best(trials)
    return {
        "task": sweep.config.task,
        "agent": sweep.config.agent,
        "score": sweep.score,
        "sampler": sweep.sampler,
        "over": [str(one) for one in sweep.over],
        "best": None if found is None else found.number,
        "trials": [
            {
                "number": trial.number,
                "values": dict(trial.values),
                "state": trial.state,
                "score": trial.score,
                "scores": list(trial.scores),
                "why": trial.why,
                "runs": [str(sweep.run_folder(trial, seed)) for seed in range(sweep.seeds)],
            }
            for trial in trials
        ],
    }


def write_numbers(sweep: Sweep, trials: Sequence[Trial]) -> Path:
    """Writes `sweep.json`; returns its path.

    Raises:
        StorageError: it cannot be written.
    """
    path = sweep.folder / "sweep.json"
    text = json.dumps(numbers(sweep, trials), indent=2).encode()
    write_atomically(path, lambda file: file.write(text))
    return path


def table(sweep: Sweep, trials: Sequence[Trial]) -> str:
    """Returns the trials for people, the best first, those without a score last."""
    names = [one.name for one in sweep.over]
    lost = float("inf")
    order = sorted(trials, key=lambda t: (lost if t.score is None else -t.score, t.number))
    rows = [["trial", "score", *names, ""]]
    for trial in order[:SHOWN]:
        scored = trial.state if trial.score is None else f"{trial.score:.1f}"
        each = ", ".join(f"{one:.1f}" for one in trial.scores) if len(trial.scores) > 1 else ""
        values = [short(trial.values[name]) for name in names]
        rows.append([str(trial.number), scored, *values, each or trial.why[:60]])
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(x.rjust(n) for x, n in zip(row[:-1], wide, strict=False)) for row in rows]
    lines = [f"{line}  {row[-1]}".rstrip() for line, row in zip(lines, rows, strict=True)]
    if len(order) > SHOWN:
        lines.append(f"and {len(order) - SHOWN} more, in sweep.json")
    return "\n".join(lines)


def draw(sweep: Sweep, trials: Sequence[Trial]) -> Path:
    """Draws the scores against each setting, a panel for each, into `sweep.png`.

    Circles are trials, darker the later they were proposed; the best one has a ring. At the foot
    are those without a score: triangles were pruned, crosses failed.
    """
    from matplotlib.figure import Figure

    columns = min(3, len(sweep.over))
    height = -(-len(sweep.over) // columns)
    size = (max(4.8, 3.9 * columns), 3.5 * height)
    figure = Figure(figsize=size, dpi=130, layout="constrained", facecolor="white")
    axes = figure.subplots(height, columns, squeeze=False).ravel()
    for axis, one in zip(axes, sweep.over, strict=False):
        _panel(axis, one, trials)
    for axis in axes[len(sweep.over) :]:
        axis.remove()
    for axis in axes[::columns][:height]:
        axis.set_ylabel("final score" if sweep.score == "final" else "mean score of all tests")
    figure.suptitle(f"{sweep.config.agent} on {sweep.config.task}, {len(trials)} trials")
    path = sweep.folder / "sweep.png"
    write_atomically(path, lambda file: figure.savefig(file, format="png"))
    return path


def _panel(axis: Axes, one: Setting, trials: Sequence[Trial]) -> None:
    def place(trial: Trial) -> Any:
        value = trial.values[one.name]
        return one.ends.index(value) if one.texts else value

    scored = [trial for trial in trials if trial.score is not None]
    shades = [trial.number for trial in scored]
    scores = [trial.score or 0.0 for trial in scored]
    axis.scatter(
        [place(trial) for trial in scored], scores, c=shades, cmap="Blues", s=34,
        vmin=-0.6 * max(1, len(trials)), vmax=max(1, len(trials)), edgecolors="0.3", linewidths=0.5,
    )  # fmt: skip
    found = best(trials)
    if found is not None:
        axis.scatter(
            [place(found)], [found.score or 0.0], s=120, facecolors="none", edgecolors="C1",
            linewidths=1.6,
        )  # fmt: skip
    low = min(scores, default=0.0)
    foot = low - 0.08 * (max(scores, default=1.0) - low or 1.0)
    for state, (marker, color) in _LOST.items():
        lost = [place(trial) for trial in trials if trial.state == state]
        axis.scatter(lost, [foot] * len(lost), marker=marker, color=color, s=30, label=state)
        if lost:
            axis.legend(fontsize=8, edgecolor="none", framealpha=0.8)
    axis.set_xlabel(one.name)
    if one.texts:
        axis.set_xticks(range(len(one.texts)), one.texts)
        axis.set_xlim(-0.5, len(one.texts) - 0.5)
    elif one.log:
        axis.set_xscale("log")
    axis.grid(color="0.92", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
