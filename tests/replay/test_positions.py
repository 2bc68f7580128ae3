"""Single steps with the rows around them: which are drawn, how often, and what is read."""

from pathlib import Path

import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.replay.episode import Episode
from armillary.replay.episodes import EpisodeStore
from armillary.replay.positions import PositionSampler, Windows

WINDOWS = Windows(before=2, after=3, observed=1)


def _episode(number: int, steps: int, *, terminal: bool = True, image: bool = False) -> Episode:
    """Every entry says where it is: episode and row."""
    rows = steps + 1
    place = 100.0 * number + np.arange(1, rows + 1)
    observation: dict[str, np.ndarray] = {"vector": place[:, None].astype(np.float32)}
    if image:
        pixels = np.zeros((rows, 4, 4, 3), np.uint8)
        pixels[:] = (10 * number + np.arange(1, rows + 1))[:, None, None, None]
        observation["image"] = pixels
    return Episode(
        observation,
        np.stack([place, -place], axis=1).astype(np.float32),
        (place + 0.5).astype(np.float32),
        terminal=terminal,
        records={"value": (place + 0.25).astype(np.float32)},
    )


def _store(folder: Path, *rounds: tuple[Episode, ...]) -> EpisodeStore:
    store, index = EpisodeStore(folder), 0
    for episodes in rounds:
        store.write(index, *episodes)
        index += len(episodes)
    return store


def _sampler(store: EpisodeStore, batch_size: int = 4, **others: float) -> PositionSampler:
    settings = {"capacity": 10**6, **others}
    sampler = PositionSampler(store, batch_size, WINDOWS, **settings)  # type: ignore[arg-type]
    sampler.episodes = None
    return sampler


@pytest.mark.parametrize("image", [False, True])
def test_a_window_is_what_stands_around_its_step(tmp_path: Path, image: bool) -> None:
    episodes = [_episode(0, 2, image=image), _episode(1, 5, terminal=False, image=image)]
    sampler = _sampler(_store(tmp_path, (episodes[0],), (episodes[1],)))
    rows = np.array([0, 1, 3, 7])
    batch = sampler.read(rows)
    owners = [(0, 0), (0, 1), (1, 0), (1, 4)]
    for i, (number, row) in enumerate(owners):
        episode = episodes[number]
        for j in range(6):
            at = row + j - 2
            inside = 0 <= at < len(episode.reward)
            assert batch.valid is not None
            assert batch.records is not None
            assert batch.valid[i, j] == inside
            for name, whole in (
                ("action", episode.action),
                ("reward", episode.reward),
                ("value", episode.records["value"]),
                ("vector", episode.observation["vector"]),
                ("image", episode.observation.get("image")),
            ):
                if whole is None or (name in ("vector", "image") and j >= 4):
                    continue
                of_batch = {"action": batch.action, "reward": batch.reward, **batch.records}
                found = {**of_batch, **batch.observation}[name][i, j]
                expected = whole[at] if inside else np.zeros_like(whole[0])
                np.testing.assert_array_equal(found, expected)
            last = inside and at == len(episode.reward) - 1
            assert batch.terminal[i, j] == (last and episode.terminal)
    assert batch.observation["vector"].shape[1] == 4


def test_every_step_and_no_last_row_is_equally_likely(tmp_path: Path) -> None:
    sampler = _sampler(_store(tmp_path, (_episode(0, 1), _episode(1, 4)), (_episode(2, 2),)), 9000)
    rows = sampler.draw(np.random.default_rng(0))
    counts = np.bincount(rows, minlength=10)
    assert counts[[1, 6, 9]].tolist() == [0, 0, 0]  # after which no action was taken
    steps = counts[[0, 2, 3, 4, 5, 7, 8]]
    assert np.abs(steps / 9000 - 1 / 7).max() < 0.015
    np.testing.assert_array_equal(sampler.read(rows).weight, 1.0)


def test_priorities_draw_and_weights_correct_as_enumerated(tmp_path: Path) -> None:
    alpha, beta = 0.5, 0.7
    store = _store(tmp_path, (_episode(0, 2),), (_episode(1, 2),))
    sampler = _sampler(store, 20_000, priority=alpha, correction=beta)
    batch = sampler.read(np.array([0, 1, 3, 4]))
    sampler.learned(batch, np.array([4.0, 1.0, 0.25, 9.0]))
    mass = np.array([2.0, 1.0, 0.5, 3.0])
    probability = mass / mass.sum()
    rows = sampler.draw(np.random.default_rng(1))
    counts = np.bincount(rows, minlength=6)[[0, 1, 3, 4]]
    assert np.abs(counts / len(rows) - probability).max() < 0.01
    weights = (1 / (4 * probability)) ** beta
    found = sampler.read(np.array([0, 1, 3, 4])).weight
    np.testing.assert_allclose(found, weights / weights.max(), rtol=1e-5)


