"""Wins, draws and losses against random moves, as first and as second player."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from armillary import seeding
from armillary.envs.boards import begins
from armillary.training.evaluation import Scores


@dataclass(frozen=True)
class Tally:
    """How games ended."""

    wins: int = 0
    draws: int = 0
    losses: int = 0

    @classmethod
    def of(cls, scores: Iterable[float]) -> Tally:
        """Counts games by what they paid: more than 0, 0 or less."""
        paid = [float(x) for x in scores]
        return cls(sum(x > 0 for x in paid), sum(x == 0 for x in paid), sum(x < 0 for x in paid))

    @property
    def games(self) -> int:
        """How many there were."""
        return self.wins + self.draws + self.losses

    def __str__(self) -> str:
        return f"{self.wins} won, {self.draws} drawn, {self.losses} lost"


@dataclass(frozen=True)
class Outcomes:
    """How games against random moves ended, by who began."""

    first: Tally
    second: Tally

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"against random moves, as first player: {self.first}; as second: {self.second}"


def outcomes(scores: Scores, seed: int, purpose: str = "evaluate") -> Outcomes:
    """Returns how the episodes of an evaluation ended.

    Args:
        scores: what `evaluate` gave for a board game.
        seed: of that evaluation; it says who began which episode.
        purpose: of that evaluation.
    """
    ended: dict[bool, list[float]] = {True: [], False: []}
    for index, score in enumerate(scores.scores):
        ended[begins(seeding.integer(seed, purpose, index))].append(score)
    return Outcomes(Tally.of(ended[True]), Tally.of(ended[False]))
