"""Environments that mujoco-warp simulates together against MuJoCo's, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from armillary.config import EnvironmentConfig
from armillary.envs import ControlSuite, make, rewards, side_by_side
from armillary.envs.games import check_settings
from armillary.envs.scene import LOOKS
from armillary.envs.worlds import PLACES
from armillary.errors import EnvironmentFailure, UsageError
from armillary.replay.episodes import EpisodeStore
from armillary.training.loop import train
from settings import TINY

CONFIG = EnvironmentConfig(engine="warp", renderer="warp", time_limit=20)
SEEDS = [5, 6]


@pytest.fixture(scope="module", params=["cheetah-run", "reacher-hard"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Any, list[Any]]]:
    """Two environments together, and the same two one by one."""
    together = side_by_side(request.param, CONFIG, 2)
    alone = [make(request.param, replace(CONFIG, engine="mujoco")) for _ in SEEDS]
    yield together, alone
    together.close()
    for env in alone:
        env.close()


def assert_alike(images: np.ndarray, others: list[np.ndarray]) -> None:
    """Asserts that images are equal but for rounding, which moves an edge here and there."""
    apart = np.abs(images.astype(int) - np.stack(others)).max(-1)
    assert (apart > 4).mean() < 2e-3
    assert np.median(apart) == 0


def test_states_images_and_rewards_are_mujocos(pair: tuple[Any, list[Any]]) -> None:
    together, alone = pair
    images, _ = together.reset(seed=SEEDS)
    assert_alike(images, [env.reset(seed=s)[0] for env, s in zip(alone, SEEDS, strict=True)])
    assert np.abs(images[0].astype(int) - images[1]).max() > 50  # two starts, two targets
    assert together.agent_spec == alone[0].get_wrapper_attr("agent_spec")
    draw, paid = np.random.default_rng(0), 0.0
    for step in range(1, 6):
        actions = draw.uniform(-1, 1, together.action_space.shape).astype(np.float32)
        images, reward, terminated, truncated, info = together.step(actions)
        others = [env.step(action) for env, action in zip(alone, actions, strict=True)]
        assert_alike(images, [other[0] for other in others])
        np.testing.assert_allclose(reward, [other[1] for other in others], atol=1e-4)
        assert terminated.tolist() == [False, False]
        assert truncated.tolist() == [other[3] for other in others] == [step == 5] * 2
        assert info["simulator_steps"].tolist() == [4 * step] * 2
        for world, env in enumerate(alone):
            data = env.unwrapped.physics.data
            states = together._worlds.states()
            np.testing.assert_allclose(states.qpos[world, 0], data.qpos, atol=1e-4)
            np.testing.assert_allclose(states.sensordata[world, 0], data.sensordata, atol=1e-3)
        paid += reward.sum()
    if "cheetah" in together.task:
        assert paid > 0.01


def test_one_that_is_over_holds_until_it_alone_begins_again(pair: tuple[Any, list[Any]]) -> None:
    together, alone = pair
    together.reset(seed=SEEDS)
    actions = np.ones(together.action_space.shape, np.float32)
    for _ in range(5):
        last, *_ = together.step(actions)
    images, _ = together.reset(seed=[9, 9], options={"reset_mask": np.array([False, True])})
    np.testing.assert_array_equal(images[0], last[0])
    assert_alike(images[1:], [alone[0].reset(seed=9)[0]])
    images, reward, _, truncated, info = together.step(actions)
    np.testing.assert_array_equal(images[0], last[0])
    assert (images[1] != last[1]).any()
    assert reward[0] == 0
    assert truncated.tolist() == [True, False]
    assert info["simulator_steps"].tolist() == [20, 4]
    assert_alike(images[1:], [alone[0].step(actions[1])[0]])


@pytest.mark.parametrize("task", rewards.known())
def test_nothing_else_of_a_model_differs_between_episodes(task: str) -> None:
    """Else the worlds, which have one model but for that, would be other tasks."""
    suite = ControlSuite(task, render_mode=None)
    model = suite.physics.model
    names = [name for name in dir(model) if isinstance(getattr(model, name), np.ndarray)]
    suite.reset(seed=0)
    before = {name: np.copy(getattr(model, name)) for name in names}
    differs = set()
    for seed in (1, 2):
        suite.reset(seed=seed)
        differs |= {n for n in names if not np.array_equal(before[n], getattr(model, n))}
    assert differs <= {*PLACES, *LOOKS}
    assert len(names) > 100
    suite.close()


def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(UsageError, match=r"cannot simulate toys:short: it can acrobot-swingup, "):
        side_by_side("toys:short", CONFIG, 2)
    with pytest.raises(UsageError, match=r"cannot simulate humanoid-walk"):
        side_by_side("humanoid-walk", CONFIG, 2)
    with pytest.raises(UsageError, match=r"Did you mean .*cheetah-run"):
        side_by_side("cheeta-run", CONFIG, 2)
    with pytest.raises(UsageError, match="but observe is 'vector': leave one of them out"):
        side_by_side("cheetah-run", replace(CONFIG, observe="vector"), 2)
    with pytest.raises(UsageError, match="processes are asked for: leave one of them out"):
        replace(CONFIG, processes=True)
    with pytest.raises(UsageError, match="renderer is 'egl': leave one of them out"):
        replace(CONFIG, renderer="egl")
    assert EnvironmentConfig(engine="warp").renderer == "warp"
    with pytest.raises(UsageError, match="one task is learned, but there are 2"):
        replace(TINY, task="cheetah-run,walker-walk", environment=CONFIG)
    with pytest.raises(UsageError, match="tic_tac_toe is a board game"):
        check_settings("tic_tac_toe", EnvironmentConfig(engine="warp"))


def test_a_simulation_that_became_unstable_is_no_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of NaN most tasks' rewards are 0."""
    envs = side_by_side("reacher-hard", CONFIG, 2)
    still = np.zeros((2, 2), np.float32)
    with pytest.raises(gymnasium.error.ResetNeeded, match="no episode has begun"):
        envs.step(still)
    envs.reset(seed=SEEDS)
    with pytest.raises(UsageError, match=r"expected .* finite numbers"):
        envs.step(np.full((2, 2), np.nan, np.float32))
    envs.step(still)
    worlds = envs._worlds
    speed = worlds._data.qvel.numpy()
    speed[1] = np.nan
    worlds._data.qvel.assign(speed)
    with pytest.raises(EnvironmentFailure, match="environment 1 became unstable at step 5"):
        envs.step(still)
    envs.reset(seed=SEEDS)
    envs.step(still)
    full = worlds._data.overflow.numpy()
    full[0] = int(worlds._mjw.OverflowType.NEFC)
    worlds._data.overflow.assign(full)
    with pytest.raises(EnvironmentFailure, match=r"environment 0 .* than there is room for"):
        envs.step(still)
    envs.reset(seed=SEEDS)
    envs.step(still)
    monkeypatch.setattr(envs, "_reward", lambda states: states.time * np.nan)
    with pytest.raises(EnvironmentFailure, match="environment 0 became unstable at step 5"):
        envs.step(still)


def test_a_run_learns_from_rounds_of_them_and_goes_on_bit_by_bit(tmp_path: Path) -> None:
    """In a thread beside the updates, while tests are played in other worlds."""
    config = replace(
        TINY,
        task="reacher-hard",
        episodes=8,
        environment=replace(CONFIG, action_repeat=2, time_limit=24),
        collection=replace(TINY.collection, side_by_side=2),
        training=replace(TINY.training, overlap=True),
    )
    whole, longer = tmp_path / "whole", tmp_path / "longer"
    results = train(config, whole)
    assert results["updates"] == 4 * TINY.training.collect_interval
    train(replace(config, episodes=4), longer)
    assert train(config, longer)["agent"] == results["agent"]
    stores = [EpisodeStore(folder / "episodes") for folder in (whole, longer)]
    for index in range(8):
        one, other = (store.load(index) for store in stores)
        assert one.steps == 12
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.action, other.action)
    assert len({stores[0].load(index).image[0].tobytes() for index in range(8)}) == 8
    with pytest.raises(UsageError, match="a round has 3 episodes"):
        replace(config, collection=replace(config.collection, side_by_side=3))
