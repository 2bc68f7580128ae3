"""Processes that share work: all of it is done, failures are told, signals stop them all."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import work
from armillary.studies.workers import WorkerError, share
from armillary.training.signals import Stopped


def test_the_work_is_divided(tmp_path: Path) -> None:
    watched: list[float] = []
    share(work.divide, (tmp_path,), 3, watch=lambda: watched.append(time.monotonic()), seconds=0.1)
    assert sorted(map(int, (tmp_path / "log").read_text().split())) == list(range(10))
    assert watched


@pytest.mark.parametrize(
    ("task", "code", "words"),
    [
        (work.refuse, 2, "^this cannot be$"),
        (work.fail, 1, "^ValueError: broken$"),
        (work.die, 1, "exit code -9 .*want of memory.*run the same command again"),
        (work.leave, 1, "exit code 1 .*__main__.*run the same command again"),
        (work.second_leaves, 1, "exit code 1 "),
    ],
)
def test_a_failure_is_told(task: Callable[..., None], code: int, words: str) -> None:
    with pytest.raises(WorkerError, match=words) as caught:
        share(task, (), 2, watch=lambda: None, seconds=0.1)
    assert caught.value.exit_code == code


def test_a_signal_stops_all_of_them(tmp_path: Path) -> None:
    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("*.alive"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Stopped):
        share(work.endless, (tmp_path,), 2, watch=lambda: None, seconds=0.1)
    alive = {path.stem for path in tmp_path.glob("*.alive")}
    assert len(alive) == 2
    assert {path.stem for path in tmp_path.glob("*.stopped")} == alive
