"""`armillary demo`: the small agents that come with the package, listed or at work."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from armillary.advice import command
from armillary.cli.options import parse
from armillary.cli.stdout import own_stdout, say, show
from armillary.config import Backend
from armillary.errors import UsageError
from armillary.training import demos
from armillary.training.packed import CONFIG, COUNTERS, DEMO, EVALUATION, RESULTS, Packed


@dataclass(frozen=True)
class Arguments:
    """Show a small agent that comes with the package: no training, no download.

    One of the control suite plays an episode, and its model dreams beside it, in a video. One of a
    board game plays against you; where the input is no terminal, against itself. Without a name
    they are listed. Wherever a run folder is given, demo:NAME may be given too.
    """

    name: Annotated[str | None, tyro.conf.Positional] = None
    """Which one."""
    out: Path | None = None
    """Video to write, .mp4 or .gif. Default: NAME.mp4 in this folder."""
    side: Literal["first", "second"] = "first"
    """Your side in a board game: who begins, or the other."""
    seed: int = 0
    """Seed of the episode and of the agent."""
    renderer: Backend | None = None
    """Rendering back end in place of the one that it was trained with."""
    json: bool = False
    """List the demos as one JSON object, and nothing else, on standard output."""


def run(argv: list[str]) -> int:
    """Lists the demos, or shows one."""
    arguments = parse(Arguments, argv, "armillary demo")
    if arguments.seed < 0:
        raise UsageError(f"seed is {arguments.seed}, but it must not be negative")
    if arguments.name is None:
        rows = [_row(name) for name in demos.names()]
        show(json.dumps({"demos": rows}) if arguments.json else _table(rows))
        return 0
    name = arguments.name.removeprefix(DEMO)
    show_one = _game if _is_game(Packed(demos.path(name))) else _dream
    show_one(name, arguments)
    return 0


def _is_game(file: Packed) -> bool:
    return bool(file.json(COUNTERS)["spec"]["players"] > 1)


def _row(name: str) -> dict[str, Any]:
    """Returns what the list says of a demo, of which no weights are read."""
    from armillary.training.card import scores

    file = Packed(demos.path(name))
    config, game = file.json(CONFIG)["config"], _is_game(file)
    evaluation, results = (file.json(m) if m in file else None for m in (EVALUATION, RESULTS))
    return {
        "name": name,
        "agent": config["agent"],
        "task": config["task"],
        "scores": scores(evaluation, results, game),
        "bytes": file.path.stat().st_size,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    """Returns the list for people."""
    lines = []
    for row in rows:
        head = f"{row['name']:<20}{row['agent']:<10}{row['bytes'] / 1e6:.1f} MB"
        lines += [head, *(f"    {label}: {text}" for label, text in row["scores"].items()), ""]
    first = rows[0]["name"]
    lines += [
        "next:",
        f"  {command('demo', first)}    # an episode, and the model's dream beside it",
        *(f"  {command('demo', row['name'])}    # plays against you" for row in rows[1:2]),
        f"  {command('evaluate', DEMO + first)}    # as with a run folder; so do other commands",
        f"  python: agent = armillary.load({DEMO + first!r})",
    ]
    return "\n".join(lines)


def _dream(name: str, arguments: Arguments) -> None:
    """Plays an episode and writes it beside the model's dream."""
    path = (arguments.out or Path(f"{name}.mp4")).absolute()  # environments may change folders
    if path.suffix.lower() not in (".mp4", ".gif"):
        raise UsageError(f"cannot write {str(path)!r}: the name must end in .mp4 or .gif")
    with own_stdout() as out:
        say(f"{name}: playing an episode")
        from armillary.studies.dreams import write_dream
        from armillary.studies.report import one_episode
        from armillary.training.player import load

        player = load(DEMO + name, renderer=arguments.renderer)
        task = player.task()
        scores, episode = one_episode(player, task, arguments.seed)
        say("drawing what the model dreams")
        write_dream(player, episode, task, path)
        show(
            f"{path}: {episode.steps} steps, score {scores.mean:.1f}; the truth, what the model "
            "makes of it (of every 50 frames it sees 5 and dreams the others), and the difference",
            out,
        )


def _game(name: str, arguments: Arguments) -> None:
    """Plays a board game against the user, or against itself."""
    for option in ("out", "renderer"):
        if getattr(arguments, option) is not None:
            raise UsageError(f"--{option} is for demos of the control suite: leave it out")
    if sys.stdin.isatty():
        from armillary.cli import play

        options = ["--side", arguments.side, "--seed", str(arguments.seed)]
        play.run([DEMO + name, *options])
        return
    from armillary.training.match import Match, rules_of
    from armillary.training.player import load

    player = load(DEMO + name)
    rules = rules_of(player, DEMO + name)
    match = Match(player.agent, player.state, rules, arguments.seed)
    show(f"{name}: the agent plays both sides; in a terminal it plays against you")
    while not match.over:
        show(f"\n{match.face.text(match.state)}\n{match.respond()}")
    won = "a draw" if match.result == 0 else f"the {'first' if match.result > 0 else 'second'} wins"
    show(f"\n{match.face.text(match.state)}\n{won}")
