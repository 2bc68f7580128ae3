"""Rewards of batches of states, against the control suite's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
import pytest

from armillary.envs import DREAMER, ControlSuite, physics, rewards
from armillary.envs.rewards import States
from armillary.errors import UsageError

SLOWER = (
    "fish-swim",
    "point_mass-easy",
    "humanoid-stand",
    "manipulator-bring_ball",
    "swimmer-swimmer6",
    "quadruped-escape",
    "lqr-lqr_2_1",
)
BINARY = ("catch", "sparse", "spin", "turn", "pendulum", "reacher")
FIELDS = ("time", "qpos", "qvel", "act", "control", "sensordata")

rng = np.random.default_rng


def bare(task: str) -> ControlSuite:
    env = ControlSuite(task, render_mode=None)
    env.reset(seed=3)
    return env


def snapshot(data: Any) -> tuple[np.ndarray, ...]:
    state = (data.time, data.qpos, data.qvel, data.act, data.ctrl, data.sensordata)
    return tuple(np.array(part) for part in state)


def batch(model: mujoco.MjModel, snapshots: list[tuple[np.ndarray, ...]]) -> States:
    """Puts states into two rows."""
    columns = (np.stack(column) for column in zip(*snapshots, strict=True))
    shaped = (column.reshape(2, len(column) // 2, *column.shape[1:]) for column in columns)
    return States(model, **dict(zip(FIELDS, shaped, strict=True)))


def played(env: ControlSuite, steps: int = 40) -> tuple[States, np.ndarray]:
    """Returns the states of a random episode, and what dm_control paid in them."""
    draw, snapshots, paid = rng(0), [], []
    low, high = np.maximum(env.action_space.low, -1), np.minimum(env.action_space.high, 1)
    for step in range(steps):
        if step % 4 == 0:
            action = draw.uniform(low, high).astype(np.float32)
        paid.append(env.step(action)[1])
        snapshots.append(snapshot(env.physics.data))
    return batch(env.physics.model.ptr, snapshots), np.reshape(paid, (2, -1))


def near_the_goal(env: ControlSuite, count: int = 200) -> tuple[States, np.ndarray]:
    """Returns states in all distances from the goal, and what dm_control pays in them."""
    own, draw = env.physics, rng(1)
    start, snapshots, paid = own.data.qpos.copy(), [], []
    if "reacher" in env.task:  # the target is put where the finger is
        own.named.model.geom_pos["target", :2] = own.named.data.geom_xpos["finger", :2]
    for index in range(count):
        spread = index / count
        with own.reset_context():
            own.data.qpos[:], own.data.qvel[:] = start, 0
            own.data.ctrl[:] = draw.uniform(-spread, spread, own.model.nu)
            _place(env.task, own, spread, draw)
        snapshots.append(snapshot(own.data))
        paid.append(env._env.task.get_reward(own))
    return batch(own.model.ptr, snapshots), np.reshape(paid, (2, -1))


def _place(task: str, own: Any, spread: float, draw: np.random.Generator) -> None:
    """Sets a state of which `spread` (0 to 1) says how far from good it is."""
    qpos, qvel, noise = own.data.qpos, own.data.qvel, lambda n: spread * draw.normal(size=n)
    domain = task.split("-")[0]
    if domain in ("acrobot", "cartpole", "pendulum"):
        qpos[:], qvel[:] = noise(len(qpos)), noise(len(qvel))
    elif domain == "ball_in_cup":
        qpos[:] = 0
        mujoco.mj_kinematics(own.model.ptr, own.data.ptr)
        inside = own.named.data.site_xpos["target"] - own.named.data.xpos["ball"]
        qpos[2:] = inside[[0, 2]] + 0.1 * noise(2)
    elif domain == "finger":
        qvel[2] = -30 * (1 - spread)
        qpos[2] = draw.uniform(-np.pi, np.pi)
    elif domain == "reacher":
        qpos[:] += 0.6 * noise(2)
    else:  # those that walk
        qpos[:] = own.model.qpos0
        qpos[2] += noise(1)[0]
        qpos[3:] += 0.3 * noise(len(qpos) - 3)
        if domain == "quadruped":
            qpos[3:7] += noise(4)
        if domain == "walker":
            qpos[0] -= spread
        qvel[1 if domain == "walker" else 0] = 12 * (1 - spread)


@pytest.mark.parametrize("task", DREAMER)
def test_equals_the_suites_reward(task: str) -> None:
    env = bare(task)
    reward = rewards.find(task)
    assert reward is not None
    states, paid = played(env)
    np.testing.assert_allclose(reward(states), paid, rtol=0, atol=1e-6)
    states, paid = near_the_goal(env)
    np.testing.assert_allclose(reward(states), paid, rtol=0, atol=1e-6)
    # The states tell a right reward from a wrong one.
    assert paid.max() > 0.99
    assert paid.min() < 0.5
    if not any(part in task for part in BINARY):
        assert ((paid > 0.02) & (paid < 0.98)).sum() > 10
    assert ((paid > 0.5) != (np.median(paid) > 0.5)).sum() >= 3


@pytest.mark.parametrize("task", SLOWER)
def test_any_other_task_is_paid_by_its_own_function(task: str) -> None:
    env = bare(task)
    with pytest.warns(UserWarning, match=f"{task} has no reward for whole batches"):
        _, reward, _ = env.simulated()
    before = env._env.task.random.get_state()[1].copy()
    states, paid = played(env, 20)
    disturbed = snapshot(env.physics.data)
    np.testing.assert_allclose(reward(states), paid, rtol=0, atol=1e-6)
    assert len(np.unique(paid)) > 1 or task == "manipulator-bring_ball"
    for old, new in zip(disturbed, snapshot(env.physics.data), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(before, env._env.task.random.get_state()[1])


def test_the_tasks_own_function_is_paid_the_goal_too() -> None:
    """In states that are good; by the model as it is in this episode."""
    env = bare("reacher-hard")
    states, paid = near_the_goal(env)
    slow = rewards.of_task(type(env.physics), env._env.task)
    assert {0.0, 1.0} <= set(paid.ravel())
    np.testing.assert_allclose(slow(states), paid, rtol=0, atol=1e-6)


def test_a_task_that_remembers_is_not_disturbed() -> None:
    class Counting:
        count = 0

        def get_reward(self, own: Any) -> float:
            self.count += 1
            return self.count + 0 * own.data.time

    env, task = bare("pendulum-swingup"), Counting()
    states, _ = played(env, 4)
    reward = rewards.of_task(type(env.physics), task)
    for _ in range(2):
        np.testing.assert_array_equal(reward(states), [[1, 2], [3, 4]])
    assert task.count == 0


OWN = """
<mujoco>
  <size nuserdata="2"/>
  <worldbody>
    <body name="hand"><joint name="reach" type="slide"/><joint name="turn" axis="0 1 0"/>
      <joint name="loose" type="ball" pos="0 0 .1"/>
      <geom size=".1"/><site name="tip" pos=".1 .2 .3"/></body>
    <body name="wanted" mocap="true" pos="1 0 0"><site name="goal" pos="0 0 .5"/></body>
  </worldbody>
  <actuator><motor joint="reach" ctrlrange="-1 1" ctrllimited="true"/></actuator>
  <sensor>
    <framepos name="tip" objtype="site" objname="tip"/>
    <accelerometer name="felt" site="tip"/>
    <jointvel name="turning" joint="turn"/>
  </sensor>
