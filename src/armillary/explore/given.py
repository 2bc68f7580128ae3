"""A packed agent on a page: its dreams, plans and games; it has no log and no episodes to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from armillary.config import flatten, to_dict
from armillary.errors import ArmillaryError
from armillary.explore.runs import ShownRun, views
from armillary.training.packed import name_of, refuse
from armillary.training.run import Run
from armillary.training.sources import located, opened

WITHOUT = ("run", "latent")
"""Views of what only a run folder has."""


class PackedRun(ShownRun):
    """A packed agent, `demo:NAME` for instance, as `ShownRun` is a run's folder."""

    def __init__(self, number: int, folder: Path, trust: bool) -> None:
        super().__init__(number, folder, trust)
        self.name = name_of(folder)

    @property
    def run(self) -> Run:
        """Raises UsageError: there is no run folder."""
        refuse(self.folder, "episodes to show and no log")
        return super().run

    def newest(self) -> Path:
        """The file itself."""
        return located(self.folder)

    def facts(self) -> dict[str, Any]:
        """Returns what the page says of it; of a damaged one `error` says what is wrong."""
        told = {"number": self.number, "name": self.name, "folder": str(self.folder), "views": []}
        try:
            source = opened(self.folder, trust=self.trust)
            config, counters = source.config, source.counters
        except ArmillaryError as error:
            return told | {"error": str(error)}
        return told | {
            "task": config.task,
            "tasks": list(config.tasks),
            "agent": config.agent,
            "preset": config.preset,
            "seed": config.seed,
            "episodes": config.episodes * len(config.tasks),
            "views": [view for view in views(config) if view not in WITHOUT],
            "config": flatten(to_dict(config)),
            "results": None,
            "files": [],
            "checkpoint": True,
            "episode": counters.episodes,
            "updates": counters.updates,
            "finished": True,
        }
