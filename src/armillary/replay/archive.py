"""Uncompressed NumPy archives (`.npz`), read with suspicion: nothing larger than its file."""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import DTypeLike


def verify(archive: zipfile.ZipFile, size: int) -> None:
    """Reads every member and compares its checksum.

    Args:
        archive: the archive.
        size: bytes of its file.

    Raises:
        ValueError: a checksum is wrong, or the archive is not of the kind that NumPy writes.
    """
    members = archive.infolist()
    if any(member.compress_type or member.flag_bits & 1 for member in members):
        raise ValueError("not an uncompressed archive")
    if sum(member.file_size for member in members) > size:
        raise ValueError("its parts overlap")
    if (name := archive.testzip()) is not None:
        raise ValueError(f"wrong checksum of {name}")


def read_array(archive: zipfile.ZipFile, name: str, dtype: DTypeLike) -> np.ndarray:
    """Returns an array by its name, not to be written to.

    Raises:
        KeyError: there is none of this name.
        ValueError: as `read_header`.
    """
    with archive.open(f"{name}.npy") as member:
        shape, _ = read_header(archive, member, dtype)
        return np.frombuffer(member.read(), dtype).reshape(shape)


def read_header(
    archive: zipfile.ZipFile, member: IO[bytes], dtype: DTypeLike | None
) -> tuple[tuple[int, ...], np.dtype]:
    """Reads the header of an array; returns its shape, which fits the bytes that follow, and type.

    Args:
        archive: the archive.
        member: the opened member.
        dtype: the type that is expected; None: any.

    Raises:
        ValueError: it is of another type or memory order, or longer or shorter than its bytes.
    """
    version = np.lib.format.read_magic(member)
    if version != (1, 0):
        raise ValueError(f"{member.name} in NumPy's format {version}")
    shape, fortran_order, found = np.lib.format.read_array_header_1_0(member)
    size = archive.getinfo(member.name).file_size - member.tell()
    other = dtype is not None and found != dtype
    if fortran_order or other or found.hasobject or math.prod(shape) * found.itemsize != size:
        raise ValueError(f"{member.name} of another layout")
    return shape, found


def data_offset(path: Path, archive: zipfile.ZipFile, name: str) -> int:
    """Returns where in the file a member begins: after its local header, name and extra field."""
    start = archive.getinfo(name).header_offset
    with open(path, "rb") as file:
        file.seek(start)
        header: Sequence[int] = struct.unpack("<26xHH", file.read(30))
    return start + 30 + sum(header)
