"""Batches of windows, uniform over all windows of all episodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Array, Bool, Float32, Int64, Shaped

from armillary.errors import UsageError
from armillary.replay.episodes import EpisodeStore
from armillary.spec import MASK


class Batch(NamedTuple):
    """B windows of L consecutive rows, see `Episode`.

    Attributes:
        observation: each field by its name.
        action: `action[:, t]` leads to the observation of row t.
        reward: that came with it.
        terminal: whether the environment ended the episode with row t.
        valid: which rows are of an episode; the others, zeros, fill up the windows of episodes
            that are shorter. None: all are.
        records: what the agent wrote down, by its name.
        weight: of each window in the loss; None: all the same.
        rows: by which the sampler finds each window again; None: it need not.
    """

    observation: Mapping[str, Shaped[np.ndarray | Array, "batch length *shape"]]
    action: Float32[np.ndarray | Array, "batch length dims"]
    reward: Float32[np.ndarray | Array, "batch length"]
    terminal: Bool[np.ndarray | Array, "batch length"]
    valid: Bool[np.ndarray | Array, "batch length"] | None = None
    records: Mapping[str, Float32[np.ndarray | Array, "batch length *shape"]] | None = None
    weight: Float32[np.ndarray | Array, " batch"] | None = None
    rows: Int64[np.ndarray | Array, " batch"] | None = None


class Sampler(Protocol):
    """Draws batches from the episodes of a store.

    Attributes:
        episodes: only episodes with a lower index are drawn from; None: all.
        depends: whether a draw depends on what was learned from the one before it.
    """

    episodes: int | None

    @property
    def depends(self) -> bool: ...

    def sample(self, generator: np.random.Generator) -> Batch:
        """Draws and reads one batch.

        Raises:
            UsageError: there are no episodes.
            RunError: an episode's file can no longer be read.
        """
        ...

    def learned(self, batch: Batch, priorities: Any = None) -> None:
        """Takes notice of an update on a batch, and of what the agent says of its windows."""

    def saved(self) -> dict[str, np.ndarray]:
        """Returns what a run that goes on needs beside the episodes."""
        ...

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Takes what `saved` has returned."""


