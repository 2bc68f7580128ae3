"""Games that an agent plays against itself, many at once, compiled: moves, searches and storing."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from armillary.agents.base import Actor, Records
from armillary.agents.random import uniform
from armillary.envs.games import BOARD
from armillary.errors import UsageError
from armillary.replay.episode import Episode
from armillary.spec import MASK, Spec

if TYPE_CHECKING:
    import pgx

MOVES = 16
"""Moves of every game that are played in one call of the compiled program, at most."""
FEWEST = 16
"""Games of a round that are played at the same time, at the least: with fewer nothing is faster."""
PATIENCE = 1.0
"""Seconds that a call should take at most, so that a stop is heard; nothing else depends on it."""
OUTCOME = "outcome"
"""The record of the game's outcome, from the view of the player who is to move in a row."""


def self_play(
    game: pgx.Env,
    actor: Actor,
    state: Any,
    key: PRNGKeyArray,
    *,
    count: int,
    openings: int,
    on_step: Callable[[int], None] = lambda count: None,
) -> list[Episode]:
    """Plays games in which the actor moves for both players.

    A row is seen by the player who is to move; its action and reward are those of the player who
    moved before. Random openings are not part of an episode: its first row is the position from
    which the actor moves.

    Args:
        game: which, see `armillary.envs.games`.
        actor: who plays both sides, exploring.
        state: the actor's parameters.
        key: of everything random.
        count: games at the same time.
        openings: a game begins with 0 to so many random moves, as many as is drawn; none of them
            ends it.
        on_step: called now and then with the number of moves made; what it raises ends the games.

    Returns:
        The games as episodes, with the actor's records and the `outcome` of each row: 1 won, 0
        drawn, -1 lost, for the player to move.

    Raises:
        UsageError: the players do not take turns.
    """
    begin, go_on = _compiled(game, actor, count, openings)
    begin_key, play_key = jax.random.split(key)
    games = begin(begin_key)
    belief = actor.initial_belief(state, count)
    parts: list[dict[str, Any]] = []
    final = jax.tree.map(np.array, jax.device_get(seen(games)))
    who = np.arange(count)  # games that are still in the arrays
    step, playing, limit = 0, np.ones(count, bool), 1
    while playing.any():
        start = time.monotonic()
        games, belief, rows, after, left = go_on(
            state, games, belief, play_key, step, limit, fewer(len(who))
        )
        made, playing = int(after) - step, np.asarray(left)
        rows = jax.tree.map(lambda row, made=made: row[:made], jax.device_get(rows))
        parts.append(jax.tree.map(lambda row, who=who: _among(row, who, count), rows))
        on_step(int(rows["playing"].sum()))
        step += made
        seconds = max(time.monotonic() - start, 1e-6) / max(made, 1)
        limit = max(1, min(MOVES, 2 * limit, int(PATIENCE / seconds)))
        size = len(who)
        while (least := fewer(size)) and playing.sum() <= least:
            size = least
        if size < len(who) or not playing.any():
            for name, field in jax.device_get(seen(games)).items():
                final[name][who] = field
            stay = np.argsort(~playing, kind="stable")[:size]
            games, belief = jax.tree.map(lambda x, stay=stay: x[stay], (games, belief))
            who, playing = who[stay], playing[stay]
    rows = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    return [_episode(rows, final, number) for number in range(count)]


def fewer(count: int) -> int:
    """Returns how many games are played on alone once no more of `count` have not ended.

    Some games last much longer than most, and those that have ended cost as much as they do.
    """
    return count // 4 if count // 4 >= FEWEST else 0


def _among(row: np.ndarray, who: np.ndarray, count: int) -> np.ndarray:
    """Returns rows of some games among those of all, with zeros for the others."""
    if len(who) == count:
        return row
    all_ = np.zeros((len(row), count, *row.shape[2:]), row.dtype)
    all_[:, who] = row
    return all_


def beginning(
    game: pgx.Env, spec: Spec, count: int, openings: int
) -> Callable[[PRNGKeyArray], PyTree]:
    """Returns what begins games, each with 0 to `openings` random moves, none of which ends it."""

    def begin(key: PRNGKeyArray) -> PyTree:
        game_key, number_key, move_key = jax.random.split(key, 3)
        games = jax.vmap(game.init)(jax.random.split(game_key, count))
        number = jax.random.randint(number_key, (count,), 0, openings + 1)

        def move(i: Any, games: Any) -> Any:
            action = uniform(spec, seen(games), count, jax.random.fold_in(move_key, i))
            after = jax.vmap(game.step)(games, jnp.argmax(action, axis=-1))
            stays = (i >= number) | over(after)
            return jax.tree.map(lambda old, new: jnp.where(_as(stays, old), old, new), games, after)

        return jax.lax.fori_loop(0, openings, move, games) if openings else games

    return begin


