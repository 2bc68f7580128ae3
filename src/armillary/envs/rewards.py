"""Rewards of many simulator states at once.

The control suite's tasks pay one state at a time, from a `Physics`. Here the same rewards are
computed for whole batches of states that `mujoco.rollout` gave back. The tests hold each against
the suite's own `task.get_reward`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import mujoco
import numpy as np
from dm_control.utils.rewards import tolerance
from jaxtyping import Bool, Float64

from armillary.envs import kinematics, physics
from armillary.errors import UsageError, nearest

if TYPE_CHECKING:  # importing it loads OpenGL, which `suite` does in its own way
    from dm_control.mujoco import Physics
    from dm_control.rl.control import Task

Rewards = Float64[np.ndarray, "candidates steps"]

_SINGLE = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
"""Joints of a single position."""


@dataclass(frozen=True)
class States:
    """States that a simulator passed through, for a reward to look at.

    Attributes:
        model: the model that was simulated.
        time: simulated seconds.
        qpos: positions of the joints.
        qvel: their velocities.
        act: activations of the actuators.
        control: what the actuators were told in the step that led to each state.
        sensordata: values of all sensors, in the model's order; `sensor` finds one by its name.
        inputs: applied forces, mocap poses, equality constraints in use, user data
            (`physics.INPUTS`), the same in all states; None: all are as after a reset.
    """

    model: mujoco.MjModel
    time: Float64[np.ndarray, "candidates steps"]
    qpos: Float64[np.ndarray, "candidates steps nq"]
    qvel: Float64[np.ndarray, "candidates steps nv"]
    act: Float64[np.ndarray, "candidates steps na"]
    control: Float64[np.ndarray, "candidates steps nu"]
    sensordata: Float64[np.ndarray, "candidates steps nsensordata"]
    inputs: Float64[np.ndarray, " inputs"] | None = None

    def of(self, candidates: Bool[np.ndarray, " candidates"]) -> States:
        """Returns the states of some of the candidates."""
        names = ("time", "qpos", "qvel", "act", "control", "sensordata")
        return replace(self, **{name: getattr(self, name)[candidates] for name in names})

    def sensor(self, name: str) -> Float64[np.ndarray, "candidates steps dimension"]:
        """Returns the values of a sensor of position or velocity.

        Raises:
            UsageError: there is none of that name, or it measures accelerations or forces, which
                depend on what the actuators do next.
        """
        names = [self.model.sensor(i).name for i in range(self.model.nsensor)]
        if name not in names:
            raise UsageError(f"the model has no sensor {name!r}.{nearest(name, names)}")
        sensor = names.index(name)
        if self.model.sensor_needstage[sensor] == mujoco.mjtStage.mjSTAGE_ACC:
            raise UsageError(
                f"the sensor {name!r} measures accelerations or forces, which are not known before "
                "the next action: use sensors of positions and velocities in a reward"
            )
        first = self.model.sensor_adr[sensor]
        return self.sensordata[..., first : first + self.model.sensor_dim[sensor]]

    def joint(self, name: str) -> Float64[np.ndarray, "candidates steps"]:
        """Returns the position of a hinge (radians) or slide joint.

        Raises:
            UsageError: there is none of that name, or it is a ball or free joint.
        """
        single = np.isin(self.model.jnt_type, [kind.value for kind in _SINGLE])
        found = {
            self.model.joint(joint).name: self.model.jnt_qposadr[joint]
            for joint in np.flatnonzero(single)
        }
        if name not in found:
            near = nearest(name, filter(None, found))
            raise UsageError(f"the model has no hinge or slide joint {name!r}.{near}")
        return self.qpos[..., found[name]]

    def position(self, kind: str, name: str) -> Float64[np.ndarray, "candidates steps 3"]:
        """Returns where something is in the world (`kinematics.frame` explains `kind`)."""
        return kinematics.as_array(self.frame(kind, name).position, self.time.shape)

    def rotation(self, kind: str, name: str) -> Float64[np.ndarray, "candidates steps 3 3"]:
        """Returns its orientation: the columns of the matrix are its axes."""
        return kinematics.as_array(self.frame(kind, name).rotation, self.time.shape)

    def upright(self, body: str) -> Float64[np.ndarray, "candidates steps"]:
        """Returns the cosine of the angle between a body's z-axis and the vertical."""
        return np.broadcast_to(self.frame("body", body).rotation[2][2], self.time.shape)

    def frame(self, kind: str, name: str) -> kinematics.Frame:
        """Returns both, entry by entry, of which some may be plain numbers."""
        return kinematics.frame(self.model, self.qpos, kind, name, self._mocap)

    @cached_property
    def _mocap(self) -> kinematics.Mocap | None:
        if self.inputs is None or not self.model.nmocap:
            return None
        data = mujoco.MjData(self.model)
        mujoco.mj_setState(self.model, data, self.inputs, physics.INPUTS)
        return data.mocap_pos.copy(), data.mocap_quat.copy()


