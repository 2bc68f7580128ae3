"""Files that are whole or absent: written beside their place, synchronised, then renamed.

And read with suspicion: only ordinary files, and no more of them than is expected.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from armillary.errors import ArmillaryError, StorageError

_STALE_SECONDS = 600.0
"""A temporary file that was not touched for so long has no writer, locked or not."""
_YOUNG_SECONDS = 1.0
"""The writer of a younger one may not have come to lock it."""
_JSON_BYTES = 2**24


def cannot_write(folder: Path, make: bool = False) -> str:
    """Returns why nothing can be written in a folder, or an empty string.

    Args:
        folder: which.
        make: make it before, for this user alone, if it is missing.
    """
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        return error.strerror or str(error)
    return ""


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
                _refused(file.fileno())  # for `remove_stale`; without locks, it waits
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

    Its writer holds a lock on such a file. Where the file system knows no locks, one that was not
    touched for ten minutes counts as left.
    """
    for path in Path(folder).glob(".*.tmp"):
        try:
            age = abs(time.time() - path.lstat().st_mtime)  # the clock may have been set back
            if age > _STALE_SECONDS or (age > _YOUNG_SECONDS and not _has_writer(path)):
                path.unlink()
        except (FileNotFoundError, IsADirectoryError):
            continue  # its writer has just finished; or it is none of ours


def _has_writer(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return _refused(file.fileno()) is not None
    except OSError:
        return True


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens an ordinary file, or a link to one, for reading: a device or a pipe may never end.

    Raises:
        OSError: it cannot be read, or is something else.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not an ordinary file", os.fspath(path))
    return open(descriptor, "rb")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Returns what a JSON file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, too deeply nested or larger than 16 MiB.
    """
    with open_regular(path) as file:
        content = file.read(_JSON_BYTES + 1)
    if len(content) > _JSON_BYTES:
        raise ValueError(f"larger than {_JSON_BYTES >> 20} MiB")
    return parse_json(content)


def parse_json(text: bytes) -> Any:
    """Returns what JSON in UTF-8 says.

    Raises:
        ValueError: it is something else, or too deeply nested.
    """
    try:
        return json.loads(text.decode())
    except RecursionError as error:
        raise ValueError("too deeply nested") from error


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
def lock(path: str | os.PathLike[str]) -> Iterator[Callable[[], None]]:
    """Holds a lock while the block runs; a process that dies, however it does, lets it go.

    Args:
        path: a folder, which cannot be deleted while there is something in it; or a file, which is
            made. Some network file systems lock no folders: there, a file `.lock` in it is locked.

    Yields:
        A function that raises `Locked` if the path now leads elsewhere, so that another process
        may hold a lock of the same name.

    Raises:
        Locked: another process holds it.
        StorageError: the file cannot be made.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = path.is_dir()
        how = os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(path, how, 0o666)
    except OSError as error:
        raise storage_error(path, error) from error

    def check() -> None:
        try:
            if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                return
        except FileNotFoundError:
            pass
        raise Locked(f"{path} was deleted, moved or replaced while it was locked")

    try:
        refused = _refused(descriptor)
        if refused is None:
            yield check
        elif folder and not isinstance(refused, BlockingIOError):
            with lock(path / ".lock") as check_file:
                yield check_file
        else:
            raise Locked(f"another process holds {path}") from refused
    finally:
        os.close(descriptor)


def _refused(descriptor: int) -> OSError | None:
    """Locks a file or a folder; returns why not, if it cannot."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error
    return None


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