</mujoco>
"""


def own_states(change: Callable[[mujoco.MjData], None] | None = None) -> States:
    model = mujoco.MjModel.from_xml_string(OWN)
    data, draw, snapshots = mujoco.MjData(model), rng(4), []
    if change is not None:
        change(data)
    for _ in range(6):
        data.qpos[:], data.qvel[:] = draw.normal(size=model.nq), draw.normal(size=model.nv)
        data.qpos[2:] /= np.linalg.norm(data.qpos[2:])
        data.ctrl[:] = draw.uniform(-1, 1)
        mujoco.mj_forward(model, data)
        snapshots.append(snapshot(data))
    states = batch(model, snapshots)
    inputs = None if change is None else physics.read(model, data, physics.INPUTS)
    return States(model, **{name: getattr(states, name) for name in FIELDS}, inputs=inputs)


def distance(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    near = -np.linalg.norm(data.site("tip").xpos - data.site("goal").xpos)
    return float(near + data.ctrl[0] + data.userdata[1] + data.sensor("turning").data[0])


def mocap_moved(data: mujoco.MjData) -> None:
    data.mocap_pos[:], data.mocap_quat[:] = [[0, 2, 1]], [[0, 1, 0.5, 0]]
    data.userdata[1] = 7


@pytest.mark.parametrize("change", [None, mocap_moved])
def test_a_reward_of_ones_own(change: Callable[[mujoco.MjData], None] | None) -> None:
    """Of whole batches, and of one state after the other."""
    states = own_states(change)
    reach = states.position("site", "tip") - states.position("site", "goal")
    np.testing.assert_allclose(states.position("site", "tip"), states.sensor("tip"), atol=1e-12)
    together = -np.linalg.norm(reach, axis=-1) + states.control[..., 0] + 7 * (change is not None)
    together += states.sensor("turning")[..., 0]
    apart = rewards.one_by_one(distance)(states)
    assert apart.shape == (2, 3)
    np.testing.assert_allclose(apart, together, atol=1e-12)


def test_what_states_tell() -> None:
    states = own_states()
    np.testing.assert_array_equal(states.joint("turn"), states.qpos[..., 1])
    np.testing.assert_array_equal(states.sensor("turning")[..., 0], states.qvel[..., 1])
    rotation = states.rotation("body", "hand")
    np.testing.assert_array_equal(states.upright("hand"), rotation[..., 2, 2])
    assert states.upright("wanted").shape == (2, 3)
    assert states.rotation("site", "goal").shape == (2, 3, 3, 3)
    second = states.of(np.array([False, True]))
    np.testing.assert_array_equal(second.joint("turn"), states.joint("turn")[1:])
    np.testing.assert_array_equal(second.sensor("tip"), states.sensor("tip")[1:])


def test_what_states_cannot_tell() -> None:
    states = own_states()
    with pytest.raises(UsageError, match=r"no sensor 'turnin'.*Did you mean 'turning'"):
        states.sensor("turnin")
    with pytest.raises(UsageError, match="'felt' measures accelerations or forces, which are not"):
        states.sensor("felt")
    with pytest.raises(UsageError, match="no hinge or slide joint 'loose'"):
        states.joint("loose")
    with pytest.raises(UsageError, match=r"no site 'tp'.*Did you mean 'tip'"):
        states.position("site", "tp")


def test_importing_it_loads_no_opengl_and_prints_nothing() -> None:
    code = "import sys, armillary.planners.simulator; print('dm_control.mujoco' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
