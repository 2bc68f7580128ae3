"""The counts against XLA's own cost analysis, and against the paper's tables by hand."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from armillary.config import ModelConfig, ObjectiveConfig, preset
from armillary.dynamics.world_model import WorldModel
from armillary.machine import flop
from armillary.nets import conv

ACTIONS = 6
IMAGES = 8


@pytest.fixture(scope="module")
def model():
    # Computed with XLA's own convolutions, whose operations it counts exactly.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv, "_method", lambda method: "lax")
        yield WorldModel(ACTIONS, ModelConfig(), key=jax.random.key(0))


def xla_flop(function, *arguments) -> float:
    cost = jax.jit(function).lower(*arguments).compile().cost_analysis()
    return cost["flops"] / IMAGES


def squares(x):
    return jnp.sum(x**2)


def test_encoder_and_its_gradient_agree_with_xla(model):
    images = jnp.zeros((3, 64, 64, IMAGES))
    layers = flop.encoder_flop(ModelConfig())
    forward = xla_flop(lambda e, x: e(x), model.encoder, images)
    assert forward == pytest.approx(sum(layers), rel=0.01)
    gradient = xla_flop(jax.grad(lambda e, x: squares(e(x))), model.encoder, images)
    assert gradient == pytest.approx(3 * sum(layers) - layers[0], rel=0.01)


def test_decoder_and_its_gradient_agree_with_xla(model):
    features = jnp.zeros((IMAGES, 230))
    layers = flop.decoder_flop(ModelConfig())
    assert xla_flop(lambda d, x: d(x), model.decoder, features) == pytest.approx(
        sum(layers), rel=0.01
    )
    gradient = jax.grad(lambda d, x: squares(d(x)), argnums=(0, 1))
    assert xla_flop(gradient, model.decoder, features) == pytest.approx(3 * sum(layers), rel=0.01)


def test_a_time_step_agrees_with_xla(model):
    def predict(model, action, noise):
        return model.dynamics.predict(model.dynamics.initial(IMAGES), action, noise)

    def step(model, action, embedding, noise):
        state = model.dynamics.initial(IMAGES)
        posterior, prior = model.dynamics.infer(state, action, embedding, noise)
        return posterior, prior, model.reward(posterior)

    paper = ModelConfig()
    action, noise = jnp.ones((IMAGES, ACTIONS)), jnp.ones((IMAGES, 30))
    prior = flop.predict_flop(paper, ACTIONS)
    # XLA counts non-linearities too: here a few for each of some hundred units.
    assert xla_flop(predict, model, action, noise) == pytest.approx(prior, rel=0.02)
    whole = prior + flop.correct_flop(paper) + flop.reward_flop(paper)
    assert xla_flop(step, model, action, jnp.ones((IMAGES, 1024)), noise) == pytest.approx(
        whole, rel=0.02
    )


def test_paper_sizes_by_hand():
    # Multiplications of one image, layer by layer: pixels out (or in) * kernel * channels.
    encoder = [
        31 * 31 * 4 * 4 * 3 * 32,
        14 * 14 * 4 * 4 * 32 * 64,
        6 * 6 * 4 * 4 * 64 * 128,
        2 * 2 * 4 * 4 * 128 * 256,
    ]
    decoder = [
        230 * 1024,
        1 * 1 * 5 * 5 * 1024 * 128,
        5 * 5 * 5 * 5 * 128 * 64,
        13 * 13 * 6 * 6 * 64 * 32,
        30 * 30 * 6 * 6 * 32 * 3,
    ]
    prior = 36 * 200 + 3 * (200 + 200) * 200 + 200 * 200 + 200 * 60
    posterior = 1224 * 200 + 200 * 60
    reward = 230 * 200 + 200 * 200 + 200
    forward = sum(encoder) + sum(decoder) + prior + posterior + reward
    assert flop.update_flop(preset("paper"), 6) == 2 * 2500 * (3 * forward - encoder[0])
    assert flop.plan_flop(preset("paper"), 6) == 2 * 1000 * 10 * 12 * (prior + reward)


def test_only_decoded_steps_count():
    paper = preset("paper")
    some = dataclasses.replace(paper, objective=ObjectiveConfig(image_steps=10))
    saved = flop.update_flop(paper, 6) - flop.update_flop(some, 6)
    assert saved == 3 * 50 * 40 * sum(flop.decoder_flop(paper.model))
