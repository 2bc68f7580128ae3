"""The agents of a page's runs: loaded once for all sessions, and again when they have learned."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from armillary.agents.base import Models, predicts_frames
from armillary.agents.hidden import HiddenModel
from armillary.dynamics.learned import LearnedModel
from armillary.errors import UsageError
from armillary.explore.runs import ShownRun
from armillary.training.player import Player, load


@dataclass(frozen=True)
class Loaded:
    """An agent of a run as it was at one checkpoint; sessions only read it."""

    shown: ShownRun
    player: Player
    model: LearnedModel | HiddenModel

    @property
    def draws(self) -> bool:
        """Whether frames can be decoded from its states."""
        return isinstance(self.model, LearnedModel) and predicts_frames(self.player.agent)

    @property
    def discrete(self) -> bool:
        """Whether its actions are choices."""
        return self.player.agent.spec.discrete

    @property
    def episodes(self) -> int:
        """From how many it has learned."""
        return int(self.player.counters["episodes"])


class Library:
    """All runs of a page, and their agents.

    Args:
        runs: to be shown.
    """

    def __init__(self, runs: Sequence[ShownRun]) -> None:
        self.runs = list(runs)
        self._locks = [threading.Lock() for _ in runs]
        self.warming: threading.Thread | None = None
        """What compiles before anybody asks, see `warm.begin`."""
        self._loaded: dict[int, tuple[tuple[Path, int], Loaded]] = {}

    def __getitem__(self, number: object) -> ShownRun:
        """Returns a run.

        Raises:
            UsageError: there is none of that number.
        """
        if not isinstance(number, int) or not 0 <= number < len(self.runs):
            raise UsageError(f"there is no run {number!r} on this page: it has {len(self.runs)}")
        return self.runs[number]

    def settle(self) -> None:
        """Waits for what is compiled before anybody asked: twice at once takes twice as long."""
        if self.warming is not None:
            self.warming.join()

    def load(self, number: object) -> Loaded:
        """Returns a run's agent as it is now; equal ones are loaded once.

        Raises:
            ArmillaryError: as `armillary.load`; or it has no model to look into.
        """
        shown = self[number]
        with self._locks[shown.number]:
            newest = shown.newest()
            version = (newest, newest.stat().st_mtime_ns) if newest else None
            known = self._loaded.get(shown.number)
            if known and known[0] == version:
                return known[1]
            player = load(shown.folder, trust=shown.trust)
            if not isinstance(player.agent, Models):
                raise UsageError(
                    f"the agent {player.config.agent!r} has no world model to look into: planet, "
                    "dreamer and muzero have"
                )
            loaded = Loaded(shown, player, player.world_model)
            if version:
                self._loaded[shown.number] = (version, loaded)
            return loaded
