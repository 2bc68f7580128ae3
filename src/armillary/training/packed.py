"""The file of a packed agent: a zip archive of a few members that are known by name.

Members are stored as they are, so that none can grow when it is read, and each has a checksum in
`manifest.json`. Nothing is ever unpacked onto the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from armillary.errors import RunError, UsageError
from armillary.files import open_regular, parse_json, write_atomically
from armillary.version import __version__

FORMAT = 1
KIND = "armillary agent"
SUFFIX = ".armillary"
DEMO, HUB = "demo:", "hf:"
"""What the names of agents begin with that come with the package, or from the Hugging Face Hub."""

MANIFEST, CONFIG, COUNTERS, WEIGHTS, CARD = (
    "manifest.json",
    "config.json",
    "counters.json",
    "weights.safetensors",
    "README.md",
)
RESULTS, EVALUATION = "results.json", "evaluation.json"
"""These two may be missing."""

TEXT = 2**20
"""Bytes that any member but the weights may have."""

_NEEDED = (CONFIG, COUNTERS, WEIGHTS, CARD)
_KNOWN = {MANIFEST, *_NEEDED, RESULTS, EVALUATION}
_CHECKPOINT = b"armillary-checkpoint"
_FAULTS = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError),
    *(zipfile.BadZipFile, struct.error, OverflowError),
)
"""What reading a file that was made up, or is damaged, may raise."""
_DATE = (1980, 1, 1, 0, 0, 0)
"""Of every member, so that what is packed twice is the same file."""


def is_packed(where: str | Path) -> bool:
    """Whether this names a packed agent, there or not, and no run folder."""
    name = os.fspath(where)
    if name.startswith((DEMO, HUB)):
        return True
    path = Path(name)
    try:
        return not path.is_dir() and (path.suffix == SUFFIX or _begin(path) == b"PK\3\4")
    except (OSError, ValueError):  # nothing is there, or nothing that can be read
        return False


def refuse(where: str | Path, missing: str) -> None:
    """Makes sure that this is no packed agent, where one will not do.

    Args:
        where: what was given as a run folder.
        missing: what a packed agent lacks.

    Raises:
        UsageError: it is one.
    """
    if is_packed(where):
        raise UsageError(
            f"{os.fspath(where)!r} is a packed agent, which has weights, settings and scores but "
            f"no {missing}: give a run folder"
        )


def name_of(where: str | Path) -> str:
    """Returns the short name of an agent: of its folder or file, or what follows the colon."""
    name = os.fspath(where)
    if name.startswith((DEMO, HUB)):
        return name.partition(":")[2].partition("@")[0].rpartition("/")[2]
    path = Path(os.path.abspath(name))
    return path.stem if is_packed(name) else path.name


def beside(where: str | Path, name: str) -> Path:
    """Returns where a file that is made of an agent goes by default.

    That is the run folder; of a packed agent the working folder, with its name before the file's.
    """
    if is_packed(where):
        return Path(f"{name_of(where)}-{name}")
    return Path(where) / name


def check_place(path: Path) -> None:
    """Makes sure that a packed agent may be written there.

    Raises:
        UsageError: the name ends otherwise, or something else is there.
    """
    if path.suffix != SUFFIX:
        raise UsageError(f"cannot pack into {str(path)!r}: the name must end in {SUFFIX}")
    if path.exists():
        try:
            Packed(path)
        except RunError as error:
            raise UsageError(
                f"{str(path)!r} is there already and no packed agent: give another --out"
            ) from error


def _begin(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read(4)


def write(path: str | Path, members: Mapping[str, bytes], made: dict[str, Any]) -> None:
    """Writes a packed agent.

    Args:
        path: must end in `.armillary`.
        members: by the names above, without the manifest.
        made: how it was made, for the manifest.

    Raises:
        UsageError: the path ends otherwise, or something else is there.
        StorageError: it cannot be written.
    """
    path = Path(path)
    check_place(path)
    manifest = {
        "kind": KIND,
        "format": FORMAT,
        "version": __version__,
        "made": made,
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in members.items()
        },
    }
    texts = {MANIFEST: json.dumps(manifest, indent=2).encode(), **members}
    for name, content in texts.items():
        if name != WEIGHTS and len(content) > TEXT:
            raise UsageError(f"{name} has {len(content):,} bytes, more than a packed agent may")

    def pack(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, content in texts.items():
                info = zipfile.ZipInfo(name, _DATE)
                info.create_system, info.external_attr = 3, 0o644 << 16
                archive.writestr(info, content)

    write_atomically(path, pack)


class Packed:
    """A packed agent in a file, of which nothing but the manifest was read yet.

    Args:
        path: the file.
        name: as it was asked for, for messages; None: the path.

    Attributes:
        path: the file.
        name: for messages.
        manifest: what it says of itself.

    Raises:
        RunError: it is no packed agent, is damaged, or of a newer version.
    """

    def __init__(self, path: str | Path, name: str | None = None) -> None:
        self.path = Path(path)
        self.name = name or str(path)
        try:
            with open_regular(self.path) as file:
                self._check_begin(file.read(len(_CHECKPOINT)))
                with zipfile.ZipFile(file) as archive:
                    self._members = self._known(archive, os.fstat(file.fileno()).st_size)
                    content = archive.read(MANIFEST)
            self.manifest: dict[str, Any] = parse_json(content)
            self._check_manifest()
        except FileNotFoundError as error:
            raise RunError(
                f"there is no {self.name!r}: give a run folder, a packed agent, or {DEMO}NAME of "
                "one that comes with the package"
            ) from error
        except _FAULTS as error:
            self.damaged(error)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    @property
    def made(self) -> dict[str, Any]:
        """How it was made, as far as it says: texts by their names."""
        made: dict[str, Any] = self.manifest["made"]
        return {k: v for k, v in made.items() if isinstance(v, str)} if made else {}

    def size(self, name: str) -> int:
        """Returns the bytes of a member."""
        return self._members[name]

    def read(self, name: str) -> bytes:
        """Returns a member, as it was packed.

        Raises:
            RunError: it is damaged.
        """
        try:
            with open_regular(self.path) as file, zipfile.ZipFile(file) as archive:
                content = archive.read(name)
        except _FAULTS as error:
            self.damaged(error)
        if hashlib.sha256(content).hexdigest() != self.manifest["files"][name]["sha256"]:
            self.damaged(f"{name} has another checksum")
        return content

    def json(self, name: str) -> Any:
        """Returns what a member in JSON says.

        Raises:
            RunError: it is damaged.
        """
        try:
            return parse_json(self.read(name))
        except ValueError as error:
            self.damaged(f"{name}: {error}")

    def damaged(self, error: object) -> NoReturn:
        """Raises the RunError that says so."""
        raise RunError(
            f"{self.name!r} is no packed agent, or damaged ({error}): get it again from where "
            "it came from, or pack the run again"
        ) from (error if isinstance(error, Exception) else None)

    def _check_begin(self, begin: bytes) -> None:
        if begin == _CHECKPOINT:
            raise RunError(
                f"{self.name!r} is a checkpoint of a run: give the run's folder, or what "
                "`armillary pack` makes of it"
            )

    def _known(self, archive: zipfile.ZipFile, size: int) -> dict[str, int]:
        """Returns the members with their bytes."""
        found: dict[str, int] = {}
        for info in archive.infolist():
            if info.filename in found:
                raise ValueError(f"{info.filename} is there twice")
            whole = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
            if not whole or info.file_size != info.compress_size or info.file_size > size:
                raise ValueError(f"{info.filename[:50]!r} is not stored as it is")
            found[info.filename] = info.file_size
        if found.get(MANIFEST, TEXT + 1) > TEXT:
            raise ValueError(f"it has no {MANIFEST}")
        return found

    def _check_manifest(self) -> None:
        """Makes sure that this version can read what is there, and that all of it is."""
        if self.manifest["kind"] != KIND:
            raise ValueError(f"it is of another kind, {str(self.manifest['kind'])[:50]!r}")
        if not isinstance(self.manifest["format"], int) or self.manifest["format"] > FORMAT:
            raise RunError(
                f"{self.name!r} was packed by armillary "
                f"{str(self.manifest.get('version'))[:20]} (format "
                f"{str(self.manifest['format'])[:20]}), newer than this one ({__version__}, format "
                f"{FORMAT}): upgrade armillary to use it"
            )
        if unknown := set(self._members) - _KNOWN:
            raise ValueError(f"it holds {min(unknown)[:50]!r}, which is no part of one")
        listed = {name: entry["bytes"] for name, entry in self.manifest["files"].items()}
        if missing := set(_NEEDED) - set(self._members):
            raise ValueError(f"it has no {min(missing)}")
        if {MANIFEST: self._members[MANIFEST], **listed} != self._members:
            raise ValueError("its members are not those that its manifest lists")
        for name, count in self._members.items():
            if name != WEIGHTS and count > TEXT:
                raise ValueError(f"{name} has {count:,} bytes, more than {TEXT:,}")
        if not isinstance(self.manifest["made"], dict):
            raise ValueError("it does not say how it was made")
        if not all(isinstance(entry["sha256"], str) for entry in self.manifest["files"].values()):
            raise ValueError("a checksum is none")
