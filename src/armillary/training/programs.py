"""Programs of others that play: chess engines that are asked in UCI, Go programs in GTP."""

from __future__ import annotations

import os
import queue
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from armillary.envs.faces import face_of
from armillary.errors import EnvironmentFailure, UsageError, nearest

if TYPE_CHECKING:
    import pgx

_POLL, _FAREWELL = 0.1, 2.0
"""Seconds between two looks at whether to stop, and that a program has to end by itself."""
RESIGNS = "resign"
"""In place of a move of a program that gives up."""
_COLOURS = ("black", "white")


class Program:
    """A process that is told lines and answers in lines.

    Args:
        command: what starts it, as in a shell.
        timeout: seconds that an answer may take.
        on_wait: called while it is waited for; what it raises ends the wait.

    Raises:
        UsageError: there is no such program.
    """

    def __init__(
        self, command: str, timeout: float = 60.0, on_wait: Callable[[], None] = lambda: None
    ) -> None:
        self.command, self._timeout, self._on_wait = command, timeout, on_wait
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"{command!r} is no command line ({error})") from error
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/games"])  # of Debian
        found = shutil.which(words[0], path=path) if words else None
        if found is None:
            name = words[0] if words else command
            raise UsageError(
                f"there is no program {name!r} here: install it (stockfish and gnugo are packages "
                "of most systems, `apt install stockfish gnugo` for instance), or give its path"
            )
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [found, *words[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl+C is for this process, which ends that one
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def tell(self, line: str) -> None:
        """Writes a line.

        Raises:
            EnvironmentFailure: the program has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended(line) from error

    def ask(self, line: str, is_last: Callable[[str], bool]) -> list[str]:
        """Writes a line and returns what is answered.

        Args:
            line: what is asked.
            is_last: whether the answer ends with a line.

        Raises:
            EnvironmentFailure: the program has ended, or does not answer in time.
        """
        self.tell(line)
        answer: list[str] = []
        deadline = time.monotonic() + self._timeout
        while not answer or not is_last(answer[-1]):
            self._on_wait()
            try:
                said = self._lines.get(timeout=_POLL)
            except queue.Empty:
                if time.monotonic() < deadline:
                    continue
                raise EnvironmentFailure(
                    f"the program {self.command!r} has not answered {line!r} within "
                    f"{self._timeout:g} s: give it less to think of, or more time (--timeout)"
                ) from None
            if said is None:
                raise self._ended(line)
            answer.append(said)
        return answer

    def close(self) -> None:
        """Ends the process."""
        try:
            self.tell("quit")
            self._process.wait(_FAREWELL)
        except (EnvironmentFailure, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip())
        self._lines.put(None)

    def _ended(self, line: str) -> EnvironmentFailure:
        """Returns what to say of a program that has ended."""
        try:
            status = f"with status {self._process.wait(_FAREWELL)}"
        except subprocess.TimeoutExpired:
            status = "listening"
        self._said.seek(0)
        last = self._said.read().decode(errors="replace").strip().splitlines()[-1:]
        told = f", and said {last[0]!r}" if last else ""
        return EnvironmentFailure(
            f"the program {self.command!r} has ended {status} in place of an answer to {line!r}"
            f"{told}: start it by itself to see what it needs"
        )


class Opponent(Protocol):
    """A program that plays one game after the other."""

    def begin(self) -> None:
        """Begins a game."""
        ...

    def move(self, played: Sequence[str]) -> str:
        """Returns the program's move, or `RESIGNS`.

        Args:
            played: the names of all moves of the game so far, its own among them.

        Raises:
            EnvironmentFailure: the program gives none.
        """
        ...


class UciOpponent:
    """A chess engine that is asked in UCI.

    Args:
        program: that has just been started.
        seconds: for a move.
        options: values of the engine's own options.

    Raises:
        UsageError: it has no such option.
        EnvironmentFailure: it speaks no UCI.
    """

    def __init__(self, program: Program, seconds: float, options: Mapping[str, str]) -> None:
        self._program, self._seconds = program, seconds
        known = [
            line.removeprefix("option name ").partition(" type ")[0]
            for line in program.ask("uci", lambda line: line == "uciok")
            if line.startswith("option name ")
        ]
        for name, value in options.items():
            if name not in known:
                raise UsageError(
                    f"{program.command!r} has no option {name!r}, expected one of "
                    f"{', '.join(known) or 'none'}.{nearest(name, known)}"
                )
            program.tell(f"setoption name {name} value {value}")

    def begin(self) -> None:
        """Begins a game."""
        self._program.tell("ucinewgame")
        self._program.ask("isready", lambda line: line == "readyok")

    def move(self, played: Sequence[str]) -> str:
        """Returns the program's move."""
        self._program.tell(" ".join(["position startpos", *["moves"][: len(played)], *played]))
        milliseconds = max(1, round(1000 * self._seconds))
        answer = self._program.ask(
            f"go movetime {milliseconds}", lambda line: line.startswith("bestmove")
        )
        return answer[-1].removeprefix("bestmove").strip().partition(" ")[0]


class GtpOpponent:
    """A Go program that is asked in GTP.

    Args:
        program: that has just been started.
        size: of the board.
        komi: of the game.
    """

    def __init__(self, program: Program, size: int, komi: float) -> None:
        self._program, self._size, self._komi = program, size, komi
        self._told = 0

    def begin(self) -> None:
        """Begins a game."""
        for line in (f"boardsize {self._size}", "clear_board", f"komi {self._komi:g}"):
            self._ask(line)
        self._told = 0

    def move(self, played: Sequence[str]) -> str:
        """Returns the program's move, or `RESIGNS`."""
        for number in range(self._told, len(played)):
            self._ask(f"play {_COLOURS[number % 2]} {played[number]}")
        self._told = len(played) + 1  # it knows of its own move, too
        return self._ask(f"genmove {_COLOURS[len(played) % 2]}")

    def _ask(self, line: str) -> str:
        """Returns the answer to a command, which ends with an empty line."""
        answer = " ".join(self._program.ask(line, lambda said: not said)).strip()
        if not answer.startswith("="):
            raise EnvironmentFailure(
                f"the program {self._program.command!r} answers {line!r} with {answer!r}: it has "
                "to speak GTP, and to play on this board by rules that allow these moves"
            )
        name = answer.removeprefix("=").strip()
        return RESIGNS if name.lower() == RESIGNS else name


def opponent_of(
    rules: pgx.Env, task: str, program: Program, seconds: float, options: Mapping[str, str]
) -> Opponent:
    """Returns a program as an opponent, which is asked in the protocol of the game.

    Args:
        rules: of the game.
        task: the game, for messages.
        program: that has just been started.
        seconds: for a move in UCI.
        options: of the engine, in UCI.

    Raises:
        UsageError: no program is known to play the game; there is no such option.
        EnvironmentFailure: it does not speak the protocol.
    """
    protocol = protocol_of(rules, task)
    if protocol == "uci":
        return UciOpponent(program, seconds, options)
    if options:
        raise UsageError(
            f"options are {dict(options)}, but Go programs have none: they are part of the command"
        )
    return GtpOpponent(program, rules._game.size, float(rules._game.komi))


def protocol_of(rules: pgx.Env, task: str) -> Literal["uci", "gtp"]:
    """Returns in which protocol the programs of a game are asked.

    Raises:
        UsageError: none is known.
    """
    protocol = face_of(rules).protocol
    if protocol is None:
        raise UsageError(
            f"{task} is played by no program that is known here: give a run of chess, whose "
            "programs speak UCI, or of Go (GTP)"
        )
    return protocol
