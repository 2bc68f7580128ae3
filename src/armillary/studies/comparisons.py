"""What each figure of PlaNet compares, and at which scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from armillary.config import (
    CollectionConfig,
    EnvironmentConfig,
    EvaluationConfig,
    ModelConfig,
    ObjectiveConfig,
    PlanetConfig,
    PlannerConfig,
    TrainingConfig,
    changed,
    planet_paper,
    planet_small,
)
from armillary.envs.catalogue import PLANET
from armillary.errors import UsageError


@dataclass(frozen=True)
class Variant:
    """One line of a figure: an agent that differs from PlaNet in some fields.

    Attributes:
        label: what the figure calls it.
        changes: the fields, by dotted name.
        together: one agent learns all tasks.
    """

    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    together: bool = False

    @property
    def name(self) -> str:
        """A name for folders, made of the changes: the same agent has the same one everywhere."""
        parts = [f"{key.rpartition('.')[2]}-{value}" for key, value in self.changes.items()]
        return "+".join(parts).replace("_", "-") or "planet"


@dataclass(frozen=True)
class Comparison:
    """What a figure compares."""

    title: str
    variants: tuple[Variant, ...]
    over_tasks: bool = False
    """One panel with the mean over all tasks (Figure 6), not a panel for each."""


_PLANET = Variant("PlaNet (RSSM)")
_SHOOTING = {"planner.iterations": 1, "planner.elites": 1, "planner.candidates": 1000}

COMPARISONS: dict[str, Comparison] = {
    "figure4": Comparison(
        "Model designs",
        (
            _PLANET,
            Variant("stochastic (SSM)", {"model.dynamics": "ssm"}),
            Variant("deterministic (GRU)", {"model.dynamics": "rnn"}),
        ),
    ),
    "figure5": Comparison(
        "Agent designs",
        (
            Variant("PlaNet"),
            Variant("random collection", {"collection.policy": "random"}),
            Variant("random shooting", _SHOOTING),
        ),
    ),
    "figure6": Comparison(
        "One agent for all tasks, mean over tasks",
        (Variant("an agent for each task"), Variant("one agent for all tasks", together=True)),
        over_tasks=True,
    ),
    "figure7": Comparison(
        "One agent for all tasks",
        (Variant("an agent for each task"), Variant("one agent for all tasks", together=True)),
    ),
    "figure8": Comparison(
        "Latent overshooting",
        (
            _PLANET,
            Variant("RSSM, latent overshooting", {"objective.overshooting": 12}),
            Variant("DRNN", {"model.dynamics": "drnn"}),
            Variant(
                "DRNN, latent overshooting",
                {"model.dynamics": "drnn", "objective.overshooting": 12},
            ),
        ),
    ),
    "figure9": Comparison(
        "Activation functions",
        (
            Variant("RSSM, ReLU"),
            Variant("RSSM, ELU", {"model.activation": "elu"}),
            Variant("SSM, ReLU", {"model.dynamics": "ssm"}),
            Variant("SSM, ELU", {"model.dynamics": "ssm", "model.activation": "elu"}),
        ),
    ),
    "table1": Comparison("Final performance", (Variant("PlaNet"),)),
}


@dataclass(frozen=True)
class Scale:
    """How large the runs of a study are.

    Attributes:
        base: the configuration of PlaNet; a run sets its task and its seed.
        tasks: on which tasks.
        seeds: how many seeds.
    """

    base: PlanetConfig
    tasks: tuple[str, ...]
    seeds: int

    def __post_init__(self) -> None:
        if not self.tasks or self.seeds < 1:
            raise UsageError(
                f"{len(self.tasks)} tasks and {self.seeds} seeds: give at least one of each"
            )
        several = [task for task in self.tasks if "," in task or task == "planet"]
        if several:
            raise UsageError(
                f"the tasks of a study are given one by one, not as {several[0]!r}: with spaces "
                "between them; figures 6 and 7 make one agent for all of them"
            )

    def changed(
        self, tasks: tuple[str, ...] | None, seeds: int | None, episodes: int | None
    ) -> Scale:
        """Returns the scale with other tasks, seeds or episodes, where they are given."""
        base = self.base if episodes is None else changed(self.base, {"episodes": episodes})
        return Scale(base, tasks or self.tasks, seeds or self.seeds)


def smoke() -> Scale:
    """Seconds for each run: to see that everything works. The scores mean nothing."""
    base = PlanetConfig(
        preset="small",
        episodes=3,
        environment=EnvironmentConfig(renderer="warp", time_limit=80),
        model=ModelConfig(stochastic=4, deterministic=8, hidden=8, depth=2),
        objective=ObjectiveConfig(image_steps=4),
        planner=PlannerConfig(horizon=3, iterations=2, candidates=10, elites=2),
        training=TrainingConfig(collect_interval=2, batch_size=2, chunk_length=8),
        collection=CollectionConfig(seed_episodes=2),
        evaluation=EvaluationConfig(every=1, episodes=1, final_episodes=1),
    )
    return Scale(base, ("reacher-easy", "cartpole-swingup"), seeds=1)


def small() -> Scale:
    """The preset `small` on one task, three seeds: hours on a laptop."""
    base = planet_small()
    base = replace(base, evaluation=replace(base.evaluation, episodes=3))
    return Scale(base, ("cheetah-run",), seeds=3)


def paper() -> Scale:
    """The paper's: six tasks, five seeds, 1,000 episodes, ten trajectories."""
    return Scale(planet_paper(), PLANET, seeds=5)


SCALES: dict[str, Callable[[], Scale]] = {"smoke": smoke, "small": small, "paper": paper}


def scale(name: str, comparison: Comparison) -> Scale:
    """Returns the scale of that name for a comparison.

    One agent for all tasks needs several of them: `small` takes three there.
    """
    found = SCALES[name]()
    if len(found.tasks) == 1 and any(variant.together for variant in comparison.variants):
        return replace(found, tasks=("cheetah-run", "cartpole-swingup", "reacher-easy"))
    return found
