"""What each figure of PlaNet compares, and at which scales."""

from __future__ import annotations

from dataclasses import replace

from armillary.config import (
    CollectionConfig,
    EnvironmentConfig,
    EvaluationConfig,
    ModelConfig,
    ObjectiveConfig,
    PlanetConfig,
    PlannerConfig,
    TrainingConfig,
    planet_paper,
    planet_small,
)
from armillary.envs.catalogue import PLANET
from armillary.studies.comparisons import Comparison, Paper, Published, Scale, Variant

TABLE_1 = Published(
    {
        "cartpole-swingup": {"A3C": 558, "D4PG": 862, "PlaNet": 821, "CEM + true simulator": 850},
        "reacher-easy": {"A3C": 285, "D4PG": 967, "PlaNet": 832, "CEM + true simulator": 964},
        "cheetah-run": {"A3C": 214, "D4PG": 524, "PlaNet": 662, "CEM + true simulator": 656},
        "finger-spin": {"A3C": 129, "D4PG": 985, "PlaNet": 700, "CEM + true simulator": 825},
        "ball_in_cup-catch": {"A3C": 105, "D4PG": 980, "PlaNet": 930, "CEM + true simulator": 993},
        "walker-walk": {"A3C": 311, "D4PG": 968, "PlaNet": 951, "CEM + true simulator": 994},
    },
    drawn={"A3C": "0.6", "D4PG": "0.45", "PlaNet": "0.1"},
)
"""The paper's Table 1: mean final performance over 5 seeds and 10 trajectories (A3C and D4PG after
100,000 episodes, PlaNet after 1,000)."""

_PLANET = Variant("PlaNet (RSSM)")
_SHOOTING = {"planner.iterations": 1, "planner.elites": 1, "planner.candidates": 1000}
_TOGETHER = (Variant("an agent for each task"), Variant("one agent for all tasks", together=True))
_SEVERAL = {"small": {"tasks": ("cheetah-run", "cartpole-swingup", "reacher-easy")}}
"""One agent for all tasks needs several of them."""

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
        "One agent for all tasks, mean over tasks", _TOGETHER, over_tasks=True, scales=_SEVERAL
    ),
    "figure7": Comparison("One agent for all tasks", _TOGETHER, scales=_SEVERAL),
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
    "table1": Comparison("Final performance", (Variant("PlaNet"),), table=True),
}
COMPARISONS = {name: replace(one, published=TABLE_1) for name, one in COMPARISONS.items()}


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


PAPER = Paper("study", COMPARISONS, {"smoke": smoke, "small": small, "paper": paper})
