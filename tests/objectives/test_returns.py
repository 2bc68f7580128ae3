"""Targets by hand, and against a slow loop over whole episodes that are cut into windows after."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.objectives.returns import (
    Targets,
    game_targets,
    general_targets,
    outcomes,
    priorities,
    value_targets,
)


def _rows(*numbers: float) -> jax.Array:
    return jnp.asarray([numbers], jnp.float32)


def _flags(text: str) -> jax.Array:
    return jnp.asarray([[letter == "1" for letter in text]])


REWARD = _rows(9, 1, 2, 3, 4, 5, 6)  # the first led to row 0, where the model begins
VALUE = _rows(10, 20, 30, 40, 50, 60, 70)
NONE, ALL = _flags("0000000"), _flags("1111111")
HALF = {"steps": 2, "discount": 0.5, "unroll": 3}


def _values(reward: jax.Array, value: jax.Array, *flags: jax.Array, **rest: object) -> list:
    z, known = jax.jit(lambda *x: value_targets(*x, **HALF | rest))(reward, value, *flags)  # type: ignore[arg-type]
    return [round(float(a), 4) if b else None for a, b in zip(z[0], known[0], strict=True)]


def test_two_rewards_and_then_a_value_by_hand() -> None:
    expected = [1 + 2 / 2 + 30 / 4, 2 + 3 / 2 + 40 / 4, 3 + 4 / 2 + 50 / 4, 4 + 5 / 2 + 60 / 4]
    assert _values(REWARD, VALUE, ALL, NONE) == expected


def test_an_episode_that_ended_is_worth_nothing_from_its_last_row_on() -> None:
    """It ends in row 2: its value, and whatever is written past it, is never used."""
    valid, terminal = _flags("1110000"), _flags("0010000")
    assert _values(REWARD, VALUE, valid, terminal) == [1 + 2 / 2, 2, 0, 0]
    nan = jnp.where(valid, REWARD, jnp.nan), jnp.where(valid & ~terminal, VALUE, jnp.nan)
    assert _values(*nan, valid, terminal) == [1 + 2 / 2, 2, 0, 0]


def test_an_episode_that_was_cut_is_bootstrapped_by_its_last_value() -> None:
    """Cut after row 2, which has a value of its own, or where its observation was left alone."""
    valid = _flags("1110000")
    assert _values(REWARD, VALUE, valid, NONE) == [1 + 2 / 2 + 30 / 4, 2 + 30 / 2, 30, None]
    without = _values(REWARD, VALUE, valid, NONE, estimated=_flags("1100000"))
    assert without == [1 + 20 / 2, 20, None, None]


def test_rewards_and_policies_count_where_there_are_some() -> None:
    policy = jnp.eye(7)[None]
    valid, searched = _flags("1110000"), _flags("1100000")

    def found(terminal: jax.Array) -> Targets:
        return general_targets(REWARD, VALUE, policy, searched, valid, terminal, **HALF)  # type: ignore[arg-type]

    ended, cut = found(_flags("0010000")), found(NONE)
    for targets in (ended, cut):
        np.testing.assert_array_equal(targets.reward, [[0, 1, 2, 0]])
        np.testing.assert_array_equal(targets.policies, [[1, 1, 0, 0]])
        np.testing.assert_array_equal(targets.policy, policy[:, :4])
    np.testing.assert_array_equal(ended.rewards, [[0, 1, 1, 1]])  # 0 past the end: absorbing
    np.testing.assert_array_equal(cut.rewards, [[0, 1, 1, 0]])  # nobody knows
    np.testing.assert_array_equal(ended.values, [[1, 1, 1, 1]])
    np.testing.assert_array_equal(cut.values, [[1, 1, 1, 0]])


class _Episode(NamedTuple):
    reward: np.ndarray
    value: np.ndarray
    terminal: bool
    last: bool  # whether the last row has a value


def _slow(episode: _Episode, t: int, steps: int, discount: float) -> float | None:
    """z of row t of a whole episode, as it is defined."""
    end = len(episode.reward) - 1
    if not episode.terminal:  # rows after the last that has a value are as good as unseen
        end = end if episode.last else end - 1
        if t > end:
            return None
    total, power = 0.0, 1.0
    for row in range(t + 1, t + steps + 1):
        if row > end:
            break
        total += power * episode.reward[row]
        power *= discount
    row = min(t + steps, end)
    if episode.terminal and t + steps >= end:
        return total
    return total + power * episode.value[row]


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_windows_of_random_episodes_are_those_of_a_slow_loop(steps: int) -> None:
    random, unroll, discount = np.random.default_rng(steps), 5, 0.9
    length = unroll + steps + 1
    windows, expected = [], []
    for _ in range(300):
        count = random.integers(2, 20)
        episode = _Episode(*random.normal(size=(2, count)), random.random() < 0.5, True)
        episode = episode._replace(last=bool(random.random() < 0.5))
        start = random.integers(count - 1)
        rows = np.arange(start, start + length)
        inside = rows < count
        taken = np.where(inside, rows, 0)
        at_end = rows == count - 1
        windows.append(
            (
                np.where(inside, episode.reward[taken], 77.0),
                np.where(inside, episode.value[taken], 77.0),
                inside,
                at_end & episode.terminal,
                inside & (episode.last | ~at_end),
            )
        )
        expected.append([_slow(episode, start + k, steps, discount) for k in range(unroll + 1)])
    reward, value, valid, terminal, estimated = (
        jnp.asarray(np.array(x)) for x in zip(*windows, strict=True)
    )
    z, known = value_targets(
        reward,
        value,
        valid,
        terminal,
        steps=steps,
        discount=discount,
        unroll=unroll,
        estimated=estimated,
    )
    wanted = np.array([[np.nan if z is None else z for z in row] for row in expected])
    assert 0.02 < np.isnan(wanted).mean() < 0.5
    np.testing.assert_array_equal(known, ~np.isnan(wanted))
    np.testing.assert_allclose(np.where(known, z, np.nan), wanted, rtol=1e-5, atol=1e-5)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(UsageError, match=r"7 rows .* 4 unrolled steps with 3 rewards each need 8"):
        value_targets(REWARD, VALUE, ALL, NONE, steps=3, discount=1.0, unroll=4)


def _game(outcome: float, searched: str, valid: str, terminal: str) -> Targets:
    flags = (_flags(searched), _flags(valid), _flags(terminal))
    policy = jnp.ones((1, len(valid), 3))
    return game_targets(jnp.array([outcome]), policy, *flags, unroll=4)


def test_the_signs_of_a_game_go_on_past_its_end() -> None:
    """Row 2 is the end, won by who moved there from row 1: it is lost for who would be to move."""
    targets = _game(-1.0, "11000", "11100", "00100")
    np.testing.assert_array_equal(targets.value, [[-1, 1, -1, 1, -1]])
    np.testing.assert_array_equal(targets.values, [[1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(targets.policies, [[1, 1, 0, 0, 0]])
    assert not targets.rewards.any()
    np.testing.assert_array_equal(_game(0.0, "11000", "11100", "00100").value, np.zeros((1, 5)))


def test_a_random_opening_counts_in_nothing() -> None:
    targets = _game(1.0, "00110", "11111", "00001")
    np.testing.assert_array_equal(targets.values, [[0, 0, 1, 1, 1]])
    np.testing.assert_array_equal(targets.policies, [[0, 0, 1, 1, 0]])
    np.testing.assert_array_equal(targets.value, [[1, -1, 1, -1, 1]])


def test_outcomes_are_those_of_the_player_to_move() -> None:
    """Tic-tac-toe as it is played: who moves first is to move in the even rows."""
    reward, valid = np.zeros((4, 10), np.float32), np.ones((4, 10), bool)
    for game, (moves, winner) in enumerate([(5, 0), (6, 1), (9, 0), (9, None)]):
        valid[game, moves + 1 :] = False
        reward[game, moves] = winner is not None
        found = np.asarray(outcomes(jnp.asarray(reward), jnp.asarray(valid)))[game]
        for row in range(moves + 1):
            to_move = row % 2
            assert found[row] == (0 if winner is None else 1 if to_move == winner else -1)
    illegal = outcomes(_rows(0, 0, -1, 0), _flags("1110"))  # who moved into row 2 has lost
    np.testing.assert_array_equal(illegal[:, :3], [[1, -1, 1]])


def test_outcome_and_targets_agree_at_every_row_of_a_game() -> None:
    valid, reward = _flags("1111110000"), _rows(0, 0, 0, 0, 0, 1, 0, 0, 0, 0)
    found = outcomes(reward, valid)
    for row in range(5):
        empty = jnp.zeros((1, 5, 1)), *[jnp.zeros((1, 5), bool)] * 3
        z = game_targets(found[:, row], *empty, unroll=4).value[0]
        inside = min(5, 6 - row)
        np.testing.assert_array_equal(z[:inside], found[0, row : row + inside])


def test_priorities() -> None:
    found = priorities(jnp.array([1.0, -2.0]), jnp.array([3.0, -5.0]))
    np.testing.assert_array_equal(found, [2, 3])
