"""The true simulator as a planner's model: unstable simulations and wrong input."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest

from armillary.config import EnvironmentConfig, PlannerConfig
from armillary.envs import ControlSuite, build
from armillary.envs.rewards import States
from armillary.errors import UsageError
from armillary.planners.rollout import plan
from armillary.planners.simulator import Simulator, SimulatorState

SMALL = PlannerConfig(horizon=6, iterations=2, candidates=12, elites=3)

FRAGILE = """
<mujoco>
  <option timestep="0.02"/>
  <worldbody><body><joint name="x" type="slide"/><geom size=".1"/></body></worldbody>
  <actuator><motor joint="x" gear="1e14" ctrlrange="-1 1" ctrllimited="true"/></actuator>
</mujoco>
"""


@pytest.fixture
def fragile() -> Simulator:
    return Simulator(mujoco.MjModel.from_xml_string(FRAGILE), lambda s: s.qpos[..., 0], threads=2)


def fresh(simulator: Simulator, time: float = 0.0) -> SimulatorState:
    data = mujoco.MjData(mujoco.MjModel.from_xml_string(FRAGILE))
    data.qvel[:], data.time = 0.5, time
    return simulator.state(data)


@pytest.mark.parametrize("time", [0.0, 3.0])
@pytest.mark.parametrize("horizon", [1, 2, 6])
def test_an_unstable_candidate_is_the_worst_and_is_counted(
    fragile: Simulator, horizon: int, time: float
) -> None:
    """The others keep the return that they have alone."""
    state, candidates = fresh(fragile, time), np.zeros((40, horizon, 1))
    alone = fragile.returns(state, 1e-12 * np.ones((1, horizon, 1)))
    assert fragile.unstable == 0
    candidates[::3] = 1e-12
    candidates[1::3] = 1  # from the first step on
    candidates[2::3, -1] = 1  # in the last
    returns = fragile.returns(state, candidates)
    np.testing.assert_array_equal(returns[::3], alone[0])
    assert (returns[1::3] == -np.inf).all()
    assert (returns[2::3] == -np.inf).all()
    assert (fragile.candidates, fragile.unstable) == (41, 26)


def test_a_position_beyond_mujocos_limit_is_unstable() -> None:
    """MuJoCo itself would look at that of the last step only in the next."""
    model = mujoco.MjModel.from_xml_string(FRAGILE.replace("1e14", "1"))
    simulator = Simulator(model, lambda s: np.ones(s.time.shape))
    data = mujoco.MjData(model)
    data.qpos[0], data.qvel[0], data.time = 0.999e10, 0.9e10, 1.0
    with pytest.warns(RuntimeWarning, match="none of 3 candidates"):
        returns = simulator.returns(simulator.state(data), np.zeros((3, 1, 1)))
    assert (returns == -np.inf).all()


@pytest.mark.filterwarnings("ignore:none of 1 candidates")
@pytest.mark.parametrize("flag", ["", '<option><flag autoreset="disable"/></option>'])
def test_if_all_are_unstable_a_warning_says_so(flag: str) -> None:
    model = mujoco.MjModel.from_xml_string(FRAGILE.replace("<worldbody>", flag + "<worldbody>"))
    asked = []
    simulator = Simulator(model, lambda s: asked.append(s) or s.qpos[..., 0])
    state = simulator.state(mujoco.MjData(model))
    with pytest.warns(
        RuntimeWarning, match=r"none of 12 candidates stayed stable.*smaller timestep"
    ):
        chosen = plan(simulator, state, 0, config=SMALL)
    # Nothing was learned of what to do: the plan is what it began with, to do nothing.
    np.testing.assert_array_equal(chosen.mean, np.zeros_like(chosen.mean))
    np.testing.assert_array_equal(chosen.std, np.ones_like(chosen.std))
    assert simulator.candidates == 2 * 12 + 1
    assert simulator.unstable == 2 * 12
    (states,) = asked  # only the last, the plan's mean, was shown to the reward
    assert len(states.time) == 1
    assert chosen.predicted_return == pytest.approx(float(states.qpos[..., 0].sum()))


def test_a_reward_that_is_no_number_is_the_worst() -> None:
    model = mujoco.MjModel.from_xml_string(FRAGILE.replace("1e14", "1"))

    def reward(states: States) -> np.ndarray:
        return np.where(states.control[..., 0] > 0, np.nan, 1.0)

    simulator = Simulator(model, reward)
    actions = np.array([[[-0.1], [-0.1]], [[-0.1], [0.1]]])
    returns = simulator.returns(simulator.state(mujoco.MjData(model)), actions)
    np.testing.assert_array_equal(returns, [2, -np.inf])
    assert simulator.unstable == 1


@pytest.mark.parametrize("handler", [None, lambda message: print(message)])
def test_mujoco_prints_and_writes_nothing(
    fragile: Simulator,
    handler: Callable[[str], None] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = mujoco.get_mju_user_warning()
    monkeypatch.chdir(tmp_path)
    mujoco.set_mju_user_warning(handler)
    try:
        returns = fragile.returns(fresh(fragile), np.array([0.0, 1.0]).reshape(2, 1, 1))
        assert returns[1] == -np.inf
        assert mujoco.get_mju_user_warning() is handler
    finally:
        mujoco.set_mju_user_warning(before)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_no_model_behind_it() -> None:
    with pytest.raises(UsageError, match=r"PendulumEnv has no MuJoCo model.*own model and reward"):
        Simulator.of(gymnasium.make("Pendulum-v1"))


@pytest.mark.parametrize(
    "actuator",
    [
        "",
        '<motor joint="x"/>',
        '<motor joint="x" ctrlrange="-1 1" ctrllimited="false"/>',
        '<motor joint="x" ctrlrange="-1 1e39" ctrllimited="true"/>',
    ],
)
def test_actuators_without_a_range(actuator: str) -> None:
    before, _ = FRAGILE.split("<motor")
    model = mujoco.MjModel.from_xml_string(before + actuator + "</actuator></mujoco>")
    with pytest.raises(UsageError, match="all have a finite range: give each a ctrlrange"):
        Simulator(model, lambda s: s.time)


def test_an_unbounded_task() -> None:
    env = ControlSuite("lqr-lqr_2_1", render_mode=None)
    with (
        pytest.warns(UserWarning, match="no reward for whole batches"),
        pytest.raises(UsageError, match="finite range"),
    ):
        Simulator.of(env)


@pytest.mark.parametrize("name", ["action_repeat", "substeps", "threads"])
def test_numbers_below_one(name: str) -> None:
    model = mujoco.MjModel.from_xml_string(FRAGILE)
    with pytest.raises(UsageError, match=f"{name} is 0, but it must be at least 1"):
        Simulator(model, lambda s: s.time, **{name: 0})


def test_bodies_that_fall_asleep() -> None:
    """Sleep is no part of the state that MuJoCo's rollouts start from."""
    sleepy = FRAGILE.replace("<worldbody>", '<option><flag sleep="enable"/></option><worldbody>')
    with pytest.raises(UsageError, match=r"fall asleep.*leave out the flag"):
        Simulator(mujoco.MjModel.from_xml_string(sleepy), lambda s: s.time)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2), (3, 0, 1), (0, 4, 1)])
