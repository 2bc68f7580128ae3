"""Models beside each other, and episodes that none of them was trained on, with the true state.

The episodes are played by an agent as it collects data, with action noise (PlaNet, Appendix H).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gymnasium.vector import AutoresetMode, SyncVectorEnv

from armillary import seeding
from armillary.config import WorldModelConfig, to_dict
from armillary.envs.catalogue import action_repeat
from armillary.errors import UsageError
from armillary.files import Locked, lock, write_atomically
from armillary.replay.episodes import EpisodeStore
from armillary.studies.bar import Bar
from armillary.studies.states import (
    ReadState,
    Recorder,
    Recording,
    no_state,
    read_states,
    write_states,
)
from armillary.training.player import Player, load
from armillary.training.rollout import rollout
from armillary.training.run import InUse
from armillary.training.signals import stop_request

HELD_OUT = "held-out"
"""Folder for episodes that no run was trained on."""


def load_models(
    folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    labels: Sequence[str] | None = None,
    *,
    task: str | None = None,
    trust: bool = False,
) -> dict[str, Player]:
    """Loads trained agents of one task, by their labels.

    Args:
        folders: run folders, or one.
        labels: None: the names of their dynamics (`RSSM`), with the folder's where two are equal.
        task: one that all of them learned; None: the first one of each.
        trust: whether code that a folder names may be run (docs/trust.md).

    Raises:
        UsageError: there is no run, the labels are too few, too many or not different, or the runs
            are of different tasks.
        RunError: a folder is not a run, or has no checkpoint yet.
    """
    if isinstance(folders, (str, os.PathLike)):
        folders = [folders]
    if not folders:
        raise UsageError("no run to look into: give one or several run folders")
    players = [load(Path(folder), trust=trust) for folder in folders]
    first = _seen(players[0], task)
    for player, folder in zip(players[1:], folders[1:], strict=True):
        for name, value in _seen(player, task).items():
            if value != first[name]:
                raise UsageError(
                    f"{str(folders[0])!r} and {str(folder)!r} cannot be compared, because {name} "
                    f"is {first[name]!r} in one and {value!r} in the other: give runs of one task"
                )
    if labels is None:
        names = [world_model_config(player).model.dynamics.upper() for player in players]
        labels = [
            name if names.count(name) == 1 else f"{name} {Path(folder).name}"
            for name, folder in zip(names, folders, strict=True)
        ]
    if len(labels) != len(players) or len(set(labels)) != len(labels):
        raise UsageError(
            f"the labels are {list(labels)} for {len(players)} runs: give each a label of its own"
        )
    return dict(zip(labels, players, strict=True))


def world_model_config(player: Player) -> WorldModelConfig:
    """Returns the configuration of an agent that has a world model to look into.

    Raises:
        UsageError: it has none.
    """
    if not isinstance(player.config, WorldModelConfig):
        raise UsageError(
            f"{player.config.agent} has no world model of images to look into: give runs of an "
            "agent that has one (planet, dreamer)"
        )
    return player.config


def _seen(player: Player, task: str | None) -> dict[str, Any]:
    """Returns what decides what an agent sees of the world and how it acts in it."""
    task, config = player.task(task), player.config.environment
    return {
        "task": task,
        "spec": player.agent.spec.as_dict(),
        "environment.action_repeat": config.action_repeat or action_repeat(task),
        "environment.size": config.size,
        "environment.time_limit": config.time_limit,
    }


def record(
    player: Player,
    folder: Path,
    count: int,
    *,
    task: str | None = None,
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
        task: one that the agent learned; None: the first.
        seed: of the environments and of acting; nothing in training draws from the same.
        state: how to read the environment's state. None: the control suite's joints
            (`joint_state`), or else what the environment gives as `info["state"]`.
        needs_state: whether an environment that tells no state is an error.
        announce: is told at the start what there is to play.

    Raises:
        UsageError: a state is needed, and there is none.
        EnvironmentFailure: the environment failed, or its state changed its shape.
        InUse: another process is playing them.
        Stopped: by a signal; finished episodes are kept.
    """
    task = player.task(task)
    identity = {
        "task": task,
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
        recorder = Recorder(player.make_env(task), state, needs_state, task)
        envs = SyncVectorEnv([lambda: recorder], autoreset_mode=AutoresetMode.DISABLED)
        try:
            with _alone(folder), stop_request() as stop, Bar(len(missing)) as bar:
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
                    write_states(path(index), recorder.states())
                    store.write(index, episode)
                    bar.update(done + 1, f"{done + 1} of {len(missing)} episodes")
        finally:
            envs.close()
    found = [Recording(store.load(i), read_states(path(i))) for i in range(count)]
    if needs_state and not all(recording.state for recording in found):
        raise UsageError(no_state(task))
    return found


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        with lock(folder / ".lock"):
            yield
    except Locked as error:
        raise InUse(
            f"another process is playing the held-out episodes in {str(folder)!r}: run the same "
            "command again when it is done, they are then shared"
        ) from error


def training_of(player: Player) -> dict[str, Any]:
    """Returns how long a model was trained and how it was made, ready for JSON."""
    counted = {name: player.counters.get(name) for name in ("episodes", "updates")}
    return {
        **counted,
        "seed": player.config.seed,
        "model": asdict(world_model_config(player).model),
    }
