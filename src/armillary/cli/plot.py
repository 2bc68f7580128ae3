"""`armillary plot`: learning curves of one or several runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from armillary.cli.options import parse
from armillary.cli.stdout import show


@dataclass(frozen=True)
class Arguments:
    """Draw test scores against episodes; runs that differ only in the seed share a line.

    The line is the median over seeds and episodes, the band reaches from the 5th to the 95th
    percentile, the dashed line is the random agent.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders."""
    out: Path = Path("curve.png")
    """Picture to write."""
    against: Literal["episodes", "steps", "minutes"] = "episodes"
    """Draw against collected episodes, environment steps or minutes of training."""
    score: Literal["return", "judge"] = "return"
    """return: of test episodes. judge: what the judge of a board game found at each test."""


def run(argv: list[str]) -> int:
    """Draws the picture."""
    arguments = parse(Arguments, argv, "armillary plot")
    from armillary.studies.plots import learning_curve

    show(str(learning_curve(arguments.runs, arguments.out, arguments.against, arguments.score)))
    return 0
