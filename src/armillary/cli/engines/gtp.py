"""The Go text protocol, version 2 (Farnebäck, 2002): an agent as a Go engine.

The board's size and komi are those that the agent has learned with; another komi is refused, though
the protocol would have it taken, for the agent would play another game than it thinks. Players take
turns, as in the rules of pgx, which also end a game in which a position comes again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from armillary.errors import UsageError
from armillary.training.match import Match
from armillary.version import __version__

_COLOURS = {"b": 0, "black": 0, "w": 1, "white": 1}
_NAMES = ("black", "white")


class Gtp:
    """An engine that is asked in GTP.

    Args:
        match: a game that has just begun.
        name: of the engine.
    """

    def __init__(self, match: Match, name: str) -> None:
        self.over = False
        self._match, self._called = match, name

    def answer(self, line: str) -> Iterator[str]:
        """Does what a line says, and yields the answer and an empty line."""
        words = line.partition("#")[0].split()
        number = words.pop(0) if words and words[0].isdecimal() else ""
        if not words:
            return
        try:
            answer = f"={number} {self._do(*words)}"
        except UsageError as error:
            answer = f"?{number} {error}"
        yield answer.rstrip()
        yield ""

    def _do(self, word: str, *arguments: str) -> str:
        if word not in _COMMANDS:
            raise UsageError("unknown command")
        command, count = _COMMANDS[word]
        if len(arguments) < count:
            raise UsageError(f"syntax error: {word} takes {count} arguments, not {len(arguments)}")
        return command(self, *arguments[:count])

    def _protocol_version(self) -> str:
        return "2"

    def _name(self) -> str:
        return self._called

    def _version(self) -> str:
        return __version__

    def _known_command(self, word: str) -> str:
        return str(word in _COMMANDS).lower()

    def _list_commands(self) -> str:
        return "\n".join(_COMMANDS)

    def _quit(self) -> str:
        self.over = True
        return ""

    def _boardsize(self, text: str) -> str:
        if not text.isdecimal():
            raise UsageError("syntax error: boardsize takes an integer")
        if int(text) != (size := len(self._match.face.files)):
            raise UsageError(f"unacceptable size: this agent plays on {size}x{size}")
        return self._clear_board()

    def _clear_board(self) -> str:
        self._match = self._match.another()
        return ""

    def _komi(self, text: str) -> str:
        own = self._match.rules._game.komi
        try:
            given = float(text)
        except ValueError:
            raise UsageError("syntax error: komi takes a number") from None
        if given != own:
            raise UsageError(f"unacceptable komi: this agent plays with {own:g}")
        return ""

    def _play(self, colour: str, vertex: str) -> str:
        self._check_turn(colour)
        if self._match.over and vertex.lower() == "pass":
            return ""
        number = None if self._match.over else self._match.face.find(self._match.state, vertex)
        if number is None:
            raise UsageError("illegal move" + (": the game is over" if self._match.over else ""))
        self._match.play(number)
        return ""

    def _genmove(self, colour: str) -> str:
        self._check_turn(colour)
        return "pass" if self._match.over else self._match.respond().name

    def _undo(self) -> str:
        if not self._match.undo():
            raise UsageError("cannot undo")
        return ""

    def _showboard(self) -> str:
        return f"\n{self._match.face.text(self._match.state)}\n{_NAMES[self._match.mover]} to play"

    def _check_turn(self, colour: str) -> None:
        """Makes sure that it is a colour's turn, unless the game is over."""
        if colour.lower() not in _COLOURS:
            raise UsageError(f"syntax error: {colour} is no colour")
        mover = self._match.mover
        if not self._match.over and _COLOURS[colour.lower()] != mover:
            raise UsageError(f"illegal move: {_NAMES[mover]} is to play")


_COMMANDS: dict[str, tuple[Callable[..., str], int]] = {
    "protocol_version": (Gtp._protocol_version, 0),
    "name": (Gtp._name, 0),
    "version": (Gtp._version, 0),
    "known_command": (Gtp._known_command, 1),
    "list_commands": (Gtp._list_commands, 0),
    "quit": (Gtp._quit, 0),
    "boardsize": (Gtp._boardsize, 1),
    "clear_board": (Gtp._clear_board, 0),
    "komi": (Gtp._komi, 1),
    "play": (Gtp._play, 2),
    "genmove": (Gtp._genmove, 1),
    "undo": (Gtp._undo, 0),
    "showboard": (Gtp._showboard, 0),
}
"""What is understood: how it is done, and how many arguments it takes."""
