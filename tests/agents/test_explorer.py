"""The explorer: what each part of its update moves, and where it goes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import armillary
from armillary.agents.dreamer import Dreamer
from armillary.agents.explorer import Explorer
from armillary.config import changed, preset
from armillary.errors import UsageError
from armillary.replay.episodes import EpisodeStore
from armillary.replay.sampler import Batch
from armillary.spec import Continuous, Field, Spec, pixels
from armillary.training.loop import train
from settings import EXPLORING, TINY_EXPLORER

SPEC = Spec.of({"vector": Field((1,))}, Continuous(1))


def _batch() -> Batch:
    generator = np.random.default_rng(0)
    vector = generator.uniform(0, 1, (4, 6, 1)).astype(np.float32)
    action = generator.uniform(-1, 1, (4, 6, 1)).astype(np.float32)
    reward = generator.normal(size=(4, 6)).astype(np.float32)
    return Batch({"vector": vector}, action, reward, np.zeros((4, 6), bool))


def _differ(a: Any, b: Any) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return not all(np.allclose(x, y, rtol=1e-5, atol=1e-7) for x, y in pairs)


def test_the_world_model_learns_as_dreamers_and_the_behaviour_does_not() -> None:
    """With rewards and all; and the ensemble moves with its own loss alone."""
    agent = Explorer(changed(TINY_EXPLORER, {"environment.observe": "vector"}), SPEC)
    dreamer = Dreamer(agent.config, SPEC)
    batch, key = _batch(), jax.random.key(1)
    state = jax.jit(agent.init)(jax.random.key(0))
    after, metrics = jax.jit(agent.update)(state, batch, key)
    plain, of_plain = jax.jit(dreamer.update)(state.dreamer, batch, key)
    assert not _differ(after.model, plain.model)
    assert _differ(after.model, state.model)
    assert _differ(after.dreamer.policy, plain.policy)
    assert metrics["loss/reward"] == pytest.approx(float(of_plain["loss/reward"]), rel=1e-5)

    def alone(state: Any, batch: Batch) -> Any:
        model_key, _ = jax.random.split(key)
        _, posteriors, _ = agent.learn_dynamics(state.dreamer, batch, model_key)
        return agent.learn_ensemble(state, posteriors, batch)[0]

    ensemble = jax.jit(alone)(state, batch)
    assert not _differ(after.ensemble, ensemble)
    assert _differ(after.ensemble, state.ensemble)
    other = batch._replace(reward=batch.reward + 1)  # what is paid is no matter of the behaviour's
    again, _ = jax.jit(agent.update)(state, other, key)
    assert not _differ(again.ensemble, after.ensemble)


def test_a_model_without_a_stochastic_state_is_refused() -> None:
    config = changed(TINY_EXPLORER, {"model.dynamics": "rnn"})
    with pytest.raises(UsageError, match=r"predicts the stochastic state.*--dynamics rssm"):
        jax.eval_shape(Explorer(config, pixels(64, 2)).init, jax.random.key(0))
    with pytest.raises(UsageError, match="members is 1"):
        changed(TINY_EXPLORER, {"ensemble.members": 1})


def test_its_presets_are_dreamers() -> None:
    """But for what makes it an explorer."""
    for name in ("small", "medium", "paper"):
        ours, theirs = preset(name, "explorer"), preset(name, "dreamer")
        assert (ours.agent, ours.preset) == ("explorer", name)
        for part in ("model", "objective", "optimizer", "training", "episodes", "environment"):
            assert getattr(ours, part) == getattr(theirs, part)


@pytest.mark.slow
def test_it_finds_a_room_that_random_actions_do_not_reach(tmp_path: Path) -> None:
    train(EXPLORING, tmp_path / "explorer")
    random = replace(EXPLORING.collection, policy="random")
    train(replace(EXPLORING, collection=random), tmp_path / "random")

    def farthest(name: str) -> list[float]:
        store = EpisodeStore(tmp_path / name / "episodes")
        return [float(store.load(i).observation["vector"].max()) for i in store.indices]

    assert max(farthest("random")) < 0.6
    assert max(farthest("explorer")[3:]) > 0.8
    assert armillary.load(tmp_path / "explorer").world_model.action_size == 1
