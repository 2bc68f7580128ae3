"""The runs that a page shows: what their folders say, without the agent being loaded."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from armillary.config import Config, flatten, to_dict
from armillary.config.presets import known_game
from armillary.errors import ArmillaryError, UsageError
from armillary.studies.plots import read_metrics
from armillary.training.packed import is_packed
from armillary.training.results import read_results
from armillary.training.run import Run

KINDS = {".png": "image/png", ".gif": "image/gif", ".mp4": "video/mp4"}
"""Files of a run folder that are shown, by their ending, and what they are served as."""


class ShownRun:
    """One run of a page.

    Args:
        number: its place among them.
        folder: of the run.
        trust: whether Python modules that it names may be run (docs/trust.md).
    """

    def __init__(self, number: int, folder: Path, trust: bool) -> None:
        self.number, self.folder, self.trust = number, folder, trust
        self.name = folder.absolute().name or str(folder)
        self._rows: tuple[tuple[int, int, int], list[dict[str, Any]]] | None = None

    @property
    def run(self) -> Run:
        """The folder as it is now."""
        return Run(self.folder, trust=self.trust)

    def facts(self) -> dict[str, Any]:
        """Returns what the page says of it; of a damaged one `error` says what is wrong."""
        told: dict[str, Any] = {
            "number": self.number, "name": self.name, "folder": str(self.folder), "views": ["run"],
        }  # fmt: skip
        try:
            config = self.run.config
        except ArmillaryError as error:
            return told | {"error": str(error)}
        results = read_results(self.run.results)
        told |= {
            "task": config.task,
            "tasks": list(config.tasks),
            "agent": config.agent,
            "preset": config.preset,
            "seed": config.seed,
            "episodes": config.episodes * len(config.tasks),
            "views": views(config),
            "config": flatten(to_dict(config)),
            "results": _scores(results),
            "files": [path.name for path in self._files()],
            "checkpoint": self._has_checkpoint(),
        }
        return told | self._progress(finished=results is not None)

    def _progress(self, finished: bool) -> dict[str, Any]:
        """Returns how far it has come, and when it last said so."""
        try:
            rows = self._metrics()
            age = time.time() - (self.folder / "metrics.jsonl").stat().st_mtime
        except (ArmillaryError, OSError) as error:
            return {"episode": 0, "updates": 0, "finished": finished, "unread": str(error)}
        last = rows[-1] if rows else {}
        return {
            "episode": last.get("episode", 0),
            "updates": last.get("updates", 0),
            "seconds": last.get("seconds"),
            "logged": max(0.0, age),
            "finished": finished,
        }

    def newest(self) -> Path | None:
        """Returns the file that its agent is loaded from; None: there is none yet.

        Raises:
            RunError: the folder may not be read.
        """
        from armillary.training import checkpoint

        return checkpoint.newest(self.run.checkpoints)

    def _has_checkpoint(self) -> bool:
        try:
            return self.newest() is not None
        except ArmillaryError:
            return False

    def rows(self, start: int, episode: int | None) -> dict[str, Any]:
        """Returns the rows of the log from one on.

        Args:
            start: how many are known.
            episode: of the last of these; where it is another one now, the log was written anew,
                and all rows are returned.

        Raises:
            RunError: there is no log, or it is damaged.
        """
        rows = self._metrics()
        known = 0 < start <= len(rows) and rows[start - 1].get("episode") == episode
        start = start if known else 0
        return {"start": start, "rows": rows[start:]}

    def _metrics(self) -> list[dict[str, Any]]:
        """Returns all rows; they are parsed again only after the file has changed."""
        try:
            found = (self.folder / "metrics.jsonl").stat()
        except OSError:
            return read_metrics(self.folder)  # which says what is wrong
        state = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._rows is None or self._rows[0] != state:
            self._rows = (state, read_metrics(self.folder))
        return self._rows[1]

    def file(self, name: str) -> Path | None:
        """Returns a picture or a video of the folder; None: there is none of that name."""
        return next((path for path in self._files() if path.name == name), None)

    def _files(self) -> list[Path]:
        """Returns what can be looked at, the newest first: files, never links to them."""
        found = []
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    right = Path(entry.name).suffix in KINDS and not entry.name.startswith(".")
                    if right and stat.S_ISREG((of := entry.stat(follow_symlinks=False)).st_mode):
                        found.append((-of.st_mtime_ns, self.folder / entry.name))
        except OSError:
            return []
        return [path for _, path in sorted(found)]


def views(config: Config) -> list[str]:
    """Returns which views of a page have something to show of a run's agent."""
    if known_game(config.tasks[0]):
        return ["run", "game", "plan", "latent"]
    return ["run", "dream", "plan", "latent"]


def _scores(results: dict[str, Any] | None) -> dict[str, float] | None:
    """Returns the mean scores with which a run has ended."""
    if results is None:
        return None
    try:
        return {kind: float(results[kind]["mean"]) for kind in ("agent", "random")}
    except (KeyError, TypeError, ValueError):
        return None


def shown(folders: Sequence[Path], trust: bool) -> list[ShownRun]:
    """Returns the runs of folders; without any, those of `runs/`.

    Raises:
        UsageError: there is none to show; or a folder is not there.
    """
    if not folders:
        found = sorted(Path("runs").glob("*/config.json"), key=lambda path: -path.stat().st_mtime)
        folders = [path.parent for path in found]
        if not folders:
            raise UsageError(
                "there is no run in the folder 'runs' to explore: name the folders of runs "
                "(`armillary explore RUN ...`), or train one, `armillary train`"
            )
    for folder in folders:
        if not folder.is_dir() and not is_packed(folder):
            raise UsageError(
                f"{str(folder)!r} is no folder: give the run folder that `armillary train` wrote"
            )
    from armillary.explore.given import PackedRun

    return [
        (PackedRun if is_packed(folder) else ShownRun)(number, folder, trust)
        for number, folder in enumerate(folders)
    ]
