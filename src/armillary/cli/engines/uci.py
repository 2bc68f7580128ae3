"""The universal chess interface (UCI, Meyer-Kahlen and Huber, 2006): an agent as a chess engine.

Its search is always of one size, so limits of time, depth and nodes change nothing. A game that
begins from a FEN has no history. Draws that the rules of pgx see (a position that comes the third
time, say) end the game, and there is no best move then.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from armillary.errors import UsageError
from armillary.training.match import Match, Thought

NO_MOVE = "bestmove (none)"


class Uci:
    """An engine that is asked in UCI.

    Args:
        match: a game that has just begun.
        name: of the engine.
    """

    def __init__(self, match: Match, name: str) -> None:
        self.over = False
        self._match, self._name = match, name
        self._start = "startpos"
        self._played: list[str] = []
        self._valid = True
        self._held: str | None = None  # the best move, until the search without end is stopped

    def answer(self, line: str) -> Iterator[str]:
        """Does what a line says, and yields the lines of the answer; unknown ones are ignored."""
        word, *rest = line.split() or [""]
        command = getattr(self, f"_{word}", None) if word in _COMMANDS else None
        if command is not None:
            yield from command(rest)
        elif word and word not in _IGNORED:
            yield f"info string unknown command {word!r}"

    def _uci(self, _: list[str]) -> Iterator[str]:
        yield f"id name {self._name}"
        yield "id author the armillary maintainers"
        yield "uciok"

    def _isready(self, _: list[str]) -> Iterator[str]:
        if not self._match.over:
            self._match.think()  # compiles
        yield "readyok"

    def _ucinewgame(self, _: list[str]) -> Iterator[str]:
        yield from self._position(["startpos"])

    def _position(self, words: list[str]) -> Iterator[str]:
        at = words.index("moves") if "moves" in words else len(words)
        try:
            self._begin(" ".join(words[:at]))
            self._replay(words[at + 1 :])
            self._valid = True
        except UsageError as error:
            self._valid = False
            yield f"info string {error}"

    def _begin(self, start: str) -> None:
        """Sets the board up, if it is not the same game's as before."""
        if start != self._start:
            state = None if start == "startpos" else _state_of(start)
            self._match = self._match.another(state)
            self._start, self._played = start, []

    def _replay(self, moves: list[str]) -> None:
        """Plays moves, after as many as are known from the position before."""
        while self._played != moves[: len(self._played)]:
            self._match.undo()
            self._played.pop()
        for name in moves[len(self._played) :]:
            number = None if self._match.over else self._match.face.find(self._match.state, name)
            if number is None:
                why = "the game is over" if self._match.over else "it is not legal"
                raise UsageError(f"move {len(self._played) + 1}, {name}, cannot be played: {why}")
            self._match.play(number)
            self._played.append(name)

    def _go(self, words: list[str]) -> Iterator[str]:
        best = NO_MOVE
        if self._valid and not self._match.over:
            thought = self._match.respond()
            self._played.append(thought.name)
            yield _information(thought)
            best = f"bestmove {thought.name}"
        if {"infinite", "ponder"} & set(words):
            self._held = best
        else:
            yield best

    def _stop(self, _: list[str]) -> Iterator[str]:
        if self._held is not None:
            yield self._held
        self._held = None

    _ponderhit = _stop

    def _quit(self, _: list[str]) -> Iterator[str]:
        self.over = True
        yield from ()


_COMMANDS = ("uci", "isready", "ucinewgame", "position", "go", "stop", "ponderhit", "quit")
_IGNORED = ("debug", "setoption", "register")


def centipawns(value: float) -> int:
    """Returns the advantage that is worth a value from -1 to 1, in hundredths of a pawn.

    Of the usual rule that with p pawns more one scores 1 / (1 + 10^(-p / 4)); at most 1,320.
    """
    certain = min(max(value, -0.999), 0.999)
    return round(400 * math.log10((1 + certain) / (1 - certain)))


def _information(thought: Thought) -> str:
    expected = thought.variation or (thought.name,)
    parts = ["info", f"depth {len(expected)}"]
    if thought.visits:
        parts.append(f"nodes {sum(count for _, count in thought.visits)}")
    if thought.value is not None:
        parts.append(f"score cp {centipawns(thought.value)}")
    return " ".join([*parts, "pv", *expected])


def _state_of(start: str) -> Any:
    """Returns pgx's state of a position.

    Raises:
        UsageError: it is not a FEN.
    """
    import jax.numpy as jnp
    from pgx.experimental.chess import from_fen

    word, *fields = start.split() or [""]
    fen = " ".join(fields if len(fields) != 4 else [*fields, "0", "1"])  # some leave the counts out
    try:
        if word != "fen":
            raise ValueError(f"{word!r} is unknown")
        state = from_fen(fen)
    except Exception as error:
        raise UsageError(
            f"{start!r} is no position ({error}): expected startpos, or fen with its six fields"
        ) from error
    black = fields[1] == "b"
    return state.replace(_step_count=jnp.int32(black))
