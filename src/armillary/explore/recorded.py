"""Episodes that a run has recorded, read without changing anything: it may be training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from armillary.errors import RunError
from armillary.replay.entry import Entry, verified
from armillary.replay.episode import Episode
from armillary.replay.episodes import numbered


def last(folder: Path) -> Episode:
    """Returns the newest episode in a folder that can be read.

    Raises:
        RunError: there is none.
    """
    return spread(folder, 1)[0]


def spread(folder: Path, count: int, rows: int = 0) -> list[Episode]:
    """Returns episodes from all over a folder, evenly, the newest among them.

    Args:
        folder: of episodes, of a run that may go on writing.
        count: of how many files at most; those that are damaged are passed over.
        rows: how many are wanted: more of short episodes, of their files and of other ones.

    Raises:
        RunError: there is none that can be read.
    """
    files = list(numbered(folder).values()) if folder.is_dir() else []
    found: list[Entry] = []
    for most in (count, 8 * count if rows else 0):
        chosen = [_entries(path) for path in _evenly(files, most)]
        found = [entries[-1] for entries in chosen if entries] or found
        others = [entry for entries in chosen for entry in reversed(entries[:-1])]
        while others and sum(len(entry.reward) for entry in found) < rows:
            found.insert(0, others.pop())
        if sum(len(entry.reward) for entry in found) >= rows:
            break
    if not found:
        what = f"none of {len(files)} could be read" if files else "there are none"
        raise RunError(f"there is no episode to show in {folder}: {what}")
    return [entry.episode() for entry in found]


def _evenly(files: Sequence[Path], count: int) -> list[Path]:
    """Returns so many of them, the last one always."""
    if len(files) <= count or not count:
        return list(files[:count])
    step = len(files) / count
    return [files[len(files) - 1 - int(i * step)] for i in reversed(range(count))]


def _entries(path: Path) -> list[Entry]:
    """Returns the episodes of a file; none: it is damaged, or gone."""
    found = verified(path)
    return [] if isinstance(found, Exception) else found
