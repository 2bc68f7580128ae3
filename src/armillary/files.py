"""Files that are whole or absent: written beside their place, synchronised, then renamed."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from armillary.errors import ArmillaryError, StorageError

_STALE_SECONDS = 600.0


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Writes a file so that a crash at any moment leaves the old one or the new one, whole.

    The bytes go to a hidden temporary file in the same folder (which is made if it is missing),
    are synchronised to the disk and renamed to `path`; then the folder is synchronised. If
    anything fails, the temporary file is removed and an older file at `path` stays as it was.

    Args:
        path: the file to write.
        write: is called once with the open binary file (seekable).

    Raises:
        StorageError: no space, no permission, a vanished folder or any other `OSError`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _synchronise_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def remove_stale(folder: str | os.PathLike[str]) -> None:
    """Removes the temporary files of `write_atomically` that a killed process left in `folder`.

    Only those untouched for ten minutes: a younger one may still be being written.
    """
    for file in Path(folder).glob(".*.tmp"):
        try:
            if time.time() - file.stat().st_mtime > _STALE_SECONDS:
                file.unlink()
        except FileNotFoundError:
            continue  # its writer has just finished


def storage_error(path: str | os.PathLike[str], error: OSError) -> StorageError:
    """Returns the `StorageError` that says in one sentence why `path` could not be written."""
    path = Path(path)
    reason = error.strerror or str(error)
    return StorageError(
        f"could not write {path}: {reason} ({_free_space(path)}); nothing saved before was lost: "
        "make room or make the folder writable, then run the same command again."
    )


class Locked(ArmillaryError):
    """Another process holds the lock."""


@contextmanager
def lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Holds a lock file while the block runs; a process that dies, however it does, lets it go.

    Raises:
        Locked: another process holds it.
        StorageError: the file cannot be made.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a")  # noqa: SIM115
    except OSError as error:
        raise storage_error(path, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Locked(f"another process holds {path}") from error
        yield


def _free_space(path: Path) -> str:
    existing = next((p for p in path.absolute().parents if p.is_dir()), Path("/"))
    return f"{shutil.disk_usage(existing).free / 2**20:,.0f} MiB free in {existing}"


def _synchronise_folder(folder: Path) -> None:
    if os.name != "posix":  # other systems cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