Reward = Callable[[States], Rewards]


def find(task: str) -> Reward | None:
    """Returns the reward of a task of the control suite; None if it is not written here."""
    return _TASKS.get(task)


def known() -> list[str]:
    """Returns the tasks whose rewards are written here."""
    return list(_TASKS)


def one_by_one(function: Callable[[mujoco.MjModel, mujoco.MjData], float]) -> Reward:
    """Makes a reward of a function of one state: slower by far, but of any kind.

    Args:
        function: `function(model, data) -> float`; in `data` all that MuJoCo computes of a state
            is up to date.
    """

    def reward(states: States) -> Rewards:
        data = mujoco.MjData(states.model)
        return _each(states, data, lambda: function(states.model, data))

    return reward


def of_task(kind: type[Physics], task: Task) -> Reward:
    """Makes a reward of a control-suite task's own function of one state.

    Args:
        kind: the class of the physics that the task expects.
        task: the task; it is copied, and so not disturbed.
    """

    def reward(states: States) -> Rewards:
        from dm_control.mujoco.wrapper import MjModel

        view, mine = kind.from_model(MjModel(states.model)), copy.deepcopy(task)
        return _each(states, view.data.ptr, lambda: mine.get_reward(view))

    return reward


def _each(states: States, data: mujoco.MjData, function: Callable[[], float]) -> Rewards:
    """Returns what a function gives after each of the states was put into `data`."""
    paid = np.empty(states.time.shape)
    if states.inputs is not None:
        mujoco.mj_setState(states.model, data, states.inputs, physics.INPUTS)
    for index in np.ndindex(paid.shape):
        data.time = states.time[index]
        data.qpos[:], data.qvel[:] = states.qpos[index], states.qvel[index]
        data.act[:], data.ctrl[:] = states.act[index], states.control[index]
        mujoco.mj_forward(states.model, data)
        paid[index] = function()
    return paid


def _acrobot(states: States) -> Rewards:
    reach = states.position("site", "target") - states.position("site", "tip")
    radius = states.model.site("target").size[0]
    return tolerance(_length(reach), bounds=(0, radius), margin=1)


def _cup(states: States) -> Rewards:
    away = np.abs(states.position("site", "target") - states.position("body", "ball"))
    room = states.model.site("target").size - states.model.geom("ball").size[0]
    return (away < room)[..., [0, 2]].all(-1).astype(float)


def _cartpole(states: States) -> Rewards:
    upright = (states.upright("pole_1") + 1) / 2
    centred = (1 + tolerance(states.joint("slider"), margin=2)) / 2
    effort = tolerance(states.control[..., 0], margin=1, value_at_margin=0, sigmoid="quadratic")
    still = (1 + tolerance(states.qvel[..., 1], margin=5)) / 2
    return upright * (4 + effort) / 5 * still * centred


