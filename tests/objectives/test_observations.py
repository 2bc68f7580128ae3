"""The likelihood at the multi-step priors (Figure 3b), against loops over all (t, d)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from armillary.config import ModelConfig, ObjectiveConfig
from armillary.dynamics.base import LatentState
from armillary.dynamics.world_model import WorldModel
from armillary.objectives.observations import (
    predicted_image_loss,
    predicted_reward_loss,
    prediction_scales,
    prediction_weights,
)
from models import random_model

B, T, D = 30, 4, 3  # more images than one piece holds
CONFIG = ModelConfig(stochastic=3, deterministic=4, hidden=4, depth=1)


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return random_model(CONFIG, 2)


@pytest.fixture(scope="module")
def predictions(model: WorldModel) -> LatentState:
    """Any states, those that are not to count so large that they would be noticed."""
    generator = np.random.default_rng(1)
    outside = ~np.tril(np.ones((T, D), bool)).T[..., None, None]

    def fill(x: Array) -> Array:
        values = generator.normal(0, 1, x.shape)
        return jnp.asarray(np.where(outside, 1e6, values), jnp.float32)

    return jax.tree.map(fill, model.dynamics.initial(D, T, B))


@pytest.fixture(scope="module")
def images() -> Array:
    return jnp.asarray(np.random.default_rng(2).uniform(-0.5, 0.5, (B, T, 64, 64, 3)), jnp.float32)


@pytest.fixture(scope="module")
def squares(model: WorldModel, predictions: LatentState, images: Array) -> np.ndarray:
    """Half the squared error of each predicted image, (D, T), the mean over the batch."""
    features = model.dynamics.features(predictions).reshape(D * T * B, -1)
    means = np.asarray(
        eqx.filter_jit(model.decoder.images["image"])(features), np.float64
    ).transpose(3, 1, 2, 0)
    errors = means.reshape(D, T, B, 64, 64, 3) - np.asarray(images).swapaxes(0, 1)
    return 0.5 * np.sum(errors**2, axis=(3, 4, 5)).mean(2)


def _mean(squares: np.ndarray, fixed: bool) -> float:
    """Over the steps that have a prediction, then over the distances (or the last alone)."""
    means = [
        np.mean([squares[d - 1, t - 1] for t in range(1, T + 1) if t - d >= 0])
        for d in range(1, D + 1)
    ]
    return means[-1] if fixed else float(np.mean(means))


@pytest.mark.parametrize("fixed", [False, True])
def test_rewards(model: WorldModel, predictions: LatentState, fixed: bool) -> None:
    rewards = jnp.asarray(np.random.default_rng(3).normal(0, 1, (T, B)), jnp.float32)
    errors = np.asarray(model.reward(predictions), np.float64) - np.asarray(rewards)
    loss = predicted_reward_loss(model, predictions, rewards, prediction_weights(D, T, fixed))
    np.testing.assert_allclose(loss, _mean(0.5 * (errors**2).mean(2), fixed), rtol=1e-5)


def test_images(
    model: WorldModel, predictions: LatentState, images: Array, squares: np.ndarray
) -> None:
    """All of them; and each of the evenly spaced selections, whose mean they are."""
    compute = eqx.filter_jit(predicted_image_loss)
    weights = prediction_weights(D, T)
    key = jax.random.key(0)
    images = {"image": images}
    loss = compute(model, predictions, images, weights, None, key)
    np.testing.assert_allclose(loss, _mean(squares, False), rtol=1e-5)
    found = {
        round(float(compute(model, predictions, images, weights, 2, k)), 2)
        for k in jax.random.split(key, 12)
    }
    assert len(found) == 2
    np.testing.assert_allclose(np.mean(list(found)), _mean(squares, False), rtol=1e-4)
    last = compute(model, predictions, images, prediction_weights(D, T, fixed=True), None, key)
    np.testing.assert_allclose(last, _mean(squares, True), rtol=1e-5)


def test_weights_left_open_are_those_of_a_model_without_a_divergence() -> None:
    rssm, rnn = (
        random_model(ModelConfig(dynamics=name, depth=1, hidden=4), 2).dynamics
        for name in ("rssm", "rnn")
    )
    default = ObjectiveConfig(reward_scale=7.0)
    assert prediction_scales(default, rssm) == (0.0, 0.0)
    assert prediction_scales(default, rnn) == (7.0, 1.0)
    chosen = ObjectiveConfig(overshooting_reward_scale=2.0, overshooting_image_scale=0.0)
    assert prediction_scales(chosen, rssm) == prediction_scales(chosen, rnn) == (2.0, 0.0)
