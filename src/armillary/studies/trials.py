"""Episodes of the planner that knows the simulator, kept one by one (PlaNet, Table 1).

Such an episode costs minutes to an hour, so each is a file of its own: it is written every minute
while the episode goes on, an interrupted one continues where it was, and several processes may
share the work.
"""

from __future__ import annotations

import io
import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

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
from armillary.studies.bar import Bar, duration
from armillary.training.signals import stop_request

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
        time_limit: simulator steps after which the episode ends; None: the task's own limit.
    """

    task: str
    index: int = 0
    seed: int = 0
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    repeat: int | None = None
    time_limit: int | None = None

    @property
    def cost(self) -> float:
        """How many decisions of candidates a plan simulates: its time is about in proportion."""
        return self.planner.iterations * self.planner.candidates * self.planner.horizon

    @property
    def action_repeat(self) -> int:
        """R, resolved."""
        return self.repeat or action_repeat(self.task)

    def path(self, folder: Path) -> Path:
        """Returns where its record is kept under `folder`."""
        p = self.planner
        settings = f"H{p.horizon}-I{p.iterations}-J{p.candidates}-K{p.elites}-{p.refit}"
        settings += f"-R{self.action_repeat}" + (f"-T{self.time_limit}" if self.time_limit else "")
        task = "".join(c if c.isalnum() or c in "-_." else "-" for c in self.task)
        name = f"seed{self.seed}-episode{self.index}.npz"
        return folder / task / settings / name

    def make_env(self) -> gymnasium.Env:
        """Returns the environment, which is never drawn."""
        config = EnvironmentConfig(action_repeat=self.action_repeat, time_limit=self.time_limit)
        return control(self.task, config, draw=False)


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


_COLUMNS = ("actions", "rewards", "predicted")
_NOTHING = Record(np.empty((0, 0), np.float32), np.empty(0), np.empty(0))


def read(path: Path) -> Record | None:
    """Returns the record of a trial; None if there is none.

    Raises:
        RunError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with np.load(path) as content:
            arrays = {name: content[name] for name in _COLUMNS}
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


@dataclass
class Stage:
    """Where trials are played: what stays the same from one to the next.

    Attributes:
        folder: where the records are kept.
        threads: of the simulator; None: one for each core. No plan depends on it.
        on_step: is called after each action, and now and then while another process plays; what
            it raises stops the trial after its record is saved.
        note: is called with a line for the user.
        save_seconds: how often the record of an unfinished episode is written.
    """

    folder: Path
    threads: int | None = None
    on_step: Callable[[Trial, Record], None] = lambda trial, record: None
    note: Callable[[str], None] = lambda line: None
    save_seconds: float = 60.0


def play_all(trials: Sequence[Trial], stage: Stage) -> list[Record]:
    """Plays what is missing of several trials; returns the records of all.

    A trial that another process is playing is left to it; if that process dies, it is taken over.

    Raises:
        UsageError: the task has no simulator that can be planned with.
        RunError: a record is damaged.
        StorageError: a record cannot be written.
    """
    records: dict[Trial, Record] = {}
    while len(records) < len(trials):
        before = len(records)
        for trial in trials:
            if trial in records:
                continue
            path = trial.path(stage.folder)
            record = read(path)
            if record is None or not record.finished:
                try:
                    with lock(path.with_name(f".{path.stem}.lock")):
                        record = play(trial, stage)
                except Locked:
                    stage.on_step(trial, record or _NOTHING)
                    continue
            records[trial] = record
        if len(records) == before:
            time.sleep(_POLL_SECONDS)
    return [records[trial] for trial in trials]


def play(trial: Trial, stage: Stage) -> Record:
    """Plays a trial to its end, from where its record stands."""
    path = trial.path(stage.folder)
    env = trial.make_env()
    try:
        simulator = _simulator(trial, env, stage.threads)
        record = read(path)
        if record is not None and not _replay(env, trial, record):
            stage.note(
                f"{path} was played by another version of the simulator, which pays other rewards "
                "for the same actions: the episode is played again from its beginning"
            )
            record = None
        if record is None:
            record = _NOTHING
            _replay(env, trial, record)
        return _play(trial, path, env, simulator, record, stage)
    finally:
        env.close()


