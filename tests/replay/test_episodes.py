"""The store keeps what it was given, and survives what disks do."""

import io
import logging
import os
import random
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from armillary.errors import RunError, UsageError
from armillary.replay import Episode, EpisodeStore


def make(seed: int, rows: int = 6, size: int = 4, dims: int = 2, terminal: bool = False) -> Episode:
    rng = np.random.default_rng(seed)
    return Episode(
        {"image": rng.integers(256, size=(rows, size, size, 3), dtype=np.uint8)},
        rng.normal(size=(rows, dims)).astype(np.float32),
        rng.normal(size=rows).astype(np.float32),
        terminal,
    )


def same(a: Episode, b: Episode) -> bool:
    return (
        np.array_equal(a.image, b.image)
        and np.array_equal(a.action, b.action)
        and np.array_equal(a.reward, b.reward)
        and a.terminal == b.terminal
    )


@pytest.fixture
def store(tmp_path):
    store = EpisodeStore(tmp_path)
    for seed in range(4):
        store.write(seed, make(seed, rows=6 + seed, terminal=seed == 2))
    return store


def test_an_episode_comes_back_as_it_was(store, tmp_path):
    for opened in (store, EpisodeStore(tmp_path)):
        assert len(opened) == 4
        assert opened.indices == [0, 1, 2, 3]
        assert opened.lengths == {0: 6, 1: 7, 2: 8, 3: 9}
        for seed in range(4):
            assert same(opened.load(seed), make(seed, rows=6 + seed, terminal=seed == 2))


def test_any_numpy_reads_the_files(store, tmp_path):
    with np.load(tmp_path / "episode-000002.npz") as arrays:
        assert set(arrays) == {"image", "action", "reward", "terminal"}
        np.testing.assert_array_equal(arrays["image"], make(2, rows=8).image)


def test_a_part_is_read_from_its_place(store):
    images = make(3, rows=9).image
    for start in range(9):
        for length in range(1, 10 - start):
            out = np.empty((length, 4, 4, 3), np.uint8)
            store.read(3, "image", start, out)
            np.testing.assert_array_equal(out, images[start : start + length])


def test_arrays_of_any_memory_order(tmp_path):
    episode = make(0)
    turned = Episode(
        {"image": np.asfortranarray(episode.image)},
        np.asfortranarray(episode.action),
        episode.reward,
    )
    store = EpisodeStore(tmp_path)
    store.write(0, turned)
    assert same(store.load(0), episode)


def test_write_replaces(store, tmp_path):
    store.write(1, make(7, rows=12))
    assert same(EpisodeStore(tmp_path).load(1), make(7, rows=12))
    assert same(store.load(1), make(7, rows=12))


def _cut(path):
    os.truncate(path, path.stat().st_size * 2 // 3)


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _other_arrays(path):
    with open(path, "wb") as file:
        np.savez(file, image=np.zeros(3), action=np.zeros(3), reward=np.zeros(3))


def _wrong_type(path):
    e = make(0)
    with open(path, "wb") as file:
        np.savez(
            file, image=e.image, action=e.action.astype(float), reward=e.reward, terminal=False
        )


def _compressed(path):
    e = make(0)
    with open(path, "wb") as file:
        np.savez_compressed(
            file, image=e.image, action=e.action, reward=e.reward, terminal=np.bool_(False)
        )


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _flip,
        _other_arrays,
        _wrong_type,
        _compressed,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(bytes(5000)),
        lambda path: path.write_text("<html>"),
    ],
)
def test_damaged_files_are_named_set_aside_and_skipped(store, tmp_path, caplog, damage):
    path = tmp_path / "episode-000001.npz"
    damage(path)
    with caplog.at_level(logging.WARNING):
        opened = EpisodeStore(tmp_path)
    assert str(path) in caplog.text
    assert "damaged" in caplog.text
    assert opened.indices == [0, 2, 3]
    assert same(opened.load(3), make(3, rows=9))
    assert not path.exists()
    assert (tmp_path / "damaged" / path.name).exists()
    caplog.clear()
    assert EpisodeStore(tmp_path).indices == [0, 2, 3]
    assert not caplog.records


def _npy(shape: tuple[int, ...], descr: str, data: bytes = b"") -> bytes:
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + data


