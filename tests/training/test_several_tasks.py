"""One agent for several tasks whose actions differ in size (PlaNet, Figures 6 and 7)."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.agents.registry import make_agent
from armillary.config import EnvironmentConfig, changed
from armillary.dynamics.world_model import WorldModel
from armillary.envs import make
from armillary.envs.build import spec_of
from armillary.errors import UsageError
from armillary.objectives.world_model import world_model_loss
from armillary.replay.episodes import EpisodeStore
from armillary.replay.sampler import Batch
from armillary.spec import Continuous, Field, Spec
from armillary.studies.plots import read_metrics
from armillary.studies.report import write_report
from armillary.training.loop import train
from armillary.training.player import load
from armillary.training.rollout import compiled
from settings import TINY

SPEC = Spec.of({"image": Field((64, 64, 3), "uint8"), "mask": Field((2,), "bool")}, Continuous(2))
BOTH = replace(TINY, task="toys:slider,toys:short", episodes=3)


class Enough(Exception):
    """Stops a run from outside."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two tasks, with its report."""
    folder = tmp_path_factory.mktemp("both") / "run"
    train(BOTH, folder)
    write_report(folder)
    return folder


def test_surplus_entries_of_an_action_change_nothing() -> None:
    """Played with other surplus entries, an episode is the same to the last bit."""
    assert spec_of(BOTH.tasks, EnvironmentConfig()) == SPEC
    actions = np.random.default_rng(0).uniform(-1, 1, (12, 2)).astype(np.float32)
    seen: list[list[Any]] = []
    for surplus in (actions[:, 1], -actions[:, 1], np.zeros(12), np.full(12, 0.9)):
        env = make("toys:slider", EnvironmentConfig(action_size=2))
        assert env.action_space.shape == (2,)
        seen.append([env.reset(seed=3)[0]["image"]])
        for action, other in zip(actions, surplus, strict=True):
            observation, reward, *_ = env.step(np.array([action[0], other], np.float32))
            np.testing.assert_array_equal(observation["mask"], [True, False])
            seen[-1] += [observation["image"], reward]
    alone = make("toys:slider")
    seen.append([alone.reset(seed=3)[0]])
    for action in actions:
        observation, reward, *_ = alone.step(action[:1])
        seen[-1] += [observation, reward]
    for other in seen[1:]:
        for one, two in zip(seen[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_unused_entries_are_zero_in_all_episodes(folder: Path) -> None:
    """Those of the slider are; those of the other task are not."""
    store = EpisodeStore(folder / "episodes")
    for index in store.indices:
        vertical = store.load(index).action[1:, 1]
        assert vertical.all() if index % 2 else not vertical.any()


@pytest.mark.parametrize("dynamics", ["rssm", "ssm", "rnn", "drnn"])
def test_unused_entries_get_no_gradient(folder: Path, dynamics: str) -> None:
    """The weights that read the second entry learn from the other task only."""
    store = EpisodeStore(folder / "episodes")
    config = changed(BOTH, {"model.dynamics": dynamics})
    model = WorldModel(SPEC, config.model, key=jax.random.key(0))
    gradient = eqx.filter_jit(eqx.filter_grad(world_model_loss, has_aux=True))
    for index in (0, 1):
        episode = store.load(index)
        ended = np.zeros((1, len(episode.reward)), bool)
        observation = {"image": episode.image[None]}
        chunk = Batch(observation, episode.action[None], episode.reward[None], ended)
        chunk = jax.tree.map(lambda x: x[:, :8], chunk)
        found, _ = gradient(model, chunk, jax.random.key(1), config.objective)
        name = "prior" if dynamics == "ssm" else "inputs"
        layer = getattr(found.dynamics, name)
        weight = (layer if dynamics == "drnn" else layer.layers[0]).linear.weight
        first, second = weight[:, -2], weight[:, -1]
        assert jnp.any(first != 0)
        assert jnp.any(second != 0) == bool(index)


@pytest.mark.parametrize("explore", [False, True])
@pytest.mark.parametrize("policy", ["agent", "random"])
def test_what_is_planned_for_unused_entries_changes_nothing(policy: str, explore: bool) -> None:
    """Weights that read the second entry have no effect on any action where it is unused."""
    config = changed(BOTH, {"collection.policy": policy})
    agent = make_agent(config, SPEC)
    state = agent.init(jax.random.key(0))
    inputs = lambda s: s.model.dynamics.inputs.layers[0].linear.weight  # noqa: E731
    other = eqx.tree_at(inputs, state, inputs(state).at[:, -1].add(3.0))
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 64, 64, 3), np.uint8)

    def actions(state: Any, mask: list[bool]) -> np.ndarray:
        belief, taken = agent.initial_belief(state, 2), []
        for step, image in enumerate(images):
            key, seen = jax.random.key(7), {"image": image, "mask": np.array([mask, mask])}
            belief, action, _ = compiled(agent)(state, belief, seen, key, step, explore=explore)
            np.testing.assert_array_equal(belief.action, action)
            taken.append(np.asarray(action))
        return np.array(taken)

    horizontal, both = [True, False], [True, True]
    sliding = actions(state, horizontal)
    assert sliding[..., 0].all()
    assert not sliding[..., 1].any()
    np.testing.assert_array_equal(sliding, actions(other, horizontal))
    if not explore or policy == "agent":
        assert (actions(state, both) != actions(other, both)).any()


