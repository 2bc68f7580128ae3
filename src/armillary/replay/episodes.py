"""Episodes on disk: one file each, written as they finish, read chunk by chunk."""

from __future__ import annotations

import logging
import os
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import ArrayLike

from armillary.errors import RunError, UsageError
from armillary.files import open_regular, remove_stale, storage_error, write_atomically
from armillary.replay.archive import data_offset, read_array, read_header, verify

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Episode:
    """One episode of T agent steps, as T + 1 rows.

    Row 0 is the reset: its action and reward are zero. `action[t]` is the action that leads to
    `image[t]`, and `reward[t]` the reward that came with it (summed over the action repeat).

    Raises:
        UsageError: an array has another shape or type.
    """

    image: UInt8[np.ndarray, "rows height width 3"]
    action: Float32[np.ndarray, "rows dims"]
    reward: Float32[np.ndarray, " rows"]
    terminal: bool = False
    """True if the environment ended the episode, False if a time limit cut it."""
    simulator_steps: int | None = None
    """Steps of the wrapped environment: up to `steps` times the action repeat, and fewer where the
    episode ended inside a repeat. None: not counted, in files of an older version."""

    def __post_init__(self) -> None:
        layout = {"image": (4, np.uint8), "action": (2, np.float32), "reward": (1, np.float32)}
        for name, (dimensions, dtype) in layout.items():
            array = getattr(self, name)
            if not (
                isinstance(array, np.ndarray)
                and array.ndim == dimensions
                and array.dtype == dtype
                and len(array) == len(self.image)
            ):
                found = f"{getattr(array, 'dtype', type(array))}{list(np.shape(array))}"
                raise UsageError(
                    f"an episode's {name} is {found}, expected {np.dtype(dtype)} with {dimensions} "
                    "dimensions and as many rows as images: convert it before it is stored"
                )
        if len(self.image) < 2 or self.image.shape[3] != 3:
            raise UsageError(
                f"an episode's image has shape {list(self.image.shape)}, expected (T + 1, H, W, 3) "
                "with at least one step after the reset"
            )

    @property
    def steps(self) -> int:
        """T: agent steps, one less than rows."""
        return len(self.reward) - 1


