"""Chunks are uniform over all chunks of all episodes, and hold what the episodes hold."""

import gc
import threading
from collections import Counter
from itertools import count

import jax
import numpy as np
import psutil
import pytest
from scipy.stats import chisquare

from armillary.errors import RunError, UsageError
from armillary.replay import Episode, EpisodeStore, WindowSampler, prefetch


def telling(index: int, rows: int, size: int = 2) -> Episode:
    """An episode whose every row says which episode and row it is."""
    row = np.arange(rows)
    image = np.zeros((rows, size, size, 3), np.uint8)
    image[..., 0] = index
    image[..., 1] = (row % 256)[:, None, None]
    image[..., 2] = (row // 256)[:, None, None]
    action = np.stack([np.full(rows, index), row], axis=1).astype(np.float32)
    return Episode({"image": image}, action, (1000 * index + row).astype(np.float32))


@pytest.fixture
def store(tmp_path):
    store = EpisodeStore(tmp_path)
    for index, rows in enumerate((9, 4, 5, 7, 3)):
        store.write(index, telling(index, rows))
    return store


def chunks_by_hand(lengths: dict[int, int], length: int) -> list[tuple[int, int]]:
    return [
        (index, start)
        for index, rows in lengths.items()
        for start in range(rows)
        if start == 0 or start + length <= rows  # a short episode is one
    ]


@pytest.mark.parametrize("length", [1, 3, 4, 7, 8])
def test_uniform_over_all_chunks(store, length):
    expected = chunks_by_hand(store.lengths, length)
    draws = 400 * len(expected)
    drawn = WindowSampler(store, draws, length).draw(np.random.default_rng(3))
    counts = Counter(map(tuple, drawn.tolist()))
    assert set(counts) == set(expected)
    assert chisquare([counts[chunk] for chunk in expected]).pvalue > 1e-3


def test_a_round_of_several_episodes_is_of_one_task(tmp_path):
    """Two tasks whose rounds are files of two episodes: 0 and 1, 4 and 5 are of the first."""
    store = EpisodeStore(tmp_path)
    for first in (0, 2, 4):
        rows = 20 if first == 2 else 5
        store.write(first, telling(first, rows), telling(first + 1, rows))
    for again in (store, EpisodeStore(tmp_path)):
        assert [again.round_of(index) for index in range(6)] == [0, 0, 1, 1, 2, 2]
        drawn = WindowSampler(again, 8000, 4, tasks=2).draw(np.random.default_rng(3))
        share = np.isin(drawn[:, 0], (2, 3)).mean()
        assert 0.48 < share < 0.52


def test_each_task_has_an_equal_share(store):
    """Episodes of two tasks in turn: even and odd; of each, every chunk is equally likely."""
    expected = chunks_by_hand(store.lengths, 4)
    drawn = WindowSampler(store, 8000, 4, tasks=2).draw(np.random.default_rng(3))
    counts = Counter(map(tuple, drawn.tolist()))
    assert set(counts) == set(expected)
    sizes = Counter(index % 2 for index, _ in expected)
    assert sizes[0] != sizes[1]
    hoped = [8000 / 2 / sizes[index % 2] for index, _ in expected]
    assert chisquare([counts[chunk] for chunk in expected], hoped).pvalue > 1e-3


def test_a_task_without_an_episode_is_left_out(tmp_path):
    store = EpisodeStore(tmp_path)
    for index, rows in ((0, 9), (2, 5)):
        store.write(index, telling(index, rows))
    drawn = WindowSampler(store, 100, 4, tasks=2).draw(np.random.default_rng(0))
    assert set(drawn[:, 0].tolist()) == {0, 2}


def test_every_number_is_one_chunk(store):
    """Enumerates the index space: a generator that counts instead of drawing."""

    class Counting:
        def integers(self, high, size):
            assert high == size
            return np.arange(high)

    expected = chunks_by_hand(store.lengths, 4)
    drawn = WindowSampler(store, len(expected), 4).draw(Counting())
    assert [tuple(chunk) for chunk in drawn.tolist()] == expected


def test_a_chunk_holds_consecutive_rows_of_one_episode(store):
    batch = WindowSampler(store, 200, 3).sample(np.random.default_rng(0))
    assert batch.observation["image"].shape == (200, 3, 2, 2, 3)
    assert batch.observation["image"].dtype == np.uint8
    assert batch.action.shape == (200, 3, 2)
    assert batch.reward.shape == (200, 3)
    assert batch.action.dtype == batch.reward.dtype == np.float32
    episode, row = (
        batch.observation["image"][..., 0],
        batch.observation["image"][..., 1].astype(int),
    )
    assert (episode == episode[:, :1, :1, :1]).all()
    assert (np.diff(row, axis=1) == 1).all()
    np.testing.assert_array_equal(batch.action[..., 0], episode[:, :, 0, 0])
    np.testing.assert_array_equal(batch.action[..., 1], row[:, :, 0, 0])
    np.testing.assert_array_equal(batch.reward, 1000.0 * episode[:, :, 0, 0] + row[:, :, 0, 0])


def test_the_same_generator_gives_the_same_batch_in_a_store_opened_again(store, tmp_path):
    first = WindowSampler(store, 20, 3).sample(np.random.default_rng(5))
    again = WindowSampler(EpisodeStore(tmp_path), 20, 3).sample(np.random.default_rng(5))
    other = WindowSampler(store, 20, 3).sample(np.random.default_rng(6))
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert not np.array_equal(first.reward, other.reward)


def test_batches_depend_only_on_the_episodes_below_the_count(store):
    sampler = WindowSampler(store, 20, 3)
    before = sampler.sample(np.random.default_rng(5))
    store.write(5, telling(5, 30))
    assert not np.array_equal(before.reward, sampler.sample(np.random.default_rng(5)).reward)
    sampler.episodes = 5
    after = sampler.sample(np.random.default_rng(5))
    np.testing.assert_array_equal(before.observation["image"], after.observation["image"])


def test_short_episodes_are_filled_up(store):
    """Each is one window; rows that fill it are zeros, and said not to be valid."""
    short = {index: rows for index, rows in store.lengths.items() if rows < 5}
    assert short
    sampler = WindowSampler(store, 400, 5)
    windows = sampler.draw(np.random.default_rng(0))
    batch = sampler.sample(np.random.default_rng(0))
    counts = {index: max(1, rows - 4) for index, rows in store.lengths.items()}
    share = np.isin(windows[:, 0], list(short)).mean()
    np.testing.assert_allclose(share, len(short) / sum(counts.values()), atol=0.08)
    for i, (index, start) in enumerate(windows.tolist()):
        rows = min(5, store.lengths[index] - start)
        assert batch.valid[i].tolist() == [t < rows for t in range(5)]
        whole = store.load(index)
        np.testing.assert_array_equal(batch.reward[i, :rows], whole.reward[start : start + rows])
        image = batch.observation["image"][i]
        np.testing.assert_array_equal(image[:rows], whole.image[start : start + rows])
        assert not batch.reward[i, rows:].any()
        assert not batch.action[i, rows:].any()
        assert not image[rows:].any()
        last = batch.terminal[i].nonzero()[0].tolist()
        assert last == ([rows - 1] if whole.terminal and start + rows == len(whole.reward) else [])
    assert WindowSampler(store, 8, 2).sample(np.random.default_rng(0)).valid is None


def test_a_mask_that_old_files_leave_out(tmp_path):
    """It holds for the entries of an action that the episode has ever used."""
    old = EpisodeStore(tmp_path)
    images = {"image": np.zeros((4, 2, 2, 3), np.uint8)}
    action = np.float32([[0, 0], [0.5, 0], [0, 0], [-1, 0]])
    old.write(0, Episode(images, action, np.zeros(4, np.float32)))
    masks = {"mask": np.ones((4, 2), bool)}
    old.write(1, Episode(images | masks, action, np.zeros(4, np.float32)))
    sampler = WindowSampler(EpisodeStore(tmp_path), 8, 3, tasks=2, masked=True)
    masks = sampler.read(np.array([[0, 0], [1, 1]])).observation["mask"]
    assert masks.dtype == bool
    assert masks[0].tolist() == [[True, False]] * 3
    assert masks[1].all()


def test_there_must_be_episodes(store, tmp_path):
    with pytest.raises(UsageError, match=r"no episodes in .*empty"):
        WindowSampler(EpisodeStore(tmp_path / "empty"), 8, 1).sample(np.random.default_rng(0))
    for batch_size, length in ((0, 3), (3, -1)):
        with pytest.raises(UsageError, match="at least 1"):
            WindowSampler(store, batch_size, length)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_prefetch_keeps_the_order(store, depth):
    sampler = WindowSampler(store, 6, 3)
    generators = [np.random.default_rng(seed) for seed in range(12)]
    with prefetch(sampler, generators, depth) as batches:
        ahead = [batch.reward for batch in batches]
    expected = [sampler.sample(np.random.default_rng(seed)).reward for seed in range(12)]
    np.testing.assert_array_equal(ahead, expected)


def test_prefetch_works_ahead(store):
    sampler, reading = WindowSampler(store, 6, 3), threading.Event()
    read = sampler.read
    sampler.read = lambda chunks: (reading.set(), read(chunks))[1]
    with prefetch(sampler, [np.random.default_rng(0)]):
        assert reading.wait(5)


def test_prefetch_stops_when_the_caller_does(store):
    threads = threading.active_count()
    with prefetch(WindowSampler(store, 6, 3), map(np.random.default_rng, count())) as batches:
        next(batches)
    assert threading.active_count() == threads
    context = prefetch(WindowSampler(store, 6, 3), map(np.random.default_rng, count()))
    with pytest.raises(KeyError), context as batches:
        raise KeyError(next(batches))
    assert threading.active_count() == threads


def test_prefetch_hands_errors_on(store, tmp_path):
    with prefetch(WindowSampler(store, 2, 9), map(np.random.default_rng, count()), 1) as batches:
        next(batches)
        (tmp_path / "episode-000000.npz").unlink()
        with pytest.raises(RunError, match=r"episode-000000\.npz"):
            list(batches)


def test_memory_does_not_grow_with_the_frames_on_disk(tmp_path):
    """4,000 frames of 64x64x3 are 49 MB; one million must need under 2 GB, 2 kB each."""
    rng = np.random.default_rng(0)
    image = rng.integers(256, size=(251, 64, 64, 3), dtype=np.uint8)
    action, reward = np.zeros((251, 6), np.float32), np.zeros(251, np.float32)
    store = EpisodeStore(tmp_path)
    sampler = WindowSampler(store, 4, 50)
    for index in range(2):
        store.write(index, Episode({"image": image}, action, reward))
        sampler.sample(rng)
    gc.collect()
    before = psutil.Process().memory_info().rss
    for index in range(2, 18):
        store.write(index, Episode({"image": image}, action, reward))
    for _ in range(100):
        sampler.sample(rng)
    store = EpisodeStore(tmp_path)
    gc.collect()
    assert psutil.Process().memory_info().rss - before < 8e6


def test_later_episodes_can_be_left_out(store):
    sampler = WindowSampler(store, 100, 3)
    sampler.episodes = 2
    assert set(sampler.draw(np.random.default_rng(0))[:, 0].tolist()) == {0, 1}
    sampler.episodes = None
    assert set(sampler.draw(np.random.default_rng(0))[:, 0].tolist()) == {0, 1, 2, 3, 4}
