"""One episode's file: what is read of it, and where in it the images lie.

A plain NumPy archive with the fields of `Episode`. A field of the observations is called `image`,
or `observation/` and its name; what the agent wrote down is `record/` and its name. A file of
several episodes has them one after another, and `rows`: how many each has.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from armillary.errors import RunError
from armillary.files import open_regular
from armillary.replay.archive import data_offset, read_array, read_header, verify
from armillary.replay.episode import Episode
from armillary.spec import IMAGE, MASK

_FIELD = "observation/"
"""Begins the name of a field in a file, but for `image`, which has had its own from the first."""


_RECORD = "record/"


class OnDisk(NamedTuple):
    """Where in a file the rows of a field lie, and their whole shape."""

    offset: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """An episode in a file that was found sound: its small arrays, and where its large ones lie."""

    path: Path
    large: dict[str, OnDisk]
    small: dict[str, np.ndarray]
    action: np.ndarray
    reward: np.ndarray
    terminal: bool
    simulator_steps: int | None
    records: dict[str, np.ndarray]

    @property
    def layout(self) -> dict[str, Any]:
        """The shape of one row of each field, and of an action: the same in all of a store."""
        fields = {name: (field.shape[1:], "uint8") for name, field in self.large.items()}
        fields |= {name: (x.shape[1:], str(x.dtype)) for name, x in self.small.items()}
        fields.pop(MASK, None)  # files of an older version have none
        return {"observation": fields, "action": self.action.shape[1]}

    def episode(self) -> Episode:
        """Reads the whole episode.

        Raises:
            RunError: its file can no longer be read.
        """
        observation = {name: x.copy() for name, x in self.small.items()}
        for name, field in self.large.items():
            observation[name] = np.empty(field.shape, np.uint8)
            self.read_large(name, 0, observation[name])
        small = self.action.copy(), self.reward.copy(), self.terminal, self.simulator_steps
        records = {name: array.copy() for name, array in self.records.items()}
        return Episode(observation, *small, records)

    def read_large(self, name: str, start: int, out: UInt8[np.ndarray, "length *shape"]) -> None:
        """Reads rows `start`, `start + 1`, ... of a field that is on disk straight into `out`.

        Raises:
            RunError: the file can no longer be read.
        """
        view = out.data.cast("B")
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(self.large[name].offset + start * (view.nbytes // len(out)))
                while view:
                    count = file.readinto(view)
                    if not count:
                        raise EOFError("the file ends too early")
                    view = view[count:]
        except (OSError, EOFError) as error:
            raise RunError(
                f"episode {self.path} can no longer be read ({error}): it was changed while the "
                "run was using it; start the run again, which checks every episode"
            ) from error


def verified(path: Path) -> list[Entry] | Exception:
    """Returns the entries of a file whose checksums are right, or else what is wrong with it."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            verify(archive, os.fstat(file.fileno()).st_size)
            return read_entries(path, archive)
    except PermissionError as error:
        raise RunError(f"episode {path} may not be read: make it readable, then go on") from error
    except Exception as error:  # whatever Python and NumPy find wrong with the bytes
        return error


def write_arrays(episodes: Sequence[Episode]) -> dict[str, np.ndarray]:
    """Returns the arrays of the file that holds these episodes, one or several."""
    first = episodes[0]

    def joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
        return np.ascontiguousarray(np.concatenate(list(arrays)))

    arrays = {
        member_of(name): joined(episode.observation[name] for episode in episodes)
        for name in first.observation
    }
    arrays["action"] = joined(episode.action for episode in episodes)
    arrays["reward"] = joined(episode.reward for episode in episodes)
    arrays |= {
        _RECORD + name: joined(episode.records[name] for episode in episodes)
        for name in first.records
    }
    terminal = np.array([episode.terminal for episode in episodes])
    steps = [episode.simulator_steps for episode in episodes]
    counted = all(count is not None for count in steps)
    if len(episodes) == 1:
        counts = {"simulator_steps": np.array(steps[0], np.int64)} if counted else {}
        return arrays | {"terminal": terminal[0]} | counts
    rows = np.array([len(episode.reward) for episode in episodes], np.int64)
    counts = {"simulator_steps": np.array(steps, np.int64)} if counted else {}
    return arrays | {"terminal": terminal, "rows": rows} | counts