class WindowSampler:
    """Draws batches of windows of L consecutive rows (PlaNet, Algorithm 1: `B` sequences).

    Every window of every episode in the store at that moment is equally likely: an episode of n
    rows has n - L + 1 of them, the last possible start and the reset row included. An episode of
    fewer than L rows is one window, filled up with rows that do not count.

    Args:
        store: the episodes.
        batch_size: B.
        length: L.
        tasks: of how many tasks the episodes are, in turn. Each task is equally likely, and of it
            each window.
        masked: whether observations have a mask, which old files leave out.

    Attributes:
        episodes: only episodes with a lower index are drawn from; None: all. A resumed run sees
            what it saw before, although later episodes are already in the store.
    """

    def __init__(
        self,
        store: EpisodeStore,
        batch_size: int,
        length: int,
        tasks: int = 1,
        *,
        masked: bool = False,
    ) -> None:
        if batch_size < 1 or length < 1:
            raise UsageError(
                f"batch_size is {batch_size} and chunk_length {length}, but both must be at least 1"
            )
        self.store = store
        self.batch_size = batch_size
        self.length = length
        self.tasks = tasks
        self.masked = masked
        self.episodes: int | None = None

    @property
    def depends(self) -> bool:
        """Nothing is learned here."""
        return False

    def learned(self, batch: Batch, priorities: Any = None) -> None:
        """Nothing depends on it."""

    def saved(self) -> dict[str, np.ndarray]:
        """Returns nothing: the episodes are all that there is."""
        return {}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Nothing was saved."""

    def _lengths(self) -> dict[int, int]:
        lengths = self.store.lengths
        if self.episodes is None:
            return lengths
        return {index: rows for index, rows in lengths.items() if index < self.episodes}

    def draw(self, generator: np.random.Generator) -> Int64[np.ndarray, "batch 2"]:
        """Returns the (episode index, first row) of B windows, drawn with replacement.

        Raises:
            UsageError: there are no episodes.
        """
        lengths = self._lengths()
        rows = np.fromiter(lengths.values(), np.int64, len(lengths))
        if not len(rows):
            raise UsageError(f"there are no episodes in {self.store.folder}: collect some")
        windows = np.maximum(rows - self.length + 1, 1)
        ends = np.cumsum(windows)
        indices = np.fromiter(lengths, np.int64, len(lengths))
        if self.tasks > 1:
            number = self._of_each_task(generator, indices, windows)
        else:
            number = generator.integers(ends[-1], size=self.batch_size)
        place = np.searchsorted(ends, number, side="right")
        return np.stack([indices[place], number - (ends - windows)[place]], axis=1)

    def _of_each_task(
        self,
        generator: np.random.Generator,
        indices: Int64[np.ndarray, " episodes"],
        windows: Int64[np.ndarray, " episodes"],
    ) -> Int64[np.ndarray, " batch"]:
        """Returns the numbers of windows, counted over all episodes: a task, then a window."""
        rounds = np.array([self.store.round_of(index) for index in indices.tolist()])
        owner = np.repeat(rounds % self.tasks, windows)  # the task of each window
        order = np.argsort(owner, kind="stable")
        counts = np.bincount(owner, minlength=self.tasks)
        task = generator.choice(np.flatnonzero(counts), size=self.batch_size)
        first = np.cumsum(counts) - counts
        return order[first[task] + generator.integers(counts[task])]

    def read(self, windows: Int64[np.ndarray, "batch 2"]) -> Batch:
        """Reads the windows whose (episode index, first row) are given.

        Raises:
            RunError: an episode's file can no longer be read.
        """
        store, shape, lengths = self.store, (len(windows), self.length), self._lengths()
        observation = {
            name: np.zeros((*shape, *of_row), dtype)
            for name, (of_row, dtype) in store.layout.items()
        }
        actions = np.zeros((*shape, store.action_size), np.float32)
        if self.masked:
            observation[MASK] = np.zeros(actions.shape, bool)
        rewards, terminals = np.zeros(shape, np.float32), np.zeros(shape, bool)
        # The same in all batches between two episodes, so that no program is compiled in between.
        padded = min(lengths.values()) < self.length
        valid = np.zeros(shape, bool) if padded else None
        for i, (index, start) in enumerate(windows.tolist()):
            rows = min(self.length, lengths[index] - start)
            for name, out in observation.items():
                store.read(index, name, start, out[i, :rows])
            action, reward = store.small_arrays(index)
            actions[i, :rows] = action[start : start + rows]
            rewards[i, :rows] = reward[start : start + rows]
            at_end = start + rows == lengths[index]
            terminals[i, rows - 1] = at_end and store.terminal(index)
            if valid is not None:
                valid[i, :rows] = True
        return Batch(observation, actions, rewards, terminals, valid)

    def sample(self, generator: np.random.Generator) -> Batch:
        """Draws and reads one batch: a function of the generator and of the store's episodes.

        Raises:
            UsageError: there are no episodes.
            RunError: an episode's file can no longer be read.
        """
        return self.read(self.draw(generator))


@contextmanager
def prefetch(
    sampler: Sampler,
    generators: Iterable[np.random.Generator],
    depth: int = 2,
    transfer: Callable[[Batch], Batch] = lambda batch: batch,
) -> Iterator[Iterator[Batch]]:
    """Reads batches ahead, in `depth` threads, while the caller works on the one before.

    Gives an iterator with one batch for each generator, in their order. No episode may be added to
    the store in the meantime, or the batches would depend on how far ahead the threads were. An
    exception of `sampler.sample` is raised where its batch would have been.

    Args:
        sampler: draws and reads the batches.
        generators: the randomness of each batch; may be endless.
        depth: batches read ahead, each of B L H W 3 bytes where images are observed; none if the
            draws depend on what is learned.
        transfer: applied to each batch in the thread that read it, to put it on a device, say.
    """
    generators = iter(generators)
    if sampler.depends:
        yield (transfer(sampler.sample(generator)) for generator in generators)
        return
    pool = ThreadPoolExecutor(depth, thread_name_prefix="replay")

    def read(generator: np.random.Generator) -> Batch:
        return transfer(sampler.sample(generator))

    pending: deque[Future[Batch]] = deque(
        pool.submit(read, generator) for generator in islice(generators, depth)
    )

    def batches() -> Iterator[Batch]:
        while pending:
            batch = pending.popleft().result()
            pending.extend(pool.submit(read, g) for g in islice(generators, 1))
            yield batch

    try:
        yield batches()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
