"""`armillary tree`: the tree of one search of a trained agent, as a picture or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from armillary.cli.options import parse
from armillary.cli.stdout import own_stdout, show
from armillary.errors import UsageError, nearest
from armillary.version import __version__

if TYPE_CHECKING:
    from armillary.studies.trees import Tree
    from armillary.training.match import Match
    from armillary.training.player import Player


@dataclass(frozen=True)
class Arguments:
    """Draw the tree of one search: actions, visits, values, priors, the principal variation.

    The agent searches as it does when it is evaluated. States that are too deep, or visited too
    seldom, are folded.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of an agent that searches (muzero), or a packed one: a file, demo:NAME or
    hf:OWNER/NAME."""
    moves: tuple[str, ...] = ()
    """Moves of a board game from its beginning on, after which to search."""
    steps: int = 0
    """Actions that the agent takes (in a board game for both players, after the moves) before the
    search that is shown."""
    simulations: int | None = None
    """Simulations of the search, in place of the run's."""
    depth: int | None = None
    """Actions from the root that are shown, at most. Default: 8, with --json all."""
    visits: int | None = None
    """Visits of a state that is shown, at least. Default: so that about 60 are, with --json 1."""
    out: Path | None = None
    """Picture to write, .png. Default: tree-STEPS.png in the run folder (of a packed agent
    here), with --json none."""
    json: bool = False
    """Print one JSON object with the states, and nothing else, on standard output."""
    task: str | None = None
    """Which task, of a run with several. Default: the first."""
    seed: int = 0
    """Seed of the episode and of the agent."""
    trust: bool = False
    """Run the Python module that the run folder names as its task (docs/trust.md)."""


def run(argv: list[str]) -> int:
    """Searches, and writes the picture or prints the states."""
    arguments = parse(Arguments, argv, "armillary tree")
    for name, least in (("steps", 0), ("seed", 0), ("depth", 1), ("visits", 1), ("simulations", 1)):
        if (value := getattr(arguments, name)) is not None and value < least:
            raise UsageError(f"{name} is {value}, but it must be at least {least}")
    with own_stdout() as out:
        show(_report(arguments), out)
    return 0


def _report(arguments: Arguments) -> str:
    """Returns what is printed; writes the picture before."""
    from armillary.studies.trees import check_name, draw_tree
    from armillary.training.packed import beside
    from armillary.training.player import load

    path = arguments.out
    if path is None and not arguments.json:
        path = beside(arguments.run, f"tree-{len(arguments.moves) + arguments.steps}.png")
    if path is not None:
        path = path.absolute()  # environments may change folders
        check_name(path)
    search = None if arguments.simulations is None else {"simulations": arguments.simulations}
    trusted = arguments.trust or arguments.task is not None
    player = load(arguments.run, search=search, trust=trusted)
    task = player.task(arguments.task)
    tree = _tree(arguments, player, task)
    if path is not None:
        draw_tree(tree, path, depth=arguments.depth, visits=arguments.visits)
    if not arguments.json:
        return f"{path}: {tree.place}; {tree.heading}"
    return json.dumps(_facts(arguments, player, task, tree), allow_nan=False)


def _tree(arguments: Arguments, player: Player, task: str) -> Tree:
    """Searches where it was asked for."""
    from armillary.studies.trees import Tree
    from armillary.training.match import Match, rules_of
    from armillary.training.trees import moment

    steps = arguments.steps
    if player.agent.spec.players == 2:
        match = Match(player.agent, player.state, rules_of(player, arguments.run), arguments.seed)
        _lead(match, arguments.moves, steps)
        return tree_of(match, task)
    if arguments.moves:
        raise UsageError(f"--moves are those of a board game, which {task} is not: give --steps")
    nodes, image = moment(player, steps, arguments.seed, task)
    place = f"{task}, seed {arguments.seed}, after {steps} step{'s' * (steps != 1)}"
    return Tree(nodes, 1, "the agent", place, image)


def _lead(match: Match, moves: tuple[str, ...], steps: int) -> None:
    """Plays moves, and lets the agent play on for both players."""
    for name in moves:
        legal = {} if match.over else match.face.moves(match.state)
        move = None if match.over else match.face.find(match.state, name)
        if move is None:
            why = f"the legal ones are {', '.join(legal)}" if legal else "the game is over"
            raise UsageError(
                f"move {len(match.moves) + 1}, {name!r}, cannot be played: {why}."
                f"{nearest(name, legal)}"
            )
        match.play(move)
    for _ in range(steps):
        if not match.over:
            match.respond()
    if match.over:
        raise UsageError(
            f"the game is over after {len(match.moves)} moves, so nothing is searched there: give "
            "fewer moves or steps"
        )


def tree_of(match: Match, task: str) -> Tree:
    """Returns the search of a position, ready to be drawn.

    Raises:
        UsageError: the agent searches no tree, or the game is over.
    """
    from armillary.envs.drawing import SIDES, draw
    from armillary.studies.trees import Tree

    nodes, face, state = match.tree(), match.face, match.state
    mover = SIDES[face.look][match.mover]
    played = match.names
    shown = f"… {' '.join(played[-6:])}" if len(played) > 6 else " ".join(played)
    place = f"{task} after {shown}" if played else f"{task}, the beginning"
    image = draw(face.look, face.cells(state))
    return Tree(nodes, 2, mover, f"{place}: {mover} to move", image)


def _facts(arguments: Arguments, player: Player, task: str, tree: Tree) -> dict[str, Any]:
    from armillary.search.nodes import fold

    deepest = max(node.depth for node in tree.nodes)
    depth = deepest if arguments.depth is None else arguments.depth
    nodes = fold(tree.nodes, depth=depth, visits=arguments.visits or 1)
    return {
        "task": task,
        "run": str(arguments.run),
        "trained_episodes": player.counters["episodes"],
        "place": tree.place,
        "seed": arguments.seed,
        "players": tree.players,
        "simulations": tree.nodes[0].visits - 1,
        "states": len(tree.nodes),
        "nodes": [asdict(node) for node in nodes],
        "armillary": __version__,
    }
