"""The counts against XLA's own cost analysis, and against the paper's tables by hand."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from armillary.config import Config, ModelConfig, ObjectiveConfig, preset
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


@pytest.mark.parametrize("dynamics", ["rssm", "ssm", "rnn", "drnn"])
def test_a_time_step_agrees_with_xla(dynamics):
    config = ModelConfig(dynamics=dynamics)
    model = WorldModel(ACTIONS, config, key=jax.random.key(0))
    count = flop.step_flop(config, ACTIONS)

    def predict(model, action, noise):
        return model.dynamics.predict(model.dynamics.initial(IMAGES), action, noise)

    def infer(model, state, action, embedding, noise):
        return model.dynamics.infer(state, action, embedding, noise)

    action = jnp.ones((IMAGES, ACTIONS))
    noise = jnp.ones((IMAGES, model.dynamics.stochastic_size))
    state = model.dynamics.initial(IMAGES)
    # XLA counts non-linearities too: here a few for each of some hundred units.
    whole = xla_flop(infer, model, state, action, jnp.ones((IMAGES, 1024)), noise)
    # Of the DRNN it shares the encoder RNN's product with e_t-1 between posterior and prior.
    shared = 3 * 2 * 200 * 200 if dynamics == "drnn" else 0
    assert whole == pytest.approx(count.infer - shared, rel=0.02)
    assert xla_flop(predict, model, action, noise) == pytest.approx(
        count.predict, rel=0.06 if dynamics == "ssm" else 0.02
    )
    assert xla_flop(lambda m, s: m.reward(s), model, state) == pytest.approx(count.reward, rel=0.02)


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


def with_objective(**changes) -> Config:
    return dataclasses.replace(preset("paper"), objective=ObjectiveConfig(**changes))


def test_predictions_over_several_steps_by_hand():
    paper = preset("paper")
    step = flop.step_flop(paper.model, 6)
    decoder = sum(flop.decoder_flop(paper.model))
    plain = flop.update_flop(paper, 6)
    pairs = sum(t >= d for t in range(1, 51) for d in range(1, 13))
    of_all = flop.update_flop(with_objective(overshooting=12), 6)
    assert of_all == plain + 3 * 50 * pairs * step.predict
    fixed = flop.update_flop(with_objective(distance=12), 6)
    assert fixed == plain + 3 * 50 * (50 - 12 + 1) * 12 * step.predict
    scored = with_objective(
        overshooting=12, overshooting_reward_scale=1.0, overshooting_image_scale=1.0
    )
    heads = step.predict + step.reward + decoder
    assert flop.update_flop(scored, 6) == plain + 3 * 50 * pairs * heads


def test_a_model_without_a_divergence_also_decodes_its_predictions():
    rnn = dataclasses.replace(preset("paper"), model=ModelConfig(dynamics="rnn"))
    step, decoder = flop.step_flop(rnn.model, 6), sum(flop.decoder_flop(rnn.model))
    literal = dataclasses.replace(
        rnn,
        objective=ObjectiveConfig(overshooting_reward_scale=0.0, overshooting_image_scale=0.0),
    )
    more = flop.update_flop(rnn, 6) - flop.update_flop(literal, 6)
    assert more == 3 * 2500 * (step.predict + step.reward + decoder)


def test_products_in_a_scan_count_once_for_each_step():
    def scanned(x, w):
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, length=7)[0]

    x, w = jax.ShapeDtypeStruct((3, 5), jnp.float32), jax.ShapeDtypeStruct((5, 5), jnp.float32)
    assert flop.matrix_flop(scanned, x, w) == 7 * 2 * 3 * 5 * 5
