"""Learning from episodes that are there already, without collecting any."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from armillary.config import Config
from armillary.errors import UsageError
from armillary.files import storage_error
from armillary.spec import Continuous, Discrete, Field, Spec
from armillary.training import checkpoint
from armillary.training.counters import Counters
from armillary.training.run import Run


def source_spec(config: Config) -> Spec:
    """Returns what an agent that learns from `config.source` is made from.

    Raises:
        UsageError: there are no episodes.
        RunError: they are damaged.
    """
    source = str(config.source)
    run = Run(source)
    if run.checkpoints.is_dir() and checkpoint.exists(run.checkpoints):
        meta = checkpoint.read_meta(run.checkpoints)
        return Spec.from_dict(Counters.of(meta, run.checkpoints).spec)
    first = next(_files(source))
    with np.load(first) as arrays:
        names = {"image": "image"} | {
            name.removeprefix("observation/"): name
            for name in arrays.files
            if name.startswith("observation/")
        }
        fields = {
            name: Field(arrays[stored].shape[1:], str(arrays[stored].dtype))
            for name, stored in names.items()
            if stored in arrays.files
        }
        actions = arrays["action"]
    one_hot = np.isin(actions, (0, 1)).all() and (actions[1:].sum(axis=1) == 1).all()
    kind = Discrete if one_hot and actions.shape[1] > 1 else Continuous
    return Spec.of(fields, kind(actions.shape[1]))


def bring(config: Config, run: Run) -> None:
    """Puts the episodes of `config.source` into a run's own folder.

    They keep their numbers. Where the file system can, they take no room for a second time. What is
    there already is left alone, so that what was interrupted can be done again.

    Raises:
        UsageError: there are none, or it is the run's own folder.
        StorageError: they cannot be written.
    """
    source = str(config.source)
    if _folder(source).resolve() == run.episodes.resolve():
        raise UsageError(
            f"{source!r} is the folder of this run itself: give another one with --run"
        )
    for path in _files(source):
        target = run.episodes / path.name
        with suppress(FileExistsError):
            try:
                run.episodes.mkdir(parents=True, exist_ok=True)
                os.link(path, target)
            except FileExistsError:
                raise
            except OSError:  # on another disk, or one that has no links
                _copy(path, target)


def _copy(path: Path, target: Path) -> None:
    unfinished = target.with_suffix(".part")
    try:
        shutil.copyfile(path, unfinished)
        os.replace(unfinished, target)
    except OSError as error:
        raise storage_error(target, error) from error


def _folder(source: str) -> Path:
    """Returns where the files are: in a run folder in its `episodes`."""
    folder = Path(source)
    return folder / "episodes" if (folder / "episodes").is_dir() else folder


def _files(source: str) -> Iterator[Path]:
    """Yields the episodes of a folder.

    Raises:
        UsageError: there are none.
    """
    folder = _folder(source)
    files = sorted(folder.glob("episode-*.npz")) if folder.is_dir() else []
    if not files:
        what = "holds no episodes" if folder.is_dir() else "does not exist"
        raise UsageError(
            f"there is nothing to learn from: {str(folder)!r} {what}. Give --from a run folder, or "
            "a folder of episode-*.npz"
        )
    yield from files
