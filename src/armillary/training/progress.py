"""What a run shows while it works: a live line in a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from armillary.training.counters import Counters

PLAIN_SECONDS = 10.0

PATIENCE = 2.0
"""Seconds after which whoever waits is told why."""


class Notes(Console):
    """A console on standard error for what people read while work goes on.

    Nothing that is wrong with it ends the work: a full disk, a reader that has gone.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(file=stream or sys.stderr, highlight=False, markup=False)

    def __exit__(self, *error: Any) -> None:
        try:
            super().__exit__(*error)
        except OSError:
            self.quiet = True

    def on_broken_pipe(self) -> None:
        """Goes on in silence."""
        self.quiet = True


class Progress:
    """Episode, environment steps, updates, return, losses, rates and the time left.

    In a terminal one live line; otherwise a plain line for each episode and at least every ten
    seconds in between. A context manager: leaving it, also by an exception, gives the terminal
    back as it was.

    Args:
        total_episodes: episodes that the run will have collected at its end.
        total_updates: updates that it will have made.
        stream: where to write.
        episodes: episodes that were collected before (a resumed run).
        updates: updates that were made before.
        environment_steps: simulator steps that were taken before.
        clock: seconds, ever growing.
        compiling: how many of them were spent on compilation, which is not of the pace to come.
    """

    def __init__(
        self,
        total_episodes: int,
        total_updates: int,
        stream: TextIO | None = None,
        *,
        episodes: int = 0,
        updates: int = 0,
        environment_steps: int = 0,
        clock: Callable[[], float] = time.monotonic,
        compiling: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._console = Notes(stream)
        self._total_episodes, self._total_updates = total_episodes, total_updates
        self._episodes, self._updates, self._steps = episodes, updates, environment_steps
        self._return: float | None = None
        self._losses: dict[str, float] = {}
        self._clock, self._compiling = clock, compiling
        self._last = self._shown = clock()
        self._compiled = compiling()
        self._update_pace, self._frame_pace, self._episode_pace = _Pace(1), _Pace(), _Pace(0, 10)
        self._collecting = 0.0
        self._compiled_before: set[str] = set()
        self._waiting: tuple[str, float] | None = None  # for what, and since when
        self._text = self.line()
        self._live: Live | None = None
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._renderable,
                console=self._console,
                refresh_per_second=4,
                redirect_stdout=sys.stdout.isatty(),  # else what is printed would not reach a pipe
            )

    def update(self, updates: int, losses: Mapping[str, float] | None = None) -> None:
        """Tells that updates were made.

        Args:
            updates: how many the run has made in all.
            losses: the latest values by name; what comes before a slash is not shown.
        """
        self._update_pace.add(updates - self._updates, self._elapsed())
        self._updates = updates
        self._losses.update({name: float(value) for name, value in (losses or {}).items()})
        self._show()

    def frame(self, count: int = 1) -> None:
        """Tells that `count` more frames were seen, in collection or evaluation."""
        seconds = self._elapsed()
        self._collecting += seconds
        self._frame_pace.add(count, seconds)
        self._show()

    def episode(self, episodes: int, environment_steps: int, total_reward: float | None) -> None:
        """Tells that an episode was collected.

        Args:
            episodes: how many the run has collected in all.
            environment_steps: simulator steps of all of them.
            total_reward: its return; None: none was played.
        """
        self._collecting += self._elapsed()
        self._episode_pace.add(episodes - self._episodes, self._collecting)
        self._collecting = 0.0
        self._episodes, self._steps, self._return = episodes, environment_steps, total_reward
        self._show(now=True)

    def message(self, text: str) -> None:
        """Writes a line of text above the live line."""
        self._console.print(text, soft_wrap=True)

    @contextmanager
    def compiling(self, what: str) -> Iterator[None]:
        """Says, where it takes long, that something is compiled in the block, and how long it took.

        Only in the first block for that thing: later ones have its program.

        Args:
            what: "the update", for instance.
        """
        if what in self._compiled_before:
            yield
            return
        self._compiled_before.add(what)
        before, self._waiting = self._compiling(), (what, self._clock())
        timer = threading.Timer(PATIENCE, self.message, (f"compiling {what} ...",))
        timer.daemon = True
        if not self._live:  # which says so itself
            timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._waiting = None
        seconds = self._compiling() - before
        if seconds >= PATIENCE:
            self.message(f"compiled {what} in {seconds:.0f} s")

    def seconds_left(self) -> float | None:
        """Returns the estimated time to the end of the run, or None before there is any.

        Updates and the collection of episodes are counted apart, each at its recent pace, so
        that the quick random episodes at the beginning do not deceive.
        """
        seconds = 0.0
        for count, pace in (
            (self._total_updates - self._updates, self._update_pace),
            (self._total_episodes - self._episodes, self._episode_pace),
        ):
            if count > 0:
                if not pace.count:
                    return None
                seconds += count * pace.seconds / pace.count
        return seconds

    def line(self) -> str:
        """Returns what the live line says now."""
        fields = [
            f"episode {self._episodes:,}/{self._total_episodes:,}",
            f"{self._steps:,} steps",
            f"{self._updates:,}/{self._total_updates:,} updates",
        ]
        if self._return is not None:
            fields.append(f"return {self._return:.1f}")
        for name, value in self._losses.items():
            fields.append(f"{name.rpartition('/')[2]} {value:.4g}")
        for pace, unit in ((self._update_pace, "updates/s"), (self._frame_pace, "frames/s")):
            if pace.seconds:
                fields.append(f"{pace.count / pace.seconds:.3g} {unit}")
        left = self.seconds_left()
        if left is None:
            fields.append("time left not known yet")
        else:
            fields.append(f"{_duration(left)} left" if left else "finishing")
        return " · ".join(fields)

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def _elapsed(self) -> float:
        """Returns the seconds since the last call: each moment belongs to what is told next.

        Those of compilation belong to nothing.
        """
        now, compiled = self._clock(), self._compiling()
        seconds = now - self._last - (compiled - self._compiled)
        self._last, self._compiled = now, compiled
        return max(0.0, seconds)

    def _renderable(self) -> Text:
        """Returns the live line, from the thread that draws it."""
        waiting = self._waiting
        if waiting is None:
            return Text(self._text)
        what, since = waiting
        return Text(f"{self._text} · compiling {what} ... {self._clock() - since:.0f} s")

    def _show(self, now: bool = False) -> None:
        if self._live:
            self._text = self.line()
        elif now or self._clock() - self._shown >= PLAIN_SECONDS:
            self._shown = self._clock()
            self._console.print(self.line(), soft_wrap=True)


