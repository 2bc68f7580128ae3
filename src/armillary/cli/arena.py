"""`armillary arena`: an agent of a board game against another one, or a program of others."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from armillary.cli.options import parse
from armillary.cli.stdout import own_stdout, show
from armillary.errors import UsageError
from armillary.version import __version__

if TYPE_CHECKING:
    import numpy as np
    import pgx

    from armillary.training.player import Player


@dataclass(frozen=True)
class Arguments:
    """Let an agent of a board game play against another one, or a program, without exploring.

    Games are played in pairs that begin with the same random moves; each agent goes on first in one
    of the two.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """The two agents, of which results are those of the first; or one: run folders, or packed ones
    (files, demo:NAME, hf:OWNER/NAME)."""
    against: str | None = None
    """Command of a program in place of the second agent: of chess it is asked in UCI (stockfish),
    of Go in GTP ("gnugo --mode gtp")."""
    seconds: float = 0.1
    """Seconds that a chess program has for a move."""
    options: tuple[str, ...] = ()
    """Options of a chess program, name=value each ("Skill Level=0")."""
    timeout: float = 60.0
    """Seconds that any answer of a program may take."""
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
    if (wanted := 2 if arguments.against is None else 1) != len(arguments.runs):
        raise UsageError(
            f"run folders given: {len(arguments.runs)}, expected: {wanted}. Give two, or one "
            "and a program with --against"
        )
    for name in ("seconds", "timeout"):
        if not 0 < (value := getattr(arguments, name)) < math.inf:
            raise UsageError(f"{name} is {value}, but it must be positive")
    if wrong := [option for option in arguments.options if "=" not in option]:
        raise UsageError(f"the option {wrong[0]!r} has no value: give name=value")
    with own_stdout() as out:
        show(_report(arguments), out)
    return 0


def _report(arguments: Arguments) -> str:
    """Plays the games; returns what is printed of them."""
    from armillary.training.judges import Elo, Tally
    from armillary.training.match import rules_of
    from armillary.training.player import load

    players = [load(folder, trust=arguments.trust) for folder in arguments.runs]
    pairs = zip(players, arguments.runs, strict=True)
    rules, *others = (rules_of(player, folder) for player, folder in pairs)
    tasks = [player.task() for player in players]
    if others and others[0] is not rules:
        names = (f"{str(f)!r} plays {t}" for f, t in zip(arguments.runs, tasks, strict=True))
        raise UsageError(
            f"{' and '.join(names)}"
            + (" with other keyword arguments" if tasks[0] == tasks[1] else "")
            + ": give two runs of the same game"
        )
    play = _between if arguments.against is None else _against
    paid = play(arguments, players, rules)
    tally = Tally.of(paid.ravel())
    elo = Elo.of(tally)
    first, second = map(Tally.of, paid)
    if not arguments.json:
        against = arguments.against or arguments.runs[1]
        return (
            f"{arguments.runs[0]} against {against}, {arguments.games} games of "
            f"{tasks[0]}: {tally}, {elo.share:.1%} of the points\n"
            f"moving first after the opening: {first}; second: {second}\n{elo}"
        )
    facts = {
        "task": tasks[0],
        "runs": list(map(str, arguments.runs)),
        "trained_episodes": [player.counters["episodes"] for player in players],
        "against": arguments.against,
        **(
            {"seconds": arguments.seconds, "options": arguments.options}
            if arguments.against
            else {}
        ),
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


def _between(arguments: Arguments, players: Sequence[Player], rules: pgx.Env) -> np.ndarray:
    """Plays the games of two agents."""
    from armillary.training import compilation
    from armillary.training.arena import Side, arena
    from armillary.training.signals import stop_request

    one, two = (Side(player.agent, player.state) for player in players)
    telling = compilation.tell("the agents' searches")

    def on_step() -> None:
        telling.cancel()
        stop.check()

    try:
        with stop_request() as stop:
            return arena(
                rules,
                (one, two),
                pairs=arguments.games // 2,
                openings=arguments.openings,
                seed=arguments.seed,
                on_step=on_step,
            )
    finally:
        telling.cancel()


def _against(arguments: Arguments, players: Sequence[Player], rules: pgx.Env) -> np.ndarray:
    """Plays the games of an agent and a program."""
    from armillary.training.duel import duel
    from armillary.training.match import Match
    from armillary.training.programs import Program, opponent_of, protocol_of
    from armillary.training.signals import stop_request

    (player,) = players
    protocol_of(rules, player.task())
    options = dict(option.split("=", 1) for option in arguments.options)
    match = Match(player.agent, player.state, rules, arguments.seed)
    with stop_request() as stop:
        program = Program(arguments.against or "", arguments.timeout, stop.check)
        try:
            return duel(
                match,
                opponent_of(rules, player.task(), program, arguments.seconds, options),
                pairs=arguments.games // 2,
                openings=arguments.openings,
                seed=arguments.seed,
                on_step=stop.check,
            )
        finally:
            program.close()
