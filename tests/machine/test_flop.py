"""The counts against XLA's own cost analysis, and against the paper's tables by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from armillary.agents.registry import make_agent
from armillary.config import Config, ModelConfig, ObjectiveConfig, preset
from armillary.dynamics.world_model import WorldModel
from armillary.machine.agent import example_batch
from armillary.machine.flop import matrix_flop
from armillary.nets import conv
from armillary.nets.pieces import in_pieces
from armillary.spec import pixels

ACTIONS = 6
IMAGES = 8
SMALLER = ModelConfig(depth=8)
"""Of the networks that are really compiled."""

# Multiplications of one image, layer by layer: pixels out (or in) * kernel * channels.
ENCODER = [
    31 * 31 * 4 * 4 * 3 * 32,
    14 * 14 * 4 * 4 * 32 * 64,
    6 * 6 * 4 * 4 * 64 * 128,
    2 * 2 * 4 * 4 * 128 * 256,
]
DECODER = [
    230 * 1024,
    1 * 1 * 5 * 5 * 1024 * 128,
    5 * 5 * 5 * 5 * 128 * 64,
    13 * 13 * 6 * 6 * 64 * 32,
    30 * 30 * 6 * 6 * 32 * 3,
]
TRANSITION = 36 * 200 + 3 * (200 + 200) * 200
PRIOR_HEAD = 200 * 200 + 200 * 60
PRIOR = TRANSITION + PRIOR_HEAD
POSTERIOR = 1224 * 200 + 200 * 60
REWARD = 230 * 200 + 200 * 200 + 200


def update_flop(config: Config) -> int:
    agent, key = make_agent(config, pixels(64, ACTIONS)), jax.random.key(0)
    batch = example_batch(config, agent)
    return matrix_flop(agent.update, jax.eval_shape(agent.init, key), batch, key)


def act_flop(config: Config) -> int:
    agent, key = make_agent(config, pixels(64, ACTIONS)), jax.random.key(0)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.uint8)

    def act(state: Any, image: Any, key: Any) -> Any:
        return agent.act(state, agent.initial_belief(state, 1), {"image": image}, key, True)

    return matrix_flop(act, jax.eval_shape(agent.init, key), image, key)


def xla_flop(function: Any, *arguments: Any) -> float:
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


def squares(x: Any) -> Any:
    return jnp.sum(x**2)


def test_image_networks_and_their_gradients_agree_with_xla(monkeypatch: Any) -> None:
    # Computed with XLA's own convolutions, whose operations it counts exactly.
    monkeypatch.setattr(conv, "_method", lambda method: "lax")
    model = WorldModel(pixels(64, ACTIONS), SMALLER, key=jax.random.key(0))
    images, features = jnp.zeros((3, 64, 64, IMAGES)), jnp.zeros((IMAGES, 230))
    of_encoder = jax.value_and_grad(lambda e, x: squares(e(x)))
    of_decoder = jax.value_and_grad(lambda d, x: squares(d(x)), argnums=(0, 1))
    for of, arguments in (
        (of_encoder, (model.encoder.images["image"], images)),
        (of_decoder, (model.decoder.images["image"], features)),
    ):
        assert xla_flop(of, *arguments) == pytest.approx(matrix_flop(of, *arguments), rel=0.02)


def test_both_ways_to_convolve_count_the_same(monkeypatch: Any) -> None:
    """The patches of a CPU, and XLA's convolutions, whose gradients are dilated and padded."""
    patches = update_flop(preset("small"))
    monkeypatch.setattr(conv, "_method", lambda method: "lax")
    assert update_flop(preset("small")) == patches


