"""Stopping a run from outside without losing anything."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from armillary.errors import ArmillaryError


class Stopped(ArmillaryError):
    """The run was asked to stop by a signal; what it did so far is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class StopRequest:
    """Remembers that SIGINT or SIGTERM came; `check` raises it where it is safe to stop."""

    def __init__(self) -> None:
        self.number: int | None = None

    def check(self) -> None:
        """Raises `Stopped` if a signal has come."""
        if self.number is not None:
            raise Stopped(self.number)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Catches SIGINT and SIGTERM while the block runs; a second SIGINT interrupts at once.

    Outside the main thread, where Python allows no handlers, it catches nothing.
    """
    request = StopRequest()

    def handler(number: int, frame: FrameType | None) -> None:
        if request.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.number = number

    previous = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, handler)
    except ValueError:  # not in the main thread
        pass
    try:
        yield request
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
