"""Settings of PlaNet (Hafner et al., 2019); the defaults are the paper's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from armillary.config.settings import Config, positive, require
from armillary.config.world_model import WorldModelConfig


@dataclass(frozen=True)
class PlannerConfig:
    """The cross-entropy method (PlaNet, Algorithm 2).

    One iteration with one elite is random shooting: the best of J random sequences is executed.
    """

    horizon: int = 12
    """H: actions in a plan."""
    iterations: int = 10
    """I: optimisation iterations."""
    candidates: int = 1000
    """J: action sequences sampled in each iteration."""
    elites: int = 100
    """K: the best candidates, to which the belief is refitted."""
    refit: Literal["std", "mad"] = "std"
    """How the belief's spread is refitted to the best candidates: their standard deviation (the
    published code) or the mean absolute deviation sum |a - mean| / (K - 1) (the paper's
    Algorithm 2)."""

    def __post_init__(self) -> None:
        positive(self, "horizon", "iterations", "candidates", "elites")
        require(
            self.elites <= self.candidates,
            f"elites (K) is {self.elites}, but only {self.candidates} candidates (J) are sampled: "
            "K must not be greater than J",
        )
        require(
            self.refit != "mad" or self.elites > 1,
            "refit 'mad' divides by K - 1, so elites (K) must be at least 2",
        )

    @property
    def size(self) -> str:
        """How large a plan is, in the letters of Algorithm 2."""
        return f"J={self.candidates}, I={self.iterations}, H={self.horizon}"


@dataclass(frozen=True)
class PlanetConfig(WorldModelConfig):
    """A run of PlaNet."""

    agent: str = "planet"
    planner: PlannerConfig = field(default_factory=PlannerConfig)


def planner_of(config: Config, act: str | None = None) -> PlannerConfig | None:
    """Returns the settings with which an agent plans; None: it acts without a planner.

    Args:
        config: of its run.
        act: how it acts, in place of what the configuration says; only of an agent that has the
            choice.
    """
    planner = getattr(config, "planner", None)
    plans = getattr(config, "act", "plan") == "plan" if act is None else act == "plan"
    return planner if plans and isinstance(planner, PlannerConfig) else None
