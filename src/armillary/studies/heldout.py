"""Models beside each other, and episodes that none of them was trained on, with the true state.

The episodes are played by an agent as it collects data, with action noise (PlaNet, Appendix H).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from jaxtyping import Float64

from armillary import seeding
from armillary.config import to_dict
from armillary.envs.catalogue import action_repeat
from armillary.envs.suite import ControlSuite
from armillary.errors import EnvironmentFailure, RunError, UsageError
from armillary.files import write_atomically
from armillary.replay.episodes import Episode, EpisodeStore
from armillary.studies.bar import Bar
from armillary.training.player import Player, load
from armillary.training.rollout import rollout
from armillary.training.signals import stop_request

State = Mapping[str, Any]
"""Numbers and vectors by name: `{"position": [0.1, 0.2], "velocity": 0.3}`."""
ReadState = Callable[[gymnasium.Env], State]
"""Returns the state of an environment (as `armillary.envs.make` returns it)."""

HELD_OUT = "held-out"
"""Folder in a run's, in which action-noise episodes that it was not trained on may lie."""


@dataclass(frozen=True)
class Recording:
    """An episode, and the environment's state at each of its rows.

    Attributes:
        episode: pixels, actions and rewards.
        state: numbers by name, one for each row; empty where the environment tells none.
    """

    episode: Episode
    state: dict[str, Float64[np.ndarray, " rows"]]


def load_models(
    folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    labels: Sequence[str] | None = None,
) -> dict[str, Player]:
    """Loads trained agents of one task, by their labels.

    Args:
        folders: run folders, or one.
        labels: None: the names of their dynamics (`RSSM`), with the folder's where two are equal.

    Raises:
        UsageError: there is no run, the labels are too few, too many or not different, or the runs
            are of different tasks.
        RunError: a folder is not a run, or has no checkpoint yet.
    """
    if isinstance(folders, (str, os.PathLike)):
        folders = [folders]
    if not folders:
        raise UsageError("no run to look into: give one or several run folders")
    players = [load(Path(folder)) for folder in folders]
    first = _seen(players[0])
    for player, folder in zip(players[1:], folders[1:], strict=True):
        for name, value in _seen(player).items():
            if value != first[name]:
                raise UsageError(
                    f"{str(folders[0])!r} and {str(folder)!r} cannot be compared, because {name} "
                    f"is {first[name]!r} in one and {value!r} in the other: give runs of one task"
                )
    if labels is None:
        names = [player.config.model.dynamics.upper() for player in players]
        labels = [
            name if names.count(name) == 1 else f"{name} {Path(folder).name}"
            for name, folder in zip(names, folders, strict=True)
        ]
    if len(labels) != len(players) or len(set(labels)) != len(labels):
        raise UsageError(
            f"the labels are {list(labels)} for {len(players)} runs: give each a label of its own"
        )
    return dict(zip(labels, players, strict=True))


def _seen(player: Player) -> dict[str, Any]:
    """Returns what decides what an agent sees of the world and how it acts in it."""
    task, config = player.config.task, player.config.environment
    return {
        "task": task,
        "environment.action_repeat": config.action_repeat or action_repeat(task),
        "environment.size": config.size,
        "environment.time_limit": config.time_limit,
    }


