"""Checkpoints: everything that a stopped run needs to go on as if it had not been stopped.

A checkpoint is one file: a line with a magic word and the SHA-256 of what follows, a line of JSON
(format, version, meta, shapes), and the leaves as Equinox serialises them.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import os
import re
import stat
from collections.abc import Callable, Mapping
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from armillary.errors import RunError
from armillary.files import (
    open_regular,
    parse_json,
    remove_stale,
    storage_error,
    write_atomically,
)
from armillary.version import __version__

log = logging.getLogger(__name__)

FORMAT = 1
_MAGIC = b"armillary-checkpoint"
Tree = TypeVar("Tree", bound=PyTree)
T = TypeVar("T")

_ONE_IMAGE = re.compile(r"\.(encoder|decoder)\.((?:kernels|biases|weight|bias)(?:\[|$))")
"""The networks of images where an older version, that knew of one image only, had them."""


def save(
    folder: str | os.PathLike[str],
    tree: PyTree,
    meta: dict[str, Any],
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Writes the next checkpoint into `folder` and keeps the newest sound one before it.

    Args:
        folder: holds the checkpoints of one run; made if it is missing.
        tree: arrays on any device, NumPy arrays and Python numbers (typed PRNG keys are not
            possible); other leaves are not stored.
        meta: anything that JSON can hold: counters, configuration, positions in other files.
        arrays: others whose shapes are not known beforehand, see `load_all`.

    Returns:
        The file, `checkpoint-000012.armillary`.

    Raises:
        StorageError: it could not be written; the checkpoints before it are as they were.
    """
    folder = Path(folder)
    earlier = _list(folder)
    number = int(earlier[0].stem.rpartition("-")[2]) + 1 if earlier else 0
    path = folder / f"checkpoint-{number:06d}.armillary"
    payload = io.BytesIO()
    eqx.tree_serialise_leaves(payload, tree)
    header = {
        "format": FORMAT,
        "version": __version__,
        "meta": meta,
        "leaves": _leaves(tree),
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    if arrays:
        header["arrays"] = [[name, x.dtype.str, list(x.shape)] for name, x in arrays.items()]
        for array in arrays.values():
            payload.write(array.tobytes())
    body = json.dumps(header).encode() + b"\n" + payload.getvalue()

    def write(file: BinaryIO) -> None:
        file.write(_MAGIC + b" " + hashlib.sha256(body).hexdigest().encode() + b"\n")
        file.write(body)

    write_atomically(path, write)
    kept = False
    try:
        for old in earlier:
            if not kept and sound(old):
                kept = True
            else:
                _remove(old)
        remove_stale(folder)
    except OSError as error:
        raise storage_error(folder, error) from error
    return path


def load(path: str | os.PathLike[str], like: Tree) -> tuple[Tree, dict[str, Any]]:
    """Restores a checkpoint, bit for bit.

    Args:
        path: a folder of checkpoints, of which the newest is taken (the one before it, with a
            warning, if the newest is damaged), or one checkpoint file.
        like: a tree of the same structure as the saved one: `jax.Array` or `jax.ShapeDtypeStruct`
            leaves become `jax.Array`s on the default device, NumPy arrays and numbers stay so, and
            all other leaves are kept.

    Returns:
        The tree and the meta that were saved.

    Raises:
        RunError: there is no checkpoint, none is sound, it was written by a newer format, or it is
            of a tree of other shapes.
    """
    return _read_newest(Path(path), partial(_restore, like))


def read_meta(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the meta of the newest checkpoint that is not damaged, to build `load`'s `like` from.

    Raises:
        RunError: as `load`.
    """
    return _read_newest(Path(path), lambda file, header, payload: header["meta"])


def load_all(
    path: str | os.PathLike[str], like: Tree
) -> tuple[Tree, dict[str, Any], dict[str, np.ndarray]]:
    """Returns what `load` does, and the further arrays that were saved; often none.

    Raises:
        RunError: as `load`.
    """

    def restored(file: Path, header: dict[str, Any], payload: bytes) -> Any:
        return *_restore(like, file, header, payload), _arrays(file, header, payload)

    return _read_newest(Path(path), restored)


def newest(folder: str | os.PathLike[str]) -> Path | None:
    """Returns the newest checkpoint file in `folder`, sound or not, or None if there is none.

    Raises:
        RunError: the folder may not be read, or is none.
    """
    return next(iter(_list(Path(folder))), None)


def exists(folder: str | os.PathLike[str]) -> bool:
    """Says whether there is any checkpoint, sound or not, in `folder`.

    Raises:
        RunError: the folder may not be read, or is none.
    """
    return newest(folder) is not None


def sound(path: Path) -> bool:
    """Says whether a checkpoint file is as it was written."""
    try:
        _read(path)
    except (_Damaged, FileNotFoundError):
        return False
    return True


def _remove(path: Path) -> None:
    """Removes what has the name of a checkpoint; a folder only if it is empty."""
    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            path.rmdir()
        else:
            path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("%s is no checkpoint and cannot be removed (%s): remove it", path, error)


def _restore(
    like: Tree, path: Path, header: dict[str, Any], payload: bytes
) -> tuple[Tree, dict[str, Any]]:
    saved = [_of_today(leaf) for leaf in header["leaves"]]
    expected = _leaves(like)
    if saved != expected:
        pairs = zip_longest(saved, expected, fillvalue=["nothing"])
        theirs, ours = next((a, b) for a, b in pairs if a != b)
        raise RunError(
            f"{path} holds another model: {' '.join(map(str, theirs))} where "
            f"{' '.join(map(str, ours))} was expected; load it with the configuration that it was "
            "trained with"
        )
    try:
        return eqx.tree_deserialise_leaves(io.BytesIO(payload), like), header["meta"]
    except Exception as error:  # whatever NumPy and Equinox find wrong with the bytes
        raise _Damaged(f"checkpoint {path} is damaged ({error})") from error


def _arrays(path: Path, header: dict[str, Any], payload: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays that stand at the end of a checkpoint, one after another."""
    try:
        kinds = [(name, np.dtype(dtype), shape) for name, dtype, shape in header.get("arrays", [])]
        sizes = [dtype.itemsize * math.prod(shape) for _, dtype, shape in kinds]
        place, arrays = len(payload) - sum(sizes), {}
        for (name, dtype, shape), size in zip(kinds, sizes, strict=True):
            arrays[name] = np.frombuffer(payload[place : place + size], dtype).reshape(shape)
            place += size
    except (ValueError, TypeError) as error:
        raise _Damaged(f"checkpoint {path} is damaged ({error})") from error
    return arrays


def _of_today(leaf: Any) -> Any:
    """Returns a leaf's path, type and shape as they are written today."""
    if not (isinstance(leaf, list) and leaf and isinstance(leaf[0], str)):
        return leaf
    return [_ONE_IMAGE.sub(r".\1.images['image'].\2", leaf[0]), *leaf[1:]]


def _leaves(tree: PyTree) -> list[list[Any]]:
    """Returns the path, type and shape of each leaf that is stored."""
    leaves = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, jax.ShapeDtypeStruct) or eqx.is_array_like(leaf):
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            leaves.append([jax.tree_util.keystr(path), str(kind), list(np.shape(leaf))])
    return leaves


def _list(folder: Path) -> list[Path]:
    """Returns the checkpoints in a folder, newest first; none if there is no folder."""
    try:
        files = [folder / name for name in os.listdir(folder)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(
            f"the checkpoints in {folder} cannot be read ({error.strerror}): it must be a folder "
            "that you may read"
        ) from error
    numbered = [file for file in files if re.fullmatch(r"checkpoint-\d+\.armillary", file.name)]
    return sorted(numbered, key=lambda file: int(file.stem[11:]), reverse=True)


def _read_newest(path: Path, use: Callable[[Path, dict[str, Any], bytes], T]) -> T:
    """Returns what `use` makes of the path, header and payload of the newest sound checkpoint."""
    if path.is_file():
        return use(*_read(path))
    damaged: list[str] = []
    for _ in range(3):  # a running training may replace the files that were listed
        for file in _list(path):
            try:
                return use(*_read(file))
            except FileNotFoundError:
                break
            except _Damaged as error:
                if str(error) not in damaged:
                    damaged.append(str(error))
                    log.warning("%s: falling back to the checkpoint before it", error)
        else:
            break
    if damaged:
        raise RunError(f"no sound checkpoint is left in {path}: {'; '.join(damaged)}")
    raise RunError(
        f"there is no checkpoint in {path}, expected checkpoint-*.armillary as `armillary train` "
        "writes them: is it the folder of a run?"
    )


class _Damaged(RunError):
    pass


def _read(path: Path) -> tuple[Path, dict[str, Any], bytes]:
    """Reads, verifies and splits a checkpoint file.

    Raises:
        FileNotFoundError: it has just been removed.
        RunError: it is damaged, may not be read, or is of a newer format.
    """
    try:
        with open_regular(path) as file:
            magic, _, digest = file.readline(128).rstrip(b"\n").partition(b" ")
            body = file.read() if magic == _MAGIC else b""
    except FileNotFoundError as error:
        if path.is_symlink():
            raise _Damaged(f"checkpoint {path} is damaged (a link that leads nowhere)") from error
        raise
    except PermissionError as error:
        raise RunError(f"checkpoint {path} may not be read: make it readable first") from error
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "it does not fit into memory"
        raise _Damaged(f"checkpoint {path} is damaged ({reason})") from error
    if magic != _MAGIC or hashlib.sha256(body).hexdigest().encode() != digest:
        raise _Damaged(f"checkpoint {path} is damaged (wrong checksum)")
    line, _, payload = body.partition(b"\n")
    return path, _header(path, line), payload


def _header(path: Path, line: bytes) -> dict[str, Any]:
    """Returns the second line of a checkpoint, which is what `save` writes there."""
    try:
        header = parse_json(line)
        newer, leaves = header["format"] > FORMAT, header.get("leaves")
        right = isinstance(leaves, list) and all(isinstance(leaf, list) for leaf in leaves)
        right = right and isinstance(header["meta"], dict)
    except (ValueError, TypeError, KeyError):
        newer = right = False
    if newer:
        raise RunError(
            f"{path} was written by armillary {header.get('version')}, this is "
            f"{__version__}, which cannot read its format: upgrade armillary"
        )
    if not right:
        raise _Damaged(f"checkpoint {path} is damaged (its header is not one)")
    return header
