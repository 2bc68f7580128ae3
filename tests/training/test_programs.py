"""Games against programs of others: a stand-in that plays given moves, and what it does wrong."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from armillary.agents.random import Random
from armillary.config import EnvironmentConfig
from armillary.envs.games import game, spec_of_game
from armillary.errors import EnvironmentFailure, UsageError
from armillary.training import programs
from armillary.training.duel import duel
from armillary.training.match import Match, Thought
from armillary.training.programs import Program, opponent_of
from folders import untrained
from settings import TINY_GAME

Run = Callable[..., subprocess.CompletedProcess[str]]
FOOLS_MATE = ("f2f3", "e7e5", "g2g4", "d8h4")
PASSES = ("pass", "pass")
CHESS = game("chess")
GO = game("pgx.go:Go", {"size": 5})


class Scripted(Match):
    """A game in which the agent plays given moves."""

    script: tuple[str, ...] = ()

    def another(self, start: Any = None) -> Match:
        """Returns a new one of the same moves."""
        match = type(self)(self._actor, self._state, self.rules, self._seed, start)
        match.script = self.script
        return match

    def respond(self) -> Thought:
        """Plays the move of the script."""
        name = self.script[len(self.moves)]
        move = self.face.moves(self.state)[name]
        self.play(move)
        return Thought(move, name)


def _match(rules: Any, script: tuple[str, ...]) -> Scripted:
    match = Scripted(Random(spec_of_game(rules)), None, rules)
    match.script = script
    return match


def _command(protocol: str, fault: str, moves: tuple[str, ...]) -> str:
    standin = Path(__file__).parents[1] / "standin.py"
    return shlex.join([sys.executable, str(standin), protocol, fault, *moves])


def _duel(
    rules: Any, protocol: str, moves: tuple[str, ...], fault: str = "none", timeout: float = 30.0
) -> list[list[float]]:
    program = Program(_command(protocol, fault, moves), timeout)
    try:
        opponent = opponent_of(rules, "a game", program, 0.25, {})
        paid = duel(_match(rules, moves), opponent, pairs=1, openings=0, seed=0)
    finally:
        program.close()
    assert program._process.poll() is not None
    return paid.tolist()


def _log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STANDIN_LOG", str(folder / "log"))
    return folder / "log"


def test_chess_is_played_in_uci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Black mates in both games: first it is the program, then the agent."""
    log = _log(tmp_path, monkeypatch)
    assert _duel(CHESS, "uci", FOOLS_MATE) == [[-1], [1]]
    assert (
        log.read_text()
        == """\
uci
ucinewgame
isready
position startpos moves f2f3
go movetime 250
position startpos moves f2f3 e7e5 g2g4
go movetime 250
ucinewgame
isready
position startpos
go movetime 250
position startpos moves f2f3 e7e5
go movetime 250
quit
"""
    )


def test_go_is_played_in_gtp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an empty board white wins by the komi."""
    log = _log(tmp_path, monkeypatch)
    assert _duel(GO, "gtp", PASSES) == [[-1], [1]]
    begun = "boardsize 5\nclear_board\nkomi 7.5\n"
    one, two = "play black pass\ngenmove white\n", "genmove black\n"
    assert log.read_text() == begun + one + begun + two + "quit\n"


def test_a_longer_game_of_go_is_told_move_by_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Black has all of the board: 25 points are more than 7.5."""
    log = _log(tmp_path, monkeypatch)
    assert _duel(GO, "gtp", ("C3", "pass", "A1", "pass", "pass")) == [[1], [-1]]
    told = [line for line in log.read_text().splitlines() if line.split()[0] in ("play", "genmove")]
    first = ["play black C3", "genmove white", "play black A1", "genmove white", "play black pass"]
    assert told[:4] == first[:4]
    assert told[4:] == [
        "genmove black",
        "play white pass",
        "genmove black",
        "play white pass",
        "genmove black",
    ]


