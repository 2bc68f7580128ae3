"""Episodes on disk: one file each, written as they finish, read chunk by chunk."""

from __future__ import annotations

import logging
import os
import re
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeGuard

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from numpy.typing import ArrayLike

from armillary.errors import RunError, UsageError
from armillary.files import open_regular, remove_stale, storage_error, write_atomically
from armillary.replay.archive import data_offset, read_array, read_header, verify
from armillary.spec import IMAGE, MASK

log = logging.getLogger(__name__)


_FIELD = "observation/"
"""Begins the name of a field in a file, but for `image`, which has had its own from the first."""


@dataclass(frozen=True)
class Episode:
    """One episode of T agent steps, as T + 1 rows.

    Row 0 is the reset: its action and reward are zero. `action[t]` is the action that leads to
    the observation of row t, and `reward[t]` the reward that came with it (summed over the action
    repeat).

    Raises:
        UsageError: an array has another shape or type.
    """

    observation: Mapping[str, Shaped[np.ndarray, "rows *shape"]]
    """Each field of the observations by its name, see `armillary.spec`."""
    action: Float32[np.ndarray, "rows dims"]
    """Vectors, of discrete actions one-hot ones."""
    reward: Float32[np.ndarray, " rows"]
    terminal: bool = False
    """True if the environment ended the episode, False if a time limit cut it."""
    simulator_steps: int | None = None
    """Steps of the wrapped environment: up to `steps` times the action repeat, and fewer where the
    episode ended inside a repeat. None: not counted, in files of an older version."""

    def __post_init__(self) -> None:
        for name, dimensions in (("action", 2), ("reward", 1)):
            array = getattr(self, name)
            if not _is_array(array, np.float32) or array.ndim != dimensions:
                raise UsageError(
                    f"an episode's {name} is {_found(array)}, expected float32 with {dimensions} "
                    "dimensions: convert it before it is stored"
                )
        rows = len(self.reward)
        if rows < 2 or len(self.action) != rows:
            raise UsageError(
                f"an episode has {len(self.action)} actions and {rows} rewards, expected T + 1 of "
                "both with at least one step after the reset"
            )
        if not self.observation:
            raise UsageError("an episode has no observation: give it one field or more")
        for name, array in self.observation.items():
            types = (np.uint8, np.float32, np.bool_)
            right = any(_is_array(array, dtype) for dtype in types) and len(array) == rows
            image = not right or array.dtype != np.uint8 or array.shape[3:] == (3,)
            if not right or not image:
                raise UsageError(
                    f"an episode's field {name!r} is {_found(array)}, expected as many rows as "
                    f"rewards ({rows}): of bytes (T + 1, H, W, 3), or of float32 or bool; convert "
                    "it before it is stored"
                )

    @property
    def steps(self) -> int:
        """T: agent steps, one less than rows."""
        return len(self.reward) - 1

    @property
    def images(self) -> dict[str, UInt8[np.ndarray, "rows height width 3"]]:
        """The fields of the observations that are images."""
        return {
            name: array
            for name, array in self.observation.items()
            if array.ndim == 4 and array.dtype == np.uint8
        }

    @property
    def image(self) -> UInt8[np.ndarray, "rows height width 3"]:
        """The images of an episode with one, and the first of them by name where it has several.

        Raises:
            UsageError: it has none.
        """
        images = self.images
        if not images:
            raise UsageError(
                f"the episode has no images, only {', '.join(map(repr, self.observation))}: it was "
                "played without drawing (environment.observe)"
            )
        return images[min(images)]


def _is_array(array: object, dtype: type) -> TypeGuard[np.ndarray]:
    return isinstance(array, np.ndarray) and array.ndim > 0 and array.dtype == dtype


def _found(array: Any) -> str:
    return f"{getattr(array, 'dtype', type(array))}{list(np.shape(array))}"


class _OnDisk(NamedTuple):
    """Where in a file the rows of a field lie, and their whole shape."""

    offset: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Entry:
    """An episode file that was found sound: its small arrays, and where its large ones lie."""

    path: Path
    large: dict[str, _OnDisk]
    small: dict[str, np.ndarray]
    action: np.ndarray
    reward: np.ndarray
    terminal: bool
    simulator_steps: int | None

    @property
    def layout(self) -> dict[str, Any]:
        """The shape of one row of each field, and of an action: the same in all of a store."""
        fields = {name: (field.shape[1:], "uint8") for name, field in self.large.items()}
        fields |= {name: (x.shape[1:], str(x.dtype)) for name, x in self.small.items()}
        fields.pop(MASK, None)  # files of an older version have none
        return {"observation": fields, "action": self.action.shape[1]}


