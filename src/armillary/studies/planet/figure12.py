"""The planner's settings on the true simulator (PlaNet, Figure 12)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from armillary.config import PlannerConfig
from armillary.errors import UsageError
from armillary.studies.bar import Bar, duration
from armillary.studies.trials import Stage, Trial, decisions, play_all, read, seconds_per_plan
from armillary.studies.workers import share

AXES = ("horizons", "iterations", "candidates", "fractions")
PAPER_RANGE = (132.0, 837.0)
"""The least and the greatest score in the paper's figure."""


@dataclass(frozen=True)
class Grid:
    """The settings that are compared: every combination of them.

    Attributes:
        horizons: H.
        iterations: I.
        candidates: J.
        fractions: K / J, the fraction of the candidates to which the belief is refitted.
        task: what is planned for.
        episodes: how many for each combination.
        seed: of all of them.
        time_limit: simulator steps of an episode; None: the task's own.
    """

    horizons: tuple[int, ...]
    iterations: tuple[int, ...]
    candidates: tuple[int, ...]
    fractions: tuple[float, ...]
    task: str = "cheetah-run"
    episodes: int = 1
    seed: int = 0
    time_limit: int | None = None

    def __post_init__(self) -> None:
        for name in AXES:
            if not getattr(self, name):
                raise UsageError(f"{name} is empty: give at least one value")
        if not all(0 < fraction <= 1 for fraction in self.fractions):
            raise UsageError(f"fractions are {self.fractions}, but K / J must be in (0, 1]")
        if self.episodes < 1:
            raise UsageError(f"episodes is {self.episodes}, but it must be at least 1")

    def trials(
        self, horizon: int, iterations: int, candidates: int, fraction: float
    ) -> list[Trial]:
        """Returns the episodes of one combination."""
        elites = max(1, round(fraction * candidates))
        planner = PlannerConfig(horizon, iterations, candidates, elites)
        return [
            Trial(self.task, index, self.seed, planner, time_limit=self.time_limit)
            for index in range(self.episodes)
        ]

    def all(self) -> list[Trial]:
        """Returns all episodes, the longest first."""
        cells = itertools.product(*(getattr(self, axis) for axis in AXES))
        found = dict.fromkeys(trial for cell in cells for trial in self.trials(*cell))
        return sorted(found, key=lambda trial: -trial.cost)


SCALES: dict[str, Grid] = {
    "smoke": Grid((2, 3), (1, 2), (8,), (0.25,), time_limit=20),
    "small": Grid((6, 8, 10, 12, 14), (3, 10), (100, 300), (0.1, 0.3)),
    "paper": Grid((6, 8, 10, 12, 14), (3, 5, 10, 15), (100, 300, 1000), (0.05, 0.1, 0.3)),
}
"""`small` is a coarse grid at the lower end of the paper's numbers of candidates; `paper` has the
paper's own settings (12, 10, 1000, 0.1) in its midst. The paper does not list its values."""


def run(
    grid: Grid,
    folder: Path,
    *,
    workers: int | None = None,
    announce: Callable[[str], None] = lambda text: None,
) -> list[Trial]:
    """Plays what is missing of the grid, spread over the cores.

    Args:
        grid: the settings.
        folder: where the episodes are kept; what is there is not played again.
        workers: processes with one thread each; None: one for each core.
        announce: is told at the start what it will cost.

    Returns:
        All trials.

    Raises:
        Stopped: by a signal; what was played is kept.
    """
    trials = grid.all()
    workers = workers or len(os.sched_getaffinity(0))
    # Every trial of a grid is as long as the others.
    each = decisions(trials[0])

    def work_done() -> tuple[float, int]:
        done, finished = 0.0, 0
        for trial in trials:
            record = read(trial.path(folder))
            if record is not None:
                finished += record.finished
                part = 1 if record.finished else min(1, len(record.actions) / each)
                done += part * trial.cost
        return done, finished

    total = sum(trial.cost for trial in trials)
    done, finished = work_done()
    if finished == len(trials):
        return trials
    cheapest = replace(trials[-1], planner=replace(trials[-1].planner, iterations=1))
    pace = seconds_per_plan(cheapest, threads=1) / cheapest.cost
    announce(
        f"{len(trials)} episodes of {each} plans, {finished} of them played; about "
        f"{duration((total - done) * pace * each / workers)} on {workers} cores"
    )
    with Bar(total, done) as bar:

        def watch() -> None:
            done, finished = work_done()
            bar.update(done, f"{finished} of {len(trials)} episodes")

        share(_work, (trials, folder), workers, watch=watch, seconds=2.0)
        bar.update(total, f"{len(trials)} of {len(trials)} episodes", now=True)
    return trials