@dataclass(frozen=True)
class _Entry:
    """An episode file that was found sound: its small arrays, and where its images lie."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    action: np.ndarray
    reward: np.ndarray
    terminal: bool
    simulator_steps: int | None


class EpisodeStore:
    """The episodes of a run, one uncompressed `.npz` file each, in one folder.

    The files (`episode-000012.npz`) are plain NumPy archives with the fields of `Episode`; the
    CRC-32 that the format keeps of each array is verified when the store is opened. A damaged file
    is named in a warning, moved to the subfolder `damaged` and skipped; the others keep their
    numbers. Images stay on disk, so a store of a million frames needs next to no memory. A store
    has one writer.

    Args:
        folder: where the files are; made if it is missing.

    Raises:
        RunError: a file may not be read, or two files hold episodes of different environments.
        StorageError: the folder cannot be made, or a damaged file cannot be set aside.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._entries: dict[int, _Entry] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_stale(self.folder)
        except OSError as error:
            raise storage_error(self.folder, error) from error
        files = _numbered(self.folder)
        with ThreadPoolExecutor(4) as pool:  # reading and the CRC run outside Python's lock
            found = pool.map(_verify, files.values())
            for index, path, entry in zip(files, files.values(), found, strict=True):
                if isinstance(entry, _Entry):
                    if difference := self._difference(path, entry.shape, entry.action.shape):
                        raise RunError(difference)
                    self._entries[index] = entry
                else:
                    self._set_aside(path, entry)

    def write(self, index: int, episode: Episode) -> None:
        """Writes an episode under an index of the caller's, in place of one that may be there.

        Raises:
            StorageError: it could not be written; an older one under this index is still there.
            UsageError: its images or actions are of another size than those in the store.
        """
        if index < 0:
            raise UsageError(f"the episode's index is {index}, but it must not be negative")
        path = self.folder / f"episode-{index:06d}.npz"
        if difference := self._difference(path, episode.image.shape, episode.action.shape):
            raise UsageError(difference)

        arrays: dict[str, ArrayLike] = {
            "image": np.ascontiguousarray(episode.image),
            "action": np.ascontiguousarray(episode.action),
            "reward": episode.reward,
            "terminal": np.bool_(episode.terminal),
        }
        if episode.simulator_steps is not None:
            arrays["simulator_steps"] = np.int64(episode.simulator_steps)

        def save(file: BinaryIO) -> None:
            np.savez(file, **arrays)  # type: ignore[arg-type]

        write_atomically(path, save)
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            self._entries[index] = _read_entry(path, archive)

    def __len__(self) -> int:
        """Episodes that can be read."""
        return len(self._entries)

    @property
    def indices(self) -> list[int]:
        """Indices of the episodes that can be read, ascending."""
        return sorted(self._entries)

    @property
    def damaged(self) -> list[int]:
        """Indices of the episodes that were set aside, when this store was opened or before."""
        folder = self.folder / "damaged"
        return list(_numbered(folder)) if folder.is_dir() else []

    @property
    def lengths(self) -> dict[int, int]:
        """Rows (T + 1) of each episode, by index, ascending."""
        return {index: len(self._entries[index].reward) for index in self.indices}

    def load(self, index: int) -> Episode:
        """Reads a whole episode.

        Raises:
            UsageError: there is no such episode.
            RunError: its file can no longer be read.
        """
        if index not in self._entries:
            raise UsageError(
                f"there is no episode {index} in {self.folder}, which holds {len(self)}"
            )
        entry = self._entries[index]
        image = np.empty(entry.shape, np.uint8)
        self.read_images(index, 0, image)
        small = entry.action.copy(), entry.reward.copy(), entry.terminal, entry.simulator_steps
        return Episode(image, *small)

    def image_shape(self) -> tuple[int, ...]:
        """(H, W, 3) of every image in the store, which must not be empty."""
        return next(iter(self._entries.values())).shape[1:]

    def read_images(
        self, index: int, start: int, out: UInt8[np.ndarray, "length height width 3"]
    ) -> None:
        """Reads the images of rows `start`, `start + 1`, ... of an episode straight into `out`.

        Raises:
            RunError: the file can no longer be read.
        """
        entry = self._entries[index]
        view = out.data.cast("B")
        try:
            with open(entry.path, "rb", buffering=0) as file:
                file.seek(entry.offset + start * (view.nbytes // len(out)))
                while view:
                    count = file.readinto(view)
                    if not count:
                        raise EOFError("the file ends too early")
                    view = view[count:]
        except (OSError, EOFError) as error:
            raise RunError(
                f"episode {entry.path} can no longer be read ({error}): it was changed while the "
                "run was using it; start the run again, which checks every episode"
            ) from error

    def small_arrays(
        self, index: int
    ) -> tuple[Float32[np.ndarray, "rows dims"], Float32[np.ndarray, " rows"]]:
        """The actions and rewards of an episode, which stay in memory: not to be written to."""
        entry = self._entries[index]
        return entry.action, entry.reward

    def terminal(self, index: int) -> bool:
        """Whether the environment ended an episode, see `Episode.terminal`."""
        return self._entries[index].terminal

    def _difference(
        self, path: Path, image: tuple[int, ...], action: tuple[int, ...]
    ) -> str | None:
        """Says how an episode of these shapes differs from those in the store, if it does."""
        if not self._entries:
            return None
        first = next(iter(self._entries.values()))
        ours, theirs = (first.shape[1:], first.action.shape[1:]), (image[1:], action[1:])
        if ours == theirs:
            return None
        return (
            f"{path} has images of {theirs[0]} and actions of {theirs[1]}, but {first.path.name} "
            f"beside it has {ours[0]} and {ours[1]}: different environments need a folder each"
        )

    def _set_aside(self, path: Path, reason: Exception) -> None:
        target = path.parent / "damaged" / path.name
        try:
            target.parent.mkdir(exist_ok=True)
            os.replace(path, target)
        except OSError as error:
            raise storage_error(target, error) from error
        log.warning("episode %s is damaged (%s): moved to %s, skipped", path, reason, target.parent)


def _numbered(folder: Path) -> dict[int, Path]:
    """Returns the episode files of a folder by index, ascending.

    Raises:
        RunError: the folder may not be read.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise RunError(f"{folder} may not be read ({error.strerror}): make it readable") from error
    matches = ((re.fullmatch(r"episode-(\d+)\.npz", name), folder / name) for name in names)
    return dict(sorted((int(match[1]), path) for match, path in matches if match))


def _verify(path: Path) -> _Entry | Exception:
    """Returns the entry of a file whose checksums are right, or else what is wrong with it."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            verify(archive, os.fstat(file.fileno()).st_size)
            return _read_entry(path, archive)
    except PermissionError as error:
        raise RunError(f"episode {path} may not be read: make it readable, then go on") from error
    except Exception as error:  # whatever Python and NumPy find wrong with the bytes
        return error


def _read_entry(path: Path, archive: zipfile.ZipFile) -> _Entry:
    """Reads the small arrays, and where in the file the images lie.

    Raises:
        ValueError, KeyError: the arrays are not those of an episode.
    """
    action, reward = (read_array(archive, name, np.float32) for name in ("action", "reward"))
    terminal = read_array(archive, "terminal", np.bool_)
    steps = None
    if "simulator_steps.npy" in archive.namelist():
        steps = int(read_array(archive, "simulator_steps", np.int64))
    with archive.open("image.npy") as member:
        shape = read_header(archive, member, np.uint8)
        offset = data_offset(path, archive, "image.npy") + member.tell()
    stand_in = np.broadcast_to(np.uint8(0), shape)  # the shape of the images without their memory
    Episode(stand_in, action, reward)
    if terminal.shape or (steps is not None and steps < len(reward) - 1):
        raise ValueError("another layout")
    for name, array in (("action", action), ("reward", reward)):
        if not np.isfinite(array).all():
            step = np.argmin(np.isfinite(array.reshape(len(array), -1)).all(axis=1))
            raise ValueError(f"the {name} of step {step} is not a finite number")
    return _Entry(path, offset, shape, action, reward, bool(terminal), steps)
