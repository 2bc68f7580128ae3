"""Episodes of the planner that knows the simulator, kept one by one (PlaNet, Table 1).

Such an episode costs minutes to an hour, so each is a file of its own: it is written every minute
while the episode goes on, an interrupted one continues where it was, and several processes may
share the work.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np

from armillary import seeding
from armillary.config import EnvironmentConfig, PlannerConfig
from armillary.envs.build import control
from armillary.envs.catalogue import action_repeat
from armillary.errors import RunError
from armillary.files import Locked, lock, write_atomically
from armillary.planners.rollout import plan
from armillary.planners.simulator import Simulator

SAVE_SECONDS = 60.0
_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Trial:
    """One episode that is planned with the true simulator.

    Attributes:
        task: a task whose environment has a simulator behind it.
        index: the episode's number; with `seed` it determines the environment's seed.
        seed: of the environment and of planning.
        planner: the planner's settings.
        repeat: R, simulator steps for each action; None: the paper's for this task.
    """

    task: str
    index: int = 0
    seed: int = 0
    planner: PlannerConfig = PlannerConfig()
    repeat: int | None = None

    @property
    def action_repeat(self) -> int:
        """R, resolved."""
        return self.repeat or action_repeat(self.task)

    def path(self, folder: Path) -> Path:
        """Returns where its record is kept under `folder`."""
        p = self.planner
        settings = f"H{p.horizon}-I{p.iterations}-J{p.candidates}-K{p.elites}-{p.refit}"
        task = "".join(c if c.isalnum() or c in "-_." else "-" for c in self.task)
        name = f"seed{self.seed}-episode{self.index}.npz"
        return folder / task / f"{settings}-R{self.action_repeat}" / name

    def make_env(self) -> gymnasium.Env:
        """Returns the environment, which is never drawn."""
        return control(self.task, EnvironmentConfig(action_repeat=self.action_repeat), draw=False)


@dataclass(frozen=True)
class Record:
    """What is known of a trial.

    Attributes:
        actions: the actions taken so far.
        rewards: what the environment paid for each.
        predicted: the return that each plan predicted for its whole horizon.
        seconds: wall time that it took so far.
        candidates: how many candidates were simulated.
        unstable: how many of them became unstable.
        finished: whether the episode is over.
    """

    actions: np.ndarray
    rewards: np.ndarray
    predicted: np.ndarray
    seconds: float = 0.0
    candidates: int = 0
    unstable: int = 0
    finished: bool = False

    @property
    def score(self) -> float:
        """The return so far: the undiscounted sum of the environment's rewards."""
        return float(self.rewards.sum())

    def save(self, path: Path, trial: Trial) -> None:
        """Writes it, whole or not at all."""
        settings = json.dumps(asdict(trial) | {"action_repeat": trial.action_repeat})
        content = io.BytesIO()
        np.savez_compressed(content, settings=settings, **asdict(self))
        write_atomically(path, lambda file: file.write(content.getvalue()))


