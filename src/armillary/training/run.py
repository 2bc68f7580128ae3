"""A run folder: what is in it, and what must be true of it before it is used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import cast

from armillary.config import Backend, Config, differences, from_dict, to_dict
from armillary.envs.catalogue import names
from armillary.envs.rendering import choose
from armillary.errors import RunError, UsageError
from armillary.files import Locked, lock, write_atomically
from armillary.version import __version__

FORMAT = 1
MAY_CHANGE = {
    "episodes",
    "preset",
    "wandb",
    "training.checkpoint_minutes",
    "environment.processes",
    "environment.step_timeout",
}
"""Fields that a continued run may change: they do not alter what is learned from what."""


class InUse(RunError):
    """Another process is training in the folder."""


class Run:
    """The folder of one run.

    - `config.json`: the configuration, and the version that wrote it;
    - `episodes/`: every finished episode; `test/`: one of the last evaluation;
    - `checkpoints/`: the last two;
    - `metrics.jsonl`, `tensorboard/`: the scalars, images and video;
    - `results.json`, pictures and videos: written at the end.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.episodes = self.folder / "episodes"
        self.checkpoints = self.folder / "checkpoints"
        self.test_episodes = self.folder / "test"
        self.results = self.folder / "results.json"
        self._config = self.folder / "config.json"

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return self._config.is_file()

    @cached_property
    def config(self) -> Config:
        """The run's configuration.

        Raises:
            RunError: the folder is not a run, is damaged, or was written by a newer version.
        """
        if not self.exists:
            what = "has no config.json" if self.folder.is_dir() else "does not exist"
            raise RunError(
                f"{str(self.folder)!r} is not a run folder (it {what}): "
                "give the folder that `armillary train` wrote"
            )
        try:
            content = json.loads(self._config.read_text())
            version, values = content["format"], content["config"]
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{self._config} is damaged ({error}): restore it from a copy, or start a new run "
                "in another folder; the episodes and checkpoints beside it are untouched"
            ) from error
        if version > FORMAT:
            raise RunError(
                f"{str(self.folder)!r} was written by armillary {content.get('version')} "
                f"(format {version}), newer than this one ({__version__}, format "
                f"{FORMAT}): upgrade armillary to use it"
            )
        try:
            return from_dict(values)
        except (UsageError, TypeError) as error:
            raise RunError(f"{self._config} is damaged: {error}") from error

    def check(self, config: Config) -> Config:
        """Makes sure that a run of this configuration may be started or continued here.

        Returns:
            The configuration with its rendering back end settled, so that a run goes on with the
            pictures it began with.

        Raises:
            UsageError: the folder holds a run of another configuration.
            RunError: it holds something else, or a damaged run.
            RenderingError: no back end works here.
        """
        if self.exists:
            self.check_same(config)
        elif self.folder.exists() and (not self.folder.is_dir() or any(self._foreign())):
            raise RunError(
                f"{str(self.folder)!r} exists and is not a run folder: give an empty or a new one"
            )
        return self._with_renderer(config)

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
        return (path for path in self.folder.iterdir() if not path.name.startswith("."))

    def _with_renderer(self, config: Config) -> Config:
        if config.environment.renderer != "auto" or not set(config.tasks) & set(names()):
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
        fields = {name: pair for name, pair in changed.items() if name not in MAY_CHANGE}
        if fields:
            lines = "".join(
                f"\n  {name}: {old!r} there, {new!r} asked for"
                for name, (old, new) in fields.items()
            )
            raise UsageError(
                f"{str(self.folder)!r} holds a run of another configuration; give another --run, "
                f"or the same settings to continue it. These fields differ:{lines}"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps two processes from training in the same folder.

        Raises:
            InUse: another process does.
            StorageError: the folder cannot be written.
        """
        try:
            with lock(self.folder / ".lock"):
                yield
        except Locked as error:
            raise InUse(
                f"another process is training in {str(self.folder)!r}: wait for it, stop it, "
                "or give another --run"
            ) from error


def default_folder(config: Config) -> Path:
    """Returns `runs/<task>-<agent>-<preset>-seed<N>`, where `armillary train` puts a run."""
    task = "".join(c if c.isalnum() or c in "-_." else "-" for c in config.task)
    return Path("runs") / f"{task}-{config.agent}-{config.preset}-seed{config.seed}"
