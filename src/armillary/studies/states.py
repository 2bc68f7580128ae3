"""The environment's own state, noted beside what an agent sees of it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
from jaxtyping import Float64

from armillary.envs.suite import ControlSuite
from armillary.errors import EnvironmentFailure, RunError, UsageError
from armillary.files import write_atomically
from armillary.replay.episode import Episode

State = Mapping[str, Any]
"""Numbers and vectors by name: `{"position": [0.1, 0.2], "velocity": 0.3}`."""
REWARD = "reward"
"""Name of the reward among the quantities."""
ReadState = Callable[[gymnasium.Env], State]
"""Returns the state of an environment (as `armillary.envs.make` returns it)."""


@dataclass(frozen=True)
class Recording:
    """An episode, and the environment's state at each of its rows.

    Attributes:
        episode: pixels, actions and rewards.
        state: numbers by name, one for each row; empty where the environment tells none.
    """

    episode: Episode
    state: dict[str, Float64[np.ndarray, " rows"]]


def joint_state(env: gymnasium.Env) -> State:
    """Returns the positions and velocities of the joints of a task of the control suite.

    By the joints' names. A slide's position is in metres, a hinge's angle in radians if its range
    is limited. An unlimited hinge can turn full circle, and pictures do not show how often: the
    cosine and the sine of its angle stand for it. A ball or a free joint's orientation is given by
    the first two columns of its rotation matrix, which are continuous where a quaternion or angles
    are not (Zhou et al., 2019). Velocities are in metres or radians per second.

    Raises:
        UsageError: the environment is not the control suite's.
    """
    suite = env.unwrapped
    if not isinstance(suite, ControlSuite):
        raise UsageError(f"{suite} has no joints: it is not an environment of the control suite")
    model, data = suite.physics.model.ptr, suite.physics.data.ptr
    positions: dict[str, float] = {}
    velocities: dict[str, float] = {}
    for joint in range(model.njnt):
        name = model.joint(joint).name or f"joint {joint}"
        kind = mujoco.mjtJoint(model.jnt_type[joint])
        qpos = data.qpos[model.jnt_qposadr[joint] :]
        qvel = data.qvel[model.jnt_dofadr[joint] :]
        moves = {mujoco.mjtJoint.mjJNT_FREE: 6, mujoco.mjtJoint.mjJNT_BALL: 3}.get(kind, 1)
        velocities |= _components(f"velocity/{name}", qvel[:moves])
        if kind == mujoco.mjtJoint.mjJNT_HINGE and not model.jnt_limited[joint]:
            positions[f"position/cos {name}"] = float(np.cos(qpos[0]))
            positions[f"position/sin {name}"] = float(np.sin(qpos[0]))
        elif moves == 1:
            positions |= _components(f"position/{name}", qpos[0])
        else:
            place, quaternion = (qpos[:3], qpos[3:7]) if moves == 6 else (qpos[:0], qpos[:4])
            matrix = np.empty(9)
            mujoco.mju_quat2Mat(matrix, quaternion)
            positions |= _components(f"position/{name}", place)
            columns = matrix.reshape(3, 3)[:, :2].T.ravel()
            positions |= _components(f"position/{name} rotation", columns)
    return positions | velocities


def _components(name: str, values: Any) -> dict[str, float]:
    """Returns the numbers of a vector, each under a name of its own."""
    numbers = np.asarray(values, np.float64).ravel().tolist()
    if len(numbers) == 1:
        return {name: numbers[0]}
    return {f"{name} {i}": number for i, number in enumerate(numbers)}


class Recorder(gymnasium.Wrapper):
    """Notes the state at each observation; passes no `info` on."""

    def __init__(self, env: gymnasium.Env, read: ReadState | None, needed: bool, task: str) -> None:
        super().__init__(env)
        self._read, self._needed, self._task = read, needed, task
        self._rows: list[dict[str, float]] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self._rows = []
        self._note(info)
        return observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._note(info)
        return observation, float(reward), terminated, truncated, {}

    def states(self) -> dict[str, np.ndarray]:
        """Returns what was noted since the last reset, one number for each row."""
        return {name: np.array([row[name] for row in self._rows]) for name in self._rows[0]}

    def _note(self, info: dict[str, Any]) -> None:
        if self._read is not None:
            state: State = self._read(self.env)
        elif isinstance(self.env.unwrapped, ControlSuite):
            state = joint_state(self.env)
        else:
            told = info.get("state", {})
            state = told if isinstance(told, Mapping) else {"state": told}
        row: dict[str, float] = {}
        for name, value in state.items():
            row |= _components(name, value)
        if self._needed and not row:
            raise UsageError(no_state(self._task))
        if REWARD in row:
            raise UsageError(
                f"{self._task}: the state has an entry {REWARD!r}, which is the name of the reward "
                "that the environment pays: give it another"
            )
        if self._rows and row.keys() != self._rows[0].keys():
            raise EnvironmentFailure(
                f"{self._task}: the state has the entries {sorted(row)} after "
                f"{len(self._rows)} steps, but {sorted(self._rows[0])} before: it must always have "
                "the same"
            )
        self._rows.append(row)


def no_state(task: str) -> str:
    """Says that an environment tells no state, and what to do."""
    return (
        f"{task} does not tell its state, which the diagnostics predict: use a task of the control "
        'suite, give the state as `info["state"]` at reset and at each step (a dictionary of '
        "numbers and vectors), or give a function that reads it from the environment"
    )


def write_states(path: Path, states: dict[str, np.ndarray]) -> None:
    """Writes what a `Recorder` noted of an episode."""
    content = io.BytesIO()
    names = np.array(list(states), dtype=np.str_)
    values = np.array([states[name] for name in names], np.float64)
    np.savez(content, names=names, values=values)
    write_atomically(path, lambda file: file.write(content.getvalue()))


def read_states(path: Path) -> dict[str, np.ndarray]:
    """Returns what `write_states` wrote.

    Raises:
        RunError: the file is damaged.
    """
    try:
        with np.load(path) as content:
            return {str(n): v for n, v in zip(content["names"], content["values"], strict=True)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(
            f"{path} is damaged ({error}): remove it, and its episode is played again"
        ) from error
