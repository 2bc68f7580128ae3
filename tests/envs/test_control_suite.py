"""The control suite against dm_control itself and Gymnasium's checker."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from armillary.config import EnvironmentConfig
from armillary.envs import PLANET, ControlSuite, make, tasks
from armillary.errors import UsageError

WARP = EnvironmentConfig(renderer="warp")


def bare(task: str) -> ControlSuite:
    return ControlSuite(task, render_mode=None)


@pytest.mark.parametrize(
    "task", [*PLANET, "cartpole-balance", "quadruped-escape", "hopper-hop", "humanoid_CMU-run"]
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gymnasiums_checker(task: str) -> None:
    check_env(bare(task), skip_render_check=True)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gymnasiums_checker_with_images() -> None:
    check_env(ControlSuite("cheetah-run", renderer="warp"), skip_render_check=True)
    check_env(make("cheetah-run", WARP), skip_render_check=True)


@pytest.mark.parametrize("task", [t.name for t in tasks() if t.domain not in ("dog", "lqr")])
def test_a_seed_is_an_episode(task: str) -> None:
    """Whatever happened before in the environment, a seed gives the same episode."""
    fresh, used = bare(task), bare(task)
    used.reset(seed=5)
    used.action_space.seed(0)
    actions = [used.action_space.sample() for _ in range(8)]
    for action in actions:
        used.step(action)
    starts = [env.reset(seed=1)[0] for env in (fresh, used)]
    np.testing.assert_array_equal(*starts)
    for action in actions:
        steps = [env.step(action) for env in (fresh, used)]
        np.testing.assert_array_equal(steps[0][0], steps[1][0])
        assert steps[0][1] == steps[1][1]
    assert not np.array_equal(used.reset()[0], starts[0])
    assert not np.array_equal(used.reset(seed=2)[0], starts[0])


def test_steps_are_dm_controls() -> None:
    from dm_control import suite

    env = bare("walker-walk")
    env.reset(seed=0)
    other = suite.load("walker", "walk")
    other.reset()
    with other.physics.reset_context():
        other.physics.set_state(env.physics.get_state())
    env.action_space.seed(3)
    for _ in range(20):
        action = env.action_space.sample()
        expected = other.step(action)
        observation, reward, *_ = env.step(action)
        assert reward == pytest.approx(expected.reward, abs=1e-6)
        parts = [np.ravel(v) for v in expected.observation.values()]
        np.testing.assert_allclose(observation, np.concatenate(parts), atol=1e-5)


def test_an_episode_ends_by_time_as_a_truncation() -> None:
    env = bare("cartpole-swingup")
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(1000)]
    assert ends == [(False, False)] * 999 + [(False, True)]


def test_no_step_without_an_episode() -> None:
    env = bare("cartpole-swingup")
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step(np.zeros(1, np.float32))
    env.reset(seed=0)
    for _ in range(1000):
        env.step(np.zeros(1, np.float32))
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step(np.zeros(1, np.float32))


def test_discount_zero_is_a_termination() -> None:
    env = bare("humanoid_CMU-run")
    env.reset(seed=0)
    env._env.task.get_termination = lambda physics: 0.0
    assert env.step(env.action_space.sample())[2:4] == (True, False)


def test_the_planet_episode_is_1000_over_r_steps_long() -> None:
    env = make("cartpole-swingup", WARP)
    env.reset(seed=0)
    env.env.render = lambda: np.zeros((64, 64, 3), np.uint8)  # drawing is not what is tested
    for step in range(1, 126):
        *_, terminated, truncated, info = env.step(np.zeros(1, np.float32))
        assert (terminated, truncated) == (False, step == 125)
        assert info["simulator_steps"] == 8 * step


def test_actions_beyond_one_are_rescaled() -> None:
    """Some of the quadruped's actuators go to 1.1."""
    env = make("quadruped-walk", WARP)
    assert env.action_space.high.max() == 1
    assert env.unwrapped.action_space.high.max() == pytest.approx(1.1)


def test_the_state_can_be_set_and_read() -> None:
    env = make("cheetah-run", WARP)
    env.reset(seed=0)
    physics = env.unwrapped.physics
    state = physics.get_state()
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 6)).astype(np.float32)
    first = [env.step(a)[1] for a in actions]
    with physics.reset_context():
        physics.set_state(state)
    assert [env.step(a)[1] for a in actions] == pytest.approx(first)


def test_wrong_arguments() -> None:
    with pytest.raises(UsageError, match="Did you mean 'cheetah-run'"):
        ControlSuite("cheetah-runs")
    with pytest.raises(UsageError, match="expected 'rgb_array' or None"):
        ControlSuite("cheetah-run", render_mode="human")
    with pytest.raises(UsageError, match=r"unknown renderer 'elg'.*Did you mean 'egl'"):
        ControlSuite("cheetah-run", renderer="elg")
