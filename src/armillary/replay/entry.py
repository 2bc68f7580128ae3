"""One episode's file: what is read of it, and where in it the images lie.

A plain NumPy archive with the fields of `Episode`. A field of the observations is called `image`,
or `observation/` and its name.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from armillary.errors import RunError
from armillary.files import open_regular
from armillary.replay.archive import data_offset, read_array, read_header, verify
from armillary.replay.episode import Episode
from armillary.spec import IMAGE, MASK

_FIELD = "observation/"
"""Begins the name of a field in a file, but for `image`, which has had its own from the first."""


class OnDisk(NamedTuple):
    """Where in a file the rows of a field lie, and their whole shape."""

    offset: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """An episode file that was found sound: its small arrays, and where its large ones lie."""

    path: Path
    large: dict[str, OnDisk]
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


def verified(path: Path) -> Entry | Exception:
    """Returns the entry of a file whose checksums are right, or else what is wrong with it."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            verify(archive, os.fstat(file.fileno()).st_size)
            return read_entry(path, archive)
    except PermissionError as error:
        raise RunError(f"episode {path} may not be read: make it readable, then go on") from error
    except Exception as error:  # whatever Python and NumPy find wrong with the bytes
        return error


def read_entry(path: Path, archive: zipfile.ZipFile) -> Entry:
    """Reads the small arrays, and where in the file the large ones lie.

    Raises:
        ValueError, KeyError: the arrays are not those of an episode.
    """
    action, reward = (read_array(archive, name, np.float32) for name in ("action", "reward"))
    terminal = read_array(archive, "terminal", np.bool_)
    steps = None
    if "simulator_steps.npy" in archive.namelist():
        steps = int(read_array(archive, "simulator_steps", np.int64))
    large: dict[str, OnDisk] = {}
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
            large[name] = OnDisk(offset, shape)
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
    return Entry(path, large, small, action, reward, bool(terminal), steps)


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
