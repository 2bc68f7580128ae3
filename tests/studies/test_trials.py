"""Episodes planned with the true simulator: kept, continued, shared between processes."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from armillary import seeding
from armillary.config import PlannerConfig
from armillary.errors import RunError, StorageError, UsageError
from armillary.files import Locked, lock
from armillary.studies import trials
from armillary.studies.trials import Record, Stage, Trial, play, play_all, read

QUICK = PlannerConfig(horizon=3, iterations=2, candidates=12, elites=3)
TRIAL = Trial("cartpole-swingup", planner=QUICK, repeat=4, time_limit=30)
STEPS = 8  # ceil(30 / 4)


class Enough(Exception):
    """Stops a trial from outside."""


def _after(steps: int) -> Callable[[Trial, Record], None]:
    def on_step(trial: Trial, record: Record) -> None:
        if len(record.actions) == steps:
            raise Enough

    return on_step


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """The trial, played in one go."""
    return play(TRIAL, Stage(tmp_path_factory.mktemp("whole")))


def _same(one: Record, other: Record) -> None:
    for name in ("actions", "rewards", "predicted"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.candidates, one.finished) == (other.candidates, other.finished)


def test_an_episode_is_played_to_its_end(whole: Record) -> None:
    """Its actions, played again, are paid the same; 25 candidates a plan are simulated."""
    assert whole.finished
    assert len(whole.actions) == len(whole.rewards) == len(whole.predicted) == STEPS
    env = TRIAL.make_env()
    env.reset(seed=seeding.integer(0, "evaluate", 0))
    paid, ends = [], []
    for action in whole.actions:
        _, reward, terminated, truncated, _ = env.step(action)
        paid.append(reward)
        ends.append(terminated or truncated)
    assert paid == whole.rewards.tolist()
    assert ends == [False] * (STEPS - 1) + [True]
    assert whole.score == pytest.approx(sum(paid))
    assert whole.candidates == STEPS * (2 * 12 + 1)
    assert whole.unstable == 0


def test_planning_is_better_than_not(whole: Record, tmp_path: Path) -> None:
    """On a task that pays at once: more than the episode in which nothing was planned."""
    reacher = Trial("reacher-easy", planner=PlannerConfig(4, 3, 50, 5), time_limit=60, index=1)
    planned = play(reacher, Stage(tmp_path))
    env = reacher.make_env()
    env.reset(seed=seeding.integer(0, "evaluate", 1))
    idle = sum(float(env.step(np.zeros(2, np.float32))[1]) for _ in range(15))
    assert planned.score >= idle
    assert planned.predicted.max() > 0


def test_a_stopped_episode_continues_where_it_was(whole: Record, tmp_path: Path) -> None:
    for steps in (3, 5):
        with pytest.raises(Enough):
            play(TRIAL, Stage(tmp_path, on_step=_after(steps)))
        record = read(TRIAL.path(tmp_path))
        assert record is not None
        assert len(record.actions) == steps
        assert not record.finished
    _same(play(TRIAL, Stage(tmp_path, threads=1)), whole)


def test_a_finished_episode_is_not_played_again(tmp_path: Path) -> None:
    first = play_all([TRIAL], Stage(tmp_path))
    refuse = Stage(tmp_path, on_step=_after(1))
    again = play_all([TRIAL], refuse)
    _same(first[0], again[0])
    with pytest.raises(Enough):
        play_all([TRIAL, replace(TRIAL, index=1)], refuse)


def test_settings_have_folders_of_their_own(tmp_path: Path) -> None:
    others = [
        TRIAL,
        replace(TRIAL, task="cartpole-balance"),
        replace(TRIAL, index=1),
        replace(TRIAL, seed=1),
        replace(TRIAL, repeat=2),
        replace(TRIAL, time_limit=None),
        *(
            replace(TRIAL, planner=replace(QUICK, **{name: value}))
            for name, value in (
                ("horizon", 4),
                ("iterations", 3),
                ("candidates", 13),
                ("elites", 4),
                ("refit", "mad"),
            )
        ),
    ]
    assert len({trial.path(tmp_path) for trial in others}) == len(others)


def test_the_record_is_saved_while_the_episode_goes_on(tmp_path: Path) -> None:
    """So a process that is killed loses little."""
    seen: list[int] = []

    def on_step(trial: Trial, record: Record) -> None:
        on_disk = read(trial.path(tmp_path))
        seen.append(0 if on_disk is None else len(on_disk.actions))

    play(TRIAL, Stage(tmp_path, on_step=on_step, save_seconds=0.0))
    assert seen == list(range(STEPS))


def test_another_simulator_is_noticed(whole: Record, tmp_path: Path) -> None:
    rewards = whole.rewards[:4] + np.array([0, 0, 1e-9, 0])
    Record(whole.actions[:4], rewards, whole.predicted[:4]).save(TRIAL.path(tmp_path), TRIAL)
    notes: list[str] = []
    record = play(TRIAL, Stage(tmp_path, note=notes.append))
    _same(record, whole)
    assert len(notes) == 1
    assert "another version of the simulator" in notes[0]


def test_a_damaged_record_is_named(whole: Record, tmp_path: Path) -> None:
    path = TRIAL.path(tmp_path)
    whole.save(path, TRIAL)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match="is damaged"):
        play(TRIAL, Stage(tmp_path))


def test_a_record_that_cannot_be_written_says_so(whole: Record, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        whole.save(TRIAL.path(tmp_path / "file"), TRIAL)


def test_an_episode_that_is_being_played_is_left_alone_then_taken_over(
    whole: Record, tmp_path: Path
) -> None:
    path = TRIAL.path(tmp_path)
    held, release = threading.Event(), threading.Event()

    def other() -> None:
        with lock(path.with_name(f".{path.stem}.lock")):
            held.set()
            release.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(10)
    with pytest.raises(Locked), lock(path.with_name(f".{path.stem}.lock")):
        pass
    steps: list[int] = []

    def on_step(trial: Trial, record: Record) -> None:
        steps.append(len(record.actions))
        release.set()

    (record,) = play_all([TRIAL], Stage(tmp_path, on_step=on_step))
    thread.join()
    _same(record, whole)
    assert steps[0] == 0
    assert steps[-1] == STEPS


def test_processes_share_the_work_and_do_nothing_twice(whole: Record, tmp_path: Path) -> None:
    code = f"""