def test_candidates_of_another_shape(fragile: Simulator, shape: tuple[int, ...]) -> None:
    returns = inspect.unwrap(Simulator.returns)  # without the tests' own check of shapes
    with pytest.raises(UsageError, match=r"have shape .*expected \(candidates, horizon, 1\)"):
        returns(fragile, fresh(fragile), np.zeros(shape))


@pytest.mark.parametrize("wrong", [1.01, -1.01, np.nan, np.inf])
def test_actions_out_of_bounds(fragile: Simulator, wrong: float) -> None:
    candidates = np.zeros((3, 4, 1))
    candidates[1, 2] = wrong
    with pytest.raises(UsageError, match=r"NaN or not in \[-1, 1\]: clip them"):
        fragile.returns(fresh(fragile), candidates)
    assert fragile.candidates == 0


def test_the_episode_is_over_or_none_began(fragile: Simulator) -> None:
    env = build.control("cartpole-balance", EnvironmentConfig(), draw=False)
    simulator = Simulator.of(env)
    candidates = np.zeros((3, 6, 1))
    for begin in (False, True):
        if begin:
            env.reset(seed=0)
            simulator.returns(simulator.state(), candidates)
            for _ in range(125):
                env.step(np.zeros(1, np.float32))
        with pytest.raises(UsageError, match="the episode is over, or none began"):
            simulator.returns(simulator.state(), candidates)
    data = mujoco.MjData(mujoco.MjModel.from_xml_string(FRAGILE))
    with pytest.raises(UsageError, match="the episode is over"):
        fragile.returns(fragile.state(data, remaining=0), np.zeros((1, 1, 1)))
    assert fragile.state(data).remaining is None


def test_a_state_of_another_model(fragile: Simulator) -> None:
    other = mujoco.MjModel.from_xml_string(FRAGILE.replace("<body>", "<body><site/>"))
    larger = mujoco.MjModel.from_xml_string(
        FRAGILE.replace("<worldbody>", '<size nuserdata="3"/><worldbody>')
    )
    for model in (other, larger):
        with pytest.raises(UsageError, match=r"another model.*make a Simulator for it"):
            fragile.state(mujoco.MjData(model))
        state = Simulator(model, lambda s: s.time).state(mujoco.MjData(model))
        with pytest.raises(UsageError, match="another model"):
            fragile.returns(state, np.zeros((1, 1, 1)))
    with pytest.raises(UsageError, match=r"give the mujoco.MjData"):
        fragile.state()


def test_a_reward_of_another_shape() -> None:
    model = mujoco.MjModel.from_xml_string(FRAGILE)
    simulator = Simulator(model, lambda states: states.qpos)
    with pytest.raises(UsageError, match=r"the reward has shape \(2, 3, 1\), expected .*\(2, 3\)"):
        simulator.returns(simulator.state(mujoco.MjData(model)), np.zeros((2, 3, 1)))
