"""`make` from everything that names an environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from armillary.config import EnvironmentConfig
from armillary.envs import make
from armillary.errors import EnvironmentFailure, UsageError
from fake_envs import Counter, make_counter


def is_pixel_environment(env: gymnasium.Env, actions: int) -> bool:
    image, _ = env.reset(seed=0)
    return (
        env.observation_space == Box(0, 255, (64, 64, 3), np.uint8)
        and env.action_space == Box(-1, 1, (actions,), np.float32)
        and image in env.observation_space
    )


@pytest.fixture
def registered() -> Any:
    gymnasium.register("tests/Counter-v0", lambda **k: Counter(**k), max_episode_steps=5)
    yield "tests/Counter-v0"
    del gymnasium.registry["tests/Counter-v0"]


def test_a_gymnasium_id(registered: str) -> None:
    env = make(registered)
    assert is_pixel_environment(env, actions=2)
    ends = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(5)]
    assert ends == [(False, False)] * 4 + [(False, True)]


def test_a_gymnasium_id_that_draws_itself() -> None:
    pytest.importorskip("pygame")
    assert is_pixel_environment(make("Pendulum-v1"), actions=1)


@pytest.mark.parametrize(
    "task",
    [
        "fake_envs:Counter",
        "fake_envs:make_counter",
        Counter,
        make_counter,
        Counter(),
        lambda: Counter(),
    ],
)
def test_callables_and_environments(task: Any) -> None:
    assert is_pixel_environment(make(task), actions=2)


def test_factories_are_asked_to_draw() -> None:
    assert make(make_counter).unwrapped.render_mode == "rgb_array"
    assert make("fake_envs:Counter").unwrapped.render_mode == "rgb_array"
    assert make(lambda: Counter()).unwrapped.render_mode is None


def test_a_module_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_task.py").write_text("from fake_envs import Counter\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert is_pixel_environment(make("my_task:Counter"), actions=2)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("cheetah-runn", r"unknown task 'cheetah-runn'.*Did you mean 'cheetah-run'"),
        ("cheetah", r"unknown task 'cheetah'.*Did you mean.*'cheetah-run'"),
        ("cartpole_swingup", r"Did you mean.*'cartpole-swingup'"),
        ("HalfCheeta-v5", r"unknown task 'HalfCheeta-v5'.*Did you mean.*'HalfCheetah-v"),
        ("nowhere/Thing-v0", r"unknown task 'nowhere/Thing-v0'"),
        ("", r"unknown task ''"),
        ("no_such_module:make", r"No module named 'no_such_module'"),
        ("fake_envs:Countr", r"there is no 'Countr' in 'fake_envs'. Did you mean 'Counter'"),
        ("fake_envs:discrete", r"is not callable"),
        ("fake_envs:not_an_environment", r"is the class builtins.dict, expected one that derives"),
        (3, r"of type int, expected a name"),
        ("lqr-lqr_2_1", r"must have finite bounds"),
    ],
)
def test_tasks_that_are_not(task: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(task, EnvironmentConfig(renderer="warp"))


def test_a_factory_that_raises() -> None:
    def broken() -> gymnasium.Env:
        raise RuntimeError("no licence")

    with pytest.raises(EnvironmentFailure, match=r"broken could not be made: .*no licence"):
        make(broken)


def test_a_module_that_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_task.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvironmentFailure, match=r"importing 'broken_task'.*ZeroDivisionError"):
        make("broken_task:make")
