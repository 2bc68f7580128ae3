"""Returns predicted by the model against a loop over candidates and time steps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from armillary.config import ModelConfig
from armillary.dynamics.base import LatentState
from armillary.dynamics.world_model import WorldModel
from armillary.nets.distributions import Normal
from armillary.planners.cem import Evaluate
from armillary.planners.rollout import latent_returns
from models import random_model

CONFIG = ModelConfig(stochastic=3, deterministic=8, hidden=8, depth=1)
CANDIDATES, HORIZON = 6, 4
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return random_model(CONFIG, 2)


@pytest.fixture(scope="module")
def state() -> LatentState:
    """A belief whose sample is not its mean."""
    keys = jax.random.split(jax.random.key(1), 3)
    stochastic, mean, deterministic = (
        jax.random.normal(key, (size,)) for key, size in zip(keys, (3, 3, 8), strict=True)
    )
    return LatentState(Normal(mean, jnp.ones(3)), stochastic, jnp.tanh(deterministic))


@pytest.fixture(scope="module")
def evaluate(model: WorldModel, state: LatentState) -> Evaluate:
    return jax.jit(latent_returns(model, state))


@pytest.fixture(scope="module")
def candidates() -> Array:
    return jax.random.uniform(jax.random.key(2), (CANDIDATES, HORIZON, 2), minval=-1.0, maxval=1.0)


def test_equals_a_loop(
    model: WorldModel, state: LatentState, evaluate: Evaluate, candidates: Array
) -> None:
    """a_t leads to s_t+1, whose reward counts first; undiscounted, over the whole horizon."""
    noise = jax.random.normal(KEY, (HORIZON, CANDIDATES, 3))
    predict = eqx.filter_jit(model.dynamics.predict)
    reward = eqx.filter_jit(model.reward)
    expected = []
    for j in range(CANDIDATES):
        latent, total = state, 0.0
        for t in range(HORIZON):
            latent = predict(latent, candidates[j, t], noise[t, j])
            total += float(reward(latent))
        expected.append(total)
    assert np.ptp(expected) > 0.1  # candidates differ
    np.testing.assert_allclose(evaluate(candidates, KEY), expected, rtol=1e-4, atol=1e-5)


def test_every_action_of_the_horizon_counts(evaluate: Evaluate, candidates: Array) -> None:
    returns = evaluate(candidates, KEY)
    for t in range(HORIZON):
        changed = evaluate(candidates.at[2, t].multiply(-1), KEY)
        assert abs(changed[2] - returns[2]) > 1e-4
        np.testing.assert_allclose(
            np.delete(changed, 2), np.delete(np.asarray(returns), 2), rtol=1e-5
        )


def test_trajectories_are_sampled(evaluate: Evaluate, candidates: Array) -> None:
    """The same actions twice give two returns, and another key gives others."""
    same = jnp.broadcast_to(candidates[0], candidates.shape)
    returns = np.asarray(evaluate(same, KEY))
    assert len(set(returns.tolist())) == CANDIDATES
    assert not np.any(returns == np.asarray(evaluate(same, jax.random.key(4))))