import os, sys
from pathlib import Path
from armillary.studies.trials import *
from armillary.config import PlannerConfig
trials = [Trial("cartpole-swingup", index, planner={QUICK!r}, repeat=4, time_limit=30)
          for index in range(6)]
log = open({str(tmp_path / "log")!r}, "a", buffering=1)
def on_step(trial, record):
    if len(record.actions):
        log.write(f"{{os.getpid()}} {{trial.index}} {{len(record.actions)}}\\n")
play_all(trials, Stage(Path({str(tmp_path / "runs")!r}), 1, on_step))
"""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    lines = [tuple(line.split()) for line in (tmp_path / "log").read_text().splitlines()]
    steps = [line[1:] for line in lines]
    assert len(set(steps)) == 6 * STEPS
    for index in range(6):
        # Whoever waits is told the state of what another plays; only the player counts up.
        players = {pid for pid, i, step in lines if int(i) == index and step == "1"}
        assert len(players) == 1
    record = read(TRIAL.path(tmp_path / "runs"))
    assert record is not None
    _same(record, whole)


def test_the_number_of_decisions_is_known_beforehand() -> None:
    assert trials.decisions(TRIAL) == STEPS
    assert trials.decisions(Trial("walker-walk")) == 500
    assert trials.decisions(Trial("cartpole-swingup")) == 125
    assert trials.seconds_per_plan(TRIAL) > 0


def test_a_task_without_a_simulator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no MuJoCo model behind it"):
        play(Trial("MountainCarContinuous-v0"), Stage(tmp_path))
    assert not any(tmp_path.rglob("*.npz"))


ARGUMENTS = (
    *("evaluate", "--agent", "simulator", "--task", "reacher-easy", "--time-limit", 40),
    *("--planner.candidates", 20, "--planner.elites", 4, "--planner.iterations", 2),
)
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_command_continues_and_reports(armillary: Run, tmp_path: Path) -> None:
    first = armillary(*ARGUMENTS, "--episodes", 1)
    assert first.returncode == 0, first.stderr
    assert "simulator on reacher-easy" in first.stdout
    assert "(1 episodes)" in first.stdout
    assert "1 episodes of 10 plans, 0 of 10 plans already made" in first.stderr
    (file,) = tmp_path.rglob("*.npz")
    written = file.stat().st_mtime_ns
    second = armillary(*ARGUMENTS, "--episodes", 2, "--json")
    assert second.returncode == 0, second.stderr
    assert "10 of 20 plans already made" in second.stderr
    assert file.stat().st_mtime_ns == written
    result = json.loads(second.stdout)
    assert result["episodes"] == 2
    assert result["action_repeat"] == 4
    assert result["planner"]["horizon"] == 12
    assert result["candidates"] == 2 * 10 * (2 * 20 + 1)
    assert result["unstable"] == 0
    again = armillary(*ARGUMENTS, "--episodes", 2, "--json")
    assert again.stdout == second.stdout
    assert again.stderr == ""


def test_a_slow_reward_is_told_once(armillary: Run) -> None:
    result = armillary(
        *("evaluate", "--agent", "simulator", "--task", "point_mass-easy", "--time-limit", 4),
        *("--planner.candidates", 4, "--planner.elites", 2, "--planner.iterations", 1),
        *("--episodes", 2),
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("takes many times longer") == 1
    assert "Warning" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--agent", "simulator"], ["--task"]),
        (["--agent", "simulator", "--task", "nonsense"], ["nonsense"]),
        (["--agent", "simulator", "--task", "MountainCarContinuous-v0"], ["no MuJoCo model"]),
        (["--agent", "simulator", "--task", "cheetah-run", "--renderer", "egl"], ["--renderer"]),
        (["--agent", "simulator", "--task", "cheetah-run", "--threads", "0"], ["threads is 0"]),
        (["--agent", "random", "--task", "cheetah-run", "--threads", "2"], ["--threads"]),
    ],
)
def test_the_command_refuses_what_makes_no_sense(
    armillary: Run, arguments: list[str], words: list[str]
) -> None:
    result = armillary("evaluate", *arguments)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in " ".join(result.stderr.split())


def test_a_signal_stops_it_with_everything_saved(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "armillary", *map(str, ARGUMENTS), "--episodes", "500"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not any(tmp_path.rglob("*.npz")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, 2)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "stopped by SIGINT" in error
    assert all(read(path) is not None for path in tmp_path.rglob("*.npz"))
