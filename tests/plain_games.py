"""Tic-tac-toe and connect four written plainly, and perfect play: oracles for the board games."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from armillary.spec import Spec

Cells = tuple[int, ...]
"""0 empty, 1 who began, 2 the other, from the top left."""

_LINES = (
    (0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6),
)  # fmt: skip


def to_move(cells: Cells) -> int:
    """Returns 1 or 2."""
    return 1 + sum(cell > 0 for cell in cells) % 2


def legal(cells: Cells) -> list[int]:
    return [i for i, cell in enumerate(cells) if cell == 0]


def after(cells: Cells, move: int) -> Cells:
    return (*cells[:move], to_move(cells), *cells[move + 1 :])


def winner(cells: Cells) -> int:
    """Returns who has three in a row in tic-tac-toe; 0: nobody."""
    return next((cells[a] for a, b, c in _LINES if 0 < cells[a] == cells[b] == cells[c]), 0)


def over(cells: Cells) -> bool:
    return winner(cells) > 0 or all(cells)


@cache
def worth(cells: Cells) -> int:
    """Returns the outcome of perfect play for who is to move: 1, 0 or -1."""
    if over(cells):
        return -1 if winner(cells) else 0
    return max(-worth(after(cells, move)) for move in legal(cells))


def best(cells: Cells) -> int:
    return max(legal(cells), key=lambda move: -worth(after(cells, move)))


def lines(choose: Callable[[Cells], int], player: int, cells: Cells = (0,) * 9) -> tuple[int, int]:
    """Returns how many games a player loses against every reply, and how many there are."""
    if over(cells):
        return int(winner(cells) == 3 - player), 1
    moves = [choose(cells)] if to_move(cells) == player else legal(cells)
    found = [lines(choose, player, after(cells, move)) for move in moves]
    return sum(lost for lost, _ in found), sum(count for _, count in found)


def four(board: np.ndarray) -> bool:
    """Whether there are four in a row on a (6, 7) board of one player's stones."""
    return any(
        all(
            0 <= row + i * a < 6 and 0 <= column + i * b < 7 and board[row + i * a, column + i * b]
            for i in range(4)
        )
        for row in range(6)
        for column in range(7)
        for a, b in ((0, 1), (1, 0), (1, 1), (1, -1))
    )


@dataclass(frozen=True)
class Chooses:
    """An actor of tic-tac-toe that looks its moves up: those of `choose`, for all positions."""

    spec: Spec
    choose: Callable[[Cells], int]

    def initial_belief(self, state: Any, environments: int) -> Any:
        return jnp.zeros(environments, jnp.int32)

    def act(self, state: Any, belief: Any, observation: Any, key: Any, explore: bool) -> Any:
        """Counts its moves, too, as its belief; its value is nonsense that can be recognised."""
        planes = observation["board"].reshape(-1, 9, 2)
        stones = planes.sum(axis=(1, 2))
        mine, theirs = planes[..., 0], planes[..., 1]
        began = (stones % 2 == 0)[:, None]
        cells = jnp.where(began, mine + 2 * theirs, 2 * mine + theirs)
        number = jnp.sum(cells * 3 ** jnp.arange(9), axis=1)
        move = jnp.asarray(_table(self.choose))[number]
        visits = jax.nn.one_hot(move, 9) * 7 + jax.nn.one_hot(8, 9)
        known = {"value": belief + 0.5, "visits": visits, "variation": jnp.stack([move] * 2, 1)}
        return belief + 1, jax.nn.one_hot(move, 9), known


@cache
def _table(choose: Callable[[Cells], int]) -> np.ndarray:
    def fill(cells: Cells) -> None:
        number = sum(cell * 3**i for i, cell in enumerate(cells))
        if table[number] < 0 and not over(cells):
            table[number] = choose(cells)
            for move in legal(cells):
                fill(after(cells, move))

    table = np.full(3**9, -1)
    fill((0,) * 9)
    return table


def first_legal(cells: Cells) -> int:
    return legal(cells)[0]
