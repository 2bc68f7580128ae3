"""`armillary play`: a board game against a trained agent, in the terminal or for programs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from armillary.cli.engines import ProtocolName, check_protocol, converse, engine_of
from armillary.cli.options import parse
from armillary.cli.stdout import own_stdout, show
from armillary.cli.tree import tree_of
from armillary.errors import StorageError, UsageError, nearest

if TYPE_CHECKING:
    from armillary.training.match import Match

HELP = """\
a move    one of those that `moves` lists
moves     the moves that are legal here
hint      what the agent would play in your place
tree      draw the search behind a hint, into a picture
undo      take back your last move, and the agent's after it
swap      change sides: the agent goes on in your place
new       begin another game
quit      end"""

_SIDES = ("first", "second")
_MARKS = {
    "marks": ("X", "O"),
    "discs": ("X", "O"),
    "stones": ("X, black", "O, white"),
    "reversi": ("X, black", "O, white"),
    "hexagons": ("X, top to bottom", "O, left to right"),
    "chess": ("capitals, white", "small letters, black"),
    "shogi": ("capitals", "small letters"),
}


@dataclass(frozen=True)
class Arguments:
    """Play a board game against a trained agent: the board is drawn, and moves are typed.

    With `--protocol` the agent is an engine on standard input and output, for other programs to
    play against.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of an agent that was trained on a board game, or a packed one: a file, demo:NAME
    or hf:OWNER/NAME."""
    side: Literal["first", "second"] = "first"
    """Your side: who begins, or the other."""
    protocol: ProtocolName | None = None
    """Speak this protocol and nothing else: uci for chess, gtp for Go."""
    seed: int = 0
    """Seed of what the agent draws."""
    trust: bool = False
    """Run the Python module that the run folder names as its task (docs/trust.md)."""


def run(argv: list[str]) -> int:
    """Plays until `quit`, or the end of the input."""
    arguments = parse(Arguments, argv, "armillary play")
    if arguments.seed < 0:
        raise UsageError(f"seed is {arguments.seed}, but it must not be negative")

    if arguments.protocol is not None:
        _serve(arguments, arguments.protocol)
        return 0

    from armillary.training.match import Match, rules_of
    from armillary.training.player import load

    player = load(arguments.run, trust=arguments.trust)
    rules = rules_of(player, arguments.run)
    counters = player.counters
    show(
        f"{player.config.agent} on {player.task()}, {counters['episodes']} episodes; "
        "type a move, or `help`"
    )
    match = Match(player.agent, player.state, rules, arguments.seed)
    Table(match, _SIDES.index(arguments.side), player.task(), arguments.run).sit()
    return 0


def _serve(arguments: Arguments, protocol: ProtocolName) -> None:
    """Lets the agent speak a protocol, with nothing else on standard output."""
    if arguments.side != Arguments(arguments.run).side:
        raise UsageError("--side means nothing with --protocol, which says who moves: leave it out")
    with own_stdout() as out:
        from armillary.training.match import Match, rules_of
        from armillary.training.player import load

        player = load(arguments.run, trust=arguments.trust)
        rules = rules_of(player, arguments.run)
        check_protocol(protocol, rules, player.task(), arguments.run)
        match = Match(player.agent, player.state, rules, arguments.seed)
        engine = engine_of(protocol, match, f"armillary {player.config.agent}")
        converse(engine, iter(sys.stdin.readline, ""), lambda line: show(line, out))


class Table:
    """A person and an agent at a board.

    Args:
        match: the game.
        you: the person's side, 0 or 1.
        task: the game.
        run: where the agent came from, and pictures are written.
    """

    def __init__(self, match: Match, you: int, task: str, run: Path) -> None:
        self.match, self.you, self.task, self.run = match, you, task, run
        self._drawn: tuple[int, ...] | None = None

    def sit(self) -> None:
        """Plays until the person leaves."""
        while True:
            self._answer()
            self._draw()
            show(self._prompt(), end="")
            line = sys.stdin.readline()
            if not line or line.strip().lower() in ("quit", "exit", "q"):
                show("" if line else "\n", end="")
                return
            if word := line.strip():
                self._do(word)

    def _answer(self) -> None:
        """Lets the agent move, if it is its turn."""
        while not self.match.over and self.match.mover != self.you:
            show(f"\nthe agent plays {self.match.respond()}")

    def _draw(self) -> None:
        """Shows the board if it has changed."""
        if self._drawn != (now := tuple(self.match.moves)):
            self._drawn = now
            show(f"\n{self.match.face.text(self.match.state)}")

    def _prompt(self) -> str:
        if self.match.over:
            result = self.match.result * (1 if self.you == 0 else -1)
            said = "you win" if result > 0 else "the agent wins" if result < 0 else "a draw"
            return f"{said}: new, undo or quit? "
        return f"your move ({_MARKS[self.match.face.look][self.you]}): "

    def _do(self, word: str) -> None:
        """Does what was typed: a command, or a move."""
        command = getattr(self, f"_{word.lower()}", None) if word.lower() in _COMMANDS else None
        if command is not None:
            command()
        elif self.match.over:
            show(f"the game is over, so {word!r} cannot be played: new, undo or quit?")
        elif (move := self.match.face.find(self.match.state, word)) is not None:
            self.match.play(move)
        else:
            moves = self.match.face.moves(self.match.state)
            show(
                f"{word!r} is no legal move here, and no command: `moves` lists the "
                f"{len(moves)} legal ones, `help` the commands.{nearest(word, moves)}"
            )

    def _help(self) -> None:
        show(HELP)

    def _moves(self) -> None:
        show(" ".join(self.match.face.moves(self.match.state)) if not self.match.over else "none")

    def _hint(self) -> None:
        show("the game is over" if self.match.over else f"the agent would play {self._thought()}")

    def _thought(self) -> str:
        return str(self.match.think())

    def _tree(self) -> None:
        """Draws what the agent thinks of the position."""
        from armillary.studies.trees import draw_tree
        from armillary.training.packed import beside

        path = beside(self.run, f"tree-{len(self.match.moves)}.png")
        try:
            show(f"drawn in {draw_tree(tree_of(self.match, self.task), path)}")
        except (UsageError, StorageError) as error:  # the game goes on
            show(str(error))

    def _undo(self) -> None:
        """Goes back to the person's last turn."""
        undone = self.match.undo()
        while undone and self.match.mover != self.you and self.match.moves:
            self.match.undo()
        if not undone:
            show("there is nothing to take back")

    def _swap(self) -> None:
        self.you = 1 - self.you
        show(f"you are the {_SIDES[self.you]} player now")

    def _new(self) -> None:
        while self.match.undo():
            pass
        self._drawn = None


_COMMANDS = ("help", "moves", "hint", "tree", "undo", "swap", "new")
