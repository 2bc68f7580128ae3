"""What workers do in the tests.

New processes import it by its name, which they cannot do with a test file's.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from armillary.errors import UsageError
from armillary.files import Locked, lock
from armillary.training.signals import Stopped


def divide(folder: Path, number: int, check: Callable[[], None]) -> None:
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


def refuse(number: int, check: Callable[[], None]) -> None:
    """Raises an error of ours."""
    raise UsageError("this cannot be")


def fail(number: int, check: Callable[[], None]) -> None:
    """Raises an error that is not foreseen."""
    raise ValueError("broken")


def die(number: int, check: Callable[[], None]) -> None:
    """Kills itself."""
    os.kill(os.getpid(), signal.SIGKILL)


def leave(number: int, check: Callable[[], None]) -> None:
    """As a process does that cannot import the script that started it."""
    os._exit(1)


def second_leaves(number: int, check: Callable[[], None]) -> None:
    """The second as `leave`; the first is ended by the signal, as one that is still starting is."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if number == 1:
        os._exit(1)
    time.sleep(60)


def endless(folder: Path, number: int, check: Callable[[], None]) -> None:
    """Works until it is told to stop; says that it was."""
    (folder / f"{os.getpid()}.alive").touch()
    while True:
        time.sleep(0.02)
        try:
            check()
        except Stopped:
            (folder / f"{os.getpid()}.stopped").touch()
            raise