def recorded_in(path: Path) -> set[str] | None:
    """Returns the names of the records in a file of episodes, unread; None: it is damaged.

    Raises:
        OSError: there is no such file.
    """
    with open_regular(path) as file, suppress(zipfile.BadZipFile), zipfile.ZipFile(file) as archive:
        stems = (member.removesuffix(".npy") for member in archive.namelist())
        return {stem.removeprefix(_RECORD) for stem in stems if stem.startswith(_RECORD)}
    return None


def read_entries(path: Path, archive: zipfile.ZipFile) -> list[Entry]:
    """Reads the small arrays of a file's episodes, and where in it the large ones lie.

    Raises:
        ValueError, KeyError: the arrays are not those of episodes.
    """
    whole = _read_whole(path, archive)
    if "rows.npy" not in archive.namelist():
        return [whole]
    rows = read_array(archive, "rows", np.int64)
    terminal = read_array(archive, "terminal", np.bool_)
    steps: list[int | None] = [None] * len(rows)
    if "simulator_steps.npy" in archive.namelist():
        steps = read_array(archive, "simulator_steps", np.int64).tolist()
    counts = {rows.shape, terminal.shape, (len(steps),)}
    if len(counts) > 1 or rows.ndim != 1 or (rows < 2).any() or rows.sum() != len(whole.reward):
        raise ValueError("another layout")
    entries = []
    for end, count, ended, counted in zip(
        np.cumsum(rows).tolist(), rows.tolist(), terminal.tolist(), steps, strict=True
    ):
        part = slice(end - count, end)
        large = {
            name: OnDisk(
                field.offset + part.start * math.prod(field.shape[1:]), (count, *field.shape[1:])
            )
            for name, field in whole.large.items()
        }
        small = {name: array[part] for name, array in whole.small.items()}
        records = {name: array[part] for name, array in whole.records.items()}
        action, reward = whole.action[part], whole.reward[part]
        entries.append(Entry(path, large, small, action, reward, ended, counted, records))
    return entries


def _read_whole(path: Path, archive: zipfile.ZipFile) -> Entry:
    """Reads a file as if it were of one episode."""
    action, reward = (read_array(archive, name, np.float32) for name in ("action", "reward"))
    several = "rows.npy" in archive.namelist()
    terminal = np.array(False) if several else read_array(archive, "terminal", np.bool_)
    steps = None
    if "simulator_steps.npy" in archive.namelist() and not several:
        steps = int(read_array(archive, "simulator_steps", np.int64))
    records: dict[str, np.ndarray] = {}
    large: dict[str, OnDisk] = {}
    small: dict[str, np.ndarray] = {}
    stand_ins: dict[str, np.ndarray] = {}  # of the shape of images, without their memory
    for member in archive.namelist():
        stem = member.removesuffix(".npy")
        if stem.startswith(_RECORD):
            records[stem.removeprefix(_RECORD)] = read_array(archive, stem, np.float32)
        if stem != IMAGE and not stem.startswith(_FIELD):
            continue
        name = stem.removeprefix(_FIELD)
        with archive.open(member) as opened:
            shape, dtype = read_header(archive, opened, None)
            offset = data_offset(path, archive, member) + opened.tell()
        if dtype == np.uint8 and len(shape) == 4:
            large[name] = OnDisk(offset, shape)
            stand_ins[name] = np.broadcast_to(np.uint8(0), shape)
        else:
            small[name] = read_array(archive, stem, dtype)
    Episode(stand_ins | small, action, reward, records=records)
    if terminal.shape or (steps is not None and steps < len(reward) - 1):
        raise ValueError("another layout")
    for name, array in (("action", action), ("reward", reward), *small.items(), *records.items()):
        if not np.isfinite(array).all():
            step = np.argmin(np.isfinite(array.reshape(len(array), -1)).all(axis=1))
            raise ValueError(f"the {name} of step {step} is not a finite number")
    return Entry(path, large, small, action, reward, bool(terminal), steps, records)


def member_of(name: str) -> str:
    """Returns what a field of the observations is called in a file."""
    return name if name == IMAGE else _FIELD + name


def layout_of(episode: Episode) -> dict[str, Any]:
    """Returns what `Entry.layout` of its file will be."""
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
