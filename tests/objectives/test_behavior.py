"""Behaviour learned in imagination: finite differences, and a system of known optimum."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from armillary.agents import dreamer
from armillary.agents.dreamer import Dreamer, DreamerState
from armillary.agents.world_model import init_optimizer
from armillary.config import BehaviorConfig, DreamerConfig
from armillary.nets.dense import Stack
from armillary.nets.policy import Policy
from armillary.objectives.behavior import Imagined, Starts, behavior_loss, imagine, value_loss
from armillary.replay.sampler import Batch
from armillary.spec import Continuous, pixels
from models import GAMMA, A, B, Linear, Q, R, System, starts_at

CONFIG = BehaviorConfig(
    horizon=8, discount=GAMMA, slow_value_every=None, layers=1, hidden=16, initial_std=0.3,
    actor_rate=3e-3, value_rate=3e-3,
)  # fmt: skip
SYSTEM = System(Linear(jnp.array(A)))


def _networks(config: BehaviorConfig) -> tuple[Policy, Stack]:
    policy = Policy(2, Continuous(1), config, key=jax.random.key(0))
    return policy, Stack([2, 16, 1], "elu", key=jax.random.key(1))


LOSS = eqx.filter_jit(behavior_loss)
START = Starts(starts_at(jnp.linspace(-0.5, 0.6, 4)))


@pytest.mark.parametrize("estimate", ["lambda", "fixed", "rewards"])
def test_the_actors_gradient_is_that_of_finite_differences(estimate: Any) -> None:
    config = replace(CONFIG, estimate=estimate, horizon=4)
    with jax.enable_x64(True):
        parts = (*_networks(config), SYSTEM, START)
        policy, value, system, start = jax.tree.map(lambda x: x.astype(jnp.float64), parts)

        def loss(shift: Any) -> Any:
            weight = policy.stack.layers[0].linear.weight.at[3, 0].add(shift)
            moved = eqx.tree_at(lambda p: p.stack.layers[0].linear.weight, policy, weight)
            return behavior_loss(moved, system, value, start, jax.random.key(2), config)[0]

        compiled = jax.jit(loss)
        numeric = (compiled(1e-4) - compiled(-1e-4)) / 2e-4
        analytic = jax.jit(jax.grad(loss))(0.0)
    assert abs(analytic) > 1e-3
    np.testing.assert_allclose(analytic, numeric, rtol=1e-5)


def test_the_loss_is_minus_the_mean_estimate_of_states_with_an_action() -> None:
    policy, value = _networks(CONFIG)
    loss, imagined = LOSS(policy, SYSTEM, value, START, jax.random.key(2), CONFIG)
    assert imagined.features.shape == (9, 4, 2)
    np.testing.assert_allclose(loss, -np.mean(imagined.estimates[:-1]), rtol=1e-6)
    np.testing.assert_array_equal(imagined.features[0], START.latent.deterministic)
    bootstrap = value(imagined.features[-1])[..., 0]
    np.testing.assert_allclose(imagined.estimates[-1], bootstrap, rtol=1e-6)


def test_entropy_is_added_for_each_step_with_an_action() -> None:
    policy, value = _networks(CONFIG)
    loss, imagined = LOSS(policy, SYSTEM, value, START, jax.random.key(2), CONFIG)
    config = replace(CONFIG, entropy_scale=0.5)
    with_entropy, _ = LOSS(policy, SYSTEM, value, START, jax.random.key(2), config)
    np.testing.assert_allclose(with_entropy, loss - 0.5 * np.mean(imagined.entropies), rtol=1e-5)


def test_states_after_the_end_do_not_count() -> None:
    """Their weight is 0, and their rewards are in no estimate."""
    policy, value = _networks(CONFIG)
    system = System(SYSTEM.dynamics, end=0.55)  # the last start has ended already
    _, imagined = LOSS(policy, system, value, START, jax.random.key(2), CONFIG)
    ended = np.abs(imagined.features[..., 0]) >= 0.55
    before = np.cumsum(ended, axis=0) - ended
    np.testing.assert_array_equal(imagined.weights, (before == 0).astype(float))
    x = imagined.features[0, -1, 0]
    np.testing.assert_allclose(imagined.estimates[0, -1], -Q * x**2, rtol=1e-5)


def test_starts_that_fill_up_a_window_do_not_count() -> None:
    """Neither for the actor nor for the value: losses are means over the others."""
    policy, value = _networks(CONFIG)
    key = jax.random.key(2)
    _, plain = LOSS(policy, SYSTEM, value, START, key, CONFIG)
    starts = START._replace(weights=jnp.array([2.0, 0.0, 2.0, 0.0]))
    loss, imagined = LOSS(policy, SYSTEM, value, starts, key, CONFIG)
    counted = [0, 2]
    np.testing.assert_allclose(loss, -np.mean(plain.estimates[:-1, counted]), rtol=1e-5)
    np.testing.assert_allclose(starts.mean(plain.estimates[0]), plain.estimates[0, counted].mean())
    errors = value(plain.features[:-1])[..., 0] - plain.estimates[:-1]
    expected = 0.5 * np.mean(np.asarray(errors)[:, counted] ** 2)
    np.testing.assert_allclose(value_loss(value, imagined), expected, rtol=1e-5)
    valid = np.array([[True, False], [True, False]])
    batch = Batch({}, *3 * [np.zeros((2, 2), np.float32)], valid)
    np.testing.assert_array_equal(Starts.of(START.latent, batch).weights, [2.0, 2.0, 0.0, 0.0])


def test_gradients_reach_what_they_should_and_nothing_else() -> None:
    policy, value = _networks(CONFIG)

    def loss(parts: Any) -> Any:
        policy, system, value, start = parts
        loss, imagined = behavior_loss(policy, system, value, start, jax.random.key(2), CONFIG)
        return loss, imagined

    parts = (policy, SYSTEM, value, START)
    gradient = eqx.filter_jit(eqx.filter_grad(lambda p: loss(p)[0]))(parts)
    assert all(not np.any(x) for x in jax.tree.leaves(gradient[3])), "the start states"
    assert np.any(gradient[1].dynamics.gain)  # the chain goes through the dynamics

    def regression(parts: Any) -> Any:
        return value_loss(parts[2], loss(parts)[1])

    gradient = eqx.filter_jit(eqx.filter_grad(regression))(parts)
    for part, name in ((0, "policy"), (1, "model"), (3, "start")):
        assert all(not np.any(x) for x in jax.tree.leaves(gradient[part])), name
    assert all(np.any(x) for x in jax.tree.leaves(gradient[2]))


def test_another_reward_is_paid_where_the_action_is_taken() -> None:
    """Worth in s_0 is the sum over the first H states, of their own actions: none is later."""
    policy, value = _networks(CONFIG)
    config = replace(CONFIG, estimate="rewards")

    def paid(features: Any, actions: Any) -> Any:
        return 3 * features[..., 0] + actions[..., 0]

    key = jax.random.key(2)
    _, imagined = LOSS(policy, SYSTEM, value, START, key, config, paid)
    # of this system the last entry of a state is the action that has led to it
    x, actions = np.asarray(imagined.features[:-1, :, 0]), np.asarray(imagined.features[1:, :, 1])
    expected = [(3 * x + actions)[step:].sum(axis=0) for step in range(9)]
    np.testing.assert_allclose(imagined.estimates, expected, rtol=1e-4, atol=1e-6)


def test_the_values_target_gets_no_gradient() -> None:
    """Eq. 8 regresses an estimate that is a constant: d loss / d v = v - V at each state."""
    features = jnp.arange(12.0).reshape(3, 2, 2)
    estimates = jnp.arange(6.0).reshape(3, 2)
    imagined = Imagined(features, estimates, jnp.zeros((2, 2)), jnp.ones((3, 2)))
    bias = Stack([2, 1], "elu", key=jax.random.key(0))
    values = bias(features[:-1])[..., 0]
    gradient = jax.grad(value_loss)(bias, imagined)
    np.testing.assert_allclose(
        gradient.layers[0].bias, [np.mean(values - estimates[:-1])], rtol=1e-5
    )


def test_what_the_policy_sees_can_be_cut_from_the_gradient() -> None:
    policy, value = _networks(CONFIG)

    def gradient(config: BehaviorConfig) -> Any:
        function = eqx.filter_grad(lambda p, c: behavior_loss(
            p, SYSTEM, value, START, jax.random.key(2), c)[0])  # fmt: skip
        return eqx.filter_jit(function)(policy, config).stack.layers[0].linear.weight

    whole, cut = gradient(CONFIG), gradient(replace(CONFIG, through_policy=False))
    assert np.abs(whole - cut).max() > 1e-4
    _, imagined = LOSS(policy, SYSTEM, value, START, jax.random.key(2), CONFIG)
    states, *_ = imagine(SYSTEM, policy, START, 8, jax.random.key(2), through_policy=False)
    np.testing.assert_allclose(states.deterministic, imagined.features, atol=1e-6)


def _state(agent: Dreamer) -> DreamerState:
    policy, value = _networks(agent.config.behavior)
    of_policy, of_value = agent._optimizers
    optimizers = (None, init_optimizer(of_policy, policy), init_optimizer(of_value, value))
    slow = None if agent.config.behavior.slow_value_every is None else value
    return DreamerState(SYSTEM, policy, value, slow, optimizers, jnp.zeros((), jnp.int32))  # type: ignore[arg-type]


def test_many_starts_are_learned_from_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU; the mean over the pieces is the mean over the starts."""
    monkeypatch.setattr(dreamer, "CPU_STARTS", 2)
    agent, key = Dreamer(DreamerConfig(behavior=CONFIG), pixels(64, 1)), jax.random.key(2)
    state = _state(agent)
    _, metrics = eqx.filter_jit(agent.learn_behavior)(state, START, key)
    halves = [jax.tree.map(lambda x, i=i: x[2 * i : 2 * i + 2], START) for i in range(2)]
    losses = [
        LOSS(state.policy, SYSTEM, state.value, half, jax.random.fold_in(key, i), CONFIG)[0]
        for i, half in enumerate(halves)
    ]
    np.testing.assert_allclose(metrics["loss/policy"], np.mean(losses), rtol=1e-5)


