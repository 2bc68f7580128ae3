"""The judge of small games: an actor against every possible reply of its opponent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from armillary.agents.base import Actor
from armillary.training.judges.table import BATCH, Table, turns

if TYPE_CHECKING:
    import pgx

_EXAMPLES = 5
"""Lines that are shown."""


@dataclass(frozen=True)
class LosingLines:
    """Games of one actor against every reply of its opponent, and how many of them it lost.

    Attributes:
        first: games lost that it began.
        second: games lost that its opponent began.
        lines: games in all.
        lost: the moves of some lost games, for a closer look.
    """

    first: int
    second: int
    lines: int
    lost: tuple[tuple[int, ...], ...] = ()

    @property
    def score(self) -> float:
        """Lines lost in all."""
        return float(self.first + self.second)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, ready for JSON."""
        lost = [list(moves) for moves in self.lost]
        return {"first": self.first, "second": self.second, "lines": self.lines, "lost": lost}

    def __str__(self) -> str:
        return (
            f"losing lines: {self.first} as first player, {self.second} as second, of {self.lines} "
            "against every possible reply"
        )


def losing_lines(actor: Actor, state: Any, rules: pgx.Env, *, limit: int = 100_000) -> LosingLines:
    """Plays an actor, without exploration, against every sequence of replies.

    Equal positions of different lines are played separately, so an actor that draws at random, or
    believes something of the past, is judged as it plays.

    Args:
        actor: who is judged.
        state: its parameters.
        rules: of a small game (tic-tac-toe has about 700 lines).
        limit: lines at the same time, after which it is given up.

    Raises:
        UsageError: the game is too large.
    """
    lost: dict[bool, list[tuple[int, ...]]] = {}
    lines = 0
    for first in (True, False):
        beliefs = jax.device_get(actor.initial_belief(state, BATCH))
        beliefs = jax.tree.map(lambda x: np.asarray(x)[:1], beliefs)
        lost[first] = []
        for over in turns(Table.begin(rules, 1, beliefs), actor, state, first, limit):
            lines += len(over)
            player = 0 if first else 1
            lost[first] += [over.moves[i] for i in np.flatnonzero(over.rewards[:, player] < 0)]
    examples = (*lost[True][:_EXAMPLES], *lost[False][:_EXAMPLES])
    return LosingLines(len(lost[True]), len(lost[False]), lines, examples)