def _cartpole_sparse(states: States) -> Rewards:
    centred = tolerance(states.joint("slider"), (-0.25, 0.25))
    return centred * tolerance(states.upright("pole_1"), (0.995, 1))


def _cheetah(states: States) -> Rewards:
    return _speed(states.sensor("torso_subtreelinvel")[..., 0], 10, 10, 0)


def _finger_spin(states: States) -> Rewards:
    return (states.sensor("hinge_velocity")[..., 0] <= -15).astype(float)


def _finger_turn(states: States) -> Rewards:
    reach = (states.sensor("target") - states.sensor("tip"))[..., [0, 2]]
    return (_length(reach) <= states.model.site("target").size[0]).astype(float)


def _hopper_stands(states: States) -> Rewards:
    torso, foot = (states.position("inertia", body)[..., 2] for body in ("torso", "foot"))
    return tolerance(torso - foot, (0.6, 2))


def _hopper_stand(states: States) -> Rewards:
    effort = tolerance(states.control, margin=1, value_at_margin=0, sigmoid="quadratic")
    return _hopper_stands(states) * (effort.mean(-1) + 4) / 5


def _hopper_hop(states: States) -> Rewards:
    speed = states.sensor("torso_subtreelinvel")[..., 0]
    return _hopper_stands(states) * _speed(speed, 2, 1, 0.5)


def _pendulum(states: States) -> Rewards:
    return tolerance(states.upright("pole"), (np.cos(np.deg2rad(8)), 1))


def _quadruped(speed: float) -> Reward:
    def reward(states: States) -> Rewards:
        upright = _speed(states.upright("torso"), 1, 2, 0)
        return upright * _speed(states.sensor("velocimeter")[..., 0], speed, speed, 0.5)

    return reward


def _reacher(states: States) -> Rewards:
    reach = states.position("geom", "target") - states.position("geom", "finger")
    radii = states.model.geom("target").size[0] + states.model.geom("finger").size[0]
    return tolerance(_length(reach[..., :2]), (0, radii))


def _walker(speed: float) -> Reward:
    def reward(states: States) -> Rewards:
        torso = states.frame("body", "torso")
        standing = tolerance(torso.position[2], bounds=(1.2, np.inf), margin=0.6)
        stands = (3 * standing + (1 + torso.rotation[2][2]) / 2) / 4
        if speed == 0:
            return stands
        moves = _speed(states.sensor("torso_subtreelinvel")[..., 0], speed, speed / 2, 0.5)
        return stands * (5 * moves + 1) / 6

    return reward


def _speed(value: Rewards, wanted: float, margin: float, at_margin: float) -> Rewards:
    """Returns 1 from the wanted value on, less in a straight line below it."""
    bounds = (wanted, np.inf)
    return tolerance(value, bounds, margin=margin, value_at_margin=at_margin, sigmoid="linear")


def _length(vector: Float64[np.ndarray, "candidates steps d"]) -> Rewards:
    return np.sqrt(np.square(vector).sum(-1))


_TASKS: dict[str, Reward] = {
    "acrobot-swingup": _acrobot,
    "ball_in_cup-catch": _cup,
    "cartpole-balance": _cartpole,
    "cartpole-balance_sparse": _cartpole_sparse,
    "cartpole-swingup": _cartpole,
    "cartpole-swingup_sparse": _cartpole_sparse,
    "cheetah-run": _cheetah,
    "finger-spin": _finger_spin,
    "finger-turn_easy": _finger_turn,
    "finger-turn_hard": _finger_turn,
    "hopper-hop": _hopper_hop,
    "hopper-stand": _hopper_stand,
    "pendulum-swingup": _pendulum,
    "quadruped-run": _quadruped(5),
    "quadruped-walk": _quadruped(0.5),
    "reacher-easy": _reacher,
    "reacher-hard": _reacher,
    "walker-run": _walker(8),
    "walker-stand": _walker(0),
    "walker-walk": _walker(1),
}
