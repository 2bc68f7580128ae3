"""The training loop: Algorithm 1 of PlaNet and of Dreamer, and MuZero's rounds of self-play."""

from __future__ import annotations

import abc

from armillary.config import Config
from armillary.config.schedule import all_rounds, evaluation_due, seed_rounds, updates_due


class Algorithm(abc.ABC):
    """What comes after what: for one seed (`Trainer`), or for several in step (`Seeds`)."""

    config: Config

    def _loop(self) -> None:
        config = self.config
        while self.rounds < seed_rounds(config):
            self.collect(seeding_model=True)
        while True:
            self.look_ahead()
            self.fit(updates_due(config, self.rounds))
            if self.rounds >= all_rounds(config):
                return
            if evaluation_due(config, self.rounds):
                self.evaluate()
            self.collect()
            while self.episodes % self._of_each_task:  # one of each task
                self.collect()

    @property
    @abc.abstractmethod
    def episodes(self) -> int:
        """How many episodes have been collected."""

    @property
    def rounds(self) -> int:
        """How many rounds of episodes of each task have been collected."""
        return self.episodes // self._of_each_task

    @property
    def _of_each_task(self) -> int:
        """Episodes of a round of each task."""
        return self.config.round_size * len(self.config.tasks)

    @abc.abstractmethod
    def look_ahead(self) -> None:
        """Called before the updates between two rounds: the next one may begin now."""

    @abc.abstractmethod
    def fit(self, due: int) -> None:
        """Takes the updates that are due (Algorithm 1, lines 4 to 7)."""

    @abc.abstractmethod
    def evaluate(self) -> None:
        """Tests the agent while training goes on, once."""

    @abc.abstractmethod
    def collect(self, *, seeding_model: bool = False) -> None:
        """Collects a round of the task whose turn it is (Algorithm 1, lines 1 and 8 to 16)."""
