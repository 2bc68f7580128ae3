"""Episodes on disk: one file for each round, written as it finishes, read chunk by chunk."""

from __future__ import annotations

import logging
import os
import re
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float32, UInt8

from armillary.errors import RunError, UsageError
from armillary.files import open_regular, remove_stale, storage_error, write_atomically
from armillary.replay.entry import Entry, layout_of, read_entries, said, verified, write_arrays
from armillary.replay.episode import Episode
from armillary.spec import MASK

log = logging.getLogger(__name__)


class EpisodeStore:
    """The episodes of a run, one uncompressed `.npz` file for each round of them, in one folder.

    The files (`episode-000012.npz`, after the first episode of the round, nearly always the only
    one) are plain NumPy archives with the fields of `Episode`; the
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
        self._entries: dict[int, Entry] = {}
        self._rounds: dict[int, int] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_stale(self.folder)
        except OSError as error:
            raise storage_error(self.folder, error) from error
        files = numbered(self.folder)
        with ThreadPoolExecutor(4) as pool:  # reading and the CRC run outside Python's lock
            found = pool.map(verified, files.values())
            for index, path, entry in zip(files, files.values(), found, strict=True):
                if isinstance(entry, list):
                    if difference := self._difference(path, entry[0].layout):
                        raise RunError(difference)
                    self._add(index, entry)
                else:
                    self._set_aside(path, entry)

    def write(self, index: int, *episodes: Episode) -> None:
        """Writes a round under an index of the caller's, in place of one that may be there.

        Args:
            index: of its first episode; the others follow.
            episodes: one or more, which become one file.

        Raises:
            StorageError: it could not be written; an older one under this index is still there.
            UsageError: its images or actions are of another size than those in the store.
        """
        if index < 0:
            raise UsageError(f"the episode's index is {index}, but it must not be negative")
        path = self.folder / f"episode-{index:06d}.npz"
        for episode in episodes:
            if difference := self._difference(path, layout_of(episode)):
                raise UsageError(difference)
        arrays = write_arrays(episodes)

        def save(file: BinaryIO) -> None:
            np.savez(file, **arrays)  # type: ignore[arg-type]

        write_atomically(path, save)
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            self._add(index, read_entries(path, archive))

    def _add(self, index: int, entries: Sequence[Entry]) -> None:
        self._entries |= dict(enumerate(entries, index))
        self._rounds |= dict.fromkeys(range(index, index + len(entries)), index // len(entries))

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
        return list(numbered(folder)) if folder.is_dir() else []

    @property
    def lengths(self) -> dict[int, int]:
        """Rows (T + 1) of each episode, by index, ascending."""
        return {index: len(self._entries[index].reward) for index in self.indices}

    def round_of(self, index: int) -> int:
        """Returns the number of the round in which an episode was played, of all tasks together."""
        return self._rounds[index]

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
        return self._entries[index].episode()

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
        self._entries[index].read_large(name, start, out)

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

    def entry(self, index: int) -> Entry:
        """All that is in memory of an episode: not to be written to."""
        return self._entries[index]

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


def numbered(folder: Path) -> dict[int, Path]:
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