def _learn(agent: Dreamer, updates: int = 1500) -> Policy:
    first = _state(agent)
    moving, fixed = eqx.partition(first, eqx.is_array)

    @jax.jit
    def learn(moving: Any) -> Any:
        def step(moving: Any, key: Any) -> Any:
            x_key, key = jax.random.split(key)
            start = Starts(starts_at(jax.random.uniform(x_key, (64,), minval=-1.0, maxval=1.0)))
            state, metrics = agent.learn_behavior(eqx.combine(moving, fixed), start, key)
            return eqx.filter(state, eqx.is_array), metrics["loss/policy"]

        return jax.lax.scan(step, moving, jax.random.split(jax.random.key(3), updates))[0]

    return eqx.combine(learn(moving), fixed).policy


def _cost(control: Callable[[Any], Any]) -> float:
    x, total = np.linspace(-0.8, 0.8, 9), np.zeros(9)
    for t in range(60):
        u = np.asarray(control(x))
        total += GAMMA**t * (Q * x**2 + R * u**2)
        x = A * x + B * u
    return float(total.mean())


@pytest.mark.parametrize("slow_value_every", [None, 10])
def test_the_actor_reaches_the_optimal_cost(slow_value_every: int | None) -> None:
    """Within 5%, on a linear system with a quadratic cost, whose best gain is Riccati's."""
    discounted = (np.array([[np.sqrt(GAMMA) * A]]), np.array([[np.sqrt(GAMMA) * B]]))
    p = scipy.linalg.solve_discrete_are(*discounted, np.array([[Q]]), np.array([[R]]))[0, 0]
    gain = GAMMA * A * B * p / (R + GAMMA * B**2 * p)
    best = _cost(lambda x: np.clip(-gain * x, -1, 1))
    config = DreamerConfig(behavior=replace(CONFIG, slow_value_every=slow_value_every))
    policy = _learn(Dreamer(config, pixels(64, 1)))

    def learned(x: Any) -> Any:
        return policy(starts_at(jnp.asarray(x)).deterministic).mode()[..., 0]

    assert best < 0.7 * _cost(lambda x: 0 * x)
    assert _cost(learned) < 1.05 * best
