"""The cross-entropy method over action sequences (PlaNet, Algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.config import PlannerConfig

Evaluate = Callable[
    [Float[Array, "candidates horizon action"], PRNGKeyArray], Float[Array, " candidates"]
]


class Plan(NamedTuple):
    """A belief over action sequences.

    Attributes:
        mean: mu of each action of the horizon; the first is the one to take.
        std: sigma of each action of the horizon.
        predicted_return: the return predicted for the best candidate of the last iteration.
    """

    mean: Float[Array, "horizon action"]
    std: Float[Array, "horizon action"]
    predicted_return: Float[Array, ""]


def cem(
    evaluate: Evaluate,
    key: PRNGKeyArray,
    *,
    action_size: int,
    config: PlannerConfig,
    low: float | Float[Array, " action"] = -1.0,
    high: float | Float[Array, " action"] = 1.0,
) -> Plan:
    """Searches for the action sequence of the highest return (PlaNet, Algorithm 2).

    Compiles under `jax.jit`; map it with `jax.vmap` over keys (and whatever `evaluate` closes
    over) to plan for several environments at once. A candidate whose return is NaN counts as the
    worst.

    Args:
        evaluate: predicts the return of each of J candidate sequences, from a key of its own.
        key: of all that is random in the plan.
        action_size: entries of an action, A.
        config: horizon H, iterations I, candidates J, elites K and how to refit.
        low: candidates are clipped to this bound before they are evaluated and refitted.
        high: likewise.
    """
    shape = (config.candidates, config.horizon, action_size)

    def iteration(
        belief: tuple[Array, Array], key: PRNGKeyArray
    ) -> tuple[tuple[Array, Array], Array]:
        mean, std = belief
        sample_key, evaluate_key = jax.random.split(key)
        noise = jax.random.normal(sample_key, shape)
        candidates = jnp.clip(mean + std * noise, low, high)
        returns = evaluate(candidates, evaluate_key)
        returns = jnp.where(jnp.isnan(returns), -jnp.inf, returns)
        best, indices = jax.lax.top_k(returns, config.elites)
        return _refit(candidates[indices], config.refit), best[0]

    first = jnp.zeros(shape[1:]), jnp.ones(shape[1:])
    keys = jax.random.split(key, config.iterations)
    (mean, std), best = jax.lax.scan(iteration, first, keys)
    return Plan(mean, std, best[-1])


def _refit(
    elites: Float[Array, "elites horizon action"], refit: str
) -> tuple[Float[Array, "horizon action"], Float[Array, "horizon action"]]:
    """Returns the mean and the spread of the best candidates (Algorithm 2, line 8)."""
    mean = jnp.mean(elites, axis=0)
    if refit == "mad":
        return mean, jnp.sum(jnp.abs(elites - mean), axis=0) / (elites.shape[0] - 1)
    return mean, jnp.std(elites, axis=0)
