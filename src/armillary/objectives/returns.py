"""What an unrolled model is trained to predict (MuZero, slide 5), of rows that were played.

Rows are those of an episode from the one that the model is unrolled from, row 0; they have
`action[t]` and `reward[t]` that *led* to row t. State k of the unrolled model is row k, so there
are K + 1 states. The rows past the end of an episode are not `valid`, and nothing is read of them.

An episode ends in one of two ways. After a termination (`terminal` in its last row) states are
absorbing: reward and value 0, or the outcome of a game, and the model learns that. A time limit's
cut says nothing of what would have come: rewards and values past it do not count.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from armillary.errors import UsageError


class Targets(NamedTuple):
    """What the K + 1 states of an unrolled model predict, and which of it counts in the loss.

    Attributes:
        value: z_k, from the view of the player to move in row k.
        reward: that led to row k; 0 of state 0, which no step of the model led to.
        policy: that of the search in row k.
        values: where the value counts.
        rewards: where the reward counts; never that of state 0.
        policies: where the policy counts: in rows that were searched.
    """

    value: Float[Array, "batch states"]
    reward: Float[Array, "batch states"]
    policy: Float[Array, "batch states actions"]
    values: Bool[Array, "batch states"]
    rewards: Bool[Array, "batch states"]
    policies: Bool[Array, "batch states"]


def value_targets(
    reward: Float[Array, "batch rows"],
    value: Float[Array, "batch rows"],
    valid: Bool[Array, "batch rows"],
    terminal: Bool[Array, "batch rows"],
    *,
    steps: int,
    discount: float,
    unroll: int,
    estimated: Bool[Array, "batch rows"] | None = None,
) -> tuple[Float[Array, "batch states"], Bool[Array, "batch states"]]:
    """Returns z_k = u_k+1 + ... + gamma^(n-1) u_k+n + gamma^n v_k+n, and where it counts.

    After a termination it is the sum of the rewards that are left, and 0 from the last row on. At
    a time limit's cut before row k + n it is bootstrapped by the last row that has a value, with
    as many rewards as lie between: the last row's own, if its observation was searched or
    evaluated, too. Past that row nothing is known, and z does not count.

    Args:
        reward: u, at least K + n + 1 rows.
        value: v of each row: the search's, or a network's. That of a terminal row is not used.
        valid: which rows are of the episode.
        terminal: whether the environment ended the episode with a row.
        steps: n.
        discount: gamma.
        unroll: K.
        estimated: which rows have a value. None: all that are valid.

    Raises:
        UsageError: there are fewer rows.
    """
    rows, states = reward.shape[1], jnp.arange(unroll + 1)
    if rows < unroll + steps + 1:
        raise UsageError(
            f"there are {rows} rows from the state that is unrolled, but values of {unroll} "
            f"unrolled steps with {steps} rewards each need {unroll + steps + 1}: read more"
        )
    ended = jnp.any(terminal & valid, axis=1, keepdims=True)
    estimated = valid if estimated is None else estimated & valid
    last = jnp.max(jnp.where(estimated, jnp.arange(rows), -1), axis=1, keepdims=True)
    at = jnp.where(ended, states + steps, jnp.minimum(states + steps, last))  # of the bootstrap
    value = jnp.where(valid & ~terminal, value, 0.0)
    reward = jnp.where(valid, reward, 0.0)
    ahead = states[:, None] + 1 + jnp.arange(steps)
    powers = discount ** jnp.arange(steps, dtype=reward.dtype)
    counted = jnp.where(ahead <= at[..., None], powers * reward[:, ahead], 0.0)
    bootstrap = jnp.take_along_axis(value, jnp.maximum(at, 0), axis=1)
    z = jnp.sum(counted, axis=-1) + discount ** (at - states).astype(value.dtype) * bootstrap
    known = ended | (states <= last)
    return jnp.where(known, z, 0.0), known


def general_targets(
    reward: Float[Array, "batch rows"],
    value: Float[Array, "batch rows"],
    policy: Float[Array, "batch rows actions"],
    searched: Bool[Array, "batch rows"],
    valid: Bool[Array, "batch rows"],
    terminal: Bool[Array, "batch rows"],
    *,
    steps: int,
    discount: float,
    unroll: int,
    estimated: Bool[Array, "batch rows"] | None = None,
) -> Targets:
    """Returns the targets of a task with rewards, for one player.

    Args:
        reward: as in `value_targets`.
        value: likewise.
        policy: that of the search in each row.
        searched: which rows have a policy: those after which an action was chosen by a search.
        valid: as in `value_targets`.
        terminal: likewise.
        steps: likewise.
        discount: likewise.
        unroll: likewise.
        estimated: likewise.

    Raises:
        UsageError: there are too few rows.
    """
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
    states = slice(unroll + 1)
    ended = jnp.any(terminal & valid, axis=1, keepdims=True)
    return Targets(
        value=z,
        reward=jnp.where(valid, reward, 0.0)[:, states].at[:, 0].set(0.0),
        policy=policy[:, states],
        values=known,
        rewards=(valid | ended)[:, states].at[:, 0].set(False),
        policies=(searched & valid & ~terminal)[:, states],
    )


def game_targets(
    outcome: Float[Array, " batch"],
    policy: Float[Array, "batch rows actions"],
    searched: Bool[Array, "batch rows"],
    valid: Bool[Array, "batch rows"],
    terminal: Bool[Array, "batch rows"],
    *,
    unroll: int,
) -> Targets:
    """Returns the targets of a game of two players, which has no rewards before its end.

    z_k = (-1)^k z_0, *past the end, too*: a model without rewards tells a won game by nothing but
    the values of its absorbing states, and with zeros there a search would never see a win.

    Rows that were not searched because the game was opened at random (before its end) count in
    neither values nor policies: what came of them says nothing of how one would have played.

    Args:
        outcome: z_0: how the game ended, from the view of the player to move in row 0.
        policy: that of the search in each row, at least K + 1 rows.
        searched: which rows have a policy.
        valid: which rows are of the game.
        terminal: the last row of the game.
        unroll: K.
    """
    states = slice(unroll + 1)
    searched, valid, terminal = (x[:, states] for x in (searched, valid, terminal))
    signs = (-1.0) ** jnp.arange(unroll + 1)
    return Targets(
        value=outcome[:, None] * signs,
        reward=jnp.zeros(valid.shape),
        policy=policy[:, states],
        values=searched | terminal | ~valid,
        rewards=jnp.zeros_like(valid),
        policies=searched & valid & ~terminal,
    )


def outcomes(
    reward: Float[Array, "batch rows"], valid: Bool[Array, "batch rows"]
) -> Float[Array, "batch rows"]:
    """Returns how each game ended, from the view of the player to move in each row.

    In the last row that is not who moved last, whose reward it is.

    Args:
        reward: from the view of who made the move that led to a row; all rows of the games.
        valid: which rows are of the game, its last among them.
    """
    rows = jnp.arange(reward.shape[1])
    last = jnp.max(jnp.where(valid, rows, 0), axis=1, keepdims=True)
    final = jnp.take_along_axis(reward, last, axis=1)
    return jnp.where((last - rows) % 2 == 0, -final, final)


def priorities(
    value: Float[Array, " batch"], target: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    """Returns |v - z|, in proportion to whose power steps are drawn again.

    Args:
        value: v of row 0: the search's when it was played, or a later one.
        target: z_0.
    """
    return jnp.abs(value - target)
