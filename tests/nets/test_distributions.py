"""The Gaussian against SciPy, and its divergence against integration and sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate
import scipy.stats

from armillary.nets.distributions import Normal, divergence


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
