"""MuZero's model looked into: the same numbers as the agent's own, and what it has not."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.agents.hidden import HiddenModel
from armillary.agents.muzero import MuZero
from armillary.config import EnvironmentConfig
from armillary.envs import side_by_side
from armillary.envs.games import game, spec_of_game
from armillary.errors import UsageError
from armillary.objectives.muzero import value_of
from settings import TINY_GAME, TINY_MUZERO

FRAMES = replace(
    TINY_MUZERO,
    environment=EnvironmentConfig(observe="cameras/front"),
    network=replace(TINY_MUZERO.network, history=3, channels=4, blocks=1),
)


@lru_cache
def _made(config: Any) -> tuple[MuZero, Any, HiddenModel]:
    """Returns an agent with heads that say something, and its model."""
    if config is TINY_GAME:
        spec = spec_of_game(game(config.task))
    else:
        envs = side_by_side(config.task, config.environment, 1)
        spec = envs.agent_spec
        envs.close()
    agent = MuZero(config, spec)
    state = jax.jit(agent.init)(jax.random.key(0))
    leaves, rest = eqx.partition(state.network, eqx.is_inexact_array)
    flat, treedef = jax.tree.flatten(leaves)
    keys = jax.random.split(jax.random.key(1), len(flat))
    noisy = [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(flat, keys, strict=True)]
    network = eqx.combine(jax.tree.unflatten(treedef, noisy), rest)
    state = state._replace(network=network)
    return agent, state, agent.world_model(state)


def _seen(agent: MuZero, rows: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    random = np.random.default_rng(2)
    fields = {**agent.spec.images, **agent.spec.vectors}
    observations = {
        name: random.integers(0, 200, (rows, *field.shape)).astype(field.dtype)
        for name, field in fields.items()
    }
    return observations, random.integers(0, agent.spec.action.size, rows - 1)


@pytest.mark.parametrize(
    "config", [TINY_MUZERO, TINY_GAME, FRAMES], ids=["vector", "game", "frames"]
)
def test_states_are_those_that_the_agent_searches_from(config: Any) -> None:
    """The oracle goes through the episode step by step, as acting does."""
    agent, state, model = _made(config)
    observations, actions = _seen(agent, 5)
    belief, expected = agent.initial_belief(state, 1), []
    for t in range(5):
        row = {name: x[t : t + 1] for name, x in observations.items()}
        history = agent._seen(belief, row)
        expected.append(state.network.represent(history)[0])
        if t < 4:
            action = jax.nn.one_hot(actions[t : t + 1], agent.spec.action.size)
            belief = belief._replace(history=history, action=action)
    every = model.encode(observations, actions, every=True)
    np.testing.assert_allclose(every, np.stack(expected), atol=1e-5)
    np.testing.assert_allclose(model.encode(observations, actions), expected[-1], atol=1e-5)
    two = {name: np.stack([x, x[::-1]], axis=1) for name, x in observations.items()}
    both = model.encode(two, np.stack([actions, actions], axis=1), every=True)
    np.testing.assert_allclose(both[:, 0], every, atol=1e-5)


@pytest.mark.parametrize("config", [TINY_MUZERO, TINY_GAME], ids=["task", "game"])
def test_steps_are_those_of_its_networks(config: Any) -> None:
    agent, state, model = _made(config)
    observations, actions = _seen(agent, 5)
    hidden = model.encode(observations, actions)
    states, rewards = model.rollout(hidden, actions)
    one, expected = hidden[None], []
    for t, action in enumerate(actions):
        one, reward = state.network.step(one, jax.nn.one_hot(action, model.action_size)[None])
        np.testing.assert_allclose(states[t], one[0], atol=1e-5)
        expected.append(0.0 if reward is None else float(value_of(reward)[0]))
    np.testing.assert_allclose(rewards, expected, rtol=1e-4, atol=1e-5)
    assert (np.abs(rewards).max() > 1e-3) == (config is TINY_MUZERO)
    following, reward = model.step(hidden, int(actions[0]))
    np.testing.assert_allclose(following, states[0], atol=1e-6)
    assert reward == pytest.approx(rewards[0], rel=1e-5)
    logits, value = state.network.predict(states)
    np.testing.assert_allclose(model.policy(states), jax.nn.softmax(logits), atol=1e-5)
    np.testing.assert_allclose(model.value(states), value_of(value), rtol=1e-4, atol=1e-5)


def test_plans_are_those_of_its_search() -> None:
    agent, state, model = _made(TINY_MUZERO)
    observations, actions = _seen(agent, 5)
    states = model.encode(observations, actions, every=True)
    expected = agent.search_from(state.network, states, None, jax.random.key(0), False)
    found = model.search(states)
    np.testing.assert_array_equal(found.visits, expected.visits)
    np.testing.assert_array_equal(model.plan(states), expected.action)
    assert found.visits.sum(axis=1).tolist() == [TINY_MUZERO.search.simulations] * 5
    assert model.search(states[0], simulations=7).visits.sum() == 7
    best = np.argmax(model.policy(states), axis=-1)
    np.testing.assert_array_equal(model.plan(states, simulations=0), best)
    mask = np.ones((5, 3), bool)
    mask[np.arange(5), best] = False
    assert (model.plan(states, mask=mask) != best).all()
    assert model.plan(states[0]).shape == ()


def test_what_it_has_not_is_said() -> None:
    agent, _, model = _made(TINY_MUZERO)
    observations, actions = _seen(agent, 5)
    hidden = model.encode(observations, actions)
    with pytest.raises(UsageError, match="no frames to decode"):
        model.decode(hidden)
    for wrong in (jnp.zeros(3), jnp.zeros(())):
        with pytest.raises(UsageError, match=r"has shape \(\*batch, 8\)"):
            model.value(wrong)
    with pytest.raises(UsageError, match="numbers from 0 to 2"):
        model.step(hidden, 3)
    with pytest.raises(UsageError, match="give 0 or more"):
        model.search(hidden, simulations=-1)
    with pytest.raises(UsageError, match="5 frames and 2 actions"):
        model.encode(observations, actions[:2])
