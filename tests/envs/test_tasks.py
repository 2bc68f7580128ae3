"""The table of tasks against the control suite itself, and against the papers' text."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from armillary.envs import DREAMER, PLANET, ControlSuite, action_repeat, tasks


def test_the_table_is_the_suite() -> None:
    from dm_control import suite

    assert {task.name for task in tasks()} == {f"{d}-{t}" for d, t in suite.ALL_TASKS}
    for task in tasks():
        env = suite.load(*task.name.split("-"))
        assert env.action_spec().shape == (task.action_size,), task
        seconds = env._step_limit
        assert (None if np.isinf(seconds) else seconds) == task.episode_steps, task


def test_action_repeats_are_the_papers() -> None:
    paper = {
        "cartpole-swingup": 8,
        "reacher-easy": 4,
        "cheetah-run": 4,
        "finger-spin": 2,
        "ball_in_cup-catch": 4,
        "walker-walk": 2,
    }
    assert {name: action_repeat(name) for name in PLANET} == paper
    assert action_repeat("cartpole-balance") == 8
    assert action_repeat("hopper-hop") == 2
    assert action_repeat("CarRacing-v3") == 1
    assert action_repeat(ControlSuite) == 1


def test_the_papers_tasks() -> None:
    names = {task.name: task for task in tasks()}
    assert len(PLANET) == 6
    assert len(DREAMER) == len(set(DREAMER)) == 20
    assert names["cheetah-run"].papers == ("PlaNet", "Dreamer")
    assert names["hopper-hop"].papers == ("Dreamer",)
    assert {*PLANET, *DREAMER} <= set(names)


def test_listing_tasks_imports_nothing_heavy() -> None:
    code = (
        "import sys; from armillary.envs import tasks; assert tasks(); "
        "print([m for m in ('jax', 'dm_control', 'mujoco', 'gymnasium') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
