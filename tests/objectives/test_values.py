"""Value estimates against a table worked out by hand, and against their double sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.objectives.values import fixed_step_value, lambda_return, reward_sum

REWARDS = jnp.array([1.0, 2.0, 3.0, 4.0])  # H = 3; the last reward is in the last value
VALUES = jnp.array([10.0, 20.0, 30.0, 40.0])
HALF = jnp.full(3, 0.5)


def test_the_table_by_hand() -> None:
    np.testing.assert_allclose(reward_sum(REWARDS), [10, 9, 7, 4])
    one, two, three = (fixed_step_value(REWARDS, VALUES, HALF, k) for k in (1, 2, 3))
    np.testing.assert_allclose(one, [1 + 10, 2 + 15, 3 + 20, 40])
    np.testing.assert_allclose(two, [1 + 1 + 7.5, 2 + 1.5 + 10, 3 + 20, 40])
    np.testing.assert_allclose(three, [1 + 1 + 0.75 + 5, 2 + 1.5 + 10, 3 + 20, 40])
    # lambda 0.5 of the first state: 1/2 of V^1, 1/4 of V^2, and what is left, 1/4, of V^3
    expected = 0.5 * 11 + 0.25 * 9.5 + 0.25 * 7.75
    np.testing.assert_allclose(lambda_return(REWARDS, VALUES, HALF, 0.5)[0], expected)


def test_an_episode_that_ends_is_worth_its_rewards_so_far() -> None:
    """It ends in the second state: nothing after it counts, whatever the model says of it."""
    ended = jnp.array([0.5, 0.0, 0.5])
    np.testing.assert_allclose(lambda_return(REWARDS, VALUES, ended, 0.9)[1], 2.0)
    np.testing.assert_allclose(fixed_step_value(REWARDS, VALUES, ended, 3)[0], 1 + 0.5 * 2)


def _by_sums(
    rewards: np.ndarray, values: np.ndarray, discounts: np.ndarray, trace: float
) -> np.ndarray:
    """Equations 5 and 6 as they are written, for each state anew."""
    horizon, result = len(discounts), []
    for tau in range(horizon + 1):

        def v_n(k: int, tau: int = tau) -> np.ndarray:
            h = min(tau + k, horizon)
            total = np.zeros(rewards.shape[1:])
            for n in range(tau, h):
                total = total + np.prod(discounts[tau:n], axis=0) * rewards[n]
            return total + np.prod(discounts[tau:h], axis=0) * values[h]

        left = horizon - tau
        terms = [(1 - trace) * trace ** (n - 1) * v_n(n) for n in range(1, left)]
        result.append(
            sum(terms, np.zeros(rewards.shape[1:])) + trace ** max(left - 1, 0) * v_n(left)
        )
    return np.stack(result)


@pytest.mark.parametrize("trace", [0.0, 0.3, 0.95, 1.0])
def test_lambda_return_is_its_double_sum(trace: float) -> None:
    """Near the horizon the estimates over more steps than are left are all that of the horizon."""
    generator = np.random.default_rng(0)
    rewards, values = generator.normal(size=(2, 7, 5))
    discounts = generator.uniform(0, 1, (6, 5))
    arrays = (jnp.asarray(x, jnp.float32) for x in (rewards, values, discounts))
    found = jax.jit(lambda_return, static_argnums=3)(*arrays, trace)
    np.testing.assert_allclose(found, _by_sums(rewards, values, discounts, trace), atol=1e-5)


def test_the_limits() -> None:
    generator = np.random.default_rng(1)
    rewards, values = jnp.asarray(generator.normal(size=(2, 6, 3)), jnp.float32)
    discounts = jnp.asarray(generator.uniform(0.5, 1, (5, 3)), jnp.float32)
    one_step = fixed_step_value(rewards, values, discounts, 1)
    horizon = fixed_step_value(rewards, values, discounts, 5)
    np.testing.assert_allclose(lambda_return(rewards, values, discounts, 0.0), one_step, atol=1e-6)
    np.testing.assert_allclose(lambda_return(rewards, values, discounts, 1.0), horizon, atol=1e-5)
    np.testing.assert_allclose(fixed_step_value(rewards, values, discounts, 99), horizon, rtol=1e-6)
    no_value = jnp.concatenate([jnp.zeros((5, 3)), rewards[-1:]])  # V_R: gamma 1, no values
    np.testing.assert_allclose(
        lambda_return(rewards, no_value, jnp.ones((5, 3)), 1.0), reward_sum(rewards), atol=1e-5
    )


def test_the_bootstrap_is_the_value_at_the_horizon() -> None:
    """Only v(s_t+H) reaches an estimate with lambda 1, with the product of all discounts."""
    gradient = jax.grad(lambda v: lambda_return(jnp.zeros(5), v, jnp.full(4, 0.5), 1.0)[0])
    np.testing.assert_allclose(gradient(jnp.ones(5)), [0, 0, 0, 0, 0.5**4])


def test_shapes_that_do_not_match_are_refused() -> None:
    with pytest.raises(UsageError, match="expected H \\+ 1 rewards and values, and H discounts"):
        lambda_return(jnp.zeros(4), jnp.zeros(4), jnp.zeros(4), 0.9)
