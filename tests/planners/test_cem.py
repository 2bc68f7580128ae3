"""The cross-entropy method against a known optimum and a transcription of Algorithm 2."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.config import PlannerConfig
from armillary.planners.cem import cem
from armillary.planners.rollout import plan

CONFIG = PlannerConfig(horizon=4, iterations=6, candidates=200, elites=20)
TARGET = jnp.array([[0.5, -0.3], [0.1, 0.9], [-0.7, 0.0], [0.2, 0.4]])


def _quadratic(target: jax.Array, candidates: jax.Array, key: jax.Array) -> jax.Array:
    return -jnp.sum((candidates - target) ** 2, axis=(1, 2))


def _transcription(target, key, config, low=-1.0, high=1.0):
    """Algorithm 2 with loops over iterations and candidates, in NumPy."""
    shape = (config.candidates, config.horizon, target.shape[1])
    mu, sigma = np.zeros(shape[1:]), np.ones(shape[1:])
    for key_i in jax.random.split(key, config.iterations):
        noise = np.asarray(jax.random.normal(jax.random.split(key_i)[0], shape), np.float64)
        actions, scores = [], []
        for j in range(config.candidates):
            candidate = np.clip(mu + sigma * noise[j], low, high)
            actions.append(candidate)
            scores.append(-((candidate - np.asarray(target)) ** 2).sum())
        order = sorted(range(config.candidates), key=lambda j: -scores[j])[: config.elites]
        best = np.array([actions[j] for j in order])
        mu = best.sum(0) / config.elites
        if config.refit == "mad":
            sigma = np.abs(best - mu).sum(0) / (config.elites - 1)
        else:
            sigma = np.sqrt(((best - mu) ** 2).sum(0) / config.elites)
    return mu, sigma


@pytest.mark.parametrize("refit", ["std", "mad"])
def test_finds_the_optimum_of_a_quadratic(refit: str) -> None:
    config = PlannerConfig(horizon=4, iterations=20, candidates=500, elites=50, refit=refit)
    result = cem(partial(_quadratic, TARGET), jax.random.key(0), action_size=2, config=config)
    np.testing.assert_allclose(result.mean, TARGET, atol=0.02)
    assert float(result.predicted_return) > -0.01


@pytest.mark.parametrize("refit", ["std", "mad"])
def test_equals_the_transcription(refit: str) -> None:
    config = PlannerConfig(horizon=4, iterations=6, candidates=200, elites=20, refit=refit)
    key = jax.random.key(1)
    result = cem(partial(_quadratic, TARGET), key, action_size=2, config=config)
    mean, std = _transcription(TARGET, key, config)
    np.testing.assert_allclose(result.mean, mean, atol=1e-4)
    np.testing.assert_allclose(result.std, std, atol=1e-4)


def test_several_environments_equal_one_at_a_time() -> None:
    targets = jnp.stack([TARGET, -TARGET, 0.3 * TARGET])
    keys = jax.random.split(jax.random.key(2), 3)

    def one(target: jax.Array, key: jax.Array) -> jax.Array:
        return cem(partial(_quadratic, target), key, action_size=2, config=CONFIG).mean

    together = jax.vmap(one)(targets, keys)
    for i in range(3):
        mean, _ = _transcription(targets[i], keys[i], CONFIG)
        np.testing.assert_allclose(together[i], mean, atol=1e-4)


def test_candidates_are_clipped_before_they_are_evaluated_and_refitted() -> None:
    """The optimum lies outside: the mean ends at the bound and no candidate was beyond it."""
    seen = []

    def evaluate(candidates: jax.Array, key: jax.Array) -> jax.Array:
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), candidates)
        return jnp.sum(candidates, axis=(1, 2))

    low, high = jnp.array([-0.2, -2.0]), jnp.array([0.4, 3.0])
    config = PlannerConfig(horizon=3, iterations=15, candidates=300, elites=30)
    result = cem(evaluate, jax.random.key(0), action_size=2, config=config, low=low, high=high)
    jax.effects_barrier()
    np.testing.assert_allclose(result.mean, np.broadcast_to(high, (3, 2)), atol=0.1)
    assert len(seen) == 15
    assert np.all(np.concatenate(seen) >= low)
    assert np.all(np.concatenate(seen) <= high)


def test_a_candidate_that_gives_nan_is_the_worst() -> None:
    def evaluate(candidates: jax.Array, key: jax.Array) -> jax.Array:
        score = _quadratic(TARGET, candidates, key)
        return jnp.where(candidates[:, 0, 0] < 0, jnp.nan, score)

    result = cem(evaluate, jax.random.key(0), action_size=2, config=CONFIG)
    assert np.all(np.isfinite(result.mean))
    assert float(result.mean[0, 0]) > 0


def test_plan_on_a_function_of_ones_own() -> None:
    """A point on a line that should reach 0.6 and stop there: the first action goes its way."""

    def step(state: jax.Array, action: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = state + 0.3 * action[0]
        return state, -((state - 0.6) ** 2)

    config = PlannerConfig(horizon=5, iterations=10, candidates=500, elites=50)
    result = plan(step, jnp.array(0.0), jax.random.key(0), action_size=1, config=config)
    np.testing.assert_allclose(result.mean[:2, 0], [1.0, 1.0], atol=0.05)
    state, total = 0.0, 0.0
    for action in np.asarray(result.mean)[:, 0]:
        state += 0.3 * action
        total -= (state - 0.6) ** 2
    assert total == pytest.approx(-(0.3**2), abs=0.01)


def test_the_same_key_gives_the_same_plan() -> None:
    args = {"action_size": 2, "config": CONFIG}
    first = cem(partial(_quadratic, TARGET), jax.random.key(3), **args)
    second = cem(partial(_quadratic, TARGET), jax.random.key(3), **args)
    other = cem(partial(_quadratic, TARGET), jax.random.key(4), **args)
    np.testing.assert_array_equal(first.mean, second.mean)
    assert not np.array_equal(first.mean, other.mean)
