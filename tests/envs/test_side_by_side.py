"""Several environments together against the same ones alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from armillary.config import EnvironmentConfig
from armillary.envs import make, parallel, side_by_side
from armillary.errors import EnvironmentFailure, UsageError
from armillary.training import signals
from conftest import environment
from fake_envs import (
    Counter,
    Dies,
    Hangs,
    HangsInC,
    Raises,
    Talkative,
    WillNotClose,
    make_long_or_short,
    plays_elsewhere,
)

ACTIONS = np.zeros((2, 2), np.float32)


def configuration(processes: bool) -> EnvironmentConfig:
    return EnvironmentConfig(processes=processes, renderer="warp")


@pytest.mark.parametrize("processes", [False, True])
def test_an_episode_that_is_over_holds(processes: bool) -> None:
    env = side_by_side(make_long_or_short, configuration(processes), 2)
    images, _ = env.reset(seed=[0, 1])
    assert images.shape == (2, 64, 64, 3)
    assert images.dtype == np.uint8
    seen = [env.step(ACTIONS) for _ in range(9)]
    np.testing.assert_array_equal(
        [s[0][:, 0, 0, 0] for s in seen],
        [[1, 1], [2, 2], [3, 3], [4, 4], [4, 5], [4, 6], [4, 7], [4, 7], [4, 7]],
    )
    np.testing.assert_array_equal(np.sum([s[1] for s in seen], axis=0), [10, 28])
    np.testing.assert_array_equal(
        [s[2] for s in seen],
        [[False] * 2] * 3 + [[True, False]] * 3 + [[True, True]] * 3,
    )
    assert not np.any([s[3] for s in seen])
    np.testing.assert_array_equal(seen[-1][4]["simulator_steps"], [4, 7])
    # One starts again, the other goes on holding.
    images, _ = env.reset(options={"reset_mask": np.array([True, False])})
    np.testing.assert_array_equal(images[:, 0, 0, 0], [0, 7])
    images, rewards, terminations, *_ = env.step(ACTIONS)
    np.testing.assert_array_equal(images[:, 0, 0, 0], [1, 7])
    np.testing.assert_array_equal(rewards, [1, 0])
    np.testing.assert_array_equal(terminations, [False, True])
    env.close()


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_same_as_alone(processes: bool) -> None:
    env = side_by_side("reacher-easy", configuration(processes), 2)
    alone = [make("reacher-easy", configuration(False)) for _ in range(2)]
    images, _ = env.reset(seed=[3, 4])
    expected = [e.reset(seed=seed)[0] for e, seed in zip(alone, (3, 4), strict=True)]
    np.testing.assert_array_equal(images, expected)
    generator = np.random.default_rng(0)
    for _ in range(5):
        actions = generator.uniform(-1, 1, (2, 2)).astype(np.float32)
        images, rewards, *_ = env.step(actions)
        steps = [e.step(a) for e, a in zip(alone, actions, strict=True)]
        np.testing.assert_array_equal(images, [s[0] for s in steps])
        np.testing.assert_array_equal(rewards, [s[1] for s in steps])
    env.close()


@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.filterwarnings("error")
def test_an_error_arrives_as_itself(processes: bool) -> None:
    env = side_by_side(Raises, configuration(processes), 2)
    env.reset(seed=0)
    env.step(ACTIONS)
    env.step(ACTIONS)
    with pytest.raises(EnvironmentFailure, match=r"^Raises raised Local at step 3: 100% broken$"):
        env.step(ACTIONS)
    env.close()


@pytest.mark.parametrize("processes", [False, True])
def test_no_info_of_an_environment_can_end_a_run(processes: bool) -> None:
    env = side_by_side(Talkative, configuration(processes), 2)
    assert env.reset(seed=[0, 1])[1] == {}
    for step in (1, 2, 3):
        info = env.step(ACTIONS)[4]
        assert set(info) == {"simulator_steps", "_simulator_steps"}
        np.testing.assert_array_equal(info["simulator_steps"], [step, step])
    env.close()


def test_a_process_that_dies_is_not_waited_for() -> None:
    env = side_by_side(Dies, configuration(processes=True), 2)
    env.reset(seed=0)
    env.step(ACTIONS)
    env.step(ACTIONS)
    fatal = np.array([[-1, 0], [0, 0]], np.float32)
    with pytest.raises(EnvironmentFailure, match="process of an environment died"):
        env.step(fatal)
    for process in env.env.processes:  # nor is any left behind
        process.join(10)
        assert not process.is_alive()
    env.close()


def test_control_c_is_the_main_process_to_answer() -> None:
    env = side_by_side(Counter, configuration(processes=True), 2)
    env.reset(seed=0)
    for process in env.env.processes:
        os.kill(process.pid, signal.SIGINT)
    np.testing.assert_array_equal(env.step(ACTIONS)[1], [1, 1])
    env.close()


def test_wrong_arguments() -> None:
    with pytest.raises(UsageError, match="count is 0"):
        side_by_side(Counter, count=0)
    with pytest.raises(UsageError, match="cannot run several times"):
        side_by_side(Counter(), count=2)
    assert side_by_side(Counter(), count=1).num_envs == 1
    with pytest.raises(UsageError, match="Did you mean"):
        side_by_side("cheetah-runn", EnvironmentConfig(), 2)


@pytest.mark.parametrize("processes", [False, True])
def test_closing_never_fails(processes: bool) -> None:
    env = side_by_side(WillNotClose, configuration(processes), 2)
    env.reset(seed=0)
    env.close()
    env.close()


FATAL = np.array([[-1, 0], [0, 0]], np.float32)


@pytest.mark.parametrize("kind", [Hangs, HangsInC])
def test_a_process_that_hangs_is_given_up(
    kind: type[Counter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "_PATIENCE", 0.5)
    env = side_by_side(kind, EnvironmentConfig(processes=True, step_timeout=2), 2)
    env.reset(seed=0)
    env.step(ACTIONS)
    env.step(ACTIONS)
    with pytest.raises(EnvironmentFailure, match=r"waited .* for (Hangs at step 3|the process)"):
        env.step(FATAL)
    env.close()
    assert not any(process.is_alive() for process in env.env.processes)


def test_a_signal_ends_the_wait_for_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_GRACE", 0.3)
    env = side_by_side(Hangs, EnvironmentConfig(processes=True), 2)
    env.reset(seed=0)
    env.step(ACTIONS)
    env.step(ACTIONS)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with signals.stop_request(), pytest.raises(signals.Stopped, match="SIGTERM while waiting for"):
        env.step(FATAL)
    timer.join()
    env.close()
    assert not any(process.is_alive() for process in env.env.processes)


ORPHANS = """
import os, signal, numpy as np
from armillary.config import EnvironmentConfig
from armillary.envs import side_by_side
from fake_envs import Hangs
if __name__ == "__main__":
    env = side_by_side(Hangs, EnvironmentConfig(processes=True), 2)
    env.reset(seed=0)
    for _ in range(2):
        env.step(np.zeros((2, 2), np.float32))
    env.env.step_async(np.full((2, 2), -1, np.float32))
    print(*(process.pid for process in env.env.processes), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_processes_end_with_their_parent(tmp_path: Path) -> None:
    """Also when it is killed while they hang."""
    (tmp_path / "orphans.py").write_text(ORPHANS)
    done = subprocess.run(
        [sys.executable, "orphans.py"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    children = [int(pid) for pid in done.stdout.split()]
    assert len(children) == 2
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) and _runs(pid) for pid in children):
        assert time.monotonic() < deadline, "a process has outlived its parent"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("daemon", [False, True])
def test_a_process_of_ones_own_is_no_worker(daemon: bool) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    process = context.Process(target=plays_elsewhere, args=(results,), daemon=daemon)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    handler, shapes, message = results.get()
    assert handler, "Control-C is ignored"
    assert shapes == [(1, 64, 64, 3)]
    assert ("set processes to False" in message) == daemon
