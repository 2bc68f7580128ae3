"""A small game: twelve matches, a move takes one to three, and who takes the last one wins.

Who begins loses against the best play, which leaves a multiple of four.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pgx
from pgx.core import State, dataclass


@dataclass
class Heap(State):
    """What pgx asks of every game, and the matches that are left."""

    current_player: jax.Array = jnp.int32(0)
    observation: jax.Array = jnp.zeros((1, 12, 1), bool)
    rewards: jax.Array = jnp.zeros(2)
    terminated: jax.Array = jnp.bool_(False)
    truncated: jax.Array = jnp.bool_(False)
    legal_action_mask: jax.Array = jnp.ones(3, bool)
    _step_count: jax.Array = jnp.int32(0)
    matches: jax.Array = jnp.int32(12)

    @property
    def env_id(self) -> str:
        return "matches"


class Matches(pgx.Env):
    """Take one, two or three of twelve matches; who takes the last one wins."""

    id, version, num_players = "matches", "1", 2

    def _init(self, key: Any) -> Heap:
        return Heap(current_player=jax.random.bernoulli(key).astype(jnp.int32))

    def _step(self, state: Any, action: Any, key: Any) -> Any:
        matches = state.matches - (action + 1)
        over = matches == 0
        paid = -jnp.ones(2).at[state.current_player].set(-1)  # 1 to who moved, -1 to the other
        return state.replace(
            current_player=1 - state.current_player,
            matches=matches,
            rewards=jnp.where(over, paid, 0),
            terminated=over,
            legal_action_mask=jnp.arange(1, 4) <= matches,
        )

    def _observe(self, state: Any, player_id: Any) -> Any:
        return (jnp.arange(12) < state.matches).reshape(1, 12, 1)


def create() -> pgx.Env:
    """Makes the game: the task `matches:create`."""
    return Matches()
