"""The true simulator as a planner's model: what it predicts is what the environment pays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.wrappers import RepeatAction, TimeLimit

from armillary.config import EnvironmentConfig, PlannerConfig
from armillary.envs import DREAMER, ControlSuite, build, rewards
from armillary.envs.rewards import States
from armillary.errors import UsageError
from armillary.planners.rollout import plan
from armillary.planners.simulator import Simulator, SimulatorState

SMALL = PlannerConfig(horizon=6, iterations=2, candidates=12, elites=3)


def playing(task: str, **config: Any) -> gymnasium.Env:
    env = build.control(task, EnvironmentConfig(**config), draw=False)
    env.reset(seed=1)
    return env


def draw(simulator: Simulator, count: int = 5, horizon: int = 6) -> np.ndarray:
    shape = (count, horizon, simulator.action_size)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def paid(env: gymnasium.Env, actions: np.ndarray) -> float:
    """Plays open loop, at most to the episode's end."""
    total = 0.0
    for action in actions:
        _, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        if terminated or truncated:
            break
    return total


# What is predicted is what is paid


@pytest.mark.parametrize("task", [*DREAMER, "fish-swim"])
@pytest.mark.filterwarnings("ignore:fish-swim has no reward")
def test_predicts_what_the_environment_pays(task: str) -> None:
    """In the middle of an episode, and where it ends before the plan does."""
    env = playing(task)
    simulator = Simulator.of(env, threads=2)
    paid(env, draw(simulator, 1, 5)[0])
    for left in (None, 7):
        if left is not None:
            env.unwrapped._env._step_count = 1000 - left
        state = simulator.state()
        assert left in (None, state.remaining)
        chosen = plan(simulator, state, 0, config=SMALL)
        assert chosen.predicted_return == pytest.approx(paid(env, chosen.mean), abs=1e-6)
    assert simulator.unstable == 0
    assert simulator.candidates == 2 * (2 * 12 + 1)


@pytest.mark.parametrize("task", ["walker-walk", "quadruped-run"])
def test_the_states_are_the_environments_bit_for_bit(task: str) -> None:
    """In contact with the floor, where the solver's warm start matters."""
    env = playing(task, action_repeat=1)
    simulator = Simulator.of(env)
    paid(env, draw(simulator, 1, 60)[0])
    data, actions, seen = env.unwrapped.physics.data, draw(simulator, 1, 20), []
    assert data.ncon > 0

    def reward(states: States) -> np.ndarray:
        seen.append(states)
        return states.time

    simulator.reward = reward
    simulator.returns(simulator.state(), actions)
    for step, action in enumerate(actions[0]):
        env.step(action)
        for name in ("time", "qpos", "qvel", "act"):
            np.testing.assert_array_equal(
                getattr(seen[0], name)[0, step], getattr(data, name), err_msg=f"{name} {step}"
            )
        np.testing.assert_array_equal(seen[0].control[0, step], data.ctrl)


