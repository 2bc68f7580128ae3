"""What a run writes down of itself: losses, returns and scores, each beside its counters."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from armillary.errors import NumericalError
from armillary.training import checkpoint
from armillary.training.counters import Counters
from armillary.training.logger import Logger
from armillary.training.run import Run


class Record:
    """The metrics of one training run.

    Args:
        run: its folder.
        counters: how far it is; the sums of the losses are kept in them.
        logger: of its log files.
        on_metrics: is given each row that was written.
        check_held: raises if another process has taken the folder.
    """

    def __init__(
        self,
        run: Run,
        counters: Counters,
        logger: Logger,
        on_metrics: Callable[[dict[str, Any]], None],
        check_held: Callable[[], None],
    ) -> None:
        self._run, self._counters, self._logger = run, counters, logger
        self._on_metrics, self._check_held = on_metrics, check_held
        self._started, self._before = time.monotonic(), counters.seconds

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken, in this process and before."""
        return self._before + time.monotonic() - self._started

    def update(self, metrics: Mapping[str, float]) -> None:
        """Takes down the metrics of one update; they are written with the next episode.

        Raises:
            NumericalError: one is NaN or infinite.
        """
        self.check_finite(metrics)
        losses = self._counters.losses
        for name, value in metrics.items():
            losses[name] = losses.get(name, 0.0) + value

    def mean_losses(self, updates: int) -> dict[str, float]:
        """Returns the means of what was taken down since the last call, and forgets it.

        Args:
            updates: how many that was.
        """
        means = {name: total / updates for name, total in self._counters.losses.items()}
        self._counters.losses = {}
        return means

    def write(self, values: dict[str, Any]) -> None:
        """Writes a row: values by name, beside the counters."""
        counters = self._counters
        counters.seconds = self.seconds
        self._check_held()
        position = {
            "episode": counters.episodes,
            "environment_steps": counters.simulator_steps,
            "updates": counters.updates,
            "seconds": round(counters.seconds, 3),
        }
        self._logger.scalars(position, values)
        self._on_metrics(position | values)

    def check_finite(self, metrics: Mapping[str, float]) -> None:
        """Raises NumericalError if a loss or the gradient is NaN or infinite."""
        wrong = [name for name, value in metrics.items() if not math.isfinite(value)]
        if wrong:
            newest = checkpoint.newest(self._run.checkpoints)
            terms = ", ".join(f"{name} = {metrics[name]}" for name in wrong)
            raise NumericalError(
                f"update {self._counters.updates + 1} gave {terms}; the run is stopped and the "
                f"last good checkpoint is {newest}. Look for such values in the environment's "
                "rewards, or try a smaller optimizer.learning_rate or optimizer.clip_norm in a "
                "new --run"
            )


def shown(metrics: Mapping[str, float]) -> dict[str, float]:
    """Returns the losses of an update as people want to see them.

    A divergence in the loss is constant while it is below the free nats: its raw value is shown.
    """
    losses = {name: value for name, value in metrics.items() if name.startswith("loss/")}
    for name in losses:
        losses[name] = metrics.get(name.removeprefix("loss/"), losses[name])
    return losses
