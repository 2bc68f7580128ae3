"""A run folder: what is in it, and what must be true of it before it is used."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from armillary.agents.registry import admit
from armillary.config import Backend, Config, differences, from_dict, to_dict
from armillary.config.fields import check_config
from armillary.envs.catalogue import names
from armillary.envs.observations import draws
from armillary.envs.rendering import choose
from armillary.errors import RunError, UsageError
from armillary.files import (
    Locked,
    lock,
    read_json,
    remove_stale,
    storage_error,
    write_atomically,
)
from armillary.training.packed import refuse
from armillary.training.saved_config import FORMAT, fixed, lines, of_today, plain
from armillary.version import __version__

log = logging.getLogger(__name__)

_LONGEST_NAME = 150
"""Bytes of the task in a folder's name; file systems allow 255 for all of it."""


class InUse(RunError):
    """Another process is training in the folder."""


class Run:
    """The folder of one run.

    - `config.json`: the configuration, and the version that wrote it;
    - `episodes/`: every finished episode; `test/`: one of the last evaluation;
    - `checkpoints/`: the last two;
    - `metrics.jsonl`, `tensorboard/`: the scalars, images and video;
    - `results.json`, pictures and videos: written at the end;
    - `run.log`: what it printed, if it was trained on a cluster.
    """

    def __init__(self, folder: str | Path, *, trust: bool = False) -> None:
        """Looks at a folder.

        Args:
            folder: of the run, there or not.
            trust: whether the code of an agent or of dynamics that its configuration names may be
                imported (docs/trust.md).
        """
        self.folder = Path(folder)
        self._trust = trust
        self.episodes = self.folder / "episodes"
        self.checkpoints = self.folder / "checkpoints"
        self.test_episodes = self.folder / "test"
        self.results = self.folder / "results.json"
        self.log = self.folder / "run.log"
        self._config = self.folder / "config.json"

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run.

        Raises:
            RunError: it cannot be told.
        """
        return _mode(self._config) is not None

    @cached_property
    def config(self) -> Config:
        """The run's configuration.

        Raises:
            RunError: the folder is not a run, is damaged, or was written by a newer version.
            UsageError: it names code of an agent or of dynamics, and is not trusted.
        """
        values = self._values()
        admit(values, self.folder, trust=self._trust)
        try:
            return from_dict(values)
        except (ValueError, TypeError, AttributeError) as error:
            raise self._damaged(error) from error

    @property
    def version(self) -> str:
        """The version of this package that wrote the configuration last, if it says so."""
        content = read_json(self._config)
        return str(content.get("version", "")) if isinstance(content, dict) else ""

    def _values(self) -> dict[str, Any]:
        """Returns the configuration as plain values."""
        if not self.exists:
            refuse(self.folder, "episodes, metrics or optimiser")
            what = "has no config.json" if self.folder.is_dir() else "does not exist"
            raise RunError(
                f"{str(self.folder)!r} is not a run folder (it {what}): "
                "give the folder that `armillary train` wrote"
            )
        try:
            return plain(read_json(self._config), str(self.folder))
        except PermissionError as error:
            raise RunError(f"{self._config} may not be read: make it readable first") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> RunError:
        return RunError(
            f"{self._config} is damaged ({error}): restore it from a copy, or start a new run in "
            "another folder; the episodes and checkpoints beside it are untouched"
        )

    def check(self, config: Config) -> Config:
        """Makes sure that a run of this configuration may be started or continued here.

        Returns:
            The configuration with its rendering back end settled, so that a run goes on with the
            pictures it began with.

        Raises:
            UsageError: the folder holds a run of another configuration, or this one has a value
                of the wrong type.
            RunError: it holds something else, or a damaged run.
            RenderingError: no back end works here.
        """
        check_config(config)
        refuse(self.folder, "episodes and optimiser to go on with")
        if self.exists:
            self.check_same(config)
            self._check_links()
        elif _mode(self.folder) is not None and (not self.folder.is_dir() or any(self._foreign())):
            raise RunError(
                f"{str(self.folder)!r} exists and is not a run folder: give an empty or a new one"
            )
        return self._with_renderer(config)

    def check_made_with(self, made_with: Mapping[str, Any] | None, config: Config) -> None:
        """Makes sure that a checkpoint was made with a configuration, up to what may change.

        Args:
            made_with: the configuration that the checkpoint keeps; None: it keeps none.
            config: that of the run, as `config.json` has it.

        Raises:
            UsageError: they differ; says in which fields.
            RunError: the checkpoint's is no configuration.
        """
        if made_with is None:
            return
        try:
            then, now = (from_dict(of_today(values)) for values in (made_with, to_dict(config)))
            fields = fixed(differences(then, now))
        except UsageError as error:
            raise RunError(
                f"the checkpoint in {self.checkpoints} keeps no configuration ({error}): move it "
                "away, and the one before it is taken"
            ) from error
        if fields:
            raise UsageError(
                f"{self._config} was changed since its run began, and what was learned so far does "
                "not fit it; put the old values back, or give another --run for the new ones. "
                f"These fields differ:{lines(fields, 'in the checkpoint', 'in config.json')}"
            )

    def open(self, config: Config) -> None:
        """Writes the configuration; call `check` before.

        Raises:
            StorageError: the folder cannot be written.
        """
        content = {"format": FORMAT, "version": __version__, "config": to_dict(config)}
        text = json.dumps(content, indent=2).encode()
        if not self.exists or self._config.read_bytes() != text:
            write_atomically(self._config, lambda file: file.write(text))
        self.config = config

    def _foreign(self) -> Iterator[Path]:
        """Whatever is not left by a run that was stopped before it had begun."""
        try:
            names = (path for path in self.folder.iterdir() if not path.name.startswith("."))
            yield from (path for path in names if path != self.log)
        except OSError as error:
            raise RunError(f"{str(self.folder)!r} may not be read: {error.strerror}") from error

    def _check_links(self) -> None:
        """Makes sure that nothing outside the folder is written, moved or removed through a link.

        Raises:
            RunError: there is one; names it.
        """
        folders = (self.episodes, self.checkpoints, self.test_episodes, self.folder / "tensorboard")
        files = [self._config, self.results, self.folder / "metrics.jsonl"]
        for folder in folders:
            files += [folder, folder / "damaged"]
            if folder.is_dir():
                try:
                    files += folder.iterdir()
                except OSError as error:
                    raise RunError(f"{folder} may not be read: {error.strerror}") from error
        for path in files:
            if path.is_symlink():
                raise RunError(
                    f"{path} is a symbolic link, and what it leads to might be changed or removed: "
                    "put the file itself there, or remove the link (the run folder as a whole may "
                    "be a link)"
                )

    def _with_renderer(self, config: Config) -> Config:
        drawn = draws(config.environment) and set(config.tasks) & set(names())
        if config.environment.renderer != "auto" or not drawn:
            return config
        renderer = self.config.environment.renderer if self.exists else cast(Backend, choose())
        return replace(config, environment=replace(config.environment, renderer=renderer))

    def check_same(self, config: Config) -> None:
        """Makes sure that the run in this folder is of this configuration, or of fewer episodes.

        Raises:
            UsageError: it is of another one; says which fields differ.
            RunError: there is none, or it is damaged.
        """
        changed = differences(self.config, config)
        if config.environment.renderer == "auto":
            changed.pop("environment.renderer", None)
        if fields := fixed(changed):
            raise UsageError(
                f"{str(self.folder)!r} holds a run of another configuration; give another --run, "
                "or the same settings to continue it. These fields differ:"
                f"{lines(fields, 'there', 'asked for')}"
            )

    @contextmanager
    def locked(self) -> Iterator[Callable[[], None]]:
        """Keeps two processes from training in the same folder.

        Yields:
            A function that raises InUse if the folder is no longer the one that was locked.

        Raises:
            InUse: another process does.
            StorageError: the folder cannot be written.
        """

        def check() -> None:
            try:
                held()
            except Locked as error:
                raise InUse(
                    f"{error}: the run is stopped, so that no other is disturbed; start it again "
                    "where its folder is now"
                ) from error

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(self.folder, error) from error
        with ExitStack() as stack:
            try:
                held = stack.enter_context(lock(self.folder))
            except Locked as error:
                raise InUse(
                    f"another process is training in {str(self.folder)!r}: wait for it, stop it, "
                    "or give another --run"
                ) from error
            try:
                for folder in (self.folder, self.checkpoints, self.episodes, self.test_episodes):
                    remove_stale(folder)
            except OSError as error:
                raise storage_error(self.folder, error) from error
            yield check


def _mode(path: Path) -> int | None:
    """Returns the kind and permissions of a file, or of what a link leads to; None: not there.

    Raises:
        RunError: it cannot be told: the name is too long, say, or a folder may not be searched.
    """
    try:
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RunError(f"{str(path.parent)!r} cannot be used as a run folder: {reason}") from error


def default_folder(config: Config) -> Path:
    """Returns `runs/<task>-<agent>-<preset>-seed<N>`, where `armillary train` puts a run."""
    task = "".join(c if c.isalnum() or c in "-_." else "-" for c in config.task)
    if len(task.encode()) > _LONGEST_NAME:  # of many tasks: the first, and a mark of them all
        start = task.encode()[: _LONGEST_NAME - 9].decode(errors="ignore")
        task = f"{start}-{hashlib.sha256(config.task.encode()).hexdigest()[:8]}"
    return Path("runs") / f"{task}-{config.agent}-{config.preset}-seed{config.seed}"
