"""`armillary tasks`: the control suite, board games and Atari games."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from dataclasses import dataclass
from typing import Any

from armillary.cli.options import parse
from armillary.cli.stdout import show


@dataclass(frozen=True)
class Arguments:
    """List the tasks: the control suite, board games, and the Atari games that are installed.

    Ids of Gymnasium and module:callable are tasks, too.
    """

    json: bool = False
    """Print a JSON list."""


def run(argv: list[str]) -> int:
    """Prints the tables."""
    arguments = parse(Arguments, argv, "armillary tasks")
    from armillary.envs import atari
    from armillary.envs.catalogue import tasks
    from armillary.envs.games import GAMES

    found = atari.ids()
    if arguments.json:
        entries: list[dict[str, Any]] = [
            *({"family": "control suite", **dataclasses.asdict(task)} for task in tasks()),
            *({"family": "board games", **dataclasses.asdict(game)} for game in GAMES.values()),
            *({"family": "atari", "name": name} for name in found),
        ]
        show(json.dumps(entries))
        return 0
    show(f"{'control suite':<32}{'actions':>8}{'repeat':>8}{'steps':>8}  papers")
    for task in tasks():
        steps = task.episode_steps or "none"
        papers = ", ".join(task.papers)
        show(f"{task.name:<32}{task.action_size:>8}{task.action_repeat:>8}{steps:>8}  {papers}")
    show(f"\n{'board games, of two players':<32}{'moves':>8}   board")
    for game in GAMES.values():
        rows, columns, planes = game.board
        show(f"{game.name:<32}{game.actions:>8}   {rows}x{columns}, {planes} planes")
    if found:
        show(f"\nAtari games, {len(found)} with their ROMs (ale-py)")
        show(textwrap.fill(" ".join(found), 100, break_on_hyphens=False))
    else:
        show(f"\n{atari.missing()}")
    show(
        "\nAlso tasks: an id of gymnasium.make (CarRacing-v3), and module:callable that returns an "
        "environment of Gymnasium or the rules of a game (a pgx.Env; pgx.go:Go for instance)."
    )
    return 0
