"""What long work shows while it goes on: a bar in a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from armillary.training.progress import Notes

PLAIN_SECONDS = 30.0


class Bar:
    """How much of some work is done, and the time that is left.

    A context manager. The time left is estimated from the pace since it was made.

    Args:
        total: all of the work, in any unit.
        done: how much was done before.
        stream: where to write; None: standard error.
        clock: seconds, ever growing.
    """

    def __init__(
        self,
        total: float,
        done: float = 0.0,
        stream: TextIO | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = Notes(stream)
        self._total, self._before, self._done = total, done, done
        self._clock, self._started = clock, clock()
        self._shown = self._started
        self._progress: Progress | None = None
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._progress = Progress(
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.description}"),
                console=self._console,
            )
            self._task = self._progress.add_task("", total=total)
            self._progress.update(self._task, completed=done)

    def update(self, done: float, text: str = "", *, now: bool = False) -> None:
        """Shows how much is done.

        Args:
            done: in the unit of `total`.
            text: what to say beside it.
            now: whether to write a plain line at once, however recent the last one is.
        """
        self._done = done
        left = self.seconds_left()
        line = " · ".join(x for x in (text, left is not None and f"{duration(left)} left") if x)
        if self._progress:
            self._progress.update(self._task, completed=done, description=line)
        elif now or self._clock() - self._shown >= PLAIN_SECONDS:
            self._shown = self._clock()
            self._console.print(f"{100 * done / self._total:.0f}% · {line}", soft_wrap=True)

    def message(self, text: str) -> None:
        """Writes a line of text above the bar."""
        self._console.print(text, soft_wrap=True)

    def seconds_left(self) -> float | None:
        """Returns the estimated time to the end; None before anything was done."""
        made = self._done - self._before
        if made <= 0:
            return None
        return (self._total - self._done) / made * (self._clock() - self._started)

    def __enter__(self) -> Bar:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress:
            self._progress.stop()


def duration(seconds: float) -> str:
    """Returns a time as a person says it: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