@lru_cache(maxsize=4)
def _compiled(
    game: pgx.Env, actor: Actor, count: int, openings: int
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Returns the programs that begin games, and that play them on for `MOVES` moves."""
    spec, kept = actor.spec, actor.records if isinstance(actor, Records) else ()

    def move(state: Any, games: Any, belief: Any, key: PRNGKeyArray) -> Any:
        observation, each = seen(games), jnp.arange(len(games.current_player))
        belief, action, known = actor.act(state, belief, observation, key, True)
        after = jax.vmap(game.step)(games, jnp.argmax(action, axis=-1))
        rows = {
            "observation": observation,
            "action": action.astype(jnp.float32),
            "reward": after.rewards[each, games.current_player],
            "player": games.current_player,
            "playing": ~over(games),
            "records": {name: known[name].astype(jnp.float32) for name in kept},
        }
        return after, belief, rows

    def go_on(
        state: Any, games: Any, belief: Any, key: PRNGKeyArray, first: Any, limit: Any, least: Any
    ) -> Any:
        like = jax.eval_shape(move, state, games, belief, key)[2]
        buffer = jax.tree.map(lambda x: jnp.zeros((MOVES, *x.shape), x.dtype), like)

        def unfinished(carry: Any) -> Any:
            games, _, _, i = carry
            return (i < limit) & ((~over(games)).sum() > least)

        def body(carry: Any) -> Any:
            games, belief, buffer, i = carry
            games, belief, rows = move(state, games, belief, jax.random.fold_in(key, first + i))
            buffer = jax.tree.map(lambda all_, new: all_.at[i].set(new), buffer, rows)
            return games, belief, buffer, i + 1

        games, belief, buffer, i = jax.lax.while_loop(unfinished, body, (games, belief, buffer, 0))
        return games, belief, buffer, first + i, ~over(games)

    return jax.jit(beginning(game, spec, count, openings)), jax.jit(go_on)


def seen(games: Any) -> dict[str, Any]:
    """Returns what the players who are to move observe."""
    return {BOARD: games.observation, MASK: games.legal_action_mask}


def over(games: Any) -> Any:
    """Returns which games have ended."""
    return games.terminated | games.truncated


def _as(condition: Any, like: Any) -> Any:
    return condition.reshape(*condition.shape, *[1] * (like.ndim - 1))


def _episode(rows: dict[str, Any], final: dict[str, Any], number: int) -> Episode:
    """Returns one game as an episode."""
    moves = int(rows["playing"][:, number].sum())
    if not moves:
        raise UsageError("a game was over before its first move: let it begin with a move to make")
    player = rows["player"][:moves, number]
    if (player[1:] == player[:-1]).any():
        raise UsageError(
            "a player of this game moves twice in a row, but muzero plays games in which two "
            "players take turns: give the game an action that passes"
        )
    won = rows["reward"][moves - 1, number]  # by who moved last; pgx forgets it if stepped on
    reward = rows["reward"][:moves, number]
    if reward[:-1].any() or won not in (-1, 0, 1):
        raise UsageError(
            f"a game paid {reward[reward != 0][0]:g} at move {1 + np.flatnonzero(reward)[0]} of "
            f"{moves}, but what counts is who wins: let it pay 1 to the winner and -1 to the "
            "loser, or 0 to both, at its end and nothing before"
        )
    outcome = np.where(np.append(player, 1 - player[-1]) == player[-1], won, -won)

    def following(row: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros_like(row[:1]), row])

    def known(row: np.ndarray) -> np.ndarray:
        return np.concatenate([row, np.zeros_like(row[:1])])

    return Episode(
        observation={
            name: np.concatenate([row[:moves, number], final[name][number][None]])
            for name, row in rows["observation"].items()
        },
        action=following(rows["action"][:moves, number]),
        reward=following(rows["reward"][:moves, number]).astype(np.float32),
        terminal=True,
        records={
            **{name: known(row[:moves, number]) for name, row in rows["records"].items()},
            OUTCOME: outcome.astype(np.float32),
        },
    )