def record(
    player: Player,
    folder: Path,
    count: int,
    *,
    seed: int = 0,
    state: ReadState | None = None,
    needs_state: bool = False,
    announce: Callable[[str], None] = lambda text: None,
) -> list[Recording]:
    """Plays episodes with action noise that no agent was trained on; each is kept on disk.

    Args:
        player: who acts.
        folder: where they are kept, in a subfolder for this agent, seed and state; what is there is
            not played again.
        count: how many.
        seed: of the environments and of acting; nothing in training draws from the same.
        state: how to read the environment's state. None: the control suite's joints
            (`joint_state`), or else what the environment gives as `info["state"]`.
        needs_state: whether an environment that tells no state is an error.
        announce: is told at the start what there is to play.

    Raises:
        UsageError: a state is needed, and there is none.
        EnvironmentFailure: the environment failed, or its state changed its shape.
        Stopped: by a signal; finished episodes are kept.
    """
    identity = {
        "config": to_dict(player.config),
        "updates": player.counters.get("updates"),
        "seed": seed,
        "state": state and f"{state.__module__}.{getattr(state, '__qualname__', repr(state))}",
    }
    text = json.dumps(identity, indent=2, sort_keys=True).encode()
    folder = folder / hashlib.sha256(text).hexdigest()[:12]
    store, states = EpisodeStore(folder), folder / "states"
    write_atomically(folder / "identity.json", lambda file: file.write(text))

    def path(index: int) -> Path:
        return states / f"state-{index:06d}.npz"

    missing = [i for i in range(count) if i not in store.indices or not path(i).is_file()]
    if missing:
        announce(f"{len(missing)} of {count} held-out episodes to play")
        config = player.config
        recorder = _Recorder(player.make_env(), state, needs_state, config.task)
        envs = SyncVectorEnv([lambda: recorder], autoreset_mode=AutoresetMode.DISABLED)
        try:
            with stop_request() as stop, Bar(len(missing)) as bar:
                for done, index in enumerate(missing):
                    (episode,) = rollout(
                        envs,
                        player.agent,
                        player.state,
                        seeding.key(seed, HELD_OUT, index),
                        seeds=[seeding.integer(seed, HELD_OUT, index)],
                        explore=True,
                        on_step=lambda _: stop.check(),
                    )
                    _write_states(path(index), recorder.states())
                    store.write(index, episode)
                    bar.update(done + 1, f"{done + 1} of {len(missing)} episodes")
        finally:
            envs.close()
    found = [Recording(store.load(i), _read_states(path(i))) for i in range(count)]
    if needs_state and not all(recording.state for recording in found):
        raise UsageError(_no_state(player.config.task))
    return found


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
    positions: dict[str, np.ndarray] = {}
    velocities: dict[str, np.ndarray] = {}
    for joint in range(model.njnt):
        name = model.joint(joint).name or f"joint {joint}"
        kind = mujoco.mjtJoint(model.jnt_type[joint])
        qpos = data.qpos[model.jnt_qposadr[joint] :]
        qvel = data.qvel[model.jnt_dofadr[joint] :]
        moves = {mujoco.mjtJoint.mjJNT_FREE: 6, mujoco.mjtJoint.mjJNT_BALL: 3}.get(kind, 1)
        velocities |= _components(f"velocity/{name}", qvel[:moves])
        if kind == mujoco.mjtJoint.mjJNT_HINGE and not model.jnt_limited[joint]:
            positions[f"position/cos {name}"] = np.cos(qpos[0])
            positions[f"position/sin {name}"] = np.sin(qpos[0])
        elif moves == 1:
            positions[f"position/{name}"] = qpos[0]
        else:
            place, quaternion = (qpos[:3], qpos[3:7]) if moves == 6 else (qpos[:0], qpos[:4])
            matrix = np.empty(9)
            mujoco.mju_quat2Mat(matrix, quaternion)
            positions |= _components(f"position/{name}", place)
            columns = matrix.reshape(3, 3)[:, :2].T.ravel()
            positions |= _components(f"position/{name} rotation", columns)
    return positions | velocities


def _components(name: str, values: Any) -> dict[str, np.ndarray]:
    """Returns the numbers of a vector, each under a name of its own."""
    values = np.asarray(values, np.float64)
    if values.size == 1:
        return {name: values.reshape(())}
    return {f"{name} {i}": value for i, value in enumerate(values.ravel())}


class _Recorder(gymnasium.Wrapper):
    """Notes the state at each observation; passes no `info` on."""

    def __init__(self, env: gymnasium.Env, read: ReadState | None, needed: bool, task: str) -> None:
        super().__init__(env)
        self._read, self._needed, self._task = read, needed, task
        self._rows: list[dict[str, np.ndarray]] = []

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
        row: dict[str, np.ndarray] = {}
        for name, value in state.items():
            row |= _components(name, value)
        if self._needed and not row:
            raise UsageError(_no_state(self._task))
        if self._rows and row.keys() != self._rows[0].keys():
            raise EnvironmentFailure(
                f"{self._task}: the state has the entries {sorted(row)} after "
                f"{len(self._rows)} steps, but {sorted(self._rows[0])} before: it must always have "
                "the same"
            )
        self._rows.append(row)


def _no_state(task: str) -> str:
    return (
        f"{task} does not tell its state, which the diagnostics predict: use a task of the control "
        'suite, give the state as `info["state"]` at reset and at each step (a dictionary of '
        "numbers and vectors), or give a function that reads it from the environment"
    )


def _write_states(path: Path, states: dict[str, np.ndarray]) -> None:
    content = io.BytesIO()
    names = np.array(list(states), dtype=np.str_)
    values = np.array([states[name] for name in names], np.float64)
    np.savez(content, names=names, values=values)
    write_atomically(path, lambda file: file.write(content.getvalue()))


def _read_states(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as content:
            return {str(n): v for n, v in zip(content["names"], content["values"], strict=True)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(
            f"{path} is damaged ({error}): remove it, and its episode is played again"
        ) from error


def training_of(player: Player) -> dict[str, Any]:
    """Returns how long a model was trained and how it was made, ready for JSON."""
    counted = {name: player.counters.get(name) for name in ("episodes", "updates")}
    return {**counted, "seed": player.config.seed, "model": asdict(player.config.model)}
