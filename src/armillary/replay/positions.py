"""Batches of single steps with what came before and after them, uniform or by priority."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64

from armillary.errors import UsageError
from armillary.replay.episodes import EpisodeStore
from armillary.replay.sampler import Batch


class Windows(NamedTuple):
    """Which rows around a step belong to it.

    Attributes:
        before: rows that came before it.
        after: rows that come after it.
        observed: of those after it, how many come with their observation.
    """

    before: int
    after: int
    observed: int


class PositionSampler:
    """Draws steps, and reads the windows of rows around them.

    A step is a row after which an action was taken, so every row of an episode but its last. The
    rows before an episode and past its end are zeros that do not count. New steps have the highest
    priority that any has.

    Args:
        store: the episodes.
        batch_size: B.
        windows: which rows are read.
        capacity: about how many rows are kept to draw from: whole episodes, the newest.
        priority: alpha, the exponent of the priorities; 0: every step is equally likely.
        correction: beta, the exponent of the weights that correct for it.
    """

    def __init__(
        self,
        store: EpisodeStore,
        batch_size: int,
        windows: Windows,
        *,
        capacity: int,
        priority: float = 0.0,
        correction: float = 0.0,
    ) -> None:
        self.store, self.batch_size, self.windows = store, batch_size, windows
        self._capacity, self._alpha, self._beta = capacity, priority, correction
        self._episodes = 0
        self._indices = np.zeros(0, np.int64)  # of the episodes that are kept
        self._lengths = np.zeros(0, np.int64)
        self._fields: dict[str, np.ndarray] = {}
        self.priorities: Float[np.ndarray, " rows"] = np.zeros(0, np.float32)
        """Of the rows that are kept, oldest first; 0 where no step begins."""

    @property
    def depends(self) -> bool:
        """Whether steps are drawn by priority, so that a draw waits for the update before it."""
        return self._alpha > 0

    @property
    def episodes(self) -> int | None:
        """Only episodes with a lower index are drawn from; a larger number takes in new ones."""
        return self._episodes

    @episodes.setter
    def episodes(self, number: int | None) -> None:
        if number is None:
            number = max(self.store.indices, default=-1) + 1
        new = [index for index in self.store.indices if self._episodes <= index < number]
        self._episodes = number
        if not new:
            return
        entries = [self.store.entry(index) for index in new]
        lengths = np.array([len(entry.reward) for entry in entries], np.int64)
        first = entries[0]
        columns = {
            "action": [entry.action for entry in entries],
            "reward": [entry.reward for entry in entries],
            "terminal": [_at_end(entry.terminal, len(entry.reward)) for entry in entries],
        }
        columns |= {
            f"observation/{name}": [entry.small[name] for entry in entries] for name in first.small
        }
        columns |= {
            f"record/{name}": [entry.records[name] for entry in entries] for name in first.records
        }
        begins = np.concatenate([~_at_end(True, length) for length in lengths.tolist()])
        indices = np.concatenate([self._indices, np.array(new, np.int64)])
        lengths = np.concatenate([self._lengths, lengths])
        ends = np.cumsum(lengths)
        surplus = int(np.searchsorted(ends, ends[-1] - self._capacity, side="right"))
        dropped = int(ends[surplus - 1]) if surplus else 0
        self._fields = {
            name: np.concatenate([*_kept(self._fields, name), *parts])[dropped:]
            for name, parts in columns.items()
        }
        highest = float(self.priorities.max(initial=0.0)) or 1.0
        new_ones = np.where(begins, np.float32(highest), np.float32(0))
        self.priorities = np.concatenate([self.priorities, new_ones])[dropped:]
        self._indices, self._lengths = indices[surplus:], lengths[surplus:]

    def saved(self) -> dict[str, np.ndarray]:
        """Returns the priorities of the rows that are kept, and whose they are, if they matter."""
        if not self.depends:
            return {}
        of_episodes = {"episodes": self._indices, "lengths": self._lengths}
        return {"priorities": self.priorities.copy(), **of_episodes}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Sets the priorities of the rows that are kept, as a run that goes on had them.

        Those of episodes that are lost are dropped. Where it was not kept because one was still
        there, an older episode has what it had as a new one.
        """
        if not self.depends or "priorities" not in saved:
            return
        names = ("episodes", "lengths", "priorities")
        indices, lengths, priorities = (saved[name] for name in names)
        ends = np.cumsum(lengths)
        known = dict(zip(indices.tolist(), ends.tolist(), strict=True))
        end = 0
        for index, length in zip(self._indices.tolist(), self._lengths.tolist(), strict=True):
            end += length
            if index in known:
                place = known[index]
                self.priorities[end - length : end] = priorities[place - length : place]

    def draw(self, generator: np.random.Generator) -> Int64[np.ndarray, " batch"]:
        """Returns the rows of B steps among those that are kept, drawn with replacement.

        Raises:
            UsageError: there are no episodes.
        """
        if not len(self.priorities):
            raise UsageError(f"there are no episodes in {self.store.folder}: collect some")
        ends = np.cumsum(self._masses())
        number = generator.random(self.batch_size) * ends[-1]
        return np.minimum(np.searchsorted(ends, number, side="right"), self._last)

    @property
    def _last(self) -> int:
        """The last row at which a step begins: the one before the last of all."""
        return len(self.priorities) - 2

    def _masses(self) -> Float[np.ndarray, " rows"]:
        """Returns unnormalised probabilities; those of rows at which no step begins are 0."""
        priorities = self.priorities.astype(np.float64)
        return np.where(priorities > 0, priorities**self._alpha, 0.0)

    def weights(self, rows: Int64[np.ndarray, " batch"]) -> Float[np.ndarray, " batch"]:
        """Returns the weights (N p)^-beta of a batch's rows, divided by the largest of them."""
        masses = self.priorities[rows].astype(np.float64) ** self._alpha
        return ((masses.min() / masses) ** self._beta).astype(np.float32)

    def learned(self, batch: Batch, priorities: Any = None) -> None:
        """Sets the priorities of the steps of a batch. None ever quite loses its chance."""
        if self.depends and priorities is not None:
            found = np.maximum(np.asarray(priorities, np.float32), SMALLEST)
            self.priorities[np.asarray(batch.rows)] = found

    def sample(self, generator: np.random.Generator) -> Batch:
        """Draws and reads one batch.

        Raises:
            UsageError: there are no episodes.
            RunError: an episode's file can no longer be read.
        """
        return self.read(self.draw(generator))

    def read(self, rows: Int64[np.ndarray, " batch"]) -> Batch:
        """Reads the windows around rows.

        Raises:
            RunError: an episode's file can no longer be read.
        """
        before, after, observed = self.windows
        ends = np.cumsum(self._lengths)
        place = np.searchsorted(ends, rows, side="right")
        first, last = (ends - self._lengths)[place], ends[place] - 1
        around = rows[:, None] + np.arange(-before, after + 1)
        valid = (around >= first[:, None]) & (around <= last[:, None])
        taken = np.where(valid, around, first[:, None])

        def column(name: str, count: int) -> np.ndarray:
            values = self._fields[name][taken[:, :count]]
            return values * valid[:, :count].reshape(
                *valid[:, :count].shape, *[1] * (values.ndim - 2)
            )

        length, seen = before + 1 + after, before + 1 + observed
        observation = {
            name.removeprefix("observation/"): column(name, seen)
            for name in self._fields
            if name.startswith("observation/")
        }
        for name, (shape, dtype) in self.store.layout.items():
            if name not in observation:
                observation[name] = np.zeros((len(rows), seen, *shape), dtype)
                for i, out in enumerate(observation[name]):
                    inside = np.flatnonzero(valid[i, :seen])
                    index, row = int(self._indices[place[i]]), int(around[i, inside[0]] - first[i])
                    self.store.read_large(index, name, row, out[inside[0] : inside[-1] + 1])
        records = {
            name.removeprefix("record/"): column(name, length)
            for name in self._fields
            if name.startswith("record/")
        }
        return Batch(
            observation,
            column("action", length),
            column("reward", length),
            column("terminal", length),
            valid,
            records,
            self.weights(rows) if self.depends else np.ones(len(rows), np.float32),
            rows,
        )


SMALLEST = 1e-2
"""The least priority of a step: a smaller error is none, and its weight would silence the others
of its batch."""


def _at_end(value: bool, length: int) -> Bool[np.ndarray, " rows"]:
    rows = np.zeros(length, bool)
    rows[-1] = value
    return rows


def _kept(fields: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    return [fields[name]] if name in fields else []
