"""The scaling against double precision, categories against their mean."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.objectives.scaling import expectation, scale, two_hot, unscale

MAGNITUDES = np.concatenate([[0.0], np.logspace(-12, 6, 400)])
RANGE = np.concatenate([-MAGNITUDES, MAGNITUDES])
TOLERANCE = 4 * np.finfo(np.float32).eps


def _scale(x: np.ndarray) -> np.ndarray:
    """As it is published, in double precision (but for the smallest, whose series it is)."""
    a = np.abs(x)
    root = np.where(a < 1e-4, a / 2 - a**2 / 8 + a**3 / 16, np.sqrt(a + 1) - 1)
    return np.sign(x) * root + 0.001 * x


def test_the_scaling_is_the_published_one_over_the_whole_range() -> None:
    found = jax.jit(scale)(jnp.asarray(RANGE, jnp.float32))
    np.testing.assert_allclose(found, _scale(np.float32(RANGE).astype(float)), rtol=TOLERANCE)


def test_the_inverse_is_as_exact_as_numbers_are_at_every_magnitude() -> None:
    """The published form is wrong by all of x near 0: it is held against double precision."""
    scaled = _scale(RANGE)
    found = jax.jit(unscale)(jnp.asarray(scaled, jnp.float32))
    np.testing.assert_allclose(found, RANGE, rtol=TOLERANCE)
    e, y = 0.001, np.float64(123.4)
    published = ((np.sqrt(1 + 4 * e * (y + 1 + e)) - 1) / (2 * e)) ** 2 - 1
    np.testing.assert_allclose(unscale(jnp.float32(-y)), -published, rtol=TOLERANCE)


def test_the_round_trip_is_the_identity() -> None:
    x = jnp.asarray(RANGE, jnp.float32)
    np.testing.assert_allclose(unscale(scale(x)), x, rtol=TOLERANCE)
    np.testing.assert_allclose(scale(unscale(x)), x, rtol=TOLERANCE)


def test_slopes_are_finite_and_those_of_the_formula() -> None:
    """h'(x) = 1 / (2 sqrt(|x| + 1)) + e, also at 0; the inverse's is its reciprocal."""
    x = jnp.asarray(RANGE, jnp.float32)
    slope = 0.5 / np.sqrt(np.abs(RANGE) + 1) + 0.001
    np.testing.assert_allclose(jax.vmap(jax.grad(scale))(x), slope, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(jax.grad(unscale))(scale(x)), 1 / slope, rtol=1e-5)


def test_two_hot_by_hand() -> None:
    """h(3) = 1 + 0.003: between categories 1 and 2, which are the fourth and the fifth of five."""
    np.testing.assert_allclose(two_hot(jnp.array(3.0), 5), [0, 0, 0, 0.997, 0.003], atol=1e-6)
    np.testing.assert_allclose(
        two_hot(jnp.array([-3.0, 0.0]), 5)[0], [0.003, 0.997, 0, 0, 0], atol=1e-6
    )
    np.testing.assert_array_equal(two_hot(jnp.array(0.0), 5), [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(
        two_hot(jnp.array([1e6, -1e6]), 5), [[0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]
    )


@pytest.mark.parametrize("categories", [3, 601])
def test_two_hot_sums_to_one_and_its_expectation_is_the_number(categories: int) -> None:
    edge = float(unscale(jnp.float32((categories - 1) / 2)))
    x = jnp.asarray(np.linspace(-edge, edge, 997), jnp.float32)
    target = two_hot(x, categories)
    assert target.shape == (997, categories)
    assert jnp.all((target > 0).sum(-1) <= 2)
    np.testing.assert_allclose(target.sum(-1), 1, rtol=1e-6)
    logits = jnp.log(target)  # -inf of all but two
    np.testing.assert_allclose(expectation(logits), x, rtol=1e-4, atol=1e-4)
    assert jnp.all(
        jnp.isfinite(jax.grad(lambda z: expectation(z).sum())(jnp.zeros((5, categories))))
    )


def test_601_categories_reach_58_700() -> None:
    assert 58_600 < float(unscale(jnp.float32(300))) < 58_800
    np.testing.assert_allclose(
        expectation(50.0 * two_hot(jnp.array([1e7]), 601)), 58_700, rtol=2e-3
    )
