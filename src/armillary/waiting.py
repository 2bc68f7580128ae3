"""Waiting for code that is not ours: what is waited for, for how long, and how it is ended.

An environment may hang. Whoever calls one says so with `waiting_for`; then a time limit, or a
signal that asks the process to stop, can end the wait. Both can only reach the main thread, and
only while it runs Python: a call that hangs in a C library is ended with the process that made it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from armillary.errors import ArmillaryError

_waits: list[Callable[[], str]] = []
"""What the main thread waits for, as text; empty: nothing."""

_REPEAT = 1.0
"""Seconds after which a wait is ended once more: what is waited for may have caught the first."""


class Ended(BaseException):
    """Ends a wait; not an `Exception`, so that a foreign `except Exception` does not keep it."""

    def __init__(self, error: ArmillaryError) -> None:
        super().__init__(str(error))
        self.error = error


def waited_for() -> str | None:
    """Returns what the main thread waits for; None: nothing."""
    return _waits[-1]() if _waits else None


@contextmanager
def waiting_for(
    what: Callable[[], str],
    seconds: float | None = None,
    late: Callable[[], ArmillaryError] | None = None,
) -> Iterator[None]:
    """Says that the block calls code that may hang.

    In another thread than the main one it does nothing; nor does the limit where somebody else
    uses the alarm (SIGALRM).

    Args:
        what: returns what is waited for.
        seconds: the longest that the block may take; None: for ever.
        late: returns the error for a block that takes longer.

    Raises:
        ArmillaryError: what `late` returned, or what a signal ended the wait with.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    depth = len(_waits)

    def ring(number: int, frame: FrameType | None) -> None:
        if late is not None and len(_waits) > depth:
            raise Ended(late())

    alarm = seconds is not None and _alarm_is_free()
    _waits.append(what)
    try:
        if alarm:
            signal.signal(signal.SIGALRM, ring)
            signal.setitimer(signal.ITIMER_REAL, float(seconds or 0), _REPEAT)
        yield
    except Ended as ended:
        del _waits[depth:]
        raise ended.error from None
    finally:
        del _waits[depth:]
        if alarm and signal.getsignal(signal.SIGALRM) is ring:  # not taken over by a stop request
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _alarm_is_free() -> bool:
    return hasattr(signal, "setitimer") and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