def _play(
    trial: Trial,
    path: Path,
    env: gymnasium.Env,
    simulator: Simulator,
    record: Record,
    stage: Stage,
) -> Record:
    keys = seeding.key(trial.seed, "simulator", trial.index)
    before = record
    started = saved = time.monotonic()
    actions, rewards, predicted = (list(getattr(before, name)) for name in _COLUMNS)
    try:
        while not record.finished:
            key = jax.random.fold_in(keys, len(actions))
            chosen = plan(simulator, simulator.state(), key, config=trial.planner)
            actions.append(np.asarray(chosen.mean[0], np.float32))
            predicted.append(float(chosen.predicted_return))
            _, reward, terminated, truncated, _ = env.step(actions[-1])
            rewards.append(float(reward))
            record = Record(
                np.array(actions),
                np.array(rewards),
                np.array(predicted),
                before.seconds + time.monotonic() - started,
                before.candidates + simulator.candidates,
                before.unstable + simulator.unstable,
                terminated or truncated,
            )
            stage.on_step(trial, record)
            if time.monotonic() - saved > stage.save_seconds:
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


def evaluate(trials: Sequence[Trial], folder: Path, *, threads: int | None = None) -> list[Record]:
    """Plays what is missing of the trials of one task, and shows how it goes.

    Says at the start how long it will take, shows a bar, and stops at SIGINT or SIGTERM with
    everything saved.

    Args:
        trials: episodes of one task with the same settings.
        folder: where the records are kept.
        threads: of the simulator; None: one for each core.

    Raises:
        Stopped: by a signal.
    """
    records = {trial: read(trial.path(folder)) or _NOTHING for trial in trials}
    if all(record.finished for record in records.values()):
        return list(records.values())
    notes: list[str] = []
    each, plans = decisions(trials[0], notes.append), {}
    for trial, record in records.items():
        plans[trial] = each if record.finished else min(len(record.actions), each)
    total, done = each * len(trials), sum(plans.values())
    seconds = seconds_per_plan(trials[0], threads)
    with Bar(total, done) as bar, stop_request() as stop:
        for note in notes:
            bar.message(note)
        bar.message(
            f"{len(trials)} episodes of {each} plans, {done} of {total} plans already made; "
            f"{seconds:.2f} s for a plan, about {duration(seconds * (total - done))} in all"
        )

        def on_step(trial: Trial, record: Record) -> None:
            over = record.finished
            plans[trial] = each if over else len(record.actions)
            text = f"episode {trial.index}: {len(record.actions)} plans, return {record.score:.1f}"
            bar.update(sum(plans.values()), text, now=over)
            stop.check()

        stage = Stage(folder, threads, on_step, bar.message)
        return play_all(trials, stage)


def decisions(trial: Trial, note: Callable[[str], None] = lambda line: None) -> int:
    """Returns how many actions an episode has; 1000 simulator steps where nothing limits it.

    Args:
        trial: the episode.
        note: is told what the simulator warns of.
    """
    env = trial.make_env()
    try:
        env.reset(seed=0)
        steps = _simulator(trial, env, 1, note).state().remaining
    finally:
        env.close()
    return -(-(steps or 1000) // trial.action_repeat)


def _simulator(
    trial: Trial,
    env: gymnasium.Env,
    threads: int | None,
    note: Callable[[str], None] = lambda line: None,
) -> Simulator:
    """Returns the simulator behind the environment; what it warns of is told, not printed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        simulator = Simulator.of(env, action_repeat=trial.action_repeat, threads=threads)
    for warning in caught:
        note(str(warning.message))
    return simulator


def seconds_per_plan(trial: Trial, threads: int | None = None) -> float:
    """Returns the measured time of a plan, to estimate what trials will take."""
    env = trial.make_env()
    try:
        simulator = _simulator(trial, env, threads)
        env.reset(seed=0)
        state, short = simulator.state(), replace(trial.planner, iterations=1)
        times = []
        for _ in range(3):  # the first one compiles
            started = time.monotonic()
            plan(simulator, state, 0, config=short)
            times.append(time.monotonic() - started)
        return min(times) * trial.planner.iterations
    finally:
        env.close()
