"""The true simulator as the model that a planner plans with: the upper bound of PlaNet's Table 1.

Any MuJoCo model will do. All candidates are simulated in `mujoco.rollout`, on all cores, from the
exact state of the environment, which is not disturbed.
"""

from __future__ import annotations

import copy
import os
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np
from gymnasium.wrappers import TimeLimit
from jaxtyping import Float, Float64
from mujoco.rollout import Rollout

from armillary.envs.rewards import Reward, States
from armillary.errors import UsageError

_State = mujoco.mjtState
_PHYSICS = _State.mjSTATE_FULLPHYSICS.value
_INPUTS = _State.mjSTATE_USER.value & ~_State.mjSTATE_CTRL.value


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
        candidates: how many candidates were simulated so far.
        unstable: how many of them MuJoCo warned about; their return was -inf.

    Raises:
        UsageError: the model has no actuators, or one without a finite range, or a number is out
            of its range.
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
            threads = len(os.sched_getaffinity(0))
        for name, value in (
            ("action_repeat", action_repeat),
            ("substeps", substeps),
            ("threads", threads),
        ):
            if value < 1:
                raise UsageError(f"{name} is {value}, but it must be at least 1")
        low, high = model.actuator_ctrlrange.T.astype(np.float32).astype(np.float64)
        if not model.nu or not (model.actuator_ctrllimited.all() and np.isfinite([low, high]).all()):
            raise UsageError(
                "the planner needs a model whose actuators all have a finite range: give each a "
                "ctrlrange, and ctrllimited='true', in the MJCF file"
            )
        self.reward, self.action_size = reward, int(model.nu)
        self._low, self._high = low, high
        self._repeat, self._substeps, self._threads = action_repeat, substeps, threads
        self._pool = Rollout(nthread=threads)
        self._data = [mujoco.MjData(model) for _ in range(threads)]
        self._env: gymnasium.Env | None = None
        self.candidates = self.unstable = 0

    @classmethod
    def of(
        cls, env: gymnasium.Env, *, action_repeat: int = 1, threads: int | None = None
    ) -> Simulator:
        """Returns the simulator behind an environment of the control suite.

        Args:
            env: `ControlSuite`, wrapped or not.
            action_repeat: R.
            threads: as above.

        Raises:
            UsageError: there is no such simulator behind the environment.
        """
        suite = env.unwrapped
        if not hasattr(suite, "simulated"):
            raise UsageError(
                f"{type(suite).__name__} has no MuJoCo model behind it that can be planned with: "
                "take a task of the control suite (`armillary tasks` lists them), or give your own "
                "model and reward to armillary.planners.simulator.Simulator"
            )
        model, reward, substeps = suite.simulated()
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
        """
        if data is None:
            if self._env is None:
                raise UsageError("give the mujoco.MjData whose state is to be planned from")
            data, remaining = self._env.unwrapped.physics.data.ptr, _remaining(self._env)
        model = data.model
        inputs: np.ndarray | None = _read(model, data, _INPUTS)
        mujoco.mj_resetData(model, self._data[0])
        if np.array_equal(inputs, _read(model, self._data[0], _INPUTS)):
            inputs = None
        physics, warmstart = _read(model, data, _PHYSICS), data.qacc_warmstart.copy()
        return SimulatorState(copy.copy(model), physics, warmstart, inputs, remaining)

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

        Only the steps until the episode's end count, however long the sequences are.

        Args:
            state: where all of them start.
            candidates: J sequences of H actions in [-1, 1].
            key: not used: the simulator draws nothing.

        Raises:
            UsageError: the sequences have another shape, or leave [-1, 1].
        """
        actions = np.asarray(candidates, np.float64)
        if actions.ndim != 3 or actions.shape[-1] != self.action_size:
            raise UsageError(
                f"the candidates have shape {actions.shape}, expected (candidates, horizon, "
                f"{self.action_size})"
            )
        if not (np.abs(actions) <= 1).all():
            raise UsageError(
                "some actions are not in [-1, 1]: clip them; `control` maps this range to the "
                "actuators' own"
            )
        steps = actions.shape[1] * self._repeat
        if state.remaining is not None:
            steps = min(steps, state.remaining)
        if steps < 1:
            raise UsageError("the episode is over: there is nothing left to plan for")
        states = self._simulate(state, actions, steps)
        paid = self.reward(states)
        if np.shape(paid) != states.time.shape:
            raise UsageError(
                f"the reward has shape {np.shape(paid)}, expected one number for each of "
                f"(candidates, steps) = {states.time.shape}"
            )
        expected = state.physics[0] + steps * self._substeps * state.model.opt.timestep
        # A rollout stops where MuJoCo warns: its clock then stands still, or begins again.
        stable = np.abs(states.time[:, -1] - expected) < state.model.opt.timestep / 2
        returns = np.where(stable, paid.sum(-1), -np.inf)
        stable &= np.isfinite(returns)
        self.candidates += len(returns)
        self.unstable += int((~stable).sum())
        return np.where(stable, returns, -np.inf)

    def _simulate(
        self, state: SimulatorState, actions: Float64[np.ndarray, "j h a"], steps: int
    ) -> States:
        """Simulates all candidates; returns the states at the end of each control step."""
        model, count = state.model, len(actions)
        control = np.repeat(self.control(actions), self._repeat, axis=1)[:, :steps]
        # One step more, in the beginning of which the sensors of the last state are read.
        total = steps * self._substeps + bool(model.nsensor)
        held = np.repeat(control, self._substeps, axis=1)
        if total > held.shape[1]:
            held = np.concatenate([held, held[:, -1:]], axis=1)
        specification = _State.mjSTATE_CTRL.value
        if state.inputs is not None:
            specification |= _INPUTS
            inputs = np.broadcast_to(state.inputs, (count, total, len(state.inputs)))
            held = np.concatenate([held, inputs], axis=-1)
        trajectory, sensors = self._pool.rollout(
            model,
            self._data,
            np.tile(state.physics, (count, 1)),
            held,
            control_spec=specification,
            initial_warmstart=np.tile(state.warmstart, (count, 1)),
        )
        ends = slice(self._substeps - 1, steps * self._substeps, self._substeps)
        trajectory = trajectory[:, ends]
        if model.nsensor:
            sensors = sensors[:, self._substeps :: self._substeps]
        else:
            sensors = sensors[:, ends]
        time, qpos, qvel, act, _ = np.split(
            trajectory, np.cumsum([1, model.nq, model.nv, model.na]), axis=-1
        )
        return States(model, time[..., 0], qpos, qvel, act, control, sensors)


def _read(model: mujoco.MjModel, data: mujoco.MjData, kind: int) -> Float64[np.ndarray, " n"]:
    """Returns the parts of a state that `kind` (of `mujoco.mjtState`) selects."""
    part = np.empty(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, data, part, kind)
    return part


def _remaining(env: gymnasium.Env) -> int | None:
    """Returns the control steps until the episode's end, by its time or a `TimeLimit`."""
    limits = [env.unwrapped.remaining]  # type: ignore[attr-defined]
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, TimeLimit):
            limits.append(env._max_episode_steps - (env._elapsed_steps or 0))
        env = env.env
    return min((limit for limit in limits if limit is not None), default=None)