@pytest.mark.parametrize("repeat", [1, 3])
def test_a_time_limit_is_an_end(repeat: int) -> None:
    env = playing("cheetah-run", action_repeat=repeat, time_limit=20)
    simulator = Simulator.of(env)
    assert simulator.state().remaining == 20
    paid(env, np.full((16 // repeat, 6), 0.3, np.float32))
    state = simulator.state()
    assert state.remaining == {1: 4, 3: 5}[repeat]
    chosen = plan(simulator, state, 0, config=SMALL)
    assert chosen.predicted_return == pytest.approx(paid(env, chosen.mean), abs=1e-6)
    assert chosen.predicted_return > 0.1
    with pytest.raises(UsageError, match="the episode is over"):
        simulator.returns(simulator.state(), draw(simulator))


def test_wrappers_in_any_order() -> None:
    """A limit outside the repetition counts actions, one inside counts control steps."""
    suite = ControlSuite("cheetah-run", render_mode=None)
    env = TimeLimit(RepeatAction(TimeLimit(suite, 100), 4), 7)
    env.reset(seed=0)
    simulator = Simulator.of(env)
    assert simulator.state().remaining == 28
    paid(env, np.zeros((2, 6), np.float32))
    assert simulator.state().remaining == 20
    chosen = plan(simulator, simulator.state(), 0, config=SMALL)
    assert chosen.predicted_return == pytest.approx(paid(env, chosen.mean), abs=1e-6)


def test_the_action_repeat_is_the_wrappers_unless_given() -> None:
    env = playing("cartpole-balance", action_repeat=5)
    candidates = draw(Simulator.of(env), 1, 2)
    returns = [
        Simulator.of(env, action_repeat=repeat).returns(Simulator.of(env).state(), candidates)[0]
        for repeat in (None, 5, 1)
    ]
    assert returns[0] == returns[1] > 2 * returns[2]
    assert returns[0] == pytest.approx(paid(env, candidates[0]), abs=1e-6)


OWN = """
<mujoco>
  <option timestep="0.01"/>
  <size nuserdata="2"/>
  <worldbody>
    <body name="arm"><joint name="a" axis="0 1 0" damping=".1"/>
      <geom type="capsule" fromto="0 0 0 .5 0 0" size=".05"/>
      <body name="fore" pos=".5 0 0"><joint name="b" axis="0 1 0" damping=".1"/>
        <geom type="capsule" fromto="0 0 0 .5 0 0" size=".05"/><site name="tip" pos=".5 0 0"/>
      </body>
    </body>
    <body name="load" pos="0 0 2"><freejoint/><geom name="load" size=".1"/></body>
    <body name="target" mocap="true" pos="0 1 0"><site name="goal" pos="0 0 .1"/></body>
  </worldbody>
  <equality>
    <joint name="tied" joint1="a" joint2="b"/>
    <weld name="carried" body1="load" body2="target" active="false"/>
  </equality>
  <actuator>
    <general joint="a" dyntype="filter" dynprm=".1" ctrlrange="-2 3" ctrllimited="true"/>
    <general joint="b" dyntype="integrator" ctrlrange="-1 1" ctrllimited="true" gear="2"/>
  </actuator>
  <sensor><framelinvel objtype="site" objname="tip" name="speed"/></sensor>
</mujoco>
"""


def of_one(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    near = data.site("tip").xpos - data.site("goal").xpos
    speed = data.sensor("speed").data[0]
    return float(
        near @ near + speed + data.act @ [1, 2] + data.ctrl[0] + 3 * data.userdata[1] - data.qpos[4]
    )


def of_many(states: States) -> np.ndarray:
    near = states.position("site", "tip") - states.position("site", "goal")
    told = states.control[..., 0] - states.qpos[..., 4]
    return (near**2).sum(-1) + states.sensor("speed")[..., 0] + states.act @ [1, 2] + told


def untouched(data: mujoco.MjData) -> None:
    pass


def applied(data: mujoco.MjData) -> None:
    data.qfrc_applied[1] = 0.7
    data.xfrc_applied[3, 2] = 5


def moved(data: mujoco.MjData) -> None:
    data.mocap_pos[:], data.mocap_quat[:] = [[1, 0, 0.5]], [[0, 1, 1, 0]]
    data.eq_active[1] = 1


def untied(data: mujoco.MjData) -> None:
    data.eq_active[0] = 0
    data.userdata[1] = 2


@pytest.mark.parametrize("change", [untouched, applied, moved, untied])
@pytest.mark.parametrize("integrator", ["Euler", "RK4"])
def test_a_model_of_ones_own(change: Callable[[mujoco.MjData], None], integrator: str) -> None:
    """From a state in the midst of things, against MuJoCo's own steps one by one."""
    xml = OWN.replace("timestep", f'integrator="{integrator}" timestep')
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    change(data)
    data.ctrl[:] = 0.5, 0.2
    mujoco.mj_step(model, data, 20)
    settings = {"action_repeat": 2, "substeps": 3, "threads": 2}
    slow = Simulator(model, rewards.one_by_one(of_one), **settings)
    fast = Simulator(model, of_many, **settings)
    for earlier in (untied, change):  # of what was planned before nothing must be left
        other = mujoco.MjData(model)
        earlier(other)
        slow.returns(slow.state(other), draw(slow))
    state, candidates = slow.state(data), draw(slow)
    expected = []
    for actions in candidates:
        mine = mujoco.MjData(model)
        mujoco.mj_copyData(mine, model, data)
        total = 0.0
        for action in actions.repeat(2, axis=0):
            mine.ctrl[:] = slow.control(action)
            mujoco.mj_step(model, mine, 3)
            looked = mujoco.MjData(model)
            mujoco.mj_copyData(looked, model, mine)
            mujoco.mj_forward(model, looked)
            total += of_one(model, looked)
        expected.append(total)
    np.testing.assert_allclose(slow.returns(state, candidates), expected, atol=1e-9)
    user = 12 * 3 * data.userdata[1]
    np.testing.assert_allclose(fast.returns(state, candidates) + user, expected, atol=1e-9)
    np.testing.assert_allclose(fast.control(np.array([-1.0, 1.0])), [-2, 1])


def test_the_changes_matter() -> None:
    """The test above would see it if any of them were forgotten."""
    model = mujoco.MjModel.from_xml_string(OWN)
    simulator = Simulator(model, rewards.one_by_one(of_one), threads=1)
    returns = []
    for change in (untouched, applied, moved, untied):
        data = mujoco.MjData(model)
        change(data)
        returns.append(simulator.returns(simulator.state(data), draw(simulator))[0])
    assert np.abs(np.subtract.outer(returns, returns))[np.triu_indices(4, 1)].min() > 1e-3


def test_a_gymnasium_environments_model() -> None:
    """The error says how to plan with it, and that works."""
    env = gymnasium.make("HalfCheetah-v5").unwrapped
    with pytest.raises(UsageError, match=r"HalfCheetahEnv has a MuJoCo model.*substeps=env"):
        Simulator.of(env)
    env.reset(seed=0)

    def reward(states: States) -> np.ndarray:
        return states.qpos[..., 0] + states.qvel[..., 1]

    simulator = Simulator(env.unwrapped.model, reward, substeps=env.unwrapped.frame_skip)
    actions = draw(simulator, 1)
    predicted = simulator.returns(simulator.state(env.unwrapped.data), actions)
    total = 0.0
    for action in actions[0]:
        env.step(action)
        total += env.data.qpos[0] + env.data.qvel[1]
    assert predicted[0] == pytest.approx(total, abs=1e-9)


# What is controlled is not disturbed


def everything(thing: Any) -> dict[str, np.ndarray]:
    """Returns copies of all arrays of an `MjData` or `MjModel`."""
    arrays = {name: getattr(thing, name) for name in dir(thing) if not name.startswith("_")}
    return {name: a.copy() for name, a in arrays.items() if isinstance(a, np.ndarray)}


UNUSED = ("efc_J_",)
"""What MuJoCo leaves as it finds it, where it does not need it."""


@pytest.mark.parametrize("task", ["finger-turn_hard", "hopper-hop"])
def test_planning_leaves_no_trace_in_the_environment(task: str) -> None:
    ends = []
    for planning in (False, True):
        env = playing(task)
        simulator = Simulator.of(env)
        for action in draw(simulator, 1, 10)[0]:
            if planning:
                before = everything(env.unwrapped.physics.data.ptr)
                plan(simulator, simulator.state(), 0, config=SMALL)
                after = everything(env.unwrapped.physics.data.ptr)
                for name in before:
                    np.testing.assert_array_equal(before[name], after[name], err_msg=name)
            env.step(action)
        data = env.unwrapped.physics.data.ptr
        ends.append(everything(data) | everything(data.model))
    assert len(ends[0]) > 300
    for name in ends[0]:
        if name.startswith(UNUSED):
            continue
        np.testing.assert_array_equal(ends[0][name], ends[1][name], err_msg=name)


@pytest.mark.parametrize("task", ["walker-walk", "ball_in_cup-catch"])
def test_the_plan_does_not_depend_on_the_number_of_threads(task: str) -> None:
    env = playing(task)
    plans = []
    for threads in (1, 2, 3, 1):
        simulator = Simulator.of(env, threads=threads)
        simulator.returns(simulator.state(), draw(simulator, 7))  # leaves data behind
        plans.append(plan(simulator, simulator.state(), 5, config=SMALL))
    for other in plans[1:]:
        for one, another in zip(plans[0], other, strict=True):
            np.testing.assert_array_equal(one, another)
    different = plan(simulator, simulator.state(), 6, config=SMALL)
    assert not np.array_equal(different.mean, plans[0].mean)


@pytest.mark.parametrize("task", ["finger-spin", "finger-turn_hard", "reacher-easy"])
def test_a_belief_outlives_its_episode(task: str) -> None:
    """These tasks change the model when an episode begins."""
    env = playing(task)
    simulator = Simulator.of(env)
    model = env.unwrapped.physics.model.ptr
    if task == "reacher-easy":  # the finger begins in the middle of the target
        model.geom("target").pos[:2] = env.unwrapped.physics.data.geom("finger").xpos[:2]
    if task == "finger-spin":  # the spinner spins already; its damping decides for how long
        model.dof_damping[2] = 0.0
        env.unwrapped.physics.data.qvel[2] = -15.5
    state, before = simulator.state(), everything(model)
    candidates = 0.1 * draw(simulator)
    first = simulator.returns(state, candidates)
    env.reset(seed=9)
    changed = [n for n, a in before.items() if not np.array_equal(a, everything(model)[n])]
    assert changed, "the task no longer changes the model"
    np.testing.assert_array_equal(simulator.returns(state, candidates), first)
    if task != "finger-turn_hard":
        assert first.max() > 0
        here = SimulatorState(simulator.state().model, *state[1:])
        assert not np.array_equal(simulator.returns(here, candidates), first)
    assert simulator.state().remaining == 1000
    chosen = plan(simulator, simulator.state(), 0, config=SMALL)
    assert chosen.predicted_return == pytest.approx(paid(env, chosen.mean), abs=1e-6)
