"""Many games of one kind side by side, which end and branch: what the judges play on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from armillary.agents.base import Actor
from armillary.envs.games import BOARD
from armillary.errors import UsageError
from armillary.spec import MASK
from armillary.training.rollout import compiled

if TYPE_CHECKING:
    import pgx

BATCH = 256
"""Games for which a program is compiled; fewer are filled up with copies, more take several."""


@dataclass(frozen=True)
class Table:
    """Games side by side: everything has a leading axis `game`, and lies in the host's memory.

    Attributes:
        rules: of the game.
        states: pgx's.
        moves: of each game so far.
        beliefs: the actor's; None where nobody has one.
    """

    rules: pgx.Env
    states: Any
    moves: tuple[tuple[int, ...], ...]
    beliefs: Any = None

    @classmethod
    def begin(cls, rules: pgx.Env, count: int = 1, beliefs: Any = None) -> Table:
        """Returns games that begin; player 0 of pgx's moves first in all of them."""
        init, _ = _programs(rules)
        # Which of pgx's players begins is drawn from the key, and means nothing here.
        keys = jax.random.split(jax.random.key(0), 64)
        states = jax.device_get(init(keys))
        first = int(np.flatnonzero(states.current_player == 0)[0])
        table = cls(rules, states, ((),) * 64, None)
        return table.take(np.full(count, first)).believing(beliefs)

    def __len__(self) -> int:
        return len(self.moves)

    def take(self, rows: Int[np.ndarray, " game"]) -> Table:
        """Returns some of the games, each as often as it is named."""
        states, beliefs = jax.tree.map(lambda x: x[rows], (self.states, self.beliefs))
        return Table(self.rules, states, tuple(self.moves[i] for i in rows), beliefs)

    def believing(self, beliefs: Any) -> Table:
        """Returns the games with other beliefs of the actor."""
        return Table(self.rules, self.states, self.moves, beliefs)

    @property
    def mover(self) -> Int[np.ndarray, " game"]:
        """The number of the player to move: 0 is who began."""
        return self.states.current_player

    @property
    def over(self) -> Bool[np.ndarray, " game"]:
        """Which games have ended."""
        return self.states.terminated | self.states.truncated

    @property
    def rewards(self) -> Float[np.ndarray, "game player"]:
        """What the last moves paid to each player."""
        return self.states.rewards

    @property
    def legal(self) -> Bool[np.ndarray, "game action"]:
        """The legal moves."""
        return self.states.legal_action_mask

    def play(self, actions: Int[np.ndarray, " game"]) -> Table:
        """Returns the games after one move in each."""
        _, step = _programs(self.rules)
        states = in_batches(step, self.states, np.asarray(actions, np.int32))
        moves = tuple(
            (*before, int(a)) for before, a in zip(self.moves, actions.tolist(), strict=True)
        )
        return Table(self.rules, states, moves, self.beliefs)

    def branches(self) -> Table:
        """Returns the games after every legal move of each."""
        rows, actions = np.nonzero(self.legal)
        return self.take(rows).play(actions)

    def act(
        self, actor: Actor, state: Any, key: PRNGKeyArray, step: int
    ) -> tuple[Table, Int[np.ndarray, " game"]]:
        """Returns the games with the actor's new beliefs, and its noise-free moves.

        Args:
            actor: who is to move in all of them.
            state: its parameters.
            key: of what it draws.
            step: the number of the actor's move, which makes another key.
        """
        act = compiled(actor)
        observation = {BOARD: self.states.observation, MASK: self.legal}
        batch = iter(range(len(self)))

        def moves(beliefs: Any, observation: Any) -> Any:
            own = jax.random.fold_in(key, next(batch))
            beliefs, action, _ = act(state, beliefs, observation, own, step, explore=False)
            return beliefs, action

        beliefs, action = in_batches(moves, self.beliefs, observation)
        return self.believing(beliefs), actor.spec.own_action(action)


def in_batches(function: Callable[..., Any], *trees: Any, size: int = BATCH) -> Any:
    """Returns what a function gives for rows of any number, always called with `size` of them.

    Args:
        function: takes and returns PyTrees of arrays with a leading axis of `size`.
        trees: what it takes; at least one row.
        size: rows of a call. What is missing in the last one are copies of its first row.
    """
    count = len(jax.tree.leaves(trees)[0])
    parts = []
    for first in range(0, count, size):
        rows = np.minimum(np.arange(first, first + size), count - 1)
        given = jax.tree.map(lambda x, rows=rows: x[rows], trees)
        parts.append(jax.device_get(function(*given)))
    return jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)


def turns(table: Table, actor: Actor, state: Any, first: bool, limit: int) -> Iterator[Table]:
    """Yields games as they end, in which the opponent makes every move that is legal.

    Args:
        table: games that begin.
        actor: plays one side, without exploration.
        state: its parameters.
        first: whether it moves first.
        limit: games at the same time, after which it is given up.

    Raises:
        UsageError: there are more.
    """
    key, step = jax.random.key(0), 0
    if not first:
        table = table.branches()
    while len(table):
        table, actions = table.act(actor, state, key, step)
        step += 1
        table = table.play(actions)
        yield table.take(np.flatnonzero(table.over))
        table = table.take(np.flatnonzero(~table.over))
        if np.sum(table.legal) > limit:
            raise UsageError(
                f"there are more than {limit:,} lines of this game: too many to play every one"
            )
        if len(table):
            table = table.branches()
            yield table.take(np.flatnonzero(table.over))
            table = table.take(np.flatnonzero(~table.over))


@cache
def _programs(rules: pgx.Env) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return jax.jit(jax.vmap(rules.init)), jax.jit(jax.vmap(rules.step))
