"""How long XLA compiles, and a word about it to whoever waits."""

from __future__ import annotations

import sys
import threading
from functools import cache

import jax

from armillary.training.progress import PATIENCE


class _Total:
    seconds = 0.0


@cache
def _listening() -> _Total:
    """Begins to count, once in a process."""
    total = _Total()

    def count(event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            total.seconds += duration_secs

    jax.monitoring.register_event_duration_secs_listener(count)
    return total


def seconds() -> float:
    """Returns how long this process has compiled since this function was first called."""
    return _listening().seconds


def tell(what: str) -> threading.Timer:
    """Says on standard error that something is compiled, unless it is over soon.

    Args:
        what: "the planner", for instance.

    Returns:
        What to `cancel()` when it is over.
    """
    text = f"armillary: compiling {what} ..."
    timer = threading.Timer(PATIENCE, lambda: print(text, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    return timer