@pytest.mark.parametrize(
    "options",
    [
        {"padding": ((2, 1), (0, 3))},
        {"padding": ((1, 0), (2, 2)), "lhs_dilation": (3, 2), "rhs_dilation": (1, 2)},
        {"padding": "SAME", "feature_group_count": 2},
    ],
    ids=str,
)
def test_a_convolution_agrees_with_xla(options: dict[str, Any]) -> None:
    image = jnp.ones((3, 4, 9, 10))
    kernel = jnp.ones((6, 4 // options.get("feature_group_count", 1), 3, 2))

    def convolve(image: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(image, kernel, (2, 1), **options)

    assert xla_flop(convolve, image, kernel) == matrix_flop(convolve, image, kernel)


@pytest.mark.parametrize("dynamics", ["rssm", "ssm", "rnn", "drnn"])
def test_a_time_step_agrees_with_xla(dynamics: Any) -> None:
    model = WorldModel(
        pixels(64, ACTIONS), ModelConfig(dynamics=dynamics, depth=2), key=jax.random.key(0)
    )

    def predict(model: Any, action: Any, noise: Any) -> Any:
        return model.dynamics.predict(model.dynamics.initial(IMAGES), action, noise)

    def infer(model: Any, state: Any, action: Any, embedding: Any, noise: Any) -> Any:
        return model.dynamics.infer(state, action, embedding, noise)

    def reward(model: Any, state: Any) -> Any:
        return model.reward(state)

    action = jnp.ones((IMAGES, ACTIONS))
    noise = jnp.ones((IMAGES, model.dynamics.stochastic_size))
    state = model.dynamics.initial(IMAGES)
    embedding = jnp.ones((IMAGES, model.encoder.embedding_size))
    # XLA counts non-linearities too: here a few for each of some hundred units. Of the DRNN it
    # shares the encoder RNN's product with e_t-1 between posterior and prior.
    shared = IMAGES * 3 * 2 * 200 * 200 if dynamics == "drnn" else 0
    for function, arguments, less, close in (
        (infer, (model, state, action, embedding, noise), shared, 0.03),
        (predict, (model, action, noise), 0, 0.06 if dynamics == "ssm" else 0.02),
        (reward, (model, state), 0, 0.02),
    ):
        count = matrix_flop(function, *arguments) - less
        assert xla_flop(function, *arguments) == pytest.approx(count, rel=close), function


def test_paper_sizes_by_hand() -> None:
    forward = sum(ENCODER) + sum(DECODER) + PRIOR + POSTERIOR + REWARD
    assert update_flop(preset("paper")) == 2 * 2500 * (3 * forward - ENCODER[0])
    plan = (1000 * 10 + 1) * 12 * (PRIOR + REWARD)  # one more predicts the plan's own return
    belief = TRANSITION + POSTERIOR  # without the prior's Gaussian
    assert act_flop(preset("paper")) == 2 * (sum(ENCODER) + belief + plan)


@pytest.mark.parametrize(
    ("dynamics", "update", "act"),
    [
        ("ssm", 577_717_320_000, 15_727_494_336),
        ("rnn", 953_871_600_000, 91_095_530_336),
        ("drnn", 592_508_520_000, 135_260_326_336),
    ],
)
def test_the_other_dynamics(dynamics: Any, update: int, act: int) -> None:
    """As counted by formulas of layers, before programs were."""
    config = dataclasses.replace(preset("paper"), model=ModelConfig(dynamics=dynamics))
    assert (update_flop(config), act_flop(config)) == (update, act)


def test_dreamer_by_hand() -> None:
    """At the paper's size: 2,500 starts, 20 steps, three layers of 300 units."""
    config = preset("paper", "dreamer")
    policy = 230 * 300 + 2 * 300 * 300 + 300 * 2 * ACTIONS
    value = 230 * 300 + 2 * 300 * 300 + 300
    reward = 230 * 300 + 2 * 300 * 300 + 300
    belief = TRANSITION + POSTERIOR
    assert act_flop(config) == 2 * (sum(ENCODER) + belief + policy + value)
    forward = sum(ENCODER) + sum(DECODER) + PRIOR + POSTERIOR + reward
    world_model = 2 * 2500 * (3 * forward - ENCODER[0])
    # The gradient goes through model, reward and value, not to their weights. The value's
    # regression has no gradient to its input, the features.
    through = 20 * (3 * policy + 2 * PRIOR) + 21 * 2 * (reward + value)
    regression = 20 * (3 * value - 230 * 300)
    assert update_flop(config) == world_model + 2 * 2500 * (through + regression)


def test_only_decoded_steps_count() -> None:
    paper = preset("paper")
    some = dataclasses.replace(paper, objective=ObjectiveConfig(image_steps=10))
    saved = update_flop(paper) - update_flop(some)
    assert saved == 2 * 3 * 50 * 40 * sum(DECODER)


def with_objective(**changes: Any) -> Config:
    return dataclasses.replace(preset("paper"), objective=ObjectiveConfig(**changes))


def test_predictions_over_several_steps_by_hand() -> None:
    """12 distances from each of 50 steps are computed, also those that are masked.

    The priors of the filter are then in no loss, only in the metrics: they get no gradient.
    """
    plain, steps = update_flop(preset("paper")) - 2 * 2500 * 2 * PRIOR_HEAD, 2 * 3 * 50 * 50 * 12
    assert update_flop(with_objective(overshooting=12)) == plain + steps * PRIOR
    assert update_flop(with_objective(distance=12)) == plain + steps * PRIOR
    scored = with_objective(
        overshooting=12, overshooting_reward_scale=1.0, overshooting_image_scale=1.0
    )
    heads = REWARD + sum(DECODER)
    assert update_flop(scored) == plain + steps * (PRIOR + heads)


def test_a_model_without_a_divergence_also_decodes_its_predictions() -> None:
    rnn = dataclasses.replace(preset("paper"), model=ModelConfig(dynamics="rnn"))
    literal = dataclasses.replace(
        rnn,
        objective=ObjectiveConfig(overshooting_reward_scale=0.0, overshooting_image_scale=0.0),
    )
    prior = (30 + 6) * 200 + 3 * (200 + 200) * 200 + 200 * 200 + 200 * 30
    more = update_flop(rnn) - update_flop(literal)
    assert more == 2 * 3 * 2500 * (prior + REWARD + sum(DECODER))


X, W = jax.ShapeDtypeStruct((30, 5), jnp.float32), jax.ShapeDtypeStruct((5, 5), jnp.float32)
ONCE = 2 * 30 * 5 * 5


def test_products_in_a_scan_count_once_for_each_step() -> None:
    def scanned(x: Any, w: Any) -> Any:
        return lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, length=7)[0]

    assert matrix_flop(scanned, X, W) == 7 * ONCE


def test_the_longest_branch_of_a_conditional_counts() -> None:
    def either(x: Any, w: Any) -> Any:
        return lax.cond(x[0, 0] > 0, lambda: x @ w @ w, lambda: x @ w)

    assert matrix_flop(either, X, W) == 2 * ONCE


def test_what_no_result_depends_on_does_not_count() -> None:
    def wasteful(x: Any, w: Any) -> Any:
        step = lax.scan(lambda x, _: (x @ w, x @ w @ w), x, length=3)
        return step[0], jax.jit(lambda: (x @ w, x))()[1]

    assert matrix_flop(wasteful, X, W) == 3 * ONCE


def test_what_pieces_compute_twice_counts_once() -> None:
    def loss(w: Any, x: Any) -> Any:
        return squares(jnp.tanh(in_pieces(lambda part, _: jnp.tanh(part @ w), x, 7) @ w))

    jax.make_jaxpr(jax.grad(loss))(W, X)  # what was traced before does not count
    assert matrix_flop(jax.grad(loss), W, X) == (2 + 2 + 1) * ONCE
