"""The cross-entropy method over action sequences (PlaNet, Algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.config import PlannerConfig

Evaluate = Callable[
    [Float[Array, "candidates horizon action"], PRNGKeyArray], Float[Array, " candidates"]
]
HostEvaluate = Callable[
    [Float[np.ndarray, "candidates horizon action"], PRNGKeyArray],
    Float[np.ndarray, " candidates"],
]
Bound = float | Float[Array, ""] | Float[Array, " action"] | Float[np.ndarray, " action"]


class Plan(NamedTuple):
    """A belief over action sequences; arrays of JAX, or of NumPy from `cem_on_host`.

    Attributes:
        mean: mu of each action of the horizon; the first is the one to take.
        std: sigma of each action of the horizon.
        predicted_return: the return predicted for `mean`.
    """

    mean: Float[Array, "horizon action"]
    std: Float[Array, "horizon action"]
    predicted_return: Float[Array, ""]


class _Belief(NamedTuple):
    mean: Float[Array, "horizon action"]
    std: Float[Array, "horizon action"]


class Trace(NamedTuple):
    """What a search weighed, iteration by iteration.

    Attributes:
        candidates: J action sequences of each iteration, as they were evaluated.
        returns: predicted for each of them.
        mean: mu after each iteration.
        std: sigma after each iteration; before the first it is 1.
    """

    candidates: Float[Array, "iterations candidates horizon action"]
    returns: Float[Array, "iterations candidates"]
    mean: Float[Array, "iterations horizon action"]
    std: Float[Array, "iterations horizon action"]


def cem(
    evaluate: Evaluate,
    key: PRNGKeyArray,
    *,
    action_size: int,
    config: PlannerConfig,
    low: Bound = -1.0,
    high: Bound = 1.0,
    mean: Float[Array, "horizon action"] | None = None,
    proposals: Float[Array, "proposals horizon action"] | None = None,
) -> Plan:
    """Searches for the action sequence of the highest return (PlaNet, Algorithm 2).

    Compiles under `jax.jit`; map it with `jax.vmap` over keys (and whatever `evaluate` closes
    over) to plan for several environments at once. A candidate whose return is NaN counts as the
    worst. With one iteration and one elite it is random shooting: the best candidate is the plan.

    Args:
        evaluate: predicts the return of each of J candidate sequences, from a key of its own.
        key: of all that is random in the plan.
        action_size: entries of an action, A.
        config: horizon H, iterations I, candidates J, elites K and how to refit.
        low: candidates are clipped to this bound before they are evaluated and refitted.
        high: likewise.
        mean: of the belief that the plan begins with; None: zero (line 1).
        proposals: M sequences within the bounds that stand in the place of the last M candidates
            of every iteration; at most J. What is drawn does not depend on them.
    """
    return _search(evaluate, key, action_size, config, low, high, mean, proposals, False)[0]


def cem_trace(
    evaluate: Evaluate,
    key: PRNGKeyArray,
    *,
    action_size: int,
    config: PlannerConfig,
    low: Bound = -1.0,
    high: Bound = 1.0,
    mean: Float[Array, "horizon action"] | None = None,
    proposals: Float[Array, "proposals horizon action"] | None = None,
) -> tuple[Plan, Trace]:
    """Returns the plan that `cem` returns for the same arguments, and how it came to it."""
    plan, trace = _search(evaluate, key, action_size, config, low, high, mean, proposals, True)
    assert trace is not None
    return plan, trace


def _search(
    evaluate: Evaluate,
    key: PRNGKeyArray,
    action_size: int,
    config: PlannerConfig,
    low: Bound,
    high: Bound,
    mean: Float[Array, "horizon action"] | None,
    proposals: Float[Array, "proposals horizon action"] | None,
    traced: bool,
) -> tuple[Plan, Trace | None]:
    """Returns the plan of `cem`, and how it came to it if that is asked for."""

    def iteration(belief: _Belief, key: PRNGKeyArray) -> tuple[_Belief, Trace | None]:
        sample_key, evaluate_key = jax.random.split(key)
        candidates = _sample(belief, sample_key, low, high, config)
        if proposals is not None:
            drawn = candidates[: config.candidates - len(proposals)]
            candidates = jnp.concatenate([drawn, proposals])
        returns = evaluate(candidates, evaluate_key)
        belief = _refit(candidates, returns, config)
        return belief, Trace(candidates, returns, *belief) if traced else None

    keys = jax.random.split(key, config.iterations)
    first = _first(action_size, config)
    first = first if mean is None else first._replace(mean=mean)
    belief, trace = jax.lax.scan(iteration, first, keys)
    last_key = jax.random.fold_in(key, config.iterations)
    return Plan(*belief, evaluate(belief.mean[None], last_key)[0]), trace


def cem_on_host(
    evaluate: HostEvaluate,
    key: PRNGKeyArray,
    *,
    action_size: int,
    config: PlannerConfig,
    low: Bound = -1.0,
    high: Bound = 1.0,
) -> Plan:
    """The same search with returns that are not computed in JAX, a simulator's for instance.

    Draws the candidates that `cem` draws; sampling and refitting are compiled.

    Args:
        evaluate: as in `cem`, on NumPy arrays; of double precision if it likes.
        key: as in `cem`, and all else too.
        action_size: likewise.
        config: likewise.
        low: likewise.
        high: likewise.

    Returns:
        The plan, in NumPy arrays.
    """
    belief = _first(action_size, config)
    for iteration_key in jax.random.split(key, config.iterations):
        sample_key, evaluate_key = jax.random.split(iteration_key)
        candidates = _compiled_sample(belief, sample_key, low, high, config=config)
        returns = np.asarray(evaluate(np.asarray(candidates), evaluate_key), np.float64)
        # What sets good candidates apart may be less than single precision holds of their return.
        finite = returns[np.isfinite(returns)]
        if not len(finite):  # nothing is known of any of them
            continue
        shifted = returns - finite.max()
        belief = _compiled_refit(candidates, np.asarray(shifted, np.float32), config=config)
    mean, std = (cast(Array, np.asarray(x)) for x in belief)
    last_key = jax.random.fold_in(key, config.iterations)
    return Plan(mean, std, cast(Array, np.asarray(evaluate(np.asarray(mean)[None], last_key))[0]))


def _first(action_size: int, config: PlannerConfig) -> _Belief:
    """Returns the belief that every plan begins with: standard normal (line 1)."""
    shape = (config.horizon, action_size)
    return _Belief(jnp.zeros(shape), jnp.ones(shape))


def _sample(
    belief: _Belief, key: PRNGKeyArray, low: Bound, high: Bound, config: PlannerConfig
) -> Float[Array, "candidates horizon action"]:
    """Draws the candidates (line 4)."""
    noise = jax.random.normal(key, (config.candidates, *belief.mean.shape))
    return jnp.clip(belief.mean + belief.std * noise, low, high)


def _refit(
    candidates: Float[Array, "candidates horizon action"],
    returns: Float[Array, " candidates"],
    config: PlannerConfig,
) -> _Belief:
    """Returns the mean and the spread of the best candidates (lines 7 and 8)."""
    returns = jnp.where(jnp.isnan(returns), -jnp.inf, returns)
    _, indices = jax.lax.top_k(returns, config.elites)
    elites = candidates[indices]
    mean = jnp.mean(elites, axis=0)
    if config.refit == "mad":
        return _Belief(mean, jnp.sum(jnp.abs(elites - mean), axis=0) / (config.elites - 1))
    return _Belief(mean, jnp.std(elites, axis=0))


_compiled_sample = partial(jax.jit, static_argnames="config")(_sample)
_compiled_refit = partial(jax.jit, static_argnames="config")(_refit)
