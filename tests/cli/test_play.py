"""`armillary play` and `arena`, as they are typed, and what `evaluate` and `tasks` say of games."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from armillary.cli.play import HELP
from armillary.training.loop import train
from conftest import once
from folders import forged
from settings import TINY_GAME

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def game_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny run of a game."""
    return once(tmp_path_factory, "game", lambda folder: train(TINY_GAME, folder))


@pytest.fixture
def play(
    armillary: Run, game_run: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    def typed(text: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        return armillary("play", game_run, *arguments)

    return typed


def test_a_game_is_played(play: Run) -> None:
    done = play("help\nb2\nB2\nz9\nhint\nundo\nmoves\nquit\n")
    assert done.returncode == 0, done.stderr
    assert HELP in done.stdout
    assert "3 . . .\n2 . . .\n1 . . .\n  a b c\n" in done.stdout
    assert "the agent plays " in done.stdout
    assert "visits " in done.stdout
    assert "value " in done.stdout
    assert "expects " in done.stdout
    assert "'B2' is no legal move here" in done.stdout
    assert "'z9' is no legal move here" in done.stdout
    assert "the agent would play " in done.stdout
    assert "a3 b3 c3 a2 b2 c2 a1 b1 c1" in done.stdout  # after undo
    assert done.stdout.count("2 . . .") == 2


def test_sides_are_chosen_and_swapped(play: Run) -> None:
    done = play("swap\n", "--side", "second")
    assert done.stdout.index("the agent plays") < done.stdout.index("your move (O)")
    assert "you are the first player now" in done.stdout
    assert done.stdout.count("the agent plays") == 2
    assert done.returncode == 0


def test_a_game_ends_and_another_begins(play: Run) -> None:
    moves = "\n".join(f"{c}{r}" for c in "abc" for r in "123")
    done = play(f"{moves}\nundo\nnew\nquit\n")
    assert any(end in done.stdout for end in ("you win", "the agent wins", "a draw"))
    assert done.stdout.rstrip().endswith("your move (X):")


def test_other_runs_are_refused(armillary: Run, trained: Path) -> None:
    done = armillary("play", trained)
    assert done.returncode == 2
    assert "is a run of toys:short, which is no board game" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("protocol", ["uci", "gtp"])
def test_a_game_without_a_protocol_is_refused(play: Run, protocol: str) -> None:
    done = play("", "--protocol", protocol)
    assert done.returncode == 2
    game = {"uci": "chess", "gtp": "Go"}[protocol]
    assert f"of tic_tac_toe, but the protocol {protocol} is for {game}: leave" in done.stderr
    assert done.stdout == ""
    assert "--side means nothing" in play("", "--protocol", protocol, "--side", "second").stderr


def test_an_arena_of_an_agent_and_itself(armillary: Run, game_run: Path) -> None:
    done = armillary("arena", game_run, game_run, "--games", 12, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert found["wins"] + found["draws"] + found["losses"] == found["games"] == 12
    assert (found["wins"], found["score"], found["elo"]) == (found["losses"], 0.5, 0)
    assert found["first"]["wins"] == found["second"]["losses"]
    low, high = found["elo_interval"]
    assert -low == pytest.approx(high)
    assert high > 100
    told = armillary("arena", game_run, game_run, "--games", 12).stdout
    assert f"{found['wins']} won, {found['draws']} drawn, {found['losses']} lost, 50.0%" in told


def test_an_arena_needs_two_runs_of_one_game(
    armillary: Run, game_run: Path, trained: Path, tmp_path: Path
) -> None:
    task = "pgx.tic_tac_toe:TicTacToe"
    other = forged(game_run, tmp_path / "other", environment={}, task=task)
    for runs, text in (
        ((game_run, trained), "is a run of toys:short, which is no board game"),
        ((game_run, other, "--trust"), f"plays {task}: give two runs of the same game"),
        ((game_run, game_run, "--games", 7), "games is 7, but they are played in pairs"),
        ((game_run, game_run, "--openings", -1), "openings is -1"),
    ):
        done = armillary("arena", *runs)
        assert done.returncode == 2
        assert text in done.stderr
        assert done.stdout == ""


def test_evaluate_judges_a_game(armillary: Run, game_run: Path) -> None:
    done = armillary("evaluate", game_run, "--episodes", 6, "--json")
    found = json.loads(done.stdout)
    sides = found["outcomes"]
    assert sum(n for side in sides.values() for n in side.values()) == 6
    assert sum(side["wins"] - side["losses"] for side in sides.values()) == sum(found["scores"])
    assert found["losing_lines"]["lines"] > 500
    told = armillary("evaluate", "--agent", "random", "--task", "tic_tac_toe").stdout
    assert "as first player: " in told
    assert "losing lines: " in told


def test_tasks_lists_every_family(armillary: Run) -> None:
    entries = json.loads(armillary("tasks", "--json").stdout)
    names = {entry["name"]: entry["family"] for entry in entries}
    assert names["cheetah-run"] == "control suite"
    assert names["shogi"] == "board games"
    told = armillary("tasks").stdout
    assert "go_9x9" in told
    assert "module:callable" in told
    assert ("ALE/Pong-v5" in told) != ("Atari games need ale-py" in told)
