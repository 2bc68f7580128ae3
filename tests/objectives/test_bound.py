"""PlaNet, Eq. 3 against the exact log-likelihood of a linear Gaussian system.

s_t = 0.9 s_t-1 + a_t-1 + N(0, 0.5^2), o_t = s_t + N(0, 0.8^2), s_0 = 0.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from armillary.nets.distributions import Normal
from armillary.objectives.bound import clipped_divergence, variational_bound

T, A, Q, R = 6, 0.9, 0.5, 0.8
SAMPLES = 100_000


@pytest.fixture
def sequence() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    actions, state, observations = rng.normal(size=T), 0.0, []
    for action in actions:
        state = A * state + action + Q * rng.normal()
        observations.append(state + R * rng.normal())
    return actions, np.array(observations)


def _joint(actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the states s_1..s_T."""
    powers = np.tril(A ** np.maximum(np.subtract.outer(np.arange(T), np.arange(T)), 0))
    return powers @ actions, Q**2 * powers @ powers.T


def _kalman(actions: np.ndarray, observations: np.ndarray) -> float:
    """ln p(o_1:T | a_1:T), by the Kalman filter."""
    mean, variance, total = 0.0, 0.0, 0.0
    for action, observation in zip(actions, observations, strict=True):
        mean, variance = A * mean + action, A**2 * variance + Q**2
        total += scipy.stats.norm.logpdf(observation, mean, np.sqrt(variance + R**2))
        gain = variance / (variance + R**2)
        mean, variance = mean + gain * (observation - mean), (1 - gain) * variance
    return total


def _bound(actions: np.ndarray, observations: np.ndarray, posterior) -> tuple[float, float]:
    """The bound with q(s_t | s_t-1) = posterior(t, s_t-1), and its standard error."""
    rng = np.random.default_rng(1)
    state, rows = np.zeros((SAMPLES, 1)), []
    for t in range(T):
        mean, std = posterior(t, state)
        prior = Normal(A * state + actions[t], np.full((SAMPLES, 1), Q))
        q = Normal(mean, np.full((SAMPLES, 1), std))
        state = mean + std * rng.normal(size=state.shape)
        rows.append((scipy.stats.norm.logpdf(observations[t], state[:, 0], R), q, prior))
    arguments = jax.tree.map(lambda *xs: jnp.stack(xs, axis=1), *rows)  # (samples, time, ...)
    total = T * np.asarray(jax.vmap(variational_bound)(*arguments))
    return float(np.mean(total)), float(np.std(total) / np.sqrt(SAMPLES))


def test_the_kalman_filter_equals_the_joint_gaussian(sequence) -> None:
    actions, observations = sequence
    mean, covariance = _joint(actions)
    joint = scipy.stats.multivariate_normal(mean, covariance + R**2 * np.eye(T))
    np.testing.assert_allclose(_kalman(actions, observations), joint.logpdf(observations))


def test_the_bound_is_tight_for_the_exact_posterior(sequence) -> None:
    """q(s_t | s_t-1, o_1:T), from the joint Gaussian, leaves no gap."""
    actions, observations = sequence
    mean, covariance = _joint(actions)
    gain = covariance @ np.linalg.inv(covariance + R**2 * np.eye(T))
    mean = mean + gain @ (observations - mean)
    covariance = covariance - gain @ covariance

    def posterior(t: int, before: np.ndarray) -> tuple[np.ndarray, float]:
        if t == 0:
            return np.full_like(before, mean[0]), np.sqrt(covariance[0, 0])
        slope = covariance[t, t - 1] / covariance[t - 1, t - 1]
        variance = covariance[t, t] - slope * covariance[t, t - 1]
        return mean[t] + slope * (before - mean[t - 1]), np.sqrt(variance)

    bound, error = _bound(actions, observations, posterior)
    assert error < 0.01
    assert abs(bound - _kalman(actions, observations)) < 4 * error + 1e-4


def test_the_bound_is_below_for_other_posteriors(sequence) -> None:
    actions, observations = sequence

    def filtering(t: int, before: np.ndarray) -> tuple[np.ndarray, float]:
        """q(s_t | s_t-1, a_t-1, o_t): exact but for the future."""
        gain = Q**2 / (Q**2 + R**2)
        prior = A * before + actions[t]
        return prior + gain * (observations[t] - prior), np.sqrt((1 - gain) * Q**2)

    def poor(t: int, before: np.ndarray) -> tuple[np.ndarray, float]:
        mean, std = filtering(t, before)
        return mean + 0.5, 2 * std

    exact = _kalman(actions, observations)
    filtered, error = _bound(actions, observations, filtering)
    assert filtered < exact - 4 * error
    assert _bound(actions, observations, poor)[0] < filtered - 1.0


def test_free_nats_by_hand() -> None:
    q = Normal(jnp.array([[0.0], [1.0], [3.0]]), jnp.ones((3, 1)))
    p = Normal(jnp.zeros((3, 1)), jnp.ones((3, 1)))  # divergences 0, 0.5 and 4.5
    assert float(clipped_divergence(q, p, 3.0, "step")) == pytest.approx((3 + 3 + 4.5) / 3)
    assert float(clipped_divergence(q, p, 3.0, "batch")) == pytest.approx(3.0)
    assert float(clipped_divergence(q, p, 1.0, "batch")) == pytest.approx(5 / 3)
    assert float(clipped_divergence(q, p, 0.0)) == pytest.approx(5 / 3)
