"""Estimates of the values of imagined states (Dreamer, Eq. 4 to 6).

A trajectory has H + 1 states s_t, ..., s_t+H with predicted rewards r and values v, on the leading
axis. As in the paper the value of a state contains its own reward, which is that of the step that
led to it. `discounts[i]` is what a value loses between s_t+i and s_t+i+1: gamma, times the
probability that the episode goes on after s_t+i, if that is predicted.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from armillary.errors import UsageError


def reward_sum(rewards: Float[Array, "states *batch"]) -> Float[Array, "states *batch"]:
    """Returns V_R, the undiscounted sum of rewards up to the horizon (Dreamer, Eq. 4).

    Args:
        rewards: of all H + 1 states.
    """
    return jnp.flip(jnp.cumsum(jnp.flip(rewards, axis=0), axis=0), axis=0)


def fixed_step_value(
    rewards: Float[Array, "states *batch"],
    values: Float[Array, "states *batch"],
    discounts: Float[Array, "steps *batch"],
    steps: int,
) -> Float[Array, "states *batch"]:
    """Returns V_N^k: k rewards, then the value (Dreamer, Eq. 5); at most up to the horizon.

    Args:
        rewards: of all H + 1 states; that of the last is in its value.
        values: v of all H + 1 states.
        discounts: H of them.
        steps: k; 0 gives the values themselves.
    """
    _check(rewards, values, discounts)
    if steps < 0:
        raise UsageError(f"steps is {steps}, but it must not be negative")

    def longer(estimates: Array, _: None) -> tuple[Array, None]:
        # one more reward before the estimate of the next state; the last state is the horizon
        return jnp.concatenate([rewards[:-1] + discounts * estimates[1:], values[-1:]]), None

    return jax.lax.scan(longer, values, length=min(steps, len(discounts)))[0]


def lambda_return(
    rewards: Float[Array, "states *batch"],
    values: Float[Array, "states *batch"],
    discounts: Float[Array, "steps *batch"],
    trace: float,
) -> Float[Array, "states *batch"]:
    """Returns V_lambda, the exponentially weighted mean of V_N^1, ..., V_N^H (Dreamer, Eq. 6).

    With weights (1 - lambda) lambda^(k-1) and lambda^(H-1) for the longest, which sum to one (the
    paper prints each power one higher). It is computed by its recursion from the horizon backwards,
    V_lambda(s) = r + discount ((1 - lambda) v(s') + lambda V_lambda(s')), V_lambda(s_t+H) = v.

    Args:
        rewards: as in `fixed_step_value`.
        values: likewise.
        discounts: likewise.
        trace: lambda. 0: V_N^1; 1: V_N^H.
    """
    _check(rewards, values, discounts)

    def step(following: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        reward, value, discount = inputs  # the value is the next state's
        estimate = reward + discount * ((1 - trace) * value + trace * following)
        return estimate, estimate

    inputs = (rewards[:-1], values[1:], discounts)
    _, estimates = jax.lax.scan(step, values[-1], inputs, reverse=True)
    return jnp.concatenate([estimates, values[-1:]])


def _check(rewards: Array, values: Array, discounts: Array) -> None:
    if rewards.shape != values.shape or discounts.shape != (len(values) - 1, *values.shape[1:]):
        raise UsageError(
            f"rewards of shape {rewards.shape}, values {values.shape} and discounts "
            f"{discounts.shape} do not match: expected H + 1 rewards and values, and H discounts"
        )
