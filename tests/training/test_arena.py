"""Games of two actors against the same games played plainly, and Elo by other ways."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import numpy as np
import pytest

from armillary import seeding
from armillary.envs.games import game, spec_of_game
from armillary.training import arena as module
from armillary.training.arena import Side, arena
from armillary.training.judges import Elo, Tally
from armillary.training.selfplay import beginning
from plain_games import Cells, Chooses, after, best, first_legal, legal, over, to_move, winner

RULES = game("tic_tac_toe")
SPEC = spec_of_game(RULES)


def _played(cells: Cells, choose: list[Callable[[Cells], int]]) -> int:
    """Returns what a game from there pays to who moves first in it."""
    first = to_move(cells)
    while not over(cells):
        cells = after(cells, choose[to_move(cells) != first](cells))
    return {0: 0, first: 1, 3 - first: -1}[winner(cells)]


def _last_legal(cells: Cells) -> int:
    return legal(cells)[-1]


@pytest.mark.parametrize("openings", [0, 5])
def test_games_are_played_as_they_are_played_plainly(
    openings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SIDE_BY_SIDE", 8)
    one, two = Chooses(SPEC, _last_legal), Chooses(SPEC, first_legal)
    steps: list[None] = []
    paid = arena(
        RULES,
        (Side(one, None), Side(two, None)),
        pairs=13,
        openings=openings,
        seed=3,
        on_step=lambda: steps.append(None),
    )
    begin = jax.jit(beginning(RULES, SPEC, 8, openings))
    boards = np.concatenate([begin(seeding.key(3, "arena", i))._x.board for i in range(2)])[:13]
    expected = [
        (_played(cells, [one.choose, two.choose]), -_played(cells, [two.choose, one.choose]))
        for cells in (tuple((board + 1).tolist()) for board in boards)
    ]
    np.testing.assert_array_equal(paid.T, expected)
    assert len(set(expected)) > 1 or not openings
    assert 2 * 4 <= len(steps) <= 2 * 9


def test_perfect_play_loses_nothing() -> None:
    sides = Side(Chooses(SPEC, best), None), Side(Chooses(SPEC, first_legal), None)
    paid = arena(RULES, sides, pairs=8, openings=0, seed=0)
    assert (paid >= 0).all()
    assert (paid > 0).any()


def _wilson(share: float, n: int, sign: int) -> float:
    """Returns the share that lies just 1.96 of its standard errors from the one that was seen."""
    inside, outside = share, 0.5 + 0.5 * sign
    for _ in range(100):
        middle = (inside + outside) / 2
        near = abs(middle - share) <= 1.959964 * math.sqrt(middle * (1 - middle) / n)
        inside, outside = (middle, outside) if near else (inside, middle)
    return inside


@pytest.mark.parametrize("tally", [Tally(3, 0, 1), Tally(10, 11, 20), Tally(1, 0, 99)])
def test_elo_is_the_difference_at_which_that_share_is_expected(tally: Tally) -> None:
    elo, share = Elo.of(tally), (tally.wins + tally.draws / 2) / tally.games
    wanted = (share, _wilson(share, tally.games, -1), _wilson(share, tally.games, 1))
    for rating, expected in zip((elo.difference, elo.low, elo.high), wanted, strict=True):
        assert 1 / (1 + 10 ** (-rating / 400)) == pytest.approx(expected, rel=1e-6)
    assert elo.as_dict() == {
        "score": share,
        "elo": elo.difference,
        "elo_interval": [elo.low, elo.high],
    }


def test_elo_is_infinite_if_one_won_everything() -> None:
    won, lost = Elo.of(Tally(wins=10)), Elo.of(Tally(losses=10))
    low = 400 * math.log10(10 / 1.959964**2)  # all of 10: the lowest share is 10 / (10 + z^2)
    assert won.low == pytest.approx(low)
    assert str(won) == "Elo +infinite, for every point was won (95%: +166 to +infinite)"
    assert str(lost) == "Elo -infinite, for no point was won (95%: -infinite to -166)"
    assert won.as_dict() == {"score": 1, "elo": None, "elo_interval": [won.low, None]}
