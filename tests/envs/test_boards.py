"""One side of a board game as a Gymnasium environment, and its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

from armillary.agents.random import Random
from armillary.config import EnvironmentConfig
from armillary.envs import make, side_by_side
from armillary.envs.boards import begins
from armillary.envs.build import drawn, fitting, spec_of
from armillary.envs.drawing import BLACK, BLUE, PAPER, RED, WHITE, YELLOW, draw
from armillary.envs.games import game, spec_of_game
from armillary.errors import UsageError
from armillary.training.evaluation import evaluate
from plain_games import to_move, winner


@pytest.fixture
def env() -> Iterator[gymnasium.Env]:
    env = make("tic_tac_toe")
    yield env
    env.close()


def _finish(env: gymnasium.Env, seed: int) -> tuple[float, dict[str, Any], list[int]]:
    """Plays first legal moves; returns the return, the info of the reset and the moves."""
    observation, info = env.reset(seed=seed)
    score, over, moves = 0.0, False, []
    while not over:
        moves.append(int(np.argmax(observation["mask"])))
        observation, reward, terminated, truncated, _ = env.step(moves[-1])
        over = terminated or truncated
        assert terminated or reward == 0
        score += reward
    return score, info, moves


def test_the_outcome_is_the_agents(env: gymnasium.Env) -> None:
    seen = set()
    for seed in range(24):
        score, info, _ = _finish(env, seed)
        board = np.asarray(env.unwrapped.state._x.board)  # type: ignore[attr-defined]
        cells = tuple(int(x) + 1 for x in board)
        me = 1 if info["first"] else 2
        won = winner(cells)
        assert score == (0 if won == 0 else 1 if won == me else -1)
        seen.add((info["first"], score))
    assert {(True, 1.0), (True, -1.0), (False, 1.0), (False, -1.0)} <= seen


def test_it_is_the_agents_turn_and_the_board_is_seen_from_its_side(env: gymnasium.Env) -> None:
    for seed in range(6):
        observation, info = env.reset(seed=seed)
        assert observation["board"].sum() == (0 if info["first"] else 1)
        move = int(np.argmax(observation["mask"]))
        observation, *_ = env.step(move)
        mine, theirs = observation["board"].reshape(9, 2).T
        assert np.flatnonzero(mine).tolist() == [move]
        assert theirs.sum() == (1 if info["first"] else 2)
        np.testing.assert_array_equal(observation["mask"], ~(mine | theirs))
        assert to_move(tuple((mine + theirs).tolist())) == (1 if info["first"] else 2)


def test_a_seed_says_everything(env: gymnasium.Env) -> None:
    other = make("tic_tac_toe")
    for seed in range(8):
        assert _finish(env, seed) == _finish(other, seed)
        assert env.reset(seed=seed)[1]["first"] == begins(seed)
    replies = set()
    for seed in range(120):
        env.reset(seed=seed)
        replies.add(env.unwrapped.state._x.board.tobytes())  # type: ignore[attr-defined]
    assert len(replies) == 10  # nothing yet, and every first move


def test_a_move_that_is_not_legal_is_refused_and_nothing_is_lost(env: gymnasium.Env) -> None:
    observation, _ = env.reset(seed=0)
    observation, *_ = env.step(int(np.argmax(observation["mask"])))
    taken = np.flatnonzero(~observation["mask"])
    before = env.unwrapped.state  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=rf"the move {taken[0]} is not legal here: the legal ones"):
        env.step(int(taken[0]))
    with pytest.raises(UsageError, match="discrete actions 0 to 8"):
        env.step(9)
    assert env.unwrapped.state is before  # type: ignore[attr-defined]
    _, reward, terminated, *_ = env.step(int(np.argmax(observation["mask"])))
    assert reward == 0 or terminated


def test_nothing_moves_when_no_game_goes_on() -> None:
    env = make("tic_tac_toe").unwrapped
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.render()


def test_random_moves_are_legal_ones() -> None:
    """An illegal one would be an error."""
    envs = side_by_side("tic_tac_toe", count=8)
    assert envs.agent_spec == spec_of_game(game("tic_tac_toe"))
    scores, episodes = evaluate(envs, Random(envs.agent_spec), None, episodes=64, seed=0)
    assert set(scores.scores) == {-1.0, 0.0, 1.0}
    assert all(2 <= episode.steps <= 5 and episode.terminal for episode in episodes)


def test_an_agent_sees_board_and_mask_and_a_picture_where_it_is_asked_for() -> None:
    plain = EnvironmentConfig()
    spec = spec_of(("tic_tac_toe",), plain)
    assert spec == spec_of_game(game("tic_tac_toe"))
    again = make("tic_tac_toe", fitting(plain, spec))
    assert again.get_wrapper_attr("agent_spec") == spec
    observation, info = again.reset(seed=1)
    assert not info["first"]
    assert observation["mask"].sum() == 8
    shown = make("tic_tac_toe", drawn(plain, spec))
    observation, _ = shown.reset(seed=0)
    assert observation["image"].shape == (64, 64, 3)
    assert observation["board"].shape == (3, 3, 2)
    larger = make("tic_tac_toe", EnvironmentConfig(action_size=12))
    observation, _ = larger.reset(seed=1)
    assert observation["mask"].sum() == 8
    assert not observation["mask"][9:].any()


@pytest.mark.parametrize(
    ("task", "config", "message"),
    [
        ("tic_tac_to", EnvironmentConfig(), "Did you mean 'tic_tac_toe'"),
        ("chess", EnvironmentConfig(kwargs={"size": 5}), "takes none"),
        ("hex", EnvironmentConfig(action_repeat=2), "a move of hex is made once"),
    ],
)
def test_what_is_refused(task: str, config: EnvironmentConfig, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(task, config)


def test_a_game_of_ones_own_is_a_task() -> None:
    env = make("pgx.go:Go", EnvironmentConfig(kwargs={"size": 3, "komi": 2.5}))
    assert env.unwrapped.rules is game("pgx.go:Go", {"size": 3, "komi": 2.5})  # type: ignore[attr-defined]
    assert env.get_wrapper_attr("agent_spec").action.size == 10


def _colour(code: str) -> list[int]:
    return [int(code[i : i + 2], 16) for i in (1, 3, 5)]


def test_pictures_show_what_is_on_the_board() -> None:
    empty = np.full((6, 7), "", dtype="<U1")
    cells = empty.copy()
    cells[5, 0], cells[5, 6] = "X", "O"
    picture = draw("discs", cells, 70)  # squares of 9.4 pixels, the rows in the middle
    assert picture.shape == (70, 70, 3)
    assert picture.dtype == np.uint8
    row = round(35 + 2.5 * 9.4)
    assert picture[row, round(2.1 + 0.5 * 9.4)].tolist() == _colour(RED)
    assert picture[row, round(2.1 + 6.5 * 9.4)].tolist() == _colour(YELLOW)
    assert picture[row, round(2.1 + 3.5 * 9.4)].tolist() == _colour(PAPER)
    stones = draw("stones", np.array([["X", ""], ["", "O"]]), 100)
    assert stones[26, 26].tolist() == _colour(BLACK)
    assert stones[74, 74].tolist() == _colour(WHITE)
    marks = draw("marks", np.array([["X", ""], ["", ""]]), 100)
    assert marks[26, 26].tolist() == _colour(BLUE)
    for look, one in (("chess", "q"), ("shogi", "+P"), ("hexagons", "O"), ("reversi", "X")):
        board = np.full((4, 4), "", dtype="<U2")
        before = draw(look, board, 64)  # type: ignore[arg-type]
        board[1, 2] = one
        assert np.any(draw(look, board, 64) != before), look  # type: ignore[arg-type]
