"""`armillary study`: run what a table or figure of the papers needs, and draw it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from armillary.cli.stdout import own_stdout
from armillary.errors import UsageError


@dataclass(frozen=True)
class Arguments:
    """Run what a figure of the papers needs, as far as it is missing, and draw it.

    A study that is stopped goes on with the same command. Two processes may share one folder.
    """

    name: Annotated[Literal["figure12"], tyro.conf.Positional]
    """figure12: the planner's settings on the true simulator."""
    scale: Literal["smoke", "small", "paper"] = "small"
    """smoke: seconds, to see that everything works. small: an hour or so. paper: days."""
    run: Path | None = None
    """Folder of the study. Default: runs/NAME."""
    workers: int | None = None
    """Processes that share the work. Default: one for each core."""
    seed: int = 0
    """Seed of everything."""
    horizons: tuple[int, ...] | None = None
    """H to compare, in place of the scale's."""
    iterations: tuple[int, ...] | None = None
    """I to compare."""
    candidates: tuple[int, ...] | None = None
    """J to compare."""
    fractions: tuple[float, ...] | None = None
    """K / J to compare."""
    episodes: int | None = None
    """Episodes for each combination."""
    task: str | None = None
    """Another task than cheetah-run."""
    draw_only: bool = False
    """Run nothing: draw what is there."""
    json: bool = False
    """Print the scores as one JSON object on standard output."""


def run(argv: list[str]) -> int:
    """Runs the study and says where its picture is."""
    arguments = tyro.cli(Arguments, args=argv, prog="armillary study")
    if arguments.workers is not None and arguments.workers < 1:
        raise UsageError(f"workers is {arguments.workers}, but it must be at least 1")
    if arguments.seed < 0:
        raise UsageError(f"seed is {arguments.seed}, but it must not be negative")
    from armillary.studies import figure12

    given = ("horizons", "iterations", "candidates", "fractions", "episodes", "task", "seed")
    changed = {name: getattr(arguments, name) for name in given}
    grid = replace(
        figure12.SCALES[arguments.scale],
        **{name: value for name, value in changed.items() if value is not None},
    )
    folder = arguments.run or Path("runs") / arguments.name
    with own_stdout() as out:
        if not arguments.draw_only:
            figure12.run(
                grid,
                folder,
                workers=arguments.workers,
                announce=lambda text: print(text, file=sys.stderr, flush=True),
            )
        table = figure12.scores(grid, folder)
        picture = figure12.draw(grid, folder, folder / f"{arguments.name}.png")
        if arguments.json:
            print(json.dumps(figure12.as_dict(grid, table)), file=out)
        else:
            print(f"{figure12.summary(grid, table)}\npicture: {picture}", file=out)
    return 0
