"""MuZero's agent: what it sees, what it learns from, and what must not reach it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from armillary.agents.muzero import MuZero, Rows, descent
from armillary.agents.searcher import MuZeroState
from armillary.config import changed
from armillary.config.muzero import DescentConfig
from armillary.config.schedule import all_rounds, updates_due
from armillary.envs import side_by_side
from armillary.envs.games import game, spec_of_game
from armillary.errors import UsageError
from armillary.machine.agent import example_batch
from armillary.nets.muzero import History
from armillary.objectives.muzero import muzero_loss
from armillary.replay.episodes import EpisodeStore
from armillary.replay.positions import PositionSampler
from armillary.spec import MASK, Continuous, Discrete, Field, Spec
from armillary.training.rollout import rollout
from settings import TINY_GAME, TINY_MUZERO

IMAGES = changed(
    TINY_MUZERO,
    {
        "environment.observe": "cameras/front",
        "network.history": 3,
        "network.channels": 4,
        "network.blocks": 1,
        "search.simulations": 2,
    },
)


@lru_cache
def _played(config: Any) -> tuple[MuZero, MuZeroState, Any]:
    """Returns an agent, its parameters, and an episode of it."""
    envs = side_by_side(config.task, config.environment, 1)
    agent = MuZero(config, envs.agent_spec)
    state = jax.jit(agent.init)(jax.random.key(0))
    (episode,) = rollout(envs, agent, state, jax.random.key(1), seeds=[0], explore=True)
    envs.close()
    return agent, state, episode


def _rows(agent: MuZero, episode: Any, folder: Path, first: int) -> Rows:
    store = EpisodeStore(folder)
    store.write(0, episode)
    sampler = PositionSampler(store, 1, agent.windows, capacity=10**6)
    sampler.episodes = None
    return Rows.of(sampler.read(np.array([first])))


@pytest.mark.parametrize("first", [0, 1, 5])
def test_a_batch_shows_the_model_what_the_agent_saw(tmp_path: Path, first: int) -> None:
    """The frames and the actions before them, from the first step of an episode on."""
    agent, state, episode = _played(IMAGES)
    belief = agent.initial_belief(state, 1)
    act = jax.jit(agent.act, static_argnames="explore")
    for row in range(first + 1):
        if row:
            belief = belief._replace(action=jnp.array(episode.action[row])[None])
        seen = {name: field[row][None] for name, field in episode.observation.items()}
        belief, _, _ = act(state, belief, seen, jax.random.key(row), explore=True)
    root = agent.root(_rows(agent, episode, tmp_path, first))
    for ours, theirs in zip(*map(jax.tree.leaves, (belief.history, root)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_the_search_found_is_kept_with_its_step(tmp_path: Path) -> None:
    agent, state, episode = _played(TINY_MUZERO)
    assert set(episode.records) == {"policy", "value"}
    np.testing.assert_allclose(episode.records["policy"].sum(axis=1), 1.0, rtol=1e-5)
    assert not episode.terminal  # the last row of what a time limit cut was searched, too
    history = History(
        {name: jnp.array(rows[-1])[None, None] for name, rows in episode.observation.items()},
        jnp.array(episode.action[-1])[None, None],
    )
    found = jax.jit(agent.search, static_argnames="explore")(
        state.network, history, None, jax.random.key(0), explore=False
    )
    assert abs(float(found.value[0]) - episode.records["value"][-1]) < 0.5


def test_nothing_that_is_seen_later_reaches_the_unrolled_model(tmp_path: Path) -> None:
    """By the gradient of the loss in what was observed before, at and after the step."""
    agent, state, episode = _played(changed(IMAGES, {"reanalyze": True}))
    rows = _rows(agent, episode, tmp_path, 4)
    targets, _ = jax.jit(agent.targets)(state, rows, jax.random.key(0))
    actions = agent._unrolled(rows, jax.random.key(1))
    network = eqx.tree_at(
        lambda n: n.value.stack.layers[-1].linear.weight, state.network, replace_fn=jnp.ones_like
    )  # which begins as zeros, so that no gradient would pass

    @jax.jit
    @jax.grad
    def gradient_of(pixels: Any) -> Any:
        root = agent.root(rows._replace(observation={name: pixels}))
        return muzero_loss(network, root, actions, targets, rows.weight, 1.0)[0]

    ((name, pixels),) = rows.observation.items()
    assert pixels.shape[1] > 3
    gradient = np.abs(gradient_of(pixels.astype(jnp.float32))).max(axis=(0, 2, 3, 4))
    assert gradient[:3].min() > 0
    np.testing.assert_array_equal(gradient[3:], 0)


def test_the_network_learns_from_actions_that_led_to_the_rows(tmp_path: Path) -> None:
    agent, _, episode = _played(TINY_MUZERO)
    last = episode.steps - 1
    rows = _rows(agent, episode, tmp_path, last)
    actions = agent._unrolled(rows, jax.random.key(0))
    np.testing.assert_array_equal(actions[0, 0], episode.action[last + 1])
    assert actions[1].sum() == 1  # past the end: any, but one
    others = [agent._unrolled(rows, jax.random.key(seed))[1].argmax() for seed in range(20)]
    assert len(set(map(int, others))) > 1


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_reanalyze_searches_again_with_what_was_known_then(tmp_path: Path, share: float) -> None:
    config = changed(TINY_MUZERO, {"reanalyze": True, "fresh.policy": share})
    without_noise = changed(config, {"search.noise_fraction": 0.0})
    agent, state, episode = _played(config)
    other = jax.jit(agent.init)(jax.random.key(5))
    state = state._replace(network=other.network)
    rows = _rows(agent, episode, tmp_path, 3)
    targets, metrics = jax.jit(agent.targets)(state, rows, jax.random.key(2))
    assert metrics["fresh_policy"] == share
    kept = episode.records["policy"][3:6]
    if share == 0.0:
        np.testing.assert_array_equal(targets.policy[0], kept)
    else:
        silent = replace(agent, config=without_noise)
        quiet, _ = jax.jit(silent.targets)(state, rows, jax.random.key(2))
        search = jax.jit(agent.search, static_argnames="explore")
        assert np.abs(np.asarray(targets.policy[0] - quiet.policy[0])).max() > 0  # has noise
        for k in range(3):
            history = History(
                {n: jnp.array(x[3 + k])[None, None] for n, x in episode.observation.items()},
                jnp.zeros((1, 1, agent.spec.action.size)),
            )
            found = search(state.network, history, None, jax.random.key(0), explore=False)
            np.testing.assert_allclose(quiet.policy[0, k], found.policy[0], atol=1e-6)
        assert np.abs(np.asarray(targets.policy[0]) - kept).max() > 0
    target = state.target
    assert target is not None
    ahead = 3 + agent.config.steps
    of_target = target.predict(
        target.represent(
            History(
                {n: jnp.array(x[ahead])[None, None] for n, x in episode.observation.items()},
                jnp.zeros((1, 1, agent.spec.action.size)),
            )
        )
    )[1]
    from armillary.objectives.muzero import value_of

    discounts = agent.discount ** np.arange(agent.config.steps)
    z = (discounts * episode.reward[4 : ahead + 1]).sum()
    z += agent.discount**agent.config.steps * float(value_of(of_target)[0])
    np.testing.assert_allclose(targets.value[0, 0], z, rtol=1e-4)


def test_the_model_is_made_consistent_with_the_rows_that_followed(tmp_path: Path) -> None:
    agent, state, episode = _played(changed(TINY_MUZERO, {"target.consistency": 1.0}))
    assert agent.windows.observed == agent.config.target.unroll
    last = episode.steps - 1
    rows = _rows(agent, episode, tmp_path, last)
    later = agent._later(state.network, rows)
    history = History(
        {n: jnp.array(x[last + 1])[None, None] for n, x in episode.observation.items()},
        jnp.array(episode.action[last + 1])[None, None],
    )
    np.testing.assert_allclose(later.state[0], state.network.represent(history), rtol=1e-5)
    np.testing.assert_array_equal(later.valid[0], [True, False])  # what lies past the end: none

    losses, key = [], jax.random.key(0)
    for weight in (1.0, 5.0):
        one = replace(agent, config=changed(agent.config, {"target.consistency": weight}))
        _, metrics, _ = jax.jit(one.update)(state, example_batch(one.config, one), key)
        losses.append({name: float(x) for name, x in metrics.items()})
    assert losses[0]["loss/consistency"] == losses[1]["loss/consistency"] > 0
    apart = losses[1]["loss/total"] - losses[0]["loss/total"]
    np.testing.assert_allclose(apart, 4.0 * losses[0]["loss/consistency"], rtol=1e-3)


def test_reanalyze_changes_what_the_paper_changes() -> None:
    plain = replace(TINY_MUZERO, target=replace(TINY_MUZERO.target, steps=None))
    fresh = replace(plain, reanalyze=True)
    assert (plain.steps, plain.value_scale) == (10, 1.0)
    assert (fresh.steps, fresh.value_scale, fresh.fresh.policy) == (5, 0.25, 0.8)


def test_the_target_network_follows_every_so_often() -> None:
    config = changed(TINY_MUZERO, {"reanalyze": True, "fresh.target_every": 2})
    agent, state, _ = _played(config)
    batch = example_batch(config, agent)
    update = jax.jit(agent.update)
    leaf = lambda tree: np.asarray(jax.tree.leaves(tree)[0])  # noqa: E731
    first, _, priorities = update(state, batch, jax.random.key(0))
    assert priorities.shape == (config.training.batch_size,)
    np.testing.assert_array_equal(leaf(first.target), leaf(state.target))
    second, _, _ = update(first, batch, jax.random.key(1))
    np.testing.assert_array_equal(leaf(second.target), leaf(second.network))
    assert np.abs(leaf(second.target) - leaf(state.target)).max() > 0


def test_the_temperature_falls_with_the_run_and_within_the_episode() -> None:
    agent, _, _ = _played(TINY_MUZERO)
    total = updates_due(TINY_MUZERO, all_rounds(TINY_MUZERO))
    moves = jnp.zeros(1, jnp.int32)
    found = [
        float(agent.temperature(jnp.int32(round(share * total)), moves)[0])
        for share in (0.0, 0.45, 0.5, 0.7, 0.75, 1.0)
    ]
    assert found == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    config = changed(TINY_MUZERO, {"collection.moves": 2, "collection.late_temperature": 0.0})
    of_moves = MuZero(config, agent.spec).temperature(jnp.int32(0), jnp.arange(4))
    assert of_moves.tolist() == [1.0, 1.0, 0.0, 0.0]


BOARD = {"board": Field((3, 3, 2), "bool"), MASK: Field((9,), "bool")}


@pytest.mark.parametrize(
    ("config", "spec", "message"),
    [
        (TINY_MUZERO, Spec.of({"vector": Field((2,))}, Continuous(3)), "discrete actions.*planet"),
        (TINY_MUZERO, Spec.of({**BOARD, "vector": Field((2,))}, Discrete(9)), "choose with"),
        (replace(TINY_GAME, task="tic_tac_toe,hex"), Spec.of(BOARD, Discrete(9), 2), "one game"),
        (
            changed(TINY_MUZERO, {"network.kind": "residual"}),
            Spec.of({"vector": Field((2,))}, Discrete(3)),
            "only vectors",
        ),
        (
            changed(TINY_MUZERO, {"network.kind": "dense"}),
            Spec.of({"image": Field((64, 64, 3), "uint8")}, Discrete(3)),
            "an image is observed",
        ),
    ],
)
def test_what_it_cannot_do_is_said(config: Any, spec: Spec, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MuZero(config, spec)


def test_other_agents_refuse_a_game_by_themselves() -> None:
    from armillary.agents.registry import make_agent
    from settings import TINY, TINY_DREAMER

    for config in (TINY, TINY_DREAMER):
        with pytest.raises(UsageError, match="2 players"):
            make_agent(config, Spec.of(BOARD, Discrete(9), 2))


def test_random_collection_keeps_what_the_search_found() -> None:
    """Uniform legal moves in collected games alone, beside the search's policy."""
    greedy = {
        "search.noise_fraction": 0.0,
        "collection.temperatures": (0.0,),
        "collection.moves": None,
    }
    spec = spec_of_game(game(TINY_GAME.task))
    count = 200
    legal = np.zeros((count, 9), bool)
    legal[:, [2, 5]] = True
    seen = {"board": np.zeros((count, 3, 3, 2), bool), MASK: legal}
    first = {}
    for policy in ("agent", "random"):
        agent = MuZero(changed(TINY_GAME, greedy | {"collection.policy": policy}), spec)
        state = agent.init(jax.random.key(0))
        act = jax.jit(agent.act, static_argnames="explore")
        belief = agent.initial_belief(state, count)
        for explore in (True, False):
            _, action, known = act(state, belief, seen, jax.random.key(1), explore=explore)
            first[policy, explore] = np.asarray(action)[:, 2].mean()
            assert (known["policy"][:, [2, 5]].sum(axis=1) == 1).all()
    assert 0.35 < first.pop(("random", True)) < 0.65
    assert len({*first.values()}) == 1
    assert first["agent", True] in (0, 1)


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_the_optimiser_is_that_of_the_settings(method: str) -> None:
    """By hand: the clipped gradient and c times the parameters, at a rate that falls."""
    config = DescentConfig(method, 0.1, decay=0.5, decay_steps=2, weight_decay=0.2, clip_norm=1.0)
    optimizer = descent(config)
    parameters = {"w": jnp.array([2.0, -1.0])}
    state = optimizer.init(parameters)
    gradient = np.array([3.0, 4.0])  # of norm 5
    by_hand, trace = np.array([2.0, -1.0]), np.zeros(2)
    mean, square = np.zeros(2), np.zeros(2)
    for step in range(3):
        changes, state = optimizer.update({"w": jnp.array(gradient)}, state, parameters)
        parameters = optax.apply_updates(parameters, changes)
        whole = gradient / 5 + 0.2 * by_hand
        rate = 0.1 * 0.5 ** (step / 2)
        if method == "sgd":
            trace = whole + 0.9 * trace
            by_hand = by_hand - rate * trace
        else:
            mean, square = 0.9 * mean + 0.1 * whole, 0.999 * square + 0.001 * whole**2
            unbiased = mean / (1 - 0.9 ** (step + 1)), square / (1 - 0.999 ** (step + 1))
            by_hand = by_hand - rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
        np.testing.assert_allclose(parameters["w"], by_hand, rtol=1e-4)
