"""PlaNet's loss against a transcription of Eq. 3, its gradients too."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from armillary.config import ModelConfig, ObjectiveConfig
from armillary.dynamics.world_model import WorldModel
from armillary.nets.image import preprocess
from armillary.objectives.world_model import world_model_loss
from armillary.replay.sampler import Batch
from models import random_model

B, L, A, S = 35, 6, 2, 3  # more images than one piece holds
KEY = jax.random.key(7)
FREE = 0.5
CONFIG = ObjectiveConfig(free_nats=FREE, divergence_scale=7.0, reward_scale=4.0, bits=3)
FEW = replace(CONFIG, free_nats=1e6, image_steps=2)


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return random_model(ModelConfig(stochastic=S, deterministic=8, hidden=8, depth=1), A)


@pytest.fixture(scope="module")
def batch() -> Batch:
    generator = np.random.default_rng(5)
    brightness = generator.uniform(0, 256, (B, L, 1, 1, 1))
    return Batch(
        {"image": jnp.asarray(brightness * generator.uniform(0, 1, (B, L, 64, 64, 3)), jnp.uint8)},
        jnp.asarray(generator.normal(0, 3, (B, L, A)), jnp.float32),
        jnp.asarray(generator.normal(0, 2, (B, L)), jnp.float32),
        jnp.zeros((B, L), bool),
    )


def _transcription(model: WorldModel, batch: Batch, key: Array) -> dict[str, Array]:
    """The terms of Eq. 3 for each sequence and time step, (B, L), by a loop over time."""
    image_key, sample_key, _ = jax.random.split(key, 3)
    dequantisation = (
        preprocess(jnp.zeros_like(batch.observation["image"]), CONFIG.bits, image_key) + 0.5
    )
    images = jnp.floor(batch.observation["image"] / 32.0) / 8.0 + dequantisation - 0.5  # 3 bits
    embeddings = model.encoder.images["image"](
        images.reshape(B * L, 64, 64, 3).transpose(3, 1, 2, 0)
    )
    embeddings = embeddings.reshape(B, L, -1)
    noise = jax.random.normal(sample_key, (L, B, S))

    state, states, nats = model.dynamics.initial(B), [], []
    for t in range(L):
        prior = model.dynamics.predict(state, batch.action[:, t], None).distribution
        state, _ = model.dynamics.infer(state, batch.action[:, t], embeddings[:, t], noise[t])
        (m, s), (n, r) = state.distribution, prior
        nats.append((jnp.log(r / s) + (s**2 + (m - n) ** 2) / (2 * r**2) - 0.5).sum(-1))
        states.append(state)
    features = jnp.stack(
        [jnp.concatenate([state.stochastic, state.deterministic], -1) for state in states], 1
    )
    means = model.decoder.images["image"](features.reshape(B * L, -1)).transpose(3, 1, 2, 0)
    squares = ((means.reshape(images.shape) - images) ** 2).sum((2, 3, 4))
    rewards = model.reward_head(features)[..., 0]
    return {
        "image": 0.5 * squares,
        "reward": 0.5 * (rewards - batch.reward) ** 2,
        "divergence": jnp.stack(nats, 1),
    }


def _total(terms: dict[str, Array], free: float, per_step: bool) -> Array:
    nats = terms["divergence"]
    of_steps = jnp.where(nats > free, nats, free).mean()
    of_batch = jnp.where(nats.mean() > free, nats.mean(), free)
    clipped = jnp.where(per_step, of_steps, of_batch)
    return terms["image"].mean() + 4.0 * terms["reward"].mean() + 7.0 * clipped


@pytest.fixture(scope="module")
def transcription(model: WorldModel) -> Callable[..., tuple[Any, WorldModel, dict[str, Any]]]:
    """Loss, gradient and terms by the transcription, compiled once."""

    @jax.jit
    def compiled(batch: Batch, key: Array, per_step: bool) -> Any:
        def total(model: WorldModel) -> tuple[Array, dict[str, Array]]:
            terms = _transcription(model, batch, key)
            return _total(terms, FREE, per_step), terms

        (value, terms), gradient = eqx.filter_value_and_grad(total, has_aux=True)(model)
        return value, gradient, terms

    return compiled


@pytest.fixture(scope="module")
def loss() -> Callable[..., tuple[Any, WorldModel, dict[str, Any]]]:
    """Loss, gradient and metrics, compiled once for each configuration."""

    @eqx.filter_jit
    def compiled(model: WorldModel, batch: Batch, key: Array, config: ObjectiveConfig) -> Any:
        gradient_of = eqx.filter_value_and_grad(world_model_loss, has_aux=True)
        (value, (metrics, _)), gradient = gradient_of(model, batch, key, config)
        return value, gradient, metrics

    return compiled


def _norm(tree: Any) -> float:
    return float(np.sqrt(sum(np.sum(np.asarray(x) ** 2.0) for x in jax.tree.leaves(tree))))


@pytest.mark.parametrize("per", ["step", "batch"])
def test_equals_eq_3_and_its_gradient(
    model: WorldModel, batch: Batch, loss: Any, transcription: Any, per: Any
) -> None:
    """With free nats that some time steps have and others have not."""
    value, gradient, metrics = loss(model, batch, KEY, replace(CONFIG, free_nats_per=per))
    expected, wanted, terms = transcription(batch, KEY, per == "step")
    nats = np.asarray(terms["divergence"])
    assert nats.mean() > FREE
    assert 0.1 < np.mean(nats < FREE) < 0.9
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/total"], value, rtol=1e-6)
    np.testing.assert_allclose(metrics["loss/image"], terms["image"].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/reward"], terms["reward"].mean(), rtol=1e-5)
    clipped = np.maximum(nats, FREE).mean() if per == "step" else nats.mean()
    np.testing.assert_allclose(metrics["loss/divergence"], clipped, rtol=1e-4)
    np.testing.assert_allclose(metrics["divergence"], nats.mean(), rtol=1e-4)
    for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())
    dynamics = gradient.dynamics
    for part in (
        *(gradient.encoder, gradient.decoder, gradient.reward_head),
        *(dynamics.inputs, dynamics.gru, dynamics.prior, dynamics.posterior),
    ):
        assert 0 < _norm(part) < np.inf


def test_below_the_free_nats_the_prior_learns_nothing(
    model: WorldModel, batch: Batch, loss: Any
) -> None:
    """And the rest still learns from images and rewards."""
    _, gradient, metrics = loss(model, batch, KEY, FEW)
    assert metrics["loss/divergence"] == pytest.approx(1e6)
    assert _norm(gradient.dynamics.prior) == 0
    for part in (gradient.encoder, gradient.decoder, gradient.reward_head, gradient.dynamics.gru):
        assert 0 < _norm(part) < np.inf


def test_images_only_at_some_steps_are_an_unbiased_estimate(
    model: WorldModel, batch: Batch, loss: Any, transcription: Any
) -> None:
    """Each of the evenly spaced selections comes about equally often, the rest stays as it is.

    Their mean is the term over all time steps, because each step is in exactly one.
    """
    offsets = []
    for key in jax.random.split(jax.random.key(1), 24):
        _, _, metrics = loss(model, batch, key, FEW)
        _, _, terms = transcription(batch, key, True)
        choices = np.asarray(terms["image"]).reshape(B, 2, 3).mean((0, 1))  # every third step
        errors = np.abs(choices - metrics["loss/image"])
        assert errors.min() < 1e-5 * choices.mean() < 1e-2 * np.diff(np.sort(choices)).min()
        np.testing.assert_allclose(metrics["loss/reward"], terms["reward"].mean(), rtol=1e-5)
        offsets.append(int(np.argmin(errors)))
    assert min(offsets.count(offset) for offset in range(3)) >= 4


@pytest.mark.parametrize(("field", "term"), [("action", "divergence"), ("reward", "reward")])
def test_a_row_belongs_to_its_own_time_step(
    model: WorldModel, batch: Batch, loss: Any, transcription: Any, field: str, term: str
) -> None:
    """`action[t]` leads to `image[t]`, and `reward[t]` comes with it."""
    shifted = batch._replace(**{field: jnp.roll(getattr(batch, field), 1, axis=1)})
    before, after = (loss(model, rows, KEY, CONFIG)[2] for rows in (batch, shifted))
    name = f"loss/{term}"
    assert abs(after[name] - before[name]) > 1e-3 * before[name]
    expected, _, terms = transcription(shifted, KEY, True)
    np.testing.assert_allclose(after["loss/total"], expected, rtol=1e-5)
    np.testing.assert_allclose(after["loss/reward"], terms["reward"].mean(), rtol=1e-4)
    np.testing.assert_allclose(after["divergence"], terms["divergence"].mean(), rtol=1e-4)
