"""Agents as engines: UCI with a client of another library, and conversations by hand."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from armillary.agents.random import Random
from armillary.cli.engines.uci import Uci, centipawns
from armillary.config import EnvironmentConfig
from armillary.envs.games import game, spec_of_game
from armillary.training.match import Match
from conftest import environment
from folders import untrained
from settings import TINY_GAME

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_a_chess_program_plays_against_an_agent(tmp_path: Path) -> None:
    chess = pytest.importorskip("chess.engine").chess
    run = untrained(replace(TINY_GAME, task="chess"), tmp_path / "run")
    command = [sys.executable, "-m", "armillary", "play", str(run), "--protocol", "uci"]
    board = chess.Board()
    with chess.engine.SimpleEngine.popen_uci(command, timeout=200, env=environment()) as engine:
        assert engine.id["name"] == "armillary muzero"
        for _ in range(2):
            limit = chess.engine.Limit(time=0.1)
            played = engine.play(board, limit, info=chess.engine.INFO_ALL)
            assert played.move in board.legal_moves
            assert played.info["pv"][0] == played.move
            assert played.info["nodes"] == TINY_GAME.search.simulations
            board.push(played.move)
            board.push(next(iter(board.legal_moves)))


@pytest.fixture(scope="module")
def uci() -> Callable[[str], list[str]]:
    """Says lines to an engine that moves at random, and returns its answers."""
    rules = game("chess")
    engine = Uci(Match(Random(spec_of_game(rules)), None, rules), "random")

    def say(lines: str) -> list[str]:
        return [answer for line in lines.splitlines() for answer in engine.answer(line)]

    return say


def _best(lines: list[str]) -> str:
    assert lines[-1].startswith("bestmove ")
    return lines[-1].removeprefix("bestmove ")


def test_positions_are_those_of_another_library(uci: Callable[[str], list[str]]) -> None:
    """Of the beginning with moves, one that leaves them, and of FENs, black to move and white."""
    chess = pytest.importorskip("chess")
    kings = "8/8/8/8/8/4k3/4p3/4K2R"
    for fen, moves in (
        (None, ""),
        (None, "e2e4 e7e5 g1f3"),
        (None, "e2e4 c7c5"),
        (f"{kings} b - - 0 1", ""),
        (f"{kings} b - -", "e3d3 h1h3"),
        ("7k/4P3/8/8/8/8/8/R3K3 w Q - 5 40", "e1c1 h8g7 e7e8r"),
    ):
        board = chess.Board(fen or chess.STARTING_FEN)
        for move in moves.split():
            board.push_uci(move)
        start = f"fen {fen}" if fen else "startpos"
        move = _best(uci(f"position {start}{' moves ' * bool(moves)}{moves}\ngo wtime 1000"))
        assert chess.Move.from_uci(move) in board.legal_moves


def test_a_search_without_end_answers_when_it_is_stopped(uci: Callable[[str], list[str]]) -> None:
    assert uci("stop\nposition startpos\ngo infinite")[-1].startswith("info depth 1 pv ")
    assert _best(uci("stop"))
    assert uci("stop") == []


def test_what_cannot_be_played_has_no_best_move(uci: Callable[[str], list[str]]) -> None:
    (told,) = uci("position startpos moves e2e4 e2e4")
    assert told == "info string move 2, e2e4, cannot be played: it is not legal"
    assert uci("go") == ["bestmove (none)"]
    mated = "position startpos moves f2f3 e7e5 g2g4 d8h4"
    assert uci(f"{mated}\ngo") == ["bestmove (none)"]
    assert uci(f"{mated} a2a3") == ["info string move 5, a2a3, cannot be played: the game is over"]
    (told,) = uci("position fen nonsense")
    assert told.startswith("info string 'fen nonsense' is no position")
    assert uci("frobnicate") == ["info string unknown command 'frobnicate'"]
    assert uci("\nsetoption name Hash value 16\ndebug on") == []
    assert uci("ucinewgame\nisready") == ["readyok"]
    assert _best(uci("go"))[1] in "12"  # white's, from the beginning


def test_centipawns_are_those_of_the_expected_score() -> None:
    for value in (-0.9, 0.0, 0.3):
        pawns = centipawns(value) / 100
        assert 1 / (1 + 10 ** (-pawns / 4)) == pytest.approx((1 + value) / 2, abs=0.002)
    assert math.isclose(centipawns(1), -centipawns(-1))
    assert centipawns(1) == 1320


SAID = """\
1 name
version # mine
protocol_version

# a comment alone
2 known_command genmove
known_command frobnicate
frobnicate
3 boardsize 5
boardsize 9
boardsize five
komi 7.5
komi 0
komi much
clear_board
undo
play black c3
4 play b d4
play white C3
play w Z9
play w
play green a1
play white d4
genmove b
undo
showboard
genmove white
play black pass
play w pass
play b pass
play b a1
genmove b
list_commands
5 quit
name
"""

ANSWERED = """\
=1 armillary muzero
= {version}
= 2
=2 true
= false
? unknown command
=3
? unacceptable size: this agent plays on 5x5
? syntax error: boardsize takes an integer
=
? unacceptable komi: this agent plays with 7.5
? syntax error: komi takes a number
=
? cannot undo
=
?4 illegal move: white is to play
? illegal move
? illegal move
? syntax error: play takes 2 arguments, not 1
? syntax error: green is no colour
=
= VERTEX
=
=
5 . . . . .
4 . . . O .
3 . . X . .
2 . . . . .
1 . . . . .
  A B C D E
black to play
? illegal move: black is to play
=
=
=
? illegal move: the game is over
= pass
= protocol_version name version known_command list_commands quit boardsize clear_board komi play \
genmove undo showboard
=5
"""


def test_a_go_program_plays_against_an_agent(
    armillary: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from armillary.version import __version__

    environment = EnvironmentConfig(kwargs={"size": 5})
    run = untrained(replace(TINY_GAME, task="pgx.go:Go", environment=environment), tmp_path / "run")
    monkeypatch.setattr("sys.stdin", io.StringIO(SAID))
    done = armillary("play", run, "--protocol", "gtp", "--trust")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n\n")
    answers = done.stdout.removesuffix("\n\n").split("\n\n")
    wanted = _answers(ANSWERED.format(version=__version__))
    assert len(answers) == len(wanted)
    for answer, expected in zip(answers, wanted, strict=True):
        if expected == "= VERTEX":
            assert answer[:2] == "= "
            assert answer[2:] == "pass" or (answer[2] in "ABCDE" and answer[3] in "12345")
        else:
            assert answer.split() == expected.split()


def _answers(text: str) -> list[str]:
    """Returns each answer with the lines that belong to it."""
    found: list[str] = []
    for line in text.splitlines():
        if line[0] in "=?":
            found.append(line)
        else:
            found[-1] += f"\n{line}"
    return found