class Share:
    """What one of several runs tells of itself, until it is shown with what the others tell.

    Args:
        whole: shows all of them.
        name: of the run, before its messages.
        counters: how far it is.
    """

    def __init__(self, whole: Progress, name: str, counters: Counters) -> None:
        self._whole, self._name = whole, name
        self.episodes, self.updates = counters.episodes, counters.updates
        self.environment_steps = counters.simulator_steps
        self.losses: dict[str, float] = {}
        self.total_reward = 0.0
        self.frame, self.compiling = whole.frame, whole.compiling

    def update(self, updates: int, losses: Mapping[str, float] | None = None) -> None:
        """Takes down that updates were made."""
        self.updates, self.losses = updates, dict(losses or {})

    def episode(self, episodes: int, environment_steps: int, total_reward: float | None) -> None:
        """Takes down that an episode was collected."""
        self.episodes, self.environment_steps = episodes, environment_steps
        self.total_reward = total_reward or 0.0

    def message(self, text: str) -> None:
        """Writes a line of text above the live line."""
        self._whole.message(f"{self._name}: {text}")


class _Pace:
    """Things counted in the last calls and the seconds they took.

    Args:
        warm: so many calls at the beginning count for nothing: they also load and trace programs.
        window: how many calls are remembered.
    """

    def __init__(self, warm: int = 0, window: int = 50) -> None:
        self._recent: deque[tuple[int, float]] = deque(maxlen=window)
        self._warm = warm

    def add(self, count: int, seconds: float) -> None:
        if self._warm > 0:
            self._warm -= 1
        else:
            self._recent.append((count, seconds))

    @property
    def count(self) -> int:
        return sum(count for count, _ in self._recent)

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self._recent)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
