"""The cross-entropy method against a known optimum and a transcription of Algorithm 2."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.config import PlannerConfig
from armillary.planners.cem import cem, cem_on_host, cem_trace
from armillary.planners.rollout import JaxModel, PythonModel, plan

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
    assert sorted(len(x) for x in seen) == [1] + 15 * [300]  # in the end the mean
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
    result = plan(JaxModel(step, 1), jnp.array(0.0), 0, config=config)
    np.testing.assert_allclose(result.mean[:2, 0], [1.0, 1.0], atol=0.05)
    state, total = 0.0, 0.0
    for action in np.asarray(result.mean)[:, 0]:
        state += 0.3 * action
        total -= (state - 0.6) ** 2
    assert total == pytest.approx(-(0.3**2), abs=0.01)


def test_the_predicted_return_is_that_of_the_mean() -> None:
    evaluate = partial(_quadratic, TARGET)
    for search in (cem, cem_on_host):
        result = search(evaluate, jax.random.key(0), action_size=2, config=CONFIG)
        expected = evaluate(jnp.asarray(result.mean)[None], jax.random.key(9))[0]
        np.testing.assert_allclose(result.predicted_return, expected, rtol=1e-5)


@pytest.mark.parametrize("refit", ["std", "mad"])
def test_the_host_searches_as_jax_does(refit: str) -> None:
    config = PlannerConfig(horizon=4, iterations=6, candidates=200, elites=20, refit=refit)
    args = {"action_size": 2, "config": config, "low": -0.8, "high": jnp.array([0.4, 0.6])}
    compiled = cem(partial(_quadratic, TARGET), jax.random.key(1), **args)

    def evaluate(candidates: np.ndarray, key: jax.Array) -> np.ndarray:
        assert isinstance(candidates, np.ndarray)
        return -np.sum((candidates.astype(float) - np.asarray(TARGET)) ** 2, axis=(1, 2))

    host = cem_on_host(evaluate, jax.random.key(1), **args)
    for mine, theirs in zip(host, compiled, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_the_host_tells_returns_apart_that_single_precision_cannot() -> None:
    """A million and a little: the little is what the search is for."""

    def evaluate(candidates: np.ndarray, key: jax.Array) -> np.ndarray:
        return 1e6 - np.sum((candidates.astype(float) - np.asarray(TARGET)) ** 2, axis=(1, 2))

    result = cem_on_host(evaluate, jax.random.key(0), action_size=2, config=CONFIG)
    plain = cem(partial(_quadratic, TARGET), jax.random.key(0), action_size=2, config=CONFIG)
    np.testing.assert_allclose(result.mean, plain.mean, atol=1e-3)


def test_the_host_counts_unusable_returns_as_the_worst() -> None:
    def evaluate(candidates: np.ndarray, key: jax.Array) -> np.ndarray:
        score = np.asarray(_quadratic(TARGET, jnp.asarray(candidates), key), np.float64)
        score[candidates[:, 0, 0] < 0] = np.nan
        score[candidates[:, 0, 1] > 0] = -np.inf
        return score

    result = cem_on_host(evaluate, jax.random.key(0), action_size=2, config=CONFIG)
    assert np.all(np.isfinite(result.mean))
    assert result.mean[0, 0] > 0 > result.mean[0, 1]
    worst = cem_on_host(
        lambda candidates, key: np.full(len(candidates), -np.inf),
        jax.random.key(0),
        action_size=2,
        config=CONFIG,
    )
    np.testing.assert_array_equal(worst.mean, np.zeros((4, 2)))  # nothing was learned
    np.testing.assert_array_equal(worst.std, np.ones((4, 2)))


def test_random_shooting_is_one_iteration_with_one_elite() -> None:
    """The best of J sequences drawn from the clipped standard normal."""
    config = PlannerConfig(horizon=4, iterations=1, candidates=300, elites=1)
    key = jax.random.key(5)
    sample_key = jax.random.split(jax.random.split(key, 1)[0])[0]
    drawn = jnp.clip(jax.random.normal(sample_key, (300, 4, 2)), -1, 1)
    best = drawn[jnp.argmax(_quadratic(TARGET, drawn, key))]
    for search in (cem, cem_on_host):
        result = search(partial(_quadratic, TARGET), key, action_size=2, config=config)
        np.testing.assert_array_equal(result.mean, best)


def test_plan_on_plain_python_finds_what_jax_finds() -> None:
    def step(state: float, action: np.ndarray) -> tuple[float, float]:
        state = state + 0.3 * float(action[0])
        return state, -((state - 0.6) ** 2)

    config = PlannerConfig(horizon=5, iterations=6, candidates=100, elites=10)
    mine = plan(PythonModel(step, 1), 0.0, 4, config=config)
    theirs = plan(
        JaxModel(lambda s, a, k: (s + 0.3 * a[0], -((s + 0.3 * a[0] - 0.6) ** 2)), 1),
        jnp.array(0.0),
        4,
        config=config,
    )
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_bare_function_is_refused() -> None:
    """In a process of its own, where the tests' checks of types do not come first."""
    code = "import armillary; armillary.plan(lambda state, action, key: (state, 0.0), 0.0, 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "UsageError" in done.stderr
    assert "wrap a function in armillary.JaxModel" in done.stderr


def test_a_trace_shows_how_the_same_plan_was_found() -> None:
    key, evaluate = jax.random.key(1), partial(_quadratic, TARGET)
    plan, trace = cem_trace(evaluate, key, action_size=2, config=CONFIG)
    for ours, theirs in zip(plan, cem(evaluate, key, action_size=2, config=CONFIG), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert trace.candidates.shape == (6, 200, 4, 2)
    for candidates, returns, mean, std in zip(*trace, strict=True):
        np.testing.assert_allclose(returns, evaluate(candidates, key), atol=1e-5)
        elites = np.asarray(candidates)[np.argsort(-np.asarray(returns))[:20]]
        np.testing.assert_allclose(mean, elites.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(std, elites.std(axis=0), atol=1e-5)
    np.testing.assert_array_equal(trace.mean[-1], plan.mean)
    np.testing.assert_array_equal(trace.std[-1], plan.std)


def test_the_same_key_gives_the_same_plan() -> None:
    args = {"action_size": 2, "config": CONFIG}
    first = cem(partial(_quadratic, TARGET), jax.random.key(3), **args)
    second = cem(partial(_quadratic, TARGET), jax.random.key(3), **args)
    other = cem(partial(_quadratic, TARGET), jax.random.key(4), **args)
    np.testing.assert_array_equal(first.mean, second.mean)
    assert not np.array_equal(first.mean, other.mean)