def test_a_new_step_has_the_highest_priority_and_none_loses_its_chance(tmp_path: Path) -> None:
    store = _store(tmp_path, (_episode(0, 2),))
    sampler = _sampler(store, priority=1.0, correction=1.0)
    assert sampler.priorities.tolist() == [1.0, 1.0, 0.0]
    sampler.learned(sampler.read(np.array([0, 1])), np.array([5.0, 0.0]))
    store.write(1, _episode(1, 1))
    sampler.episodes = None
    assert sampler.priorities[[0, 3]].tolist() == [5.0, 5.0]
    assert 0 < sampler.priorities[1] < 0.1


def test_what_is_saved_goes_on_with_the_same_draws(tmp_path: Path) -> None:
    store = _store(tmp_path, (_episode(0, 4),), (_episode(1, 3),))
    before = _sampler(store, priority=1.0, correction=1.0)
    before.learned(before.read(np.array([0, 2, 6])), np.array([3.0, 0.5, 7.0]))
    after = _sampler(EpisodeStore(tmp_path), priority=1.0, correction=1.0)
    after.restore(before.saved())
    for seed in range(3):
        drawn = [s.draw(np.random.default_rng(seed)) for s in (before, after)]
        np.testing.assert_array_equal(*drawn)


def test_a_lost_episode_costs_no_other_its_priorities(tmp_path: Path) -> None:
    store = _store(tmp_path, *[(_episode(n, 2),) for n in range(3)])
    before = _sampler(store, priority=1.0)
    before.learned(before.read(np.array([0, 3, 6])), np.array([3.0, 0.5, 7.0]))
    (tmp_path / "episode-000001.npz").unlink()
    after = _sampler(EpisodeStore(tmp_path), priority=1.0)
    after.restore(before.saved())
    assert after.priorities.tolist() == [3.0, 1.0, 0.0, 7.0, 1.0, 0.0]


def test_only_the_newest_episodes_are_kept_whichever_way_they_came(tmp_path: Path) -> None:
    store = _store(tmp_path, *[(_episode(n, 3),) for n in range(5)])
    whole = _sampler(store, capacity=9, priority=1.0)
    one_by_one = PositionSampler(store, 4, WINDOWS, capacity=9, priority=1.0)
    for number in range(1, 6):
        one_by_one.episodes = number
    for sampler in (whole, one_by_one):
        assert len(sampler.priorities) == 12  # the fewest whole episodes with nine rows or more
        batch = sampler.read(np.array([0]))
        assert batch.reward[0, 2] == 201.5


def test_later_episodes_are_not_seen_and_none_at_all_is_an_error(tmp_path: Path) -> None:
    store = _store(tmp_path, (_episode(0, 3),), (_episode(1, 3),))
    sampler = PositionSampler(store, 50, WINDOWS, capacity=100)
    sampler.episodes = 1
    assert sampler.draw(np.random.default_rng(0)).max() == 2
    empty = PositionSampler(EpisodeStore(tmp_path / "empty"), 4, WINDOWS, capacity=100)
    with pytest.raises(UsageError, match="no episodes"):
        empty.draw(np.random.default_rng(0))


def test_a_round_is_one_file_and_its_episodes_are_read_as_they_were(tmp_path: Path) -> None:
    episodes = (_episode(0, 2, image=True), _episode(1, 4, terminal=False, image=True))
    _store(tmp_path, (_episode(7, 1, image=True), _episode(8, 1, image=True)), episodes)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "episode-000000.npz",
        "episode-000002.npz",
    ]
    store = EpisodeStore(tmp_path)
    assert store.lengths == {0: 2, 1: 2, 2: 3, 3: 5}
    for index, episode in enumerate(episodes, 2):
        found = store.load(index)
        assert found.terminal == episode.terminal
        for ours, theirs in (
            (found.action, episode.action),
            (found.reward, episode.reward),
            (found.records["value"], episode.records["value"]),
            *((found.observation[n], episode.observation[n]) for n in ("vector", "image")),
        ):
            np.testing.assert_array_equal(ours, theirs)
