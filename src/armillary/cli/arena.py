"""`armillary arena`: two agents of one board game against each other."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from armillary.cli.options import parse
from armillary.cli.stdout import own_stdout, show
from armillary.errors import UsageError
from armillary.version import __version__


@dataclass(frozen=True)
class Arguments:
    """Let two agents of the same board game play against each other, without exploring.

    Games are played in pairs that begin with the same random moves; each agent goes on first in one
    of the two.
    """

    runs: Annotated[tuple[Path, Path], tyro.conf.Positional]
    """Run folders of the two agents; results are those of the first."""
    games: int = 100
    """How many games, an even number."""
    openings: int = 4
    """Random moves that a game begins with, at most; as many as is drawn for each pair."""
    seed: int = 0
    """Seed of the openings, and of what the agents draw."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""
    trust: bool = False
    """Run the Python module that the run folders name as their task (docs/trust.md)."""


def run(argv: list[str]) -> int:
    """Plays the games and prints how they ended."""
    arguments = parse(Arguments, argv, "armillary arena")
    if arguments.games < 2 or arguments.games % 2:
        raise UsageError(
            f"games is {arguments.games}, but they are played in pairs: give an even number, at "
            "least 2"
        )
    for name in ("openings", "seed"):
        if (value := getattr(arguments, name)) < 0:
            raise UsageError(f"{name} is {value}, but it must not be negative")
    with own_stdout() as out:
        show(_report(arguments), out)
    return 0


def _report(arguments: Arguments) -> str:
    """Plays the games; returns what is printed of them."""
    from armillary.training import compilation
    from armillary.training.arena import Side, arena
    from armillary.training.judges import Elo, Tally
    from armillary.training.match import rules_of
    from armillary.training.player import load
    from armillary.training.signals import stop_request

    players = [load(folder, trust=arguments.trust) for folder in arguments.runs]
    pairs = zip(players, arguments.runs, strict=True)
    rules, other = (rules_of(player, folder) for player, folder in pairs)
    tasks = [player.task() for player in players]
    if other is not rules:
        names = (f"{str(f)!r} plays {t}" for f, t in zip(arguments.runs, tasks, strict=True))
        raise UsageError(
            f"{' and '.join(names)}"
            + (" with other keyword arguments" if tasks[0] == tasks[1] else "")
            + ": give two runs of the same game"
        )
    one, two = (Side(player.agent, player.state) for player in players)
    telling = compilation.tell("the agents' searches")

    def on_step() -> None:
        telling.cancel()
        stop.check()

    try:
        with stop_request() as stop:
            paid = arena(
                rules,
                (one, two),
                pairs=arguments.games // 2,
                openings=arguments.openings,
                seed=arguments.seed,
                on_step=on_step,
            )
    finally:
        telling.cancel()
    tally = Tally.of(paid.ravel())
    elo = Elo.of(tally)
    first, second = map(Tally.of, paid)
    if not arguments.json:
        return (
            f"{arguments.runs[0]} against {arguments.runs[1]}, {arguments.games} games of "
            f"{tasks[0]}: {tally}, {elo.share:.1%} of the points\n"
            f"moving first after the opening: {first}; second: {second}\n{elo}"
        )
    facts = {
        "task": tasks[0],
        "runs": list(map(str, arguments.runs)),
        "trained_episodes": [player.counters["episodes"] for player in players],
        "games": arguments.games,
        "openings": arguments.openings,
        "seed": arguments.seed,
        **asdict(tally),
        "first": asdict(first),
        "second": asdict(second),
        **elo.as_dict(),
        "armillary": __version__,
    }
    return json.dumps(facts, allow_nan=False)
