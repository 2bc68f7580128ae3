"""Stopping a run from outside without losing anything."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from armillary.errors import ArmillaryError
from armillary.waiting import Ended, waited_for

_GRACE = 3.0
"""Seconds that an environment has to return after a signal, before the wait for it is ended."""
_RETRY = 0.2
"""Seconds between two tries to stop."""
_SAME = 0.05
"""Seconds within which a second signal is the first one, delivered twice: by a terminal to all of
its processes, and by the program that started this one."""
_DEAF = ("jax", "jaxlib")
"""Packages that run Python where an exception is lost, or leaves them in a bad state."""


class Stopped(ArmillaryError):
    """The run was asked to stop by a signal; what it did so far is saved."""

    def __init__(self, number: int, why: str = "") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}{why}")
        self.exit_code = 128 + number


class StopRequest:
    """Remembers that SIGINT or SIGTERM came; `check` raises it where it is safe to stop.

    Attributes:
        number: of the first signal that came; None: none.
    """

    def __init__(self, command: bool = False) -> None:
        self.number: int | None = None
        self._command = command
        self._watchers = 0
        self._since = 0.0

    def check(self) -> None:
        """Raises `Stopped` if a signal has come."""
        if self.number is not None:
            raise Stopped(self.number)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Says that `check` is called from time to time while the block runs."""
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Catches the signals while the block runs; nothing is left behind."""
        global _installed
        numbers = [signal.SIGINT, signal.SIGTERM]
        alarm = getattr(signal, "SIGALRM", None)
        previous = {number: signal.getsignal(number) for number in (*numbers, alarm) if number}
        try:
            _installed = self
            for number in numbers:
                signal.signal(number, self._come)
            yield
        finally:
            self._disarm()
            for number, old in previous.items():
                signal.signal(number, signal.SIG_DFL if old is None else old)
            _installed = None

    def _come(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            if number == signal.SIGINT and time.monotonic() - self._since > _SAME:
                self._second()
            return
        self.number, self._since = number, time.monotonic()
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, self._try)
            signal.setitimer(signal.ITIMER_REAL, _RETRY, _RETRY)
        self._try(number, frame)

    def _try(self, number: int, frame: FrameType | None) -> None:
        """Stops what `check` does not reach: an environment that hangs, and all that never asks."""
        if self._watchers:
            what = waited_for()
            if what is not None and time.monotonic() - self._since > _GRACE:
                raise Ended(Stopped(self.number or number, f" while waiting for {what}"))
        elif _may_raise(frame):
            self._disarm()
            # Not KeyboardInterrupt: one that passes through an `exec`, as in imports, makes Python
            # end by SIGINT even when it has been caught.
            raise Ended(Stopped(self.number or number))

    def _second(self) -> None:
        """The user does not want to wait: nothing that is finished is lost by ending here."""
        if self._command:
            os.write(2, b"\narmillary: interrupted\n")
            os._exit(128 + signal.SIGINT)
        raise KeyboardInterrupt

    def _disarm(self) -> None:
        if self.number is not None and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


_installed: StopRequest | None = None
"""What catches the signals of this process now."""


@contextmanager
def whole_command() -> Iterator[StopRequest]:
    """Catches SIGINT and SIGTERM from the first moment of a command to its last.

    A signal raises `Ended` as soon as that is safe, unless the command is within a
    `stop_request`: then it is stopped where that checks. A second SIGINT ends the process at once.
    """
    request = StopRequest(command=True)
    if threading.current_thread() is not threading.main_thread() or _installed is not None:
        yield request
        return
    with request.installed():
        yield request


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Catches SIGINT and SIGTERM while the block runs; a second SIGINT interrupts at once.

    A signal that came earlier in the same command is not forgotten. Outside the main thread, where
    Python allows no handlers, it catches nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield StopRequest()
        return
    if _installed is not None:
        with _installed.watched():
            yield _installed
        return
    request = StopRequest()
    with request.installed(), request.watched():
        yield request


def _may_raise(frame: FrameType | None) -> bool:
    """Whether an exception raised in this frame reaches the command."""
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in _DEAF or frame.f_code.co_name == "__del__":
            return False
        frame = frame.f_back
    return True
