"""The true simulator as the model that a planner plans with: the upper bound of PlaNet's Table 1.

Any MuJoCo model will do. All candidates are simulated in `mujoco.rollout`, on all cores, from the
exact state of the environment, which is not disturbed.
"""

from __future__ import annotations

import copy
import os
import warnings
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np
from gymnasium.wrappers import RepeatAction, TimeLimit
from jaxtyping import Bool, Float, Float64
from mujoco.rollout import Rollout

from armillary.envs import physics
from armillary.envs.rewards import Reward, States
from armillary.errors import UsageError


class SimulatorState(NamedTuple):
    """All that the future depends on, copied: the belief of an agent that knows the simulator.

    Attributes:
        model: the model as it is in this episode (tasks change it when an episode begins).
        physics: time, positions, velocities, activations and plug-ins (MuJoCo's full physics).
        warmstart: accelerations from which the constraint solver starts.
        inputs: applied forces, mocap poses, equality constraints in use, user data; None: all are
            as after a reset.
        remaining: control steps until the episode's end; None: it has none.
    """

    model: mujoco.MjModel
    physics: Float64[np.ndarray, " physics"]
    warmstart: Float64[np.ndarray, " nv"]
    inputs: Float64[np.ndarray, " inputs"] | None
    remaining: int | None


