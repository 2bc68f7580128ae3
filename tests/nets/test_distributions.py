"""The distributions against SciPy, integration and sampling."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from armillary.nets.distributions import Normal, OneHot, TanhNormal, divergence


def test_log_prob_equals_scipy() -> None:
    rng = np.random.default_rng(0)
    mean, std, value = rng.normal(size=(3, 4, 5))
    std = np.abs(std) + 0.1
    expected = scipy.stats.norm.logpdf(value, mean, std).sum(-1)
    normal = Normal(jnp.array(mean), jnp.array(std))
    np.testing.assert_allclose(normal.log_prob(jnp.array(value)), expected, rtol=1e-4)


def test_divergence_equals_the_integral() -> None:
    q, p = scipy.stats.norm(0.3, 0.7), scipy.stats.norm(-0.5, 1.3)
    expected, _ = scipy.integrate.quad(lambda x: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), -8, 8)
    result = divergence(
        Normal(jnp.array([0.3, 0.3]), jnp.array([0.7, 0.7])),
        Normal(jnp.array([-0.5, -0.5]), jnp.array([1.3, 1.3])),
    )
    np.testing.assert_allclose(result, 2 * expected, rtol=1e-5)


def test_divergence_equals_sampling() -> None:
    keys = jax.random.split(jax.random.key(0), 5)
    q = Normal(jax.random.normal(keys[0], (6,)), jnp.exp(0.3 * jax.random.normal(keys[1], (6,))))
    p = Normal(jax.random.normal(keys[2], (6,)), jnp.exp(0.3 * jax.random.normal(keys[3], (6,))))
    draws = q.sample(jax.random.normal(keys[4], (200_000, 6)))

    def log_prob(normal: Normal) -> jax.Array:
        wide = Normal(*(jnp.broadcast_to(x, draws.shape) for x in normal))
        return wide.log_prob(draws)

    difference = np.asarray(log_prob(q) - log_prob(p), np.float64)
    error = difference.std() / np.sqrt(len(difference))
    assert abs(difference.mean() - float(divergence(q, p))) < 5 * error


def test_divergence_of_equal_distributions_is_zero() -> None:
    normal = Normal(jnp.arange(3.0), jnp.arange(1.0, 4.0))
    assert float(divergence(normal, normal)) == 0


def test_tanh_normal_is_the_density_of_what_it_samples() -> None:
    """Against the change of variables in double precision, and its integral over (-1, 1)."""
    squashed = TanhNormal(jnp.array([0.3]), jnp.array([0.8]))
    grid = np.linspace(-0.9999, 0.9999, 20001)
    x = np.arctanh(grid)
    expected = scipy.stats.norm(0.3, 0.8).logpdf(x) - np.log1p(-(grid**2))
    found = np.asarray(squashed.log_prob(jnp.asarray(grid[:, None], jnp.float32)))
    np.testing.assert_allclose(found, expected, atol=2e-2)
    assert np.trapezoid(np.exp(found), grid) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(squashed.sample(jnp.array([1.5])), np.tanh(0.3 + 1.2), rtol=1e-6)
    np.testing.assert_allclose(squashed.mode(), np.tanh(0.3), rtol=1e-6)


def test_the_entropy_is_that_of_the_density() -> None:
    noise = jax.random.normal(jax.random.key(0), (40000, 1))
    for mean, std in ((0.0, 0.9), (1.5, 0.5), (0.0, 5.0)):
        squashed = TanhNormal(jnp.full((1,), mean), jnp.full((1,), std))
        x = np.linspace(mean - 8 * std, mean + 8 * std, 20001)
        density = scipy.stats.norm(mean, std).pdf(x)
        slope = 2 * (np.log(2) - np.abs(x) - np.log1p(np.exp(-2 * np.abs(x))))
        expected = scipy.stats.norm(mean, std).entropy() + np.trapezoid(density * slope, x)
        found = jax.vmap(squashed.entropy)(noise)
        assert found.mean() == pytest.approx(expected, abs=0.08)
    logits = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    expected = scipy.stats.entropy([0.5, 0.3, 0.2])
    np.testing.assert_allclose(OneHot(logits).entropy(logits), expected, rtol=1e-5)


@pytest.mark.parametrize("mean", [0.0, 5.0, -80.0])
def test_tanh_normal_is_finite_at_the_edges(mean: float) -> None:
    def log_prob(mean: Any, value: Any) -> Any:
        return TanhNormal(jnp.array([mean]), jnp.array([0.1])).log_prob(jnp.array([value]))

    for value in (-1.0, 1.0, 0.0):
        both = jax.value_and_grad(log_prob, argnums=(0, 1))(mean, value)
        assert all(np.isfinite(x) for x in jax.tree.leaves(both)), value


def test_one_hot_samples_have_the_gradient_of_the_probabilities() -> None:
    logits = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    noise = jax.random.gumbel(jax.random.key(0), (20000, 3))
    samples = OneHot(jnp.broadcast_to(logits, noise.shape)).sample(noise)
    np.testing.assert_allclose(samples.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(samples.mean(0), [0.5, 0.3, 0.2], atol=0.02)
    weights = jnp.array([1.0, 2.0, 5.0])
    found = jax.grad(lambda x: OneHot(x).sample(noise[0]) @ weights)(logits)
    expected = jax.grad(lambda x: jax.nn.softmax(x) @ weights)(logits)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(OneHot(logits).mode(), [1, 0, 0])
    np.testing.assert_allclose(OneHot(logits).log_prob(jnp.array([0.0, 0, 1])), np.log(0.2))