def _forge(path, **members: bytes) -> None:
    """Writes an archive with right checksums, some members of which are others."""
    e = make(1)
    contents = {
        "image": _npy(e.image.shape, "|u1", e.image.tobytes()),
        "action": _npy(e.action.shape, "<f4", e.action.tobytes()),
        "reward": _npy(e.reward.shape, "<f4", e.reward.tobytes()),
        "terminal": _npy((), "|b1", b"\0"),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (contents | members).items():
            archive.writestr(f"{name}.npy", content)


REWARD = np.zeros(6, np.float32)


@pytest.mark.parametrize(
    "members",
    [
        {"reward": _npy((2**50,), "<f4")},
        {"image": _npy((2**50, 4, 4, 3), "|u1")},
        {"image": _npy((-6, -4, 4, 3), "|u1", bytes(288))},
        {"action": _npy((6, 2), "|O", bytes(96))},
        {"terminal": _npy((2**60,), "|b1")},
        {"terminal": b"\x93NUMPY\x01\0" + (9000).to_bytes(2, "little") + b"(" * 9000},
        {"simulator_steps": _npy((), "<i8", bytes(8))},
        {"simulator_steps": _npy((2**59,), "<i8")},
        {"reward": _npy((6,), "<f4", (REWARD + np.float32(np.inf)).tobytes())},
        {"action": _npy((6, 2), "<f4", np.full(12, np.nan, np.float32).tobytes())},
        {f"more{i}": bytes(10) for i in range(3)} | {"image": b""},
    ],
)
def test_what_is_hostile_behind_right_checksums_is_set_aside(store, tmp_path, caplog, members):
    path = tmp_path / "episode-000001.npz"
    _forge(path)
    assert EpisodeStore(tmp_path).indices == [0, 1, 2, 3]  # the forger writes what is read
    _forge(path, **members)
    opened = EpisodeStore(tmp_path)
    assert opened.indices == [0, 2, 3]
    assert opened.damaged == [1]
    assert str(path) in caplog.text


@pytest.mark.parametrize("kind", ["folder", "dangling link", "endless device", "pipe"])
def test_what_is_no_file_is_set_aside(store, tmp_path, caplog, kind):
    path = tmp_path / "episode-000001.npz"
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "endless device" else tmp_path / "nowhere")
    assert EpisodeStore(tmp_path).indices == [0, 2, 3]
    assert str(path) in caplog.text


def test_the_steps_of_the_environment_are_kept(tmp_path):
    counted = replace(make(0), simulator_steps=17)
    EpisodeStore(tmp_path).write(0, counted)
    EpisodeStore(tmp_path).write(1, make(0))  # as an older version wrote it
    store = EpisodeStore(tmp_path)
    assert [store.load(index).simulator_steps for index in (0, 1)] == [17, None]


def test_every_part_of_large_images_is_checked(tmp_path, caplog):
    for seed in range(3):
        EpisodeStore(tmp_path).write(seed, make(seed, rows=20, size=64))
    for index, place in ((0, 0.1), (2, 0.97)):
        path = tmp_path / f"episode-{index:06d}.npz"
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= 4
        path.write_bytes(content)
    store = EpisodeStore(tmp_path)
    assert store.indices == [1]
    assert same(store.load(1), make(1, rows=20, size=64))


def test_no_flipped_bit_goes_unnoticed(tmp_path, caplog):
    """Any one bit of the file: either the episode is as it was, or the file is set aside."""
    episode = make(0, rows=3, size=2, terminal=True)
    EpisodeStore(tmp_path / "whole").write(0, episode)
    content = (tmp_path / "whole" / "episode-000000.npz").read_bytes()
    found = 0
    rng = random.Random(0)
    bits = rng.sample(range(8 * len(content)), 1200)
    for bit in bits:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        folder = tmp_path / "changed"
        folder.mkdir()
        (folder / "episode-000000.npz").write_bytes(changed)
        store = EpisodeStore(folder)
        if len(store):
            assert same(store.load(0), episode), f"bit {bit}"
        else:
            found += 1
        shutil.rmtree(folder)
    assert found > len(bits) // 3


def test_files_of_others_are_left_alone(store, tmp_path):
    for name in ("notes.txt", "episode-1.txt", "episode-000009.npz.bak", ".episode-000009.npz.tmp"):
        (tmp_path / name).write_text("mine")
    assert len(EpisodeStore(tmp_path)) == 4
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "damaged").exists()


def test_episodes_of_another_environment_are_refused(store, tmp_path):
    with pytest.raises(UsageError, match="different environments"):
        store.write(4, make(0, size=8))
    with pytest.raises(UsageError, match="different environments"):
        store.write(4, make(0, dims=3))
    assert len(EpisodeStore(tmp_path)) == 4
    EpisodeStore(tmp_path / "other").write(0, make(0, dims=3))
    (tmp_path / "other" / "episode-000000.npz").rename(tmp_path / "episode-000004.npz")
    with pytest.raises(RunError, match="different environments"):
        EpisodeStore(tmp_path)


def test_a_file_that_vanishes_is_named(store, tmp_path):
    (tmp_path / "episode-000001.npz").unlink()
    with pytest.raises(RunError, match=r"episode-000001\.npz"):
        store.load(1)
    with pytest.raises(UsageError, match="no episode 17"):
        store.load(17)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image", np.zeros((6, 4, 4, 3))),
        ("image", np.zeros((6, 4, 4, 1), np.uint8)),
        ("image", np.zeros((6, 4, 4), np.uint8)),
        ("action", np.zeros((6, 2))),
        ("action", np.zeros(6, np.float32)),
        ("action", np.zeros((5, 2), np.float32)),
        ("reward", np.zeros((6, 1), np.float32)),
        ("reward", np.zeros(7, np.float32)),
        ("reward", [0.0] * 6),
    ],
)
def test_wrong_arrays_are_refused(field, value):
    arrays = {name: getattr(make(0), name) for name in ("image", "action", "reward")}
    arrays |= {field: value}
    with pytest.raises(UsageError, match=field):
        Episode({"image": arrays.pop("image")}, **arrays)
    with pytest.raises(UsageError, match="at least one step"):
        make(0, rows=1)