def test_a_program_that_resigns_has_lost() -> None:
    assert _duel(GO, "gtp", PASSES, "resigns") == [[1], [1]]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("illegal", "plays 'Z9' after pass, which is not legal"),
        ("dies", "ended with status 3 in place of an answer to 'genmove white', and said 'out of"),
        ("hangs", "has not answered 'genmove white' within 1 s: give it less"),
    ],
)
def test_what_a_program_does_wrong_is_said(
    fault: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_FAREWELL", 0.3)
    start = time.monotonic()
    with pytest.raises(EnvironmentFailure) as raised:
        _duel(GO, "gtp", PASSES, fault, timeout=1)
    assert text in str(raised.value)
    assert time.monotonic() - start < 20


def test_a_chess_program_s_illegal_move_is_said() -> None:
    with pytest.raises(EnvironmentFailure, match="plays 'e2e5' after f2f3, which is not legal"):
        _duel(CHESS, "uci", FOOLS_MATE, "illegal")


def test_a_board_that_a_program_does_not_have() -> None:
    larger = game("pgx.go:Go", {"size": 6})
    with pytest.raises(EnvironmentFailure, match=r"answers 'boardsize 6' with '[?] unacceptable"):
        _duel(larger, "gtp", PASSES)


def test_pairs_begin_with_the_same_moves() -> None:
    """Of 0 to 3, drawn for each pair, none of which ends the game."""

    class Watching:
        """Remembers the beginning that it was shown, and resigns."""

        def __init__(self) -> None:
            self.seen: list[tuple[str, ...]] = []

        def begin(self) -> None:
            pass

        def move(self, played: Any) -> str:
            self.seen.append(tuple(played))
            return "resign"

    watching = Watching()
    match = Match(Random(spec_of_game(GO)), None, GO)
    paid = duel(match, watching, pairs=8, openings=3, seed=1)
    np.testing.assert_array_equal(paid, np.ones((2, 8)))
    pairs = list(zip(watching.seen[::2], watching.seen[1::2], strict=True))
    assert {len(second) for _, second in pairs} == {0, 1, 2, 3}
    for first, second in pairs:
        assert first[:-1] == second  # in the first the agent has moved once since


def test_the_arena_against_a_program(armillary: Run, tmp_path: Path) -> None:
    run = untrained(replace(TINY_GAME, task="pgx.go:Go", environment=SMALL_GO), tmp_path / "run")
    command = _command("gtp", "resigns", PASSES)
    game_of = ("arena", run, "--trust", "--against", command, "--games", 2, "--openings", 0)
    done = armillary(*game_of)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{run} against {command}, 2 games of pgx.go:Go: 2 won")
    found = json.loads(armillary(*game_of, "--json").stdout)
    assert (found["against"], found["wins"], found["score"]) == (command, 2, 1)
    for arguments, text in (
        (("--against", "no-such-program --mode gtp"), "there is no program 'no-such-program' here"),
        (("--against", "'"), "is no command line"),
        (("--against", command, "--options", "Level=1"), "but Go programs have none"),
        (("--against", command, "--options", "Level"), "the option 'Level' has no value"),
        (("--against", command, "--seconds", 0), "seconds is 0.0, but it must be positive"),
        ((run, "--against", command), "run folders given: 2, expected: 1"),
        ((), "run folders given: 1, expected: 2"),
    ):
        done = armillary("arena", run, *arguments, "--trust")
        assert done.returncode == 2, done.stderr
        assert text in done.stderr
        assert done.stdout == ""


SMALL_GO = EnvironmentConfig(kwargs={"size": 5})


def test_options_are_those_that_the_program_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = _log(tmp_path, monkeypatch)
    program = Program(_command("uci", "none", FOOLS_MATE))
    opponent_of(CHESS, "chess", program, 0.1, {"Skill Level": "0"})
    with pytest.raises(
        UsageError, match=r"no option 'Skil', expected one of Skill Level\. Did you"
    ):
        opponent_of(CHESS, "chess", program, 0.1, {"Skil": "0"})
    program.close()
    assert "setoption name Skill Level value 0\n" in log.read_text()


def test_a_game_that_programs_do_not_play() -> None:
    program = Program(_command("gtp", "none", PASSES))
    with pytest.raises(UsageError, match="hex is played by no program that is known here"):
        opponent_of(game("hex"), "hex", program, 0.1, {})
    program.close()
