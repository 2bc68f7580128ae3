"""Batches of chunks, uniform over all chunks of all episodes."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float32, Int64, UInt8

from armillary.errors import UsageError
from armillary.replay.episodes import EpisodeStore

log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """B chunks of L consecutive rows. `action[:, t]` leads to `image[:, t]`, see `Episode`.

    `terminal[:, t]` says whether the environment ended the episode with `image[:, t]`.
    """

    image: UInt8[np.ndarray | Array, "batch length height width 3"]
    action: Float32[np.ndarray | Array, "batch length dims"]
    reward: Float32[np.ndarray | Array, "batch length"]
    terminal: Bool[np.ndarray | Array, "batch length"]


class ChunkSampler:
    """Draws batches of chunks of L consecutive rows (PlaNet, Algorithm 1: `B` sequences).

    Every chunk of every episode in the store at that moment is equally likely: an episode of n
    rows has n - L + 1 of them, the last possible start and the reset row included. Episodes of
    fewer than L rows are skipped.

    Args:
        store: the episodes.
        batch_size: B.
        chunk_length: L.
        tasks: of how many tasks the episodes are, in turn. Each task is equally likely, and of it
            each chunk.

    Attributes:
        episodes: only episodes with a lower index are drawn from; None: all. A resumed run sees
            what it saw before, although later episodes are already in the store.
    """

    def __init__(
        self, store: EpisodeStore, batch_size: int, chunk_length: int, tasks: int = 1
    ) -> None:
        if batch_size < 1 or chunk_length < 1:
            raise UsageError(
                f"batch_size is {batch_size} and chunk_length {chunk_length}, but both must be at "
                "least 1"
            )
        self.store = store
        self.batch_size = batch_size
        self.chunk_length = chunk_length
        self.tasks = tasks
        self.episodes: int | None = None
        self._warned = False

    def _lengths(self) -> dict[int, int]:
        lengths = self.store.lengths
        if self.episodes is None:
            return lengths
        return {index: rows for index, rows in lengths.items() if index < self.episodes}

    def draw(self, generator: np.random.Generator) -> Int64[np.ndarray, "batch 2"]:
        """Returns the (episode index, first row) of B chunks, drawn with replacement.

        Raises:
            UsageError: no episode is long enough.
        """
        lengths = self._lengths()
        rows = np.fromiter(lengths.values(), np.int64, len(lengths))
        chunks = np.maximum(rows - self.chunk_length + 1, 0)
        ends = np.cumsum(chunks)
        if not chunks.any():
            if not len(rows):
                raise UsageError(f"there are no episodes in {self.store.folder}: collect some")
            raise UsageError(
                f"no episode in {self.store.folder} has {self.chunk_length} rows, the length of a "
                f"chunk; the longest has {rows.max()}: give --training.chunk-length {rows.max()} "
                "or less in a new run folder"
            )
        if not chunks.all() and not self._warned:
            self._warned = True
            log.warning(
                "%d of %d episodes are shorter than a chunk of %d rows and are not trained on",
                np.count_nonzero(chunks == 0),
                len(chunks),
                self.chunk_length,
            )
        indices = np.fromiter(lengths, np.int64, len(lengths))
        if self.tasks > 1:
            number = self._of_each_task(generator, indices, chunks)
        else:
            number = generator.integers(ends[-1], size=self.batch_size)
        place = np.searchsorted(ends, number, side="right")
        return np.stack([indices[place], number - (ends - chunks)[place]], axis=1)

    def _of_each_task(
        self,
        generator: np.random.Generator,
        indices: Int64[np.ndarray, " episodes"],
        chunks: Int64[np.ndarray, " episodes"],
    ) -> Int64[np.ndarray, " batch"]:
        """Returns the numbers of chunks, counted over all episodes: first a task, then a chunk."""
        owner = np.repeat(indices % self.tasks, chunks)  # the task of each chunk
        order = np.argsort(owner, kind="stable")
        counts = np.bincount(owner, minlength=self.tasks)
        task = generator.choice(np.flatnonzero(counts), size=self.batch_size)
        first = np.cumsum(counts) - counts
        return order[first[task] + generator.integers(counts[task])]

    def read(self, chunks: Int64[np.ndarray, "batch 2"]) -> Batch:
        """Reads the chunks whose (episode index, first row) are given.

        Raises:
            RunError: an episode's file can no longer be read.
        """
        length = self.chunk_length
        images = np.empty((len(chunks), length, *self.store.image_shape()), np.uint8)
        actions, rewards = [], []
        terminals = np.zeros((len(chunks), length), bool)
        for i, (index, start) in enumerate(chunks.tolist()):
            self.store.read_images(index, start, images[i])
            action, reward = self.store.small_arrays(index)
            actions.append(action[start : start + length])
            rewards.append(reward[start : start + length])
            at_end = start + length == len(reward)
            terminals[i, -1] = at_end and self.store.terminal(index)
        return Batch(images, np.stack(actions), np.stack(rewards), terminals)

    def sample(self, generator: np.random.Generator) -> Batch:
        """Draws and reads one batch: a function of the generator and of the store's episodes.

        Raises:
            UsageError: no episode is long enough.
            RunError: an episode's file can no longer be read.
        """
        return self.read(self.draw(generator))


@contextmanager
def prefetch(
    sampler: ChunkSampler,
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
        depth: batches read ahead, each of B L H W 3 bytes.
        transfer: applied to each batch in the thread that read it, to put it on a device, say.
    """
    generators = iter(generators)
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
