"""With the true game as its model the search alone plays endgames as they should be played."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pgx
import pytest

from armillary.config.muzero import SearchConfig
from armillary.search.tree import Root, search

LINES = ["012", "345", "678", "036", "147", "258", "048", "246"]


def _won(board: str) -> bool:
    """Whether who moved last has a line."""
    mover = "xo"[(9 - board.count(".") + 1) % 2]
    return any(all(board[int(i)] == mover for i in line) for line in LINES)


@cache
def _worth(board: str) -> int:
    """Returns the outcome under perfect play for the player to move."""
    if _won(board):
        return -1
    if "." not in board:
        return 0
    return max(-_worth(_after(board, move)) for move in range(9) if board[move] == ".")


def _after(board: str, move: int) -> str:
    return board[:move] + "xo"[(9 - board.count(".")) % 2] + board[move + 1 :]


def _endgames(moves: int, count: int) -> list[tuple[str, list[int]]]:
    """Returns different positions after some moves that are not over, and how they came about."""
    random, found = np.random.default_rng(moves), {}
    while len(found) < count:
        board, order = "." * 9, random.permutation(9)[:moves].tolist()
        for move in order:
            board = _after(board, move) if not _won(board) else board
        if not _won(board) and board.count(".") == 9 - moves:
            found[board] = order
    return list(found.items())


@pytest.mark.parametrize("algorithm", ["muzero", "gumbel"])
def test_tic_tac_toe_is_played_perfectly_near_its_end(algorithm: Any) -> None:
    """Nothing that is won is given away, nothing that is drawn is lost, in 80 positions."""
    env = pgx.make("tic_tac_toe")
    step = jax.vmap(env.step)

    def model(_: None, state: Any, action: Any) -> Any:
        following = step(state, action)
        reward = jnp.take_along_axis(following.rewards, state.current_player[:, None], axis=1)
        zeros = jnp.zeros(action.shape)
        return following, reward[:, 0], jnp.where(following.legal_action_mask, 0.0, -1e9), zeros

    @jax.jit
    def solve(orders: Any) -> Any:
        state = jax.vmap(env.init)(jax.random.split(jax.random.key(0), len(orders)))
        state = jax.lax.fori_loop(0, orders.shape[1], lambda i, s: step(s, orders[:, i]), state)
        zeros = jnp.zeros(len(orders))
        root = Root(jnp.zeros((len(orders), 9)), zeros, state)
        settings = SearchConfig(simulations=150, algorithm=algorithm)
        return search(
            model, None, root, jax.random.key(1), settings, legal=state.legal_action_mask, players=2
        )[:5]

    positions = _endgames(5, 80)
    action, *_ = solve(jnp.array([order for _, order in positions]))
    worth = np.array([_worth(board) for board, _ in positions])
    assert {-1, 0, 1} == set(worth.tolist())
    after = [
        -_worth(_after(board, int(a))) for (board, _), a in zip(positions, action, strict=True)
    ]
    np.testing.assert_array_equal(after, worth)
