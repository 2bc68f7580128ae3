"""Processes that share work: all of it is done, failures are told, signals stop them all."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from armillary.errors import UsageError
from armillary.files import Locked, lock
from armillary.studies.workers import WorkerError, share
from armillary.training.signals import Stopped


def _divide(folder: Path, number: int, check: Callable[[], None]) -> None:
    """Does ten pieces of work, each under a lock; says who did which."""
    for piece in range(10):
        done = folder / f"{piece}.done"
        try:
            with lock(folder / f"{piece}.lock"):
                check()
                if not done.exists():
                    with open(folder / "log", "a") as log:
                        log.write(f"{piece}\n")
                    time.sleep(0.05)
                    done.touch()
        except Locked:
            continue


def _refuse(number: int, check: Callable[[], None]) -> None:
    raise UsageError("this cannot be")


def _fail(number: int, check: Callable[[], None]) -> None:
    raise ValueError("broken")


def _die(number: int, check: Callable[[], None]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _leave(number: int, check: Callable[[], None]) -> None:
    """As a process does that cannot import the script that started it."""
    os._exit(1)


def _endless(folder: Path, number: int, check: Callable[[], None]) -> None:
    (folder / f"{os.getpid()}.alive").touch()
    while True:
        time.sleep(0.02)
        try:
            check()
        except Stopped:
            (folder / f"{os.getpid()}.stopped").touch()
            raise


def test_the_work_is_divided(tmp_path: Path) -> None:
    watched: list[float] = []
    share(_divide, (tmp_path,), 3, watch=lambda: watched.append(time.monotonic()), seconds=0.1)
    assert sorted(map(int, (tmp_path / "log").read_text().split())) == list(range(10))
    assert watched


@pytest.mark.parametrize(
    ("work", "code", "words"),
    [
        (_refuse, 2, "^this cannot be$"),
        (_fail, 1, "^ValueError: broken$"),
        (_die, 1, "exit code -9 .*want of memory.*run the same command again"),
        (_leave, 1, "exit code 1 .*__main__.*run the same command again"),
    ],
)
def test_a_failure_is_told(work: Callable[..., None], code: int, words: str) -> None:
    with pytest.raises(WorkerError, match=words) as caught:
        share(work, (), 2, watch=lambda: None, seconds=0.1)
    assert caught.value.exit_code == code


def test_a_signal_stops_all_of_them(tmp_path: Path) -> None:
    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("*.alive"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Stopped):
        share(_endless, (tmp_path,), 2, watch=lambda: None, seconds=0.1)
    alive = {path.stem for path in tmp_path.glob("*.alive")}
    assert len(alive) == 2
    assert {path.stem for path in tmp_path.glob("*.stopped")} == alive