def _work(trials: Sequence[Trial], folder: Path, number: int, check: Callable[[], None]) -> None:
    """One process's share: whatever no other is playing."""
    play_all(trials, Stage(folder, 1, lambda trial, record: check(), save_seconds=10.0))


def scores(grid: Grid, folder: Path) -> np.ndarray:
    """Returns the mean score of each combination, NaN where an episode is missing.

    Returns:
        An array of shape (horizons, iterations, candidates, fractions).
    """
    axes = [getattr(grid, axis) for axis in AXES]
    table = np.full([len(axis) for axis in axes], np.nan)
    for index in np.ndindex(table.shape):
        cell = [axis[i] for axis, i in zip(axes, index, strict=True)]
        records = [read(trial.path(folder)) for trial in grid.trials(*cell)]
        if all(record is not None and record.finished for record in records):
            table[index] = np.mean([record.score for record in records if record])
    return table


def draw(grid: Grid, folder: Path, path: Path) -> Path:
    """Draws the scores as maps of colours: a row for each J, a column for each H.

    Within a map, K / J from left to right and I from top to bottom.

    Args:
        grid: the settings.
        folder: where the episodes are kept.
        path: the picture to write.
    """
    from matplotlib.figure import Figure

    table = scores(grid, folder)
    rows, columns = len(grid.candidates), len(grid.horizons)
    figure = Figure(figsize=(1.9 * columns + 1.5, 1.7 * rows + 1.2), layout="constrained")
    axes: Any = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    low, high = PAPER_RANGE if grid.task == "cheetah-run" else (0.0, 1000.0)
    for row, column in np.ndindex(rows, columns):
        ax, values = axes[row, column], table[column, :, row, :]
        image = ax.imshow(values, vmin=low, vmax=high, cmap="viridis", aspect="auto")
        for (i, j), value in np.ndenumerate(values):
            dark = value < (low + high) / 2
            text = "" if np.isnan(value) else f"{value:.0f}"
            ax.text(j, i, text, ha="center", va="center", color="white" if dark else "black")
        ax.set_xticks(range(len(grid.fractions)), [f"{x:g}" for x in grid.fractions])
        ax.set_yticks(range(len(grid.iterations)), [str(x) for x in grid.iterations])
        if row == 0:
            ax.set_title(f"H = {grid.horizons[column]}")
        if row == rows - 1:
            ax.set_xlabel("K / J")
        if column == 0:
            ax.set_ylabel(f"J = {grid.candidates[row]}\nI")
    bar = figure.colorbar(image, ax=axes, label="score")
    if grid.task == "cheetah-run":
        bar.set_label("score (colours span the paper's 132 to 837)")
    figure.suptitle(f"Planning {grid.task} with the true simulator")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def as_dict(grid: Grid, table: np.ndarray) -> dict[str, Any]:
    """Returns the grid and its scores, ready for JSON; a missing score is null."""
    values = np.where(np.isnan(table), np.array(None), table).tolist()
    return {**asdict(grid), "axes": list(AXES), "scores": values, "paper_range": PAPER_RANGE}


def summary(grid: Grid, table: np.ndarray) -> str:
    """Returns the best setting, and the mean score over all others for each value of each axis."""
    if np.isnan(table).all():
        return "no combination is finished yet"
    lines = [f"{np.isfinite(table).sum()} of {table.size} combinations on {grid.task}"]
    for number, axis in enumerate(AXES):
        values = np.moveaxis(table, number, 0)
        means = [np.nanmean(v) if np.isfinite(v).any() else np.nan for v in values]
        row = ", ".join(
            f"{value:g}: {mean:.0f}" for value, mean in zip(getattr(grid, axis), means, strict=True)
        )
        lines.append(f"{axis:<11} {row}")
    best = np.unravel_index(np.nanargmax(table), table.shape)
    setting = ", ".join(
        f"{axis} {getattr(grid, axis)[i]:g}" for axis, i in zip(AXES, best, strict=True)
    )
    lines.append(f"best {np.nanmax(table):.0f} ({setting}); worst {np.nanmin(table):.0f}")
    return "\n".join(lines)