class EpisodeStore:
    """The episodes of a run, one uncompressed `.npz` file each, in one folder.

    The files (`episode-000012.npz`) are plain NumPy archives with the fields of `Episode`; the
    CRC-32 that the format keeps of each array is verified when the store is opened. A damaged file
    is named in a warning, moved to the subfolder `damaged` and skipped; the others keep their
    numbers. A field of the observations is `image`, or `observation/` and its name. Images stay on
    disk, so a store of a million frames needs next to no memory. A store has one writer.

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
                    if difference := self._difference(path, entry.layout):
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
        if difference := self._difference(path, _layout(episode)):
            raise UsageError(difference)

        arrays: dict[str, ArrayLike] = {
            _member(name): np.ascontiguousarray(x) for name, x in episode.observation.items()
        }
        arrays |= {
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
        observation = {name: x.copy() for name, x in entry.small.items()}
        for name, field in entry.large.items():
            observation[name] = np.empty(field.shape, np.uint8)
            self.read_large(index, name, 0, observation[name])
        small = entry.action.copy(), entry.reward.copy(), entry.terminal, entry.simulator_steps
        return Episode(observation, *small)

    @property
    def layout(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """The shape and type of one row of each field; the store must not be empty."""
        return next(iter(self._entries.values())).layout["observation"]

    @property
    def action_size(self) -> int:
        """Entries of an action; the store must not be empty."""
        return next(iter(self._entries.values())).layout["action"]

    def read_large(
        self, index: int, name: str, start: int, out: UInt8[np.ndarray, "length *shape"]
    ) -> None:
        """Reads rows `start`, `start + 1`, ... of a field that is on disk straight into `out`.

        Raises:
            RunError: the file can no longer be read.
        """
        entry = self._entries[index]
        view = out.data.cast("B")
        try:
            with open(entry.path, "rb", buffering=0) as file:
                file.seek(entry.large[name].offset + start * (view.nbytes // len(out)))
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

    def read(self, index: int, name: str, start: int, out: np.ndarray) -> None:
        """Reads rows `start`, `start + 1`, ... of a field into `out`.

        A mask that the file does not have, because it is of an older version, holds for the entries
        of an action that the episode has ever used.

        Raises:
            RunError: the file can no longer be read.
        """
        entry = self._entries[index]
        if name in entry.large:
            self.read_large(index, name, start, out)
        elif name == MASK and name not in entry.small:
            out[:] = (entry.action != 0).any(axis=0)
        else:
            out[:] = entry.small[name][start : start + len(out)]

    def small_arrays(
        self, index: int
    ) -> tuple[Float32[np.ndarray, "rows dims"], Float32[np.ndarray, " rows"]]:
        """The actions and rewards of an episode, which stay in memory: not to be written to."""
        entry = self._entries[index]
        return entry.action, entry.reward

    def terminal(self, index: int) -> bool:
        """Whether the environment ended an episode, see `Episode.terminal`."""
        return self._entries[index].terminal

    def _difference(self, path: Path, theirs: dict[str, Any]) -> str | None:
        """Says how an episode of this layout differs from those in the store, if it does."""
        if not self._entries:
            return None
        first = next(iter(self._entries.values()))
        ours = first.layout
        if ours == theirs:
            return None
        return (
            f"{path} has {said(theirs)}, but {first.path.name} beside it has {said(ours)}: "
            "different environments need a folder each"
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
    """Reads the small arrays, and where in the file the large ones lie.

    Raises:
        ValueError, KeyError: the arrays are not those of an episode.
    """
    action, reward = (read_array(archive, name, np.float32) for name in ("action", "reward"))
    terminal = read_array(archive, "terminal", np.bool_)
    steps = None
    if "simulator_steps.npy" in archive.namelist():
        steps = int(read_array(archive, "simulator_steps", np.int64))
    large: dict[str, _OnDisk] = {}
    small: dict[str, np.ndarray] = {}
    stand_ins: dict[str, np.ndarray] = {}  # of the shape of images, without their memory
    for member in archive.namelist():
        stem = member.removesuffix(".npy")
        if stem != IMAGE and not stem.startswith(_FIELD):
            continue
        name = stem.removeprefix(_FIELD)
        with archive.open(member) as opened:
            shape, dtype = read_header(archive, opened, None)
            offset = data_offset(path, archive, member) + opened.tell()
        if dtype == np.uint8 and len(shape) == 4:
            large[name] = _OnDisk(offset, shape)
            stand_ins[name] = np.broadcast_to(np.uint8(0), shape)
        else:
            small[name] = read_array(archive, stem, dtype)
    Episode(stand_ins | small, action, reward)
    if terminal.shape or (steps is not None and steps < len(reward) - 1):
        raise ValueError("another layout")
    for name, array in (("action", action), ("reward", reward), *small.items()):
        if not np.isfinite(array).all():
            step = np.argmin(np.isfinite(array.reshape(len(array), -1)).all(axis=1))
            raise ValueError(f"the {name} of step {step} is not a finite number")
    return _Entry(path, large, small, action, reward, bool(terminal), steps)


def _member(name: str) -> str:
    return name if name == IMAGE else _FIELD + name


def _layout(episode: Episode) -> dict[str, Any]:
    fields = {name: (x.shape[1:], str(x.dtype)) for name, x in episode.observation.items()}
    fields.pop(MASK, None)
    return {"observation": fields, "action": episode.action.shape[1]}


def said(layout: Mapping[str, Any]) -> str:
    """Returns a layout in words."""
    fields = ", ".join(
        f"{name} of {shape} {dtype}"
        for name, (shape, dtype) in sorted(layout["observation"].items())
    )
    return f"{fields}, and {layout['action']} entries of an action"
