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
from armillary.objectives.reconstruction import reconstruction_loss
from armillary.replay.sampler import Batch
from models import random_model

B, L, A, S = 2, 6, 2, 3
KEY = jax.random.key(7)
CONFIG = ObjectiveConfig(free_nats=0.0, divergence_scale=0.7, reward_scale=4.0, bits=3)


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return random_model(ModelConfig(stochastic=S, deterministic=8, hidden=8, depth=1), A)


@pytest.fixture(scope="module")
def batch() -> Batch:
    generator = np.random.default_rng(5)
    return Batch(
        jnp.asarray(generator.integers(0, 256, (B, L, 64, 64, 3), np.uint8)),
        jnp.asarray(generator.uniform(-1, 1, (B, L, A)), jnp.float32),
        jnp.asarray(generator.normal(0, 2, (B, L)), jnp.float32),
    )


def _transcription(model: WorldModel, batch: Batch, key: Array) -> dict[str, Array]:
    """The terms of Eq. 3 for each sequence and time step, (B, L), by a loop over time."""
    image_key, sample_key, _ = jax.random.split(key, 3)
    dequantisation = preprocess(jnp.zeros_like(batch.image), CONFIG.bits, image_key) + 0.5
    images = jnp.floor(batch.image / 32.0) / 8.0 + dequantisation - 0.5  # 3 bits
    embeddings = model.encoder(images.reshape(B * L, 64, 64, 3).transpose(3, 1, 2, 0))
    embeddings = embeddings.reshape(B, L, -1)
    noise = jax.random.normal(sample_key, (L, B, S))

    state, states, nats = model.dynamics.initial(B), [], []
    for t in range(L):
        prior = model.dynamics.predict(state, batch.action[:, t], None)
        state = model.dynamics.correct(prior, embeddings[:, t], noise[t])
        (m, s), (n, r) = state.distribution, prior.distribution
        nats.append((jnp.log(r / s) + (s**2 + (m - n) ** 2) / (2 * r**2) - 0.5).sum(-1))
        states.append(state)
    features = jnp.stack(
        [jnp.concatenate([state.stochastic, state.deterministic], -1) for state in states], 1
    )
    means = model.decoder(features.reshape(B * L, -1)).transpose(3, 1, 2, 0)
    squares = ((means.reshape(images.shape) - images) ** 2).sum((2, 3, 4))
    rewards = model.reward_head(features)[..., 0]
    return {
        "image": 0.5 * squares,
        "reward": 0.5 * (rewards - batch.reward) ** 2,
        "divergence": jnp.stack(nats, 1),
    }


def _total(terms: dict[str, Array], config: ObjectiveConfig) -> Array:
    nats, free = terms["divergence"], config.free_nats
    if config.free_nats_per == "step":
        clipped = jnp.where(nats > free, nats, free).mean()
    else:
        clipped = jnp.where(nats.mean() > free, nats.mean(), free)
    return (
        terms["image"].mean()
        + config.reward_scale * terms["reward"].mean()
        + config.divergence_scale * clipped
    )


@pytest.fixture(scope="module")
def transcription(model: WorldModel) -> Callable[[Batch, Array], dict[str, np.ndarray]]:
    terms = eqx.filter_jit(_transcription)
    return lambda batch, key=KEY: jax.tree.map(np.asarray, terms(model, batch, key))


@pytest.fixture(scope="module")
def loss() -> Callable[..., tuple[Any, Any, dict[str, Any]]]:
    """Loss, gradient and metrics, compiled once for each configuration."""

    @eqx.filter_jit
    def compiled(
        model: WorldModel, batch: Batch, key: Array, config: ObjectiveConfig
    ) -> tuple[Array, WorldModel, dict[str, Array]]:
        gradient_of = eqx.filter_value_and_grad(reconstruction_loss, has_aux=True)
        (value, metrics), gradient = gradient_of(model, batch, key, config)
        return value, gradient, metrics

    return compiled


def _norm(tree: Any) -> float:
    return float(np.sqrt(sum(np.sum(np.asarray(x) ** 2.0) for x in jax.tree.leaves(tree))))


