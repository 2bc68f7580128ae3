"""The whole loss with multi-step terms, for every model, and what it was before there were any."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from armillary.config import ModelConfig, ObjectiveConfig
from armillary.dynamics.world_model import DYNAMICS, WorldModel
from armillary.errors import UsageError
from armillary.nets.image import Decoder, Encoder, preprocess
from armillary.objectives.overshooting import multi_step_priors
from armillary.objectives.world_model import world_model_loss
from armillary.replay.sampler import Batch
from models import random_model

B, L = 2, 3
KEY = jax.random.key(5)
MODEL = ModelConfig(
    stochastic=3, deterministic=6, hidden=5, depth=1, activation="elu", image_activation="elu"
)
PLAIN = ObjectiveConfig(free_nats=0.1, divergence_scale=0.7, reward_scale=4.0)
EVERYTHING = replace(
    PLAIN,
    overshooting=5,  # longer than the chunk
    overshooting_scales=(2.0, 3.0),
    overshooting_reward_scale=5.0,
    overshooting_image_scale=0.5,
    global_divergence_scale=0.3,
)


class Colours(Encoder):
    """Embeds an image by its mean colour: nothing that takes long to compile."""

    def __init__(self, size: int) -> None:
        self.kernels = [jnp.asarray(np.random.default_rng(2).normal(0, 1, (3, size)), jnp.float32)]
        self.biases, self.activation = [], "elu"

    def __call__(self, images: Array) -> Array:
        return jnp.tanh(40 * images.mean((1, 2)).T @ self.kernels[0])


class Plain(Decoder):
    """Decodes to a plain colour."""

    def __init__(self, size: int) -> None:
        weight = 0.1 * np.random.default_rng(3).normal(0, 1, (size, 3))
        self.weight, self.bias = jnp.asarray(weight, jnp.float32), jnp.zeros(3)
        self.kernels, self.biases, self.activation = [], [], "elu"

    def __call__(self, features: Array) -> Array:
        colours = self.weight.T @ features.T + self.bias[:, None]
        return jnp.broadcast_to(colours[:, None, None], (3, 64, 64, len(features)))


def _model(name: Any = "rssm") -> WorldModel:
    model = random_model(replace(MODEL, dynamics=name), 2)
    nets = (
        {"image": Colours(model.encoder.embedding_size)},
        {"image": Plain(model.dynamics.feature_size)},
    )
    return eqx.tree_at(lambda m: (m.encoder.images, m.decoder.images), model, nets)


@pytest.fixture(scope="module")
def batch() -> Batch:
    generator = np.random.default_rng(1)
    return Batch(
        {"image": jnp.asarray(generator.integers(0, 256, (B, L, 64, 64, 3)), jnp.uint8)},
        jnp.asarray(generator.normal(0, 1, (B, L, 2)), jnp.float32),
        jnp.asarray(generator.normal(0, 1, (B, L)), jnp.float32),
        jnp.zeros((B, L), bool),
    )


@eqx.filter_jit
def _loss(model: WorldModel, batch: Batch, config: ObjectiveConfig) -> Any:
    gradient_of = eqx.filter_value_and_grad(world_model_loss, has_aux=True)
    (value, (metrics, _)), gradient = gradient_of(model, batch, KEY, config)
    return value, metrics, gradient


def _terms(model: WorldModel, batch: Batch) -> dict[str, Array]:
    """The terms of Eq. 7 and of Figure 3b, by loops over t and d (of the multi-step priors)."""
    image_key, state_key, _ = jax.random.split(KEY, 3)
    images = preprocess(batch.observation["image"], 5, image_key)
    embeddings = model.encoder.images["image"](
        images.reshape(B * L, 64, 64, 3).transpose(3, 1, 2, 0)
    )
    actions, rewards = batch.action.swapaxes(0, 1), batch.reward.T
    embeddings = embeddings.reshape(B, L, -1).swapaxes(0, 1)
    posteriors, _ = model.dynamics.observe(embeddings, actions, state_key)
    key = jax.random.fold_in(KEY, 3)
    priors = multi_step_priors(model.dynamics, posteriors, actions, L, key)

    # Row 0 is the posteriors, row d the predictions over d steps.
    states = jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), posteriors, priors)
    features = model.dynamics.features(states).reshape((L + 1) * L * B, -1)
    decoded = (
        model.decoder.images["image"](features)
        .transpose(3, 1, 2, 0)
        .reshape(L + 1, L, B, 64, 64, 3)
    )
    image = 0.5 * ((decoded - images.swapaxes(0, 1)) ** 2).sum((3, 4, 5))
    reward = 0.5 * (model.reward_head(features).reshape(L + 1, L, B) - rewards) ** 2
    (m, s), (n, r) = posteriors.distribution, states.distribution

    def over_time(x: Array, d: int) -> Array:
        return jnp.mean(jnp.stack([x[d, t - 1] for t in range(1, L + 1) if t - d >= 0]))

    def nats(d: int, free: float = 0.1) -> Array:
        q = (m, s) if d == 1 else jax.lax.stop_gradient((m, s))
        kl = jnp.log(r / q[1]) + (q[1] ** 2 + (q[0] - n) ** 2) / (2 * r**2) - 0.5
        return over_time(jnp.where(kl.sum(-1) > free, kl.sum(-1), free), d)

    one, two, three = (nats(d) if m.size else jnp.zeros(()) for d in (1, 2, 3))
    terms = {
        "image": over_time(image, 0),
        "reward": over_time(reward, 0),
        "divergence": one,
        "overshooting": (two + three) / 2,
        "raw": (nats(2, 0.0) + nats(3, 0.0)) / 2 if m.size else jnp.zeros(()),
        "overshooting_image": sum(over_time(image, d) for d in (1, 2, 3)) / 3,
        "overshooting_reward": sum(over_time(reward, d) for d in (1, 2, 3)) / 3,
        "global_divergence": jnp.mean((-jnp.log(s) + (s**2 + m**2) / 2 - 0.5).sum(-1)),
    }
    terms["total"] = terms["image"] + 4.0 * terms["reward"] + (0.7 * one + 2 * two + 3 * three) / 3
    for name, scale in (("reward", 5.0), ("image", 0.5)):
        terms["total"] += scale * terms[f"overshooting_{name}"]
    terms["total"] += 0.3 * terms["global_divergence"]
    return terms


@eqx.filter_jit
def _by_loops(
    model: WorldModel, batch: Batch, differentiate: bool = False
) -> tuple[dict[str, Array], WorldModel | None]:
    """The terms, and the gradient of their total if asked for (it takes long to compile)."""

    def total(model: WorldModel) -> tuple[Array, dict[str, Array]]:
        terms = _terms(model, batch)
        return terms["total"], terms

    if not differentiate:
        return total(model)[1], None
    gradient, terms = eqx.filter_grad(total, has_aux=True)(model)
    return terms, gradient


@pytest.mark.parametrize("name", DYNAMICS)
def test_every_term_for_every_model(batch: Batch, name: Any) -> None:
    """Also with chunks shorter than D: the distances that they hold are averaged.

    In the gradient (of one model), the posterior is stopped for d > 1, but not where predictions
    start.
    """
    model = _model(name)
    value, metrics, gradient = _loss(model, batch, EVERYTHING)
    expected, wanted = _by_loops(model, batch, name == "rssm")
    np.testing.assert_allclose(metrics["overshooting"], expected.pop("raw"), rtol=1e-4, atol=1e-5)
    raw = {"divergence", "overshooting"}
    assert {f"loss/{term}" for term in expected} | raw == set(metrics)
    for term, number in expected.items():
        np.testing.assert_allclose(metrics[f"loss/{term}"], number, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(value, expected["total"], rtol=1e-5)
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0  # all of the model learns
    if wanted is not None:
        for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4 * np.abs(theirs).max())


def test_the_rnn_is_trained_by_its_predictions_and_has_no_divergence(batch: Batch) -> None:
    model = _model("rnn")
    value, metrics, gradient = _loss(model, batch, PLAIN)
    assert metrics["divergence"] == metrics["loss/divergence"] == 0
    total = (
        metrics["loss/image"]
        + metrics["loss/overshooting_image"]
        + 4.0 * (metrics["loss/reward"] + metrics["loss/overshooting_reward"])
    )
    np.testing.assert_allclose(value, total, rtol=1e-6)
    assert max(np.abs(x).max() for x in jax.tree.leaves(gradient.dynamics.prior)) > 0


def test_a_fixed_distance_is_eq_6(batch: Batch) -> None:
    model = _model()
    value, metrics, _ = _loss(model, batch, replace(PLAIN, distance=2))
    total = (
        metrics["loss/image"] + 4.0 * metrics["loss/reward"] + 0.7 * metrics["loss/overshooting"]
    )
    np.testing.assert_allclose(value, total, rtol=1e-6)
    nats, _ = _by_loops(model, batch, True)
    assert abs(metrics["loss/overshooting"] - nats["divergence"]) > 1e-3
    with pytest.raises(UsageError, match="chunk of 3 steps"):
        eqx.filter_eval_shape(_loss, model, batch, replace(PLAIN, distance=4))


def test_the_loss_of_the_rssm_is_what_it_was(batch: Batch) -> None:
    """Numbers of the version before multi-step terms (commit 95d227c)."""
    model = random_model(MODEL, 2)
    value, metrics, gradient = _loss(model, batch, PLAIN)
    norm = np.sqrt(sum(np.sum(np.asarray(x) ** 2.0) for x in jax.tree.leaves(gradient)))
    numbers = [value, metrics["divergence"], norm]
    np.testing.assert_allclose(numbers, [535.9511108, 0.2513147, 372.4684448], rtol=1e-5)
    assert len(metrics) == 5