class Simulator:
    """The returns of action sequences in a MuJoCo model.

    `Simulator.of(env)` makes one for an environment of the control suite, `Simulator(...)` for a
    model and a reward of one's own. Actions are in [-1, 1]; `control` maps them to the range of
    the actuators.

    Args:
        model: the model. Every actuator needs a finite control range.
        reward: the rewards of a batch of states; `rewards.one_by_one` makes one of a function of
            a single state.
        action_repeat: R, control steps for each action; their rewards are summed.
        substeps: steps of the simulator in a control step.
        threads: how many simulate; None: one for each core that this process may use.

    Attributes:
        threads: how many simulate.
        steps_per_action: steps of the simulator for each action.
        candidates: how many candidates were simulated so far.
        unstable: how many of them MuJoCo warned about, or were not paid finite rewards; their
            return was -inf.

    Raises:
        UsageError: the model has no actuators, or one without a finite range, or lets bodies fall
            asleep; or a number is out of its range.
    """

    on_host = True

    def __init__(
        self,
        model: mujoco.MjModel,
        reward: Reward,
        *,
        action_repeat: int = 1,
        substeps: int = 1,
        threads: int | None = None,
    ) -> None:
        if threads is None:
            threads = _cores()
        for name, value in (
            ("action_repeat", action_repeat),
            ("substeps", substeps),
            ("threads", threads),
        ):
            if value < 1:
                raise UsageError(f"{name} is {value}, but it must be at least 1")
        with np.errstate(over="ignore"):
            low, high = model.actuator_ctrlrange.T.astype(np.float32).astype(np.float64)
        finite = model.actuator_ctrllimited.all() and np.isfinite([low, high]).all()
        if not (model.nu and finite):
            raise UsageError(
                "the planner needs a model whose actuators all have a finite range: give each a "
                "ctrlrange, and ctrllimited='true', in the MJCF file"
            )
        if model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP:
            raise UsageError(
                "the model lets bodies fall asleep, of which MuJoCo's rollouts keep no account, so "
                "that they would not be exact: leave out the flag sleep='enable' in the MJCF file"
            )
        self.reward, self.action_size = reward, int(model.nu)
        self._low, self._high = low, high
        self._repeat, self._substeps, self.threads = action_repeat, substeps, threads
        self.steps_per_action = action_repeat * substeps
        self._pool = Rollout(nthread=threads)
        self._data = [mujoco.MjData(model) for _ in range(threads)]
        self._layout = physics.layout(model)
        self._env: gymnasium.Env | None = None
        self.candidates = self.unstable = 0

    @classmethod
    def of(
        cls, env: gymnasium.Env, *, action_repeat: int | None = None, threads: int | None = None
    ) -> Simulator:
        """Returns the simulator behind an environment of the control suite.

        Args:
            env: `ControlSuite`, wrapped or not; of the wrappers, `TimeLimit` and `RepeatAction` are
                known here.
            action_repeat: R; None: that of the wrapper `RepeatAction`, or 1.
            threads: as above.

        Raises:
            UsageError: there is no such simulator behind the environment.
        """
        suite: Any = env.unwrapped
        if isinstance(getattr(suite, "model", None), mujoco.MjModel):
            raise UsageError(
                f"{type(suite).__name__} has a MuJoCo model, but not its reward as a function of "
                "states: write one, and plan with Simulator(env.unwrapped.model, reward, "
                "substeps=env.unwrapped.frame_skip) from its state(env.unwrapped.data)"
            )
        if not hasattr(suite, "simulated"):
            raise UsageError(
                f"{type(suite).__name__} has no MuJoCo model behind it that can be planned with: "
                "take a task of the control suite (`armillary tasks` lists them), or give your own "
                "model and reward to armillary.planners.simulator.Simulator"
            )
        model, reward, substeps = suite.simulated()
        if action_repeat is None:
            action_repeat = _layers(env)[0]
        simulator = cls(
            model, reward, action_repeat=action_repeat, substeps=substeps, threads=threads
        )
        simulator._env = env
        return simulator

    def state(
        self, data: mujoco.MjData | None = None, *, remaining: int | None = None
    ) -> SimulatorState:
        """Copies the state to plan from; what is simulated later does not disturb it.

        Args:
            data: MuJoCo's state; may be left out where the simulator is an environment's.
            remaining: control steps until the episode's end, where `data` is given.

        Raises:
            UsageError: `data` is missing, or of another model.
        """
        if data is None:
            if self._env is None:
                raise UsageError("give the mujoco.MjData whose state is to be planned from")
            suite: Any = self._env.unwrapped
            data, remaining = suite.physics.data.ptr, _layers(self._env)[1]
        model = data.model
        self._reset(model)
        told = physics.read(model, data, physics.INPUTS)
        usual = np.array_equal(told, physics.read(model, self._data[0], physics.INPUTS))
        inputs = None if usual else told
        full, warmstart = physics.read(model, data, physics.PHYSICS), data.qacc_warmstart.copy()
        return SimulatorState(copy.copy(model), full, warmstart, inputs, remaining)

    def control(self, action: Float[np.ndarray, "*n action"]) -> Float64[np.ndarray, "*n nu"]:
        """Returns what the actuators are told for an action in [-1, 1].

        It is rounded to single precision, like the actions of a Gymnasium environment.
        """
        center, scale = (self._low + self._high) / 2, (self._high - self._low) / 2
        own = center + scale * np.asarray(action, np.float64)
        return own.astype(np.float32).clip(self._low, self._high).astype(np.float64)

    def returns(
        self,
        state: SimulatorState,
        candidates: Float[np.ndarray, "candidates horizon action"],
        key: Any = None,
    ) -> Float64[np.ndarray, " candidates"]:
        """Returns the sum of rewards of each action sequence.

        Only the steps until the episode's end count, however long the sequences are. A candidate
        whose simulation becomes unstable gets -inf, and is counted; if all do, a warning says so.

        Args:
            state: where all of them start.
            candidates: J sequences of H actions in [-1, 1].
            key: not used: the simulator draws nothing.

        Raises:
            UsageError: the sequences have another shape, or leave [-1, 1]; the episode is over;
                the state is of another model; the reward has another shape.
        """
        actions = np.asarray(candidates, np.float64)
        if actions.ndim != 3 or actions.shape[-1] != self.action_size or not actions.size:
            raise UsageError(
                f"the candidates have shape {actions.shape}, expected (candidates, horizon, "
                f"{self.action_size}), and at least one of each"
            )
        if not (np.abs(actions) <= 1).all():
            raise UsageError(
                "some actions are NaN or not in [-1, 1]: clip them; `control` maps this range to "
                "the actuators' own"
            )
        steps = actions.shape[1] * self._repeat
        if state.remaining is not None:
            steps = min(steps, state.remaining)
        if steps < 1:
            raise UsageError(
                "the episode is over, or none began: there is nothing to plan for before the "
                "environment is reset"
            )
        states, stable = self._simulate(state, actions, steps)
        returns = np.full(len(actions), -np.inf)
        if stable.any():
            returns[stable] = self._sum(states if stable.all() else states.of(stable))
        stable &= np.isfinite(returns)
        returns[~stable] = -np.inf
        self.candidates += len(returns)
        self.unstable += int((~stable).sum())
        if not stable.any():
            warnings.warn(
                f"none of {len(returns)} candidates stayed stable with finite rewards, so that "
                "nothing tells a good one from a bad one: give the model a smaller timestep or its "
                "actuators less range, or look at the reward",
                RuntimeWarning,
                stacklevel=2,
            )
        return returns

    def _sum(self, states: States) -> Float64[np.ndarray, " candidates"]:
        """Returns the sum of rewards of each candidate."""
        paid = self.reward(states)
        if np.shape(paid) != states.time.shape:
            raise UsageError(
                f"the reward has shape {np.shape(paid)}, expected one number for each of "
                f"(candidates, steps) = {states.time.shape}"
            )
        return np.asarray(paid, np.float64).sum(-1)

    def _reset(self, model: mujoco.MjModel) -> None:
        """Forgets all that earlier rollouts left behind."""
        if physics.layout(model) != self._layout:
            raise UsageError(
                "the state is of another model than the simulator's: make a Simulator for it"
            )
        for data in self._data:
            mujoco.mj_resetData(model, data)

    def _simulate(
        self, state: SimulatorState, actions: Float64[np.ndarray, "j h a"], steps: int
    ) -> tuple[States, Bool[np.ndarray, " j"]]:
        """Simulates all candidates.

        Returns:
            The states at the end of each control step, and which candidates were stable.
        """
        model, count, taken = state.model, len(actions), steps * self._substeps
        control = np.repeat(self.control(actions), self._repeat, axis=1)[:, :steps]
        held = np.repeat(control, self._substeps, axis=1)
        # One step more: in its beginning the sensors of the last state are read, and it is not
        # taken if MuJoCo warned of what led there.
        held = np.concatenate([held, held[:, -1:]], axis=1)
        specification = physics.CONTROL
        if state.inputs is not None:
            specification |= physics.INPUTS
            inputs = np.broadcast_to(state.inputs, (count, taken + 1, len(state.inputs)))
            held = np.concatenate([held, inputs], axis=-1)
        self._reset(model)
        with physics.silent():
            trajectory, sensors = self._pool.rollout(
                model,
                self._data,
                np.tile(state.physics, (count, 1)),
                held,
                control_spec=specification,
                initial_warmstart=np.tile(state.warmstart, (count, 1)),
            )
        # A rollout stops after the step in which MuJoCo warns: the clock then stands still.
        stable = trajectory[:, taken, 0] != trajectory[:, taken - 1, 0]
        ends = trajectory[:, self._substeps - 1 : taken : self._substeps]
        time, qpos, qvel, act, _ = np.split(
            ends, np.cumsum([1, model.nq, model.nv, model.na]), axis=-1
        )
        for values in (qpos, qvel):  # MuJoCo would look at those of the last state only later
            stable &= (np.abs(values[:, -1]) <= physics.LARGEST).all(-1)
        sensors = sensors[:, self._substeps :: self._substeps]
        return States(model, time[..., 0], qpos, qvel, act, control, sensors, state.inputs), stable


def _cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _layers(env: gymnasium.Env) -> tuple[int, int | None]:
    """Returns what the wrappers `RepeatAction` and `TimeLimit` do, and the environment itself.

    Returns:
        The control steps for each action, and those until the episode's end (None: it has none).
    """
    if isinstance(env, gymnasium.Wrapper):
        repeat, remaining = _layers(env.env)
        if isinstance(env, RepeatAction):
            return repeat * env.num_repeats, remaining
        if isinstance(env, TimeLimit):
            limit = (env._max_episode_steps - (env._elapsed_steps or 0)) * repeat
            return repeat, limit if remaining is None else min(limit, remaining)
        return repeat, remaining
    return 1, env.remaining  # type: ignore[attr-defined]