@pytest.mark.parametrize("size", [1, 3])
def test_an_action_of_the_wrong_size_is_refused(size: int) -> None:
    env = make("toys:slider", EnvironmentConfig(action_size=2))
    env.reset(seed=0)
    with pytest.raises(UsageError, match=r"expected \(2,\)"):
        env.step(np.zeros(size, np.float32))


def test_too_few_entries_are_refused() -> None:
    with pytest.raises(UsageError, match="has actions of 2 entries, but action_size is 1"):
        make("toys:short", EnvironmentConfig(action_size=1))


def test_an_episode_of_each_task_in_turn(folder: Path) -> None:
    """In every interval one of each; C updates for each of them."""
    store = EpisodeStore(folder / "episodes")
    assert len(store.indices) == 6
    for index in store.indices:
        images = store.load(index).image.astype(float)
        brightness = images.sum((2, 3))  # of each row of pixels
        rows = (brightness * np.arange(64)).sum(1) / brightness.sum(1)
        moved = np.ptp(rows) > 1  # up or down, which a slider cannot
        assert moved == bool(index % 2)
    rows = [row for row in read_metrics(folder) if "collect/return" in row]
    assert [row["episode"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert ["collect/toys:short/return" in row for row in rows] == [False, True] * 3
    updates = TINY.training.collect_interval * 2
    assert [row["updates"] for row in rows] == [0, 0, 0, 0, updates, updates]
    losses = ["loss/image" in row for row in rows]
    assert losses == [False] * 4 + [True, False]
    assert load(folder).counters["updates"] == 2 * updates


def test_each_task_is_tested_on_its_own(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    assert list(results["tasks"]) == ["toys:slider", "toys:short"]
    assert results["episodes"] == 3
    scores = [score for task in results["tasks"].values() for score in task["agent"]["scores"]]
    assert results["agent"]["scores"] == scores
    assert len(scores) == 4
    last = read_metrics(folder)[-1]
    for task, found in results["tasks"].items():
        assert last[f"evaluate/{task}/scores"] == found["agent"]["scores"]
        assert last[f"random/{task}/mean"] == found["random"]["mean"]
    assert len({tuple(t["random"]["scores"]) for t in results["tasks"].values()}) == 2
    for name in ("agent-toys-slider.mp4", "agent-toys-short.mp4", "curve.png"):
        assert (folder / name).stat().st_size > 500


def test_the_agent_plays_each_of_them(folder: Path) -> None:
    player = load(folder)
    for task in player.config.tasks:
        env = player.make_env(task)
        player.reset()
        observation, _ = env.reset(seed=0)
        action = player.act(observation)
        assert env.action_space.contains(action)  # what the slider has no use for is 0
        assert action.shape == (2,)
        env.step(action)
    with pytest.raises(UsageError, match="this agent learned toys:slider, toys:short"):
        player.make_env("toys:point")


def test_the_agent_is_never_told_which_task(folder: Path) -> None:
    """Equal pictures, and equal entries in use: nothing else reaches the agent."""
    player = load(folder)
    seen = player.make_env("toys:short").reset(seed=1)[0]
    assert list(seen) == ["image", "mask"]
    actions = []
    for task in player.config.tasks:
        player.make_env(task).reset(seed=0)
        player.reset()
        actions.append(player.act(seen))
    np.testing.assert_array_equal(*actions)
    player.reset()
    np.testing.assert_array_equal(player.act(seen["image"]), actions[0])  # all entries count


def test_a_stop_between_two_tasks_changes_nothing(folder: Path, tmp_path: Path) -> None:
    """Stopped after the first of a round, it goes on with the second."""

    def stop(counters: Any) -> None:
        if counters.episodes == 5:
            raise Enough

    with pytest.raises(Enough):
        train(changed(BOTH, {"training.checkpoint_minutes": 1e-4}), tmp_path, on_progress=stop)
    train(BOTH, tmp_path)
    for one, other in zip(
        jax.tree.leaves(load(folder).state), jax.tree.leaves(load(tmp_path).state), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    results = [json.loads((f / "results.json").read_text())["tasks"] for f in (folder, tmp_path)]
    assert results[0] == results[1]


def test_a_stop_within_a_round_tests_nothing_twice(tmp_path: Path) -> None:
    def stop(counters: Any) -> None:
        if counters.episodes == 7:
            raise Enough

    config = changed(BOTH, {"training.checkpoint_minutes": 1e-4, "episodes": 4})
    with pytest.raises(Enough):
        train(config, tmp_path, on_progress=stop)
    train(config, tmp_path)
    tested = [row["episode"] for row in read_metrics(tmp_path) if "evaluate/mean" in row]
    assert tested == [6, 8]


def test_the_command_line(armillary: Callable[..., Any], folder: Path) -> None:
    result = armillary("evaluate", folder, "--episodes", 1, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert list(found["tasks"]) == ["toys:slider", "toys:short"]
    one = armillary("evaluate", folder, "--episodes", 1, "--task", "toys:short")
    assert "toys:short" in one.stdout
    assert "toys:slider" not in one.stdout.replace(str(folder), "")
    wrong = armillary("evaluate", folder, "--task", "toys:point")
    assert wrong.returncode == 2
    assert "learned toys:slider, toys:short" in wrong.stderr


@pytest.mark.parametrize("task", ["", "a,", "cheetah-run,cheetah-run"])
def test_tasks_that_make_no_sense_are_refused(task: str) -> None:
    with pytest.raises(UsageError):
        replace(TINY, task=task)


def test_planet_names_the_papers_six() -> None:
    tasks = replace(TINY, task="planet").tasks
    assert len(tasks) == 6
    assert tasks[2] == "cheetah-run"
