"""An agent as an engine: lines of a protocol come in, and answers go out, so that programs play."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from armillary.errors import UsageError

if TYPE_CHECKING:
    import pgx

    from armillary.training.match import Match

ProtocolName = Literal["uci", "gtp"]


class Engine(Protocol):
    """What speaks a protocol."""

    over: bool
    """Whether it was told to end."""

    def answer(self, line: str) -> Iterator[str]:
        """Does what a line says, and yields the lines of the answer."""
        ...


def converse(engine: Engine, lines: Iterable[str], write: Callable[[str], None]) -> None:
    """Answers line by line, until it is told to end or there are no more."""
    for line in lines:
        for answer in engine.answer(line):
            write(answer)
        if engine.over:
            return


def engine_of(name: ProtocolName, match: Match, agent: str) -> Engine:
    """Returns the engine of a protocol.

    Args:
        name: of the protocol.
        match: a game that has just begun.
        agent: what the engine calls itself.

    Raises:
        UsageError: the game is not played in that protocol.
    """
    from armillary.cli.engines.gtp import Gtp
    from armillary.cli.engines.uci import Uci

    engines: dict[str, Callable[[Match, str], Engine]] = {"uci": Uci, "gtp": Gtp}
    return engines[name](match, agent)


def check_protocol(name: ProtocolName, rules: pgx.Env, task: str, folder: Path) -> None:
    """Makes sure that a game is played in a protocol.

    Raises:
        UsageError: it is not.
    """
    from armillary.envs.faces import face_of

    spoken = face_of(rules).protocol
    if spoken != name:
        games = {"uci": "chess", "gtp": "Go"}[name]
        instead = f"give --protocol {spoken}" if spoken else "leave --protocol out"
        raise UsageError(
            f"{str(folder)!r} is a run of {task}, but the protocol {name} is for {games}: {instead}"
        )
