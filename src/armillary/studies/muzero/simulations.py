"""Trained runs that search more or less than in training, or not at all (MuZero, Figure S3).

Each run plays the same test episodes with each number of simulations. The scores are kept one file
each, so that a study that was stopped goes on; a run that has learned since then plays again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armillary.errors import RunError, UsageError
from armillary.files import read_json, write_atomically
from armillary.studies.bar import Bar
from armillary.studies.figures import chance, line_of_points, with_seeds
from armillary.studies.plots import dress
from armillary.studies.runs import Member
from armillary.studies.scores import summarize
from armillary.training.player import load

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Simulations at evaluation"

SCALES: dict[str, tuple[tuple[int, ...], int]] = {
    "smoke": ((0, 5), 2),
    "small": ((0, 1, 2, 5, 10, 25, 50, 100), 20),
    "paper": ((0, 1, 5, 10, 25, 50, 100, 400, 800), 32),
}
"""Of each scale the simulations, and the test episodes of each run with each of them."""


@dataclass(frozen=True)
class Point:
    """A run, played with a number of simulations.

    Attributes:
        member: the run, which has ended.
        simulations: of each search; 0: the policy alone.
        episodes: how many it plays.
        folder: of the study.
    """

    member: Member
    simulations: int
    episodes: int
    folder: Path

    @property
    def path(self) -> Path:
        """The file of its scores."""
        run = self.member.folder
        name = f"simulations-{self.simulations}.json"
        return self.folder / "figureS3" / run.parent.name / run.name / name

    @property
    def _updates(self) -> int | None:
        results = self.member.results
        return None if results is None else int(results["updates"])

    @property
    def scores(self) -> list[float] | None:
        """Its scores; None: not played yet, or by a run that has learned since.

        Raises:
            RunError: the file is damaged.
        """
        if not self.path.exists():
            return None
        kept = read_json(self.path)
        try:
            scores = [float(score) for score in kept["scores"]]
            made = (int(kept["updates"]), int(kept["episodes"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"{str(self.path)!r} does not hold the scores of a run: remove it, and the same "
                "command plays them again"
            ) from error
        return scores if made == (self._updates, self.episodes) else None

    def play(self) -> None:
        """Plays the test episodes, and keeps their scores."""
        searching = {"simulations": self.simulations}
        # Its task is the one that this study was asked for, so the folder names no code of its own.
        player = load(self.member.folder, search=searching, trust=True)
        scores = player.evaluate(self.episodes)
        kept = {
            "simulations": self.simulations,
            "updates": self._updates,
            **scores.as_dict(),
        }
        text = json.dumps(kept, indent=2).encode()
        write_atomically(self.path, lambda file: file.write(text))


def points(
    members: Sequence[Member], simulations: Sequence[int], episodes: int, folder: Path
) -> list[Point]:
    """Returns all that is played, of the runs that have ended."""
    ended = [member for member in members if member.results is not None]
    return [Point(m, number, episodes, folder) for m in ended for number in simulations]


def check(simulations: Sequence[int]) -> None:
    """Makes sure that such numbers of simulations can be played with.

    Raises:
        UsageError: none is given, or one is negative or given twice.
    """
    if not simulations or min(simulations) < 0 or len(set(simulations)) < len(simulations):
        raise UsageError(
            f"simulations are {tuple(simulations)}: give different numbers, 0 (the policy alone) "
            "or more"
        )


def play(missing: Sequence[Point], announce: Callable[[str], None]) -> None:
    """Plays what is missing, one after another."""
    if not missing:
        return
    episodes = sum(point.episodes for point in missing)
    announce(f"{len(missing)} evaluations are missing: {episodes:,} episodes")
    with Bar(len(missing)) as bar:
        for number, point in enumerate(missing, 1):
            point.play()
            bar.update(number, f"{number} of {len(missing)} evaluations")


def write(
    played: Sequence[Point], members: Sequence[Member], folder: Path
) -> tuple[dict[str, Any], list[Path]]:
    """Writes the picture and the numbers; returns the numbers and the paths.

    The numbers are as those of `scores.statistics`, for each variant and number of simulations.

    Args:
        played: the points; those without scores are left out.
        members: the runs, whose variants make the lines.
        folder: where to write.
    """
    from matplotlib.figure import Figure

    found = _by_line(played)
    numbers = {
        "title": TITLE,
        "last_tests": None,
        "steps": {},
        "tasks": {
            task: {
                f"{label}, {number} at test": summarize(scores)
                for label, line in lines.items()
                for number, scores in line.items()
            }
            for task, lines in found.items()
        },
        "paper": dict.fromkeys(found),
    }
    figure = Figure(
        figsize=(max(7.2, 4.6 * len(found)), 4.6), dpi=130, layout="constrained", facecolor="white"
    )
    if found:
        axes = figure.subplots(1, len(found), squeeze=False)[0]
        for axis, (task, lines) in zip(axes, found.items(), strict=True):
            _panel(axis, task, lines, members)
    figure.suptitle(TITLE, fontsize=12)
    paths = [folder / "figureS3.png", folder / "figureS3.json"]
    write_atomically(paths[0], lambda file: figure.savefig(file, format="png"))
    text = json.dumps(numbers, indent=2).encode()
    write_atomically(paths[1], lambda file: file.write(text))
    return numbers, paths


_Lines = dict[str, dict[int, list[list[float]]]]
"""For each variant and number of simulations, the scores of each seed."""


def _by_line(played: Sequence[Point]) -> dict[str, _Lines]:
    found: dict[str, _Lines] = {}
    for point in sorted(played, key=lambda one: one.simulations):
        if (scores := point.scores) is not None:
            lines = found.setdefault(point.member.config.task, {})
            line = lines.setdefault(point.member.variant.label, {})
            line.setdefault(point.simulations, []).append(scores)
    return found


def _panel(axis: Axes, task: str, lines: _Lines, members: Sequence[Member]) -> None:
    """Draws a line for each variant of a task against the simulations at evaluation."""
    labels = list(dict.fromkeys(member.variant.label for member in members))
    mine = [member for member in members if member.config.task == task]
    for number, label in enumerate(labels):
        if label in lines:
            pooled = {
                float(place): [score for seed in seeds for score in seed]
                for place, seeds in lines[label].items()
            }
            ended = [m for m in mine if m.variant.label == label and m.results is not None]
            line_of_points(axis, pooled, f"C{number}", with_seeds(f"{label} in training", ended))
    drawn = len(lines) + chance(axis, mine, [task])
    places = sorted({number for line in lines.values() for number in line})
    axis.set_xscale("symlog", linthresh=1)
    axis.set_xticks(places, [str(place) for place in places])
    axis.minorticks_off()
    axis.set_title(task, fontsize=11)
    axis.set_xlabel("simulations of each search at evaluation (0: the policy alone)")
    axis.set_ylabel("test return (mean, one standard deviation)", fontsize=9)
    dress(axis, drawn)
