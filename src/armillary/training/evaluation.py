"""Scores: returns of noise-free episodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from armillary import seeding
from armillary.agents.base import Actor
from armillary.replay.episode import Episode
from armillary.training.rollout import returns, rollout


@dataclass(frozen=True)
class Scores:
    """Returns of several episodes: undiscounted sums of the environment's own rewards."""

    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return float(np.mean(self.scores))

    @property
    def std(self) -> float:
        """Their standard deviation over the episodes (population, not the mean's error)."""
        return float(np.std(self.scores))

    def as_dict(self) -> dict[str, Any]:
        """Returns `mean`, `std` (None of no episodes), `episodes` and `scores`, ready for JSON."""
        scores = list(asdict(self)["scores"])
        if not scores:
            return {"mean": None, "std": None, "episodes": 0, "scores": []}
        return {"mean": self.mean, "std": self.std, "episodes": len(scores), "scores": scores}

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.std:.1f} ({len(self.scores)} episodes)"


def evaluate(
    envs: gym.vector.VectorEnv,
    actor: Actor,
    state: Any,
    *,
    episodes: int,
    seed: int,
    purpose: str = "evaluate",
    on_step: Callable[[int], None] = lambda count: None,
) -> tuple[Scores, list[Episode]]:
    """Plays noise-free episodes, as many at a time as there are environments.

    The environments' seeds do not depend on how many are side by side; what a stochastic agent
    draws does, so equal scores need an equal number.

    Args:
        envs: environments side by side.
        actor: who acts, without exploration.
        state: its parameters.
        episodes: how many in all; the i-th has environment seed `(seed, purpose, i)`.
        seed: of environments and planning.
        purpose: separates the random numbers of different evaluations.
        on_step: as in `rollout`.

    Returns:
        The scores of all episodes, and the last episodes played.
    """
    scores: list[float] = []
    played: list[Episode] = []
    while len(scores) < episodes:
        first = len(scores)
        indices = range(first, first + envs.num_envs)
        played = rollout(
            envs,
            actor,
            state,
            seeding.key(seed, purpose, first),
            seeds=[seeding.integer(seed, purpose, index) for index in indices],
            explore=False,
            on_step=on_step,
        )
        scores.extend(returns(played))
    return Scores(tuple(scores[:episodes])), played