def test_equals_eq_3(model: WorldModel, batch: Batch, loss: Any, transcription: Any) -> None:
    value, _, metrics = loss(model, batch, KEY, CONFIG)
    terms = transcription(batch)
    assert min(terms["image"].mean(), terms["reward"].mean(), terms["divergence"].mean()) > 0.1
    np.testing.assert_allclose(value, _total(terms, CONFIG), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/total"], value)
    np.testing.assert_allclose(metrics["loss/image"], terms["image"].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/reward"], terms["reward"].mean(), rtol=1e-5)
    for name in ("divergence", "loss/divergence"):  # no free nats
        np.testing.assert_allclose(metrics[name], terms["divergence"].mean(), rtol=1e-4)


@pytest.mark.parametrize("per", ["step", "batch"])
def test_gradients_equal_those_of_eq_3(
    model: WorldModel, batch: Batch, loss: Any, transcription: Any, per: Any
) -> None:
    """With free nats that some time steps have and others have not."""
    nats = transcription(batch)["divergence"]
    free = float(np.round(nats.mean() * 0.9, 3))
    assert 2 < np.sum(nats < free) < nats.size - 2
    config = replace(CONFIG, free_nats=free, free_nats_per=per)
    value, gradient, metrics = loss(model, batch, KEY, config)
    expected, wanted = eqx.filter_jit(
        eqx.filter_value_and_grad(lambda m: _total(_transcription(m, batch, KEY), config))
    )(model)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    clipped = np.maximum(nats, free).mean() if per == "step" else nats.mean()
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
    _, gradient, metrics = loss(model, batch, KEY, replace(CONFIG, free_nats=1e6))
    assert metrics["loss/divergence"] == 1e6
    assert _norm(gradient.dynamics.prior) == 0
    for part in (gradient.encoder, gradient.decoder, gradient.reward_head, gradient.dynamics.gru):
        assert 0 < _norm(part) < np.inf


def test_images_only_at_some_steps_are_an_unbiased_estimate(
    model: WorldModel, batch: Batch, loss: Any, transcription: Any
) -> None:
    """Each of the evenly spaced selections comes equally often; all else stays as it is."""
    config = replace(CONFIG, image_steps=2)
    offsets = []
    for seed in range(24):
        key = jax.random.key(seed)
        _, _, metrics = loss(model, batch, key, config)
        terms = transcription(batch, key)
        choices = terms["image"].reshape(B, 2, 3).mean((0, 1))  # every third step
        errors = np.abs(choices - metrics["loss/image"])
        offsets.append(int(np.argmin(errors)))
        assert errors.min() < 1e-5 * choices.mean() < 1e-3 * np.ptp(choices)
        expected = _total(terms | {"image": choices[offsets[-1]]}, config)
        np.testing.assert_allclose(metrics["loss/total"], expected, rtol=1e-5)
    assert min(offsets.count(offset) for offset in range(3)) >= 4


@pytest.mark.parametrize("field", ["action", "reward"])
def test_a_row_belongs_to_its_own_time_step(
    model: WorldModel, batch: Batch, loss: Any, transcription: Any, field: str
) -> None:
    """`action[t]` leads to `image[t]`, and `reward[t]` comes with it."""
    shifted = batch._replace(**{field: jnp.roll(getattr(batch, field), 1, axis=1)})
    before, _, _ = loss(model, batch, KEY, CONFIG)
    after, _, _ = loss(model, shifted, KEY, CONFIG)
    assert abs(after - before) > 1e-4 * before
    np.testing.assert_allclose(after, _total(transcription(shifted), CONFIG), rtol=1e-5)


def test_many_images_are_taken_in_pieces_without_a_difference(
    model: WorldModel, batch: Batch, loss: Any
) -> None:
    """A batch of 35 equal pairs of chunks has the image term's expectation of one pair."""
    many = Batch(*(jnp.tile(x, (35, *[1] * (x.ndim - 1))) for x in batch))
    one, _, single = loss(model, batch, KEY, CONFIG)
    value, gradient, metrics = loss(model, many, KEY, CONFIG)
    np.testing.assert_allclose(metrics["loss/image"], single["loss/image"], rtol=0.02)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