def read(path: Path) -> Record | None:
    """Returns the record of a trial; None if there is none.

    Raises:
        RunError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with np.load(path) as content:
            arrays = {name: content[name] for name in ("actions", "rewards", "predicted")}
            return Record(
                **arrays,
                seconds=float(content["seconds"]),
                candidates=int(content["candidates"]),
                unstable=int(content["unstable"]),
                finished=bool(content["finished"]),
            )
    except Exception as error:
        raise RunError(
            f"{path} is damaged ({error}): remove it, and its episode is played again"
        ) from error


OnStep = Callable[[Trial, Record], None]


def play(
    trial: Trial,
    folder: Path,
    *,
    threads: int | None = None,
    on_step: OnStep = lambda trial, record: None,
    note: Callable[[str], None] = lambda line: None,
) -> Record:
    """Plays a trial to its end, from where its record stands.

    Whatever `on_step` raises stops it, after the record is saved.

    Args:
        trial: which.
        folder: where the records are kept.
        threads: of the simulator; the plan does not depend on it.
        on_step: is called after each action.
        note: is called with a line for the user.
    """
    path = trial.path(folder)
    env = trial.make_env()
    try:
        simulator = Simulator.of(env, action_repeat=trial.action_repeat, threads=threads)
        record = read(path)
        if record is not None and not _replay(env, trial, record):
            note(f"{path} was played by another version of the simulator: played again")
            record = None
        if record is None:
            record = Record(np.empty((0, simulator.action_size), np.float32), *np.empty((2, 0)))
            _replay(env, trial, record)
        return _play(trial, path, env, simulator, record, on_step)
    finally:
        env.close()


def _play(
    trial: Trial,
    path: Path,
    env: gymnasium.Env,
    simulator: Simulator,
    record: Record,
    on_step: OnStep,
) -> Record:
    keys = seeding.key(trial.seed, "simulator", trial.index)
    before, started = record, time.monotonic()
    saved = started
    columns: tuple[list[Any], ...] = ([], [], [])
    try:
        while not record.finished:
            key = jax.random.fold_in(keys, len(record.actions))
            chosen = plan(simulator, simulator.state(), key, config=trial.planner)
            action = np.asarray(chosen.mean[0], np.float32)
            _, reward, terminated, truncated, _ = env.step(action)
            for column, value in zip(
                columns, (action, reward, chosen.predicted_return), strict=True
            ):
                column.append(value)
            record = Record(
                np.concatenate([before.actions, columns[0]]),
                np.concatenate([before.rewards, columns[1]]),
                np.concatenate([before.predicted, columns[2]]),
                before.seconds + time.monotonic() - started,
                before.candidates + simulator.candidates,
                before.unstable + simulator.unstable,
                terminated or truncated,
            )
            on_step(trial, record)
            if time.monotonic() - saved > SAVE_SECONDS:
                record.save(path, trial)
                saved = time.monotonic()
    finally:
        if len(record.actions) > len(before.actions):
            record.save(path, trial)
    return record


def _replay(env: gymnasium.Env, trial: Trial, record: Record) -> bool:
    """Brings the environment to where the record ends; tells whether it paid the same again."""
    env.reset(seed=seeding.integer(trial.seed, "evaluate", trial.index))
    paid = [float(env.step(action)[1]) for action in record.actions]
    return bool(np.array_equal(paid, record.rewards))


def play_all(
    trials: Sequence[Trial],
    folder: Path,
    *,
    threads: int | None = None,
    on_step: OnStep = lambda trial, record: None,
    note: Callable[[str], None] = lambda line: None,
) -> list[Record]:
    """Plays what is missing of several trials; returns the records of all.

    A trial that another process is playing is left to it; if that process dies, it is taken over.
    Arguments as for `play`.
    """
    records: dict[Trial, Record] = {}
    while len(records) < len(trials):
        waiting = True
        for trial in trials:
            if trial in records:
                continue
            path = trial.path(folder)
            record = read(path)
            if record is None or not record.finished:
                try:
                    with lock(path.with_name(f".{path.stem}.lock")):
                        record = play(trial, folder, threads=threads, on_step=on_step, note=note)
                except Locked:
                    continue
            records[trial] = record
            waiting = False
        if waiting:
            for trial in trials:
                if trial not in records:
                    on_step(trial, read(trial.path(folder)) or _EMPTY)
            time.sleep(_POLL_SECONDS)
    return [records[trial] for trial in trials]


_EMPTY = Record(np.empty((0, 0)), *np.empty((2, 0)))


def seconds_per_plan(trial: Trial, threads: int | None = None) -> float:
    """Returns the measured time of a plan, to estimate what trials will take."""
    env = trial.make_env()
    try:
        simulator = Simulator.of(env, action_repeat=trial.action_repeat, threads=threads)
        env.reset(seed=0)
        state, short = simulator.state(), replace(trial.planner, iterations=1)
        best = np.inf
        for _ in range(2):
            started = time.monotonic()
            plan(simulator, state, 0, config=short)
            best = min(best, time.monotonic() - started)
        return float(best) * trial.planner.iterations
    finally:
        env.close()
