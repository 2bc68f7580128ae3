"""The loss of MuZero, held against sums written plainly over what the network gives."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.config.muzero import NetworkConfig
from armillary.nets.muzero import History, MuZeroNetwork
from armillary.objectives.muzero import Later, muzero_loss, value_of
from armillary.objectives.returns import Targets
from armillary.spec import Discrete, Field, Spec

BATCH, UNROLL, ACTIONS, CATEGORIES = 4, 3, 5, 11
CONFIG = NetworkConfig(kind="dense", state=6, hidden=7, categories=CATEGORIES)


@lru_cache
def _case(players: int) -> tuple[MuZeroNetwork, History, Any, Targets, Any]:
    """A network whose heads do not begin as zeros, and targets of which some do not count."""
    spec = Spec.of({"vector": Field((3,))}, Discrete(ACTIONS), players)
    network = MuZeroNetwork(spec, CONFIG, key=jax.random.key(0))
    leaves, structure = jax.tree.flatten(eqx.filter(network, eqx.is_inexact_array))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [0.3 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    network = eqx.apply_updates(network, jax.tree.unflatten(structure, noise))
    random = np.random.default_rng(2)
    shape = (BATCH, UNROLL + 1)
    root = History(
        {"vector": jnp.array(random.normal(size=(BATCH, 1, 3)), jnp.float32)},
        jnp.zeros((BATCH, 1, ACTIONS)),
    )
    numbers = random.integers(ACTIONS, size=(UNROLL, BATCH))
    actions = jnp.array(np.eye(ACTIONS, dtype=np.float32)[numbers])
    scale = 1.0 if players == 2 else 20.0
    targets = Targets(
        value=jnp.array(random.uniform(-scale, scale, shape), jnp.float32),
        reward=jnp.array(random.uniform(-3, 3, shape), jnp.float32),
        policy=jnp.array(random.dirichlet(np.ones(ACTIONS), shape), jnp.float32),
        values=jnp.array(random.random(shape) < 0.7),
        rewards=jnp.array(random.random(shape) < 0.7).at[:, 0].set(False),
        policies=jnp.array(random.random(shape) < 0.7),
    )
    return network, root, actions, targets, jnp.array(random.uniform(0.2, 1, BATCH), jnp.float32)


def _scaled(x: float) -> float:
    """h(x) as it is published."""
    return float(np.sign(x) * (np.sqrt(abs(x) + 1) - 1) + 0.001 * x)


def _cross_entropy(logits: np.ndarray, number: float) -> float:
    """Of the two categories next to h(number), by the share of each."""
    log_p = logits - np.log(np.sum(np.exp(logits)))
    place = min(max(_scaled(number) + CATEGORIES // 2, 0), CATEGORIES - 1)
    low = int(np.floor(place))
    share = place - low
    return -float((1 - share) * log_p[low] + (share * log_p[low + 1] if share else 0.0))


@pytest.mark.parametrize("players", [1, 2])
def test_it_is_the_sum_of_its_terms(players: int) -> None:
    network, root, actions, targets, weight = _case(players)
    total, (metrics, error) = eqx.filter_jit(muzero_loss)(
        network, root, actions, targets, weight, 0.25
    )
    terms = {"value": 0.0, "policy": 0.0, "reward": 0.0}
    state = network.represent(root)
    of = jax.tree.map(lambda x: np.asarray(x, np.float64), targets)
    for k in range(UNROLL + 1):
        reward = None
        if k:
            state, reward = network.step(state, actions[k - 1])
        logits, value = (np.asarray(x, np.float64) for x in network.predict(state))
        for i in range(BATCH):
            share = float(weight[i]) / BATCH * (1.0 if k == 0 else 1.0 / UNROLL)
            log_p = logits[i] - np.log(np.sum(np.exp(logits[i])))
            terms["policy"] -= share * of.policies[i, k] * float(of.policy[i, k] @ log_p)
            if players == 2:
                wrong = (value[i, 0] - of.value[i, k]) ** 2
            else:
                wrong = _cross_entropy(value[i], of.value[i, k])
            terms["value"] += share * of.values[i, k] * wrong
            if reward is not None:
                found = _cross_entropy(np.asarray(reward[i], np.float64), of.reward[i, k])
                terms["reward"] += share * of.rewards[i, k] * found
    assert (terms["reward"] == 0) == (players == 2)  # a game has no reward to predict
    for name, term in terms.items():
        np.testing.assert_allclose(metrics[f"loss/{name}"], term, rtol=1e-5)
    whole = 0.25 * terms["value"] + terms["policy"] + terms["reward"]
    np.testing.assert_allclose(total, whole, rtol=1e-5)
    first = value_of(network.predict(network.represent(root))[1])
    np.testing.assert_allclose(error, np.abs(first - of.value[:, 0]), rtol=1e-5)


def test_half_of_the_gradient_goes_through_each_step() -> None:
    """After three steps an eighth of it reaches the representation, which they do not change."""
    network, root, actions, targets, weight = _case(2)
    nothing = jnp.zeros_like(targets.values)
    last = targets._replace(
        values=nothing.at[:, UNROLL].set(True), rewards=nothing, policies=nothing
    )

    def plain(network: MuZeroNetwork) -> Any:
        state = network.represent(root)
        for action in actions:
            state, _ = network.step(state, action)
        wrong = (network.predict(state)[1][:, 0] - last.value[:, UNROLL]) ** 2
        return jnp.mean(weight * wrong) / UNROLL

    def loss(network: MuZeroNetwork) -> Any:
        return muzero_loss(network, root, actions, last, weight, 1.0)[0]

    ours, whole = (eqx.filter_jit(eqx.filter_grad(f))(network) for f in (loss, plain))
    for a, b in zip(
        jax.tree.leaves(ours.representation), jax.tree.leaves(whole.representation), strict=True
    ):
        np.testing.assert_allclose(a, b / 2**UNROLL, rtol=1e-3, atol=1e-7)
    for a, b in zip(jax.tree.leaves(ours.value), jax.tree.leaves(whole.value), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


def test_consistency_is_the_angle_to_what_was_seen_later() -> None:
    network, root, actions, targets, weight = _case(2)
    random = np.random.default_rng(3)
    states = jnp.array(random.random((UNROLL, BATCH, CONFIG.state)), jnp.float32)
    later = Later(states, jnp.array(random.random((BATCH, UNROLL)) < 0.7))
    plain, _ = eqx.filter_jit(muzero_loss)(network, root, actions, targets, weight, 1.0)
    total, (metrics, _) = eqx.filter_jit(muzero_loss)(
        network, root, actions, targets, weight, 1.0, later, 3.0
    )
    term, state = 0.0, network.represent(root)
    for k in range(UNROLL):
        state, _ = network.step(state, actions[k])
        for i in range(BATCH):
            cosine = np.corrcoef(state[i], states[k, i])[0, 1]
            term += float(weight[i]) / BATCH / UNROLL * later.valid[i, k] * (1 - cosine)
    np.testing.assert_allclose(metrics["loss/consistency"], term, rtol=1e-4)
    np.testing.assert_allclose(total, plain + 3.0 * term, rtol=1e-4)


def test_what_was_seen_later_learns_nothing_from_consistency() -> None:
    """Else the representation would give up what is hard to predict."""
    network, root, actions, targets, weight = _case(2)
    valid = jnp.ones((BATCH, UNROLL), bool)

    def loss(states: Any) -> Any:
        return muzero_loss(network, root, actions, targets, weight, 1.0, Later(states, valid), 1.0)[
            0
        ]

    states = jax.random.uniform(jax.random.key(0), (UNROLL, BATCH, CONFIG.state))
    np.testing.assert_array_equal(jax.jit(jax.grad(loss))(states), 0)
