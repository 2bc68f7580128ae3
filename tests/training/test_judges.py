"""Judges of strength, against games counted by hand and by brute force."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import armillary
from armillary import seeding, train
from armillary.agents.random import Random
from armillary.config.muzero import JudgedConfig
from armillary.envs import make
from armillary.envs.games import game, spec_of_game
from armillary.errors import RunError, UsageError
from armillary.spec import Spec
from armillary.studies.plots import learning_curve, read_metrics
from armillary.training.evaluation import Scores
from armillary.training.judges import JUDGES, losing_lines, optimal, optimal_moves, outcomes
from armillary.training.judges.table import in_batches
from folders import untrained
from plain_games import Chooses, best, first_legal, four, lines
from settings import TINY_GAME

TIC_TAC_TOE = game("tic_tac_toe")


@pytest.mark.parametrize("choose", [best, first_legal])
def test_losing_lines_are_those_of_brute_force(choose: Any) -> None:
    found = losing_lines(Chooses(spec_of_game(TIC_TAC_TOE), choose), None, TIC_TAC_TOE)
    first, lines_first = lines(choose, 1)
    second, lines_second = lines(choose, 2)
    assert (found.first, found.second, found.lines) == (first, second, lines_first + lines_second)
    assert (first + second == 0) == (choose is best)
    assert found.as_dict()["lines"] == found.lines
    for moves in found.lost[:3]:
        assert moves[0] == 0  # the first legal move, of the one who begins


def test_random_moves_lose_lines_and_a_large_game_has_too_many() -> None:
    found = losing_lines(Random(spec_of_game(TIC_TAC_TOE)), None, TIC_TAC_TOE)
    assert found.first > 20
    assert found.second > 100
    with pytest.raises(UsageError, match="more than 50 lines"):
        losing_lines(Random(spec_of_game(TIC_TAC_TOE)), None, TIC_TAC_TOE, limit=50)


def test_batches_have_one_size_and_nothing_is_lost() -> None:
    sizes = []

    def double(x: Any) -> Any:
        sizes.append(len(x))
        return {"twice": x * 2}

    for count in (1, 4, 5, 11):
        np.testing.assert_array_equal(
            in_batches(double, np.arange(count), size=4)["twice"], 2 * np.arange(count)
        )
    assert set(sizes) == {4}
    assert len(sizes) == 1 + 1 + 2 + 3


def test_outcomes_are_sorted_by_who_began() -> None:
    env = make("tic_tac_toe")
    scores, expected = [], {True: [0, 0, 0], False: [0, 0, 0]}
    for index in range(30):
        _, info = env.reset(seed=seeding.integer(7, "evaluate", index))
        scores.append((1.0, 0.0, -1.0)[index % 3])
        expected[info["first"]][index % 3] += 1
    found = outcomes(Scores(tuple(scores)), 7).as_dict()
    assert [*found["first"].values()] == expected[True]
    assert [*found["second"].values()] == expected[False]


@dataclass(frozen=True)
class _Side:
    """Plays the leftmost or the rightmost legal column."""

    spec: Spec
    right: bool

    def initial_belief(self, state: Any, environments: int) -> Any:
        return jnp.zeros(environments)

    def act(self, state: Any, belief: Any, observation: Any, key: Any, explore: bool) -> Any:
        mask = observation["mask"]
        weight = jnp.arange(1, 8) if self.right else jnp.arange(7, 0, -1)
        return belief, jax.nn.one_hot(jnp.argmax(mask * weight, axis=1), 7), {}


def _board(moves: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the stones of the player to move and of the other, (6, 7) from the top."""
    board = np.zeros((2, 6, 7), bool)
    for number, column in enumerate(moves):
        height = board[:, :, column].sum()
        board[(len(moves) - number) % 2, 5 - height, column] = True
    return board[0], board[1]


def test_optimal_moves_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a solver that likes columns to the right, and calls the left three lost."""

    def solve(moves: tuple[int, ...]) -> np.ndarray:
        full = np.array([moves.count(column) == 6 for column in range(7)])
        return np.where(full, -np.inf, np.arange(7) - 2.5)

    monkeypatch.setattr(optimal, "solver", lambda: solve)
    optimal._positions.cache_clear()
    rules = game("connect_four")
    right = optimal_moves(_Side(spec_of_game(rules), True), None, rules, positions=30)
    assert right.total.optimal == right.total.outcome == 1.0
    assert {name: share.positions for name, share in right.stages.items()} == dict.fromkeys(
        ("opening", "middle", "end"), 10
    )
    left = optimal_moves(_Side(spec_of_game(rules), False), None, rules, positions=30)
    assert left.total.optimal == 0
    assert left.total.outcome < 0.5
    table, _ = optimal._positions(rules, 10, 0)
    legal = table.legal.sum(axis=1)
    assert right.total.random == pytest.approx(np.mean(1 / legal))
    boards = set()
    for i, moves in enumerate(table.moves):
        mine, theirs = _board(moves)
        np.testing.assert_array_equal(table.states.observation[i], np.stack([mine, theirs], -1))
        assert not four(mine)
        assert not four(theirs)
        boards.add((mine.tobytes(), theirs.tobytes()))
    assert len(boards) == 30
    optimal._positions.cache_clear()


def test_the_solver_scores_moves_for_who_is_to_move() -> None:
    pytest.importorskip(optimal.SOLVER)
    solve = optimal.solver()
    won = solve((0, 1, 0, 1, 0, 1))  # the first player completes column 0
    assert won.argmax() == 0
    assert won[0] > 0
    lost = solve((0, 1, 0, 1, 0))  # the second must stop it
    assert lost.argmax() == 0
    assert max(lost[1:]) < lost[0]
    assert np.isneginf(solve((3,) * 6)[3])
    assert JUDGES["connect_four"].works


def test_a_missing_solver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, optimal.SOLVER, None)
    with pytest.raises(UsageError, match=r"bitbully, which is not installed: `.*pip install"):
        optimal.solver()


def test_the_judge_is_asked_at_each_test_and_has_a_curve(tmp_path: Path) -> None:
    tests = JudgedConfig(every=1, episodes=2, final_episodes=2, judge=True)
    config = replace(TINY_GAME, evaluation=tests)
    train(config, tmp_path / "run")
    rows = read_metrics(tmp_path / "run")
    judged = {row["updates"]: row["judge/mean"] for row in rows if "judge/mean" in row}
    assert list(judged) == [row["updates"] for row in rows if "evaluate/mean" in row]
    assert len(judged) > 1
    player = armillary.load(tmp_path / "run")
    found = losing_lines(player.agent, player.state, TIC_TAC_TOE)
    assert judged[max(judged)] == found.first + found.second
    picture = learning_curve([tmp_path / "run"], tmp_path / "curve.png", "minutes", "judge")
    assert picture.stat().st_size > 10_000


def test_a_run_that_was_not_judged_has_no_such_curve(tmp_path: Path) -> None:
    run = untrained(TINY_GAME, tmp_path / "run")
    (run / "metrics.jsonl").write_text('{"episode": 4, "evaluate/mean": 1.0}\n')
    with pytest.raises(RunError, match=r"not been judged.*--evaluation\.judge"):
        learning_curve([run], tmp_path / "curve.png", score="judge")
