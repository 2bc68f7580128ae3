"""Two actors against each other, many games at once, compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from armillary import seeding
from armillary.agents.base import Actor
from armillary.training.selfplay import beginning, over, seen

if TYPE_CHECKING:
    import pgx

SIDE_BY_SIDE = 64
"""Pairs of games that are played at the same time, at most."""


class Side(NamedTuple):
    """A player: an actor of the game, and its parameters."""

    actor: Actor
    state: Any


def arena(
    game: pgx.Env,
    sides: tuple[Side, Side],
    *,
    pairs: int,
    openings: int,
    seed: int,
    on_step: Callable[[], None] = lambda: None,
) -> Float[np.ndarray, "2 pairs"]:
    """Plays games in pairs, without exploration.

    The two games of a pair begin with the same random moves. In one of them the first side moves
    then, in the other the second.

    Args:
        game: which, see `armillary.envs.games`.
        sides: who plays.
        pairs: how many.
        openings: a game begins with 0 to so many random moves, as many as is drawn; none of them
            ends it.
        seed: of the openings, and of what the actors draw.
        on_step: called after each move of all games; what it raises ends them.

    Returns:
        What each game paid to the first side: 1, 0 or -1; first those in which it moved first.
    """
    count = min(pairs, SIDE_BY_SIDE)
    begin = _begin(game, sides[0].actor, count, openings)
    paid = []
    for number in range(-(-pairs // count)):
        start = begin(seeding.key(seed, "arena", number))
        paid.append(_play(game, sides, start, count, seeding.key(seed, "play", number), on_step))
    return np.concatenate(paid, axis=1)[:, :pairs]


def _play(
    game: pgx.Env,
    sides: tuple[Side, Side],
    start: Any,
    count: int,
    key: PRNGKeyArray,
    on_step: Callable[[], None],
) -> Float[np.ndarray, "2 pairs"]:
    """Plays games to their end: those in which the first side moves first, and the others."""
    games = [start, start]
    beliefs = [[side.actor.initial_belief(side.state, count) for _ in games] for side in sides]
    paid = np.zeros((2, count))
    step = 0
    while not all(over(both).all() for both in games):
        for number, side in enumerate(sides):
            which = (number + step) % 2  # of the games, those in which it is this side's turn
            games[which], beliefs[number][which], won = _move(game, side.actor)(
                side.state, games[which], beliefs[number][which], jax.random.fold_in(key, step)
            )
            paid[which] += np.asarray(won) * (1 - 2 * number)
        step += 1
        on_step()
    return paid


@lru_cache(maxsize=4)
def _begin(game: pgx.Env, actor: Actor, count: int, openings: int) -> Callable[..., Any]:
    """Returns the program that begins games."""
    return jax.jit(beginning(game, actor.spec, count, openings))


@lru_cache(maxsize=8)
def _move(game: pgx.Env, actor: Actor) -> Callable[..., Any]:
    """Returns the program of a move, the same for equal actors, which gives what it paid to them.

    Games that have ended pay nothing more.
    """

    def move(state: Any, games: Any, belief: Any, key: PRNGKeyArray) -> Any:
        belief, action, _ = actor.act(state, belief, seen(games), key, False)
        after = jax.vmap(game.step)(games, jnp.argmax(action, axis=-1))
        mover = games.current_player
        won = jnp.take_along_axis(after.rewards, mover[:, None], axis=1)[:, 0]
        return after, belief, jnp.where(over(games), 0, won)

    return jax.jit(move)
