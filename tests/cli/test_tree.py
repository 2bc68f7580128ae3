"""`armillary tree` as it is typed, against what the agent does and says elsewhere."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from armillary.config import EnvironmentConfig
from armillary.envs import make, side_by_side
from armillary.training.evaluation import evaluate
from armillary.training.match import Match, rules_of
from armillary.training.player import load
from armillary.training.trees import words
from folders import untrained
from plain_games import Cells, after, legal, over
from settings import TINY_GAME, TINY_MUZERO

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def game_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of a game."""
    return untrained(TINY_GAME, tmp_path_factory.mktemp("game") / "run", shaken=0.5)


@pytest.fixture(scope="module")
def lamps_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with one player."""
    return untrained(TINY_MUZERO, tmp_path_factory.mktemp("lamps") / "run", shaken=0.5)


def test_the_states_of_a_position(armillary: Run, game_run: Path) -> None:
    """The visits and the value are those that `play` says; moves that can be made have names."""
    done = armillary("tree", game_run, "--moves", "b2", "A1", "--json", "--simulations", 40)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["task"], found["simulations"], found["players"]) == ("tic_tac_toe", 40, 2)
    assert found["place"] == "tic_tac_toe after b2 a1: X to move"
    player = load(game_run, search={"simulations": 40})
    match = Match(player.agent, player.state, rules_of(player, game_run))
    for name in ("b2", "a1"):
        match.play(match.face.moves(match.state)[name])
    thought, nodes = match.think(), found["nodes"]
    root, children = nodes[0], [nodes[number] for number in nodes[0]["children"]]
    assert sorted((c["name"], c["visits"]) for c in children) == sorted(thought.visits)
    assert root["value"] == pytest.approx(thought.value)
    assert len(nodes) == found["states"] == root["visits"] == 41
    boards: list[Cells | None] = [after(after((0,) * 9, 4), 6)]  # b2, a1
    for node in nodes[1:]:
        before, cell = boards[node["parent"]], node["action"]
        possible = before is not None and not over(before) and cell in legal(before)
        name = f"{'abc'[cell % 3]}{3 - cell // 3}" if possible else f"#{cell}"
        assert (node["name"], node["possible"]) == (name, possible)
        boards.append(after(before, cell) if before is not None and possible else None)
    assert {node["possible"] for node in nodes} == {False, True}
    assert not list(game_run.glob("*.png"))


def test_a_picture_of_a_position(armillary: Run, game_run: Path, drawn: list[Figure]) -> None:
    done = armillary("tree", game_run, "--moves", "b2", "--steps", 1, "--depth", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{game_run / 'tree-2.png'}: tic_tac_toe after b2 ")
    assert "4 simulations: value " in done.stdout
    assert (game_run / "tree-2.png").stat().st_size > 5_000
    assert "within 1 actions" in drawn[0].texts[2].get_text()


@pytest.mark.parametrize("steps", [0, 3])
def test_the_states_of_a_step(armillary: Run, lamps_run: Path, steps: int) -> None:
    """They are those of the search that chose there in the episode of `video` and `evaluate`."""
    done = armillary("tree", lamps_run, "--steps", steps, "--seed", 5, "--trust", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["place"] == f"toys:lamps, seed 5, after {steps} steps"
    player = load(lamps_run, trust=True)
    envs = side_by_side("toys:lamps", player.config.environment, 1)
    _, (episode,) = evaluate(envs, player.agent, player.state, episodes=1, seed=5)
    envs.close()
    nodes = found["nodes"]
    policy = np.zeros(3)
    for number in nodes[0]["children"]:
        policy[nodes[number]["action"]] = nodes[number]["visits"] / 4
    np.testing.assert_allclose(episode.records["policy"][steps], policy)
    assert nodes[0]["value"] == pytest.approx(float(episode.records["value"][steps]), abs=1e-5)
    assert all(node["name"] == str(5 + node["action"]) for node in nodes[1:])  # as it counts them


def test_more_simulations_are_a_larger_tree(armillary: Run, lamps_run: Path) -> None:
    done = armillary("tree", lamps_run, "--simulations", 9, "--trust", "--json", "--visits", 2)
    found = json.loads(done.stdout)
    assert found["states"] == 10
    assert all(node["visits"] >= 2 or node["principal"] for node in found["nodes"])
    assert len(found["nodes"]) + sum(node["folded"] for node in found["nodes"]) == 10


def test_what_cannot_be_shown(
    armillary: Run, game_run: Path, lamps_run: Path, trained: Path
) -> None:
    line = ("a1", "a2", "b1", "b2", "c1")
    for arguments, text in (
        (
            (game_run, "--moves", "b2", "b2"),
            "move 2, 'b2', cannot be played: the legal ones are a3",
        ),
        ((game_run, "--moves", *line), "the game is over after 5 moves"),
        ((game_run, "--moves", *line, "c2"), "move 6, 'c2', cannot be played: the game is over"),
        ((game_run, "--steps", 12), "the game is over after"),
        ((lamps_run, "--trust", "--steps", 12), "the episode is over after 12 steps"),
        ((lamps_run, "--trust", "--moves", "1"), "--moves are those of a board game"),
        ((lamps_run, "--out", "tree.gif"), "must end in .png"),
        ((lamps_run, "--depth", 0), "depth is 0, but it must be at least 1"),
        ((trained, "--trust"), "Planet searches no tree"),
    ):
        done = armillary("tree", *arguments)
        assert done.returncode == 2, done.stderr
        assert text in done.stderr
        assert done.stdout == ""


def test_a_game_that_is_played_is_drawn(
    armillary: Run, game_run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A picture that cannot be written ends no game."""
    monkeypatch.setattr("sys.stdin", io.StringIO("b2\ntree\nquit\n"))
    done = armillary("play", game_run)
    assert done.returncode == 0, done.stderr
    assert f"drawn in {game_run / 'tree-2.png'}" in done.stdout
    (game_run / "tree-0.png").mkdir()
    monkeypatch.setattr("sys.stdin", io.StringIO("tree\nmoves\nquit\n"))
    done = armillary("play", game_run)
    assert done.returncode == 0, done.stderr
    assert "could not write" in done.stdout
    assert "a3 b3 c3" in done.stdout


def test_atari_s_actions_have_their_words() -> None:
    pytest.importorskip("ale_py")
    env = make("ALE/Pong-v5", EnvironmentConfig())
    assert words(env, 6) == ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
    env.close()
