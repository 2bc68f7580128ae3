"""Named configurations of each agent: functions that return one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

from armillary.config.dreamer import BehaviorConfig, DreamerConfig
from armillary.config.explorer import EnsembleConfig, ExplorerConfig
from armillary.config.planet import PlanetConfig, PlannerConfig
from armillary.config.settings import (
    Config,
    EnvironmentConfig,
    EvaluationConfig,
    TrainingConfig,
)
from armillary.config.world_model import ModelConfig, ObjectiveConfig, OptimizerConfig
from armillary.errors import UsageError, nearest


def planet_paper() -> PlanetConfig:
    """The paper's agent: PlaNet, Appendix A."""
    return PlanetConfig()


def planet_small() -> PlanetConfig:
    """An agent that learns cheetah run in minutes on two CPU cores (`docs/results.md`).

    It draws with mujoco-warp, so that the same command gives the same pictures on every machine,
    with OpenGL or without; in software it is also up to three times faster.
    """
    return PlanetConfig(
        task="cheetah-run",
        preset="small",
        episodes=16,
        environment=EnvironmentConfig(renderer="warp"),
        model=ModelConfig(deterministic=128, hidden=128, depth=16),
        objective=ObjectiveConfig(reward_scale=100.0, image_steps=8),
        optimizer=OptimizerConfig(learning_rate=2e-3),
        planner=PlannerConfig(horizon=8, iterations=4, candidates=150, elites=15),
        training=TrainingConfig(batch_size=10, chunk_length=32),
        evaluation=EvaluationConfig(every=5, episodes=1, final_episodes=5),
    )


def dreamer_paper() -> DreamerConfig:
    """The agent of Dreamer's text, Appendix B: two million environment steps.

    Where its published code differs, the fields of `BehaviorConfig` say so.
    """
    return DreamerConfig(
        episodes=2000,
        environment=EnvironmentConfig(action_repeat=2),
        model=ModelConfig(
            hidden=200, reward_layers=3, reward_hidden=300, activation="elu", depth=32
        ),
        objective=ObjectiveConfig(
            free_nats_per="batch", reward_scale=1.0, bits=8, dequantize=False
        ),
        optimizer=OptimizerConfig(learning_rate=1e-3, epsilon=1e-7, clip_norm=100.0),
    )


def dreamer_small() -> DreamerConfig:
    """An agent that learns in minutes on two CPU cores.

    In so few updates the paper's actor decides before its model is good: its actions saturate, and
    what is collected with their mode shows the model nothing new. So this one collects samples,
    starts with a moderate spread before the tanh, and is paid a little for its entropy.
    """
    return DreamerConfig(
        task="cheetah-run",
        preset="small",
        episodes=16,
        environment=EnvironmentConfig(renderer="warp"),
        model=ModelConfig(deterministic=128, hidden=128, depth=16),
        objective=ObjectiveConfig(reward_scale=100.0, image_steps=8),
        optimizer=OptimizerConfig(learning_rate=2e-3),
        behavior=BehaviorConfig(
            horizon=15, layers=2, hidden=128, slow_value_every=20, entropy_scale=0.1,
            actor_rate=3e-4, value_rate=1e-3, mean_scale=2.0, initial_std=1.0, collect="sample",
        ),
        training=TrainingConfig(batch_size=10, chunk_length=32),
        evaluation=EvaluationConfig(every=5, episodes=1, final_episodes=5),
    )  # fmt: skip


def explorer_paper() -> ExplorerConfig:
    """An explorer with the networks of Dreamer's paper."""
    return _exploring(dreamer_paper(), EnsembleConfig())


def explorer_small() -> ExplorerConfig:
    """An explorer that collects in minutes on two CPU cores."""
    return _exploring(dreamer_small(), EnsembleConfig(members=5, hidden=128, rate=1e-3))


def _exploring(dreamer: DreamerConfig, ensemble: EnsembleConfig) -> ExplorerConfig:
    """Returns an explorer with the settings of a Dreamer, but for the weight of the entropy.

    At first the members disagree everywhere. An actor that follows them soon gives the same action
    always, where the tanh has no gradient left, and stays so when they have learned (of three
    seeds in a corridor one with a weight of 0.01, with 1 none: `docs/results.md`).
    """
    values = {field.name: getattr(dreamer, field.name) for field in fields(dreamer)}
    behavior = replace(dreamer.behavior, entropy_scale=1.0, collect="sample")
    return ExplorerConfig(
        **(values | {"agent": "explorer", "behavior": behavior, "ensemble": ensemble})
    )


PRESETS: dict[str, dict[str, Callable[[], Config]]] = {
    "planet": {"small": planet_small, "paper": planet_paper},
    "dreamer": {"small": dreamer_small, "paper": dreamer_paper},
    "explorer": {"small": explorer_small, "paper": explorer_paper},
}
"""For each agent its presets, by name."""

CONFIGS: dict[str, type[Config]] = {
    "planet": PlanetConfig,
    "dreamer": DreamerConfig,
    "explorer": ExplorerConfig,
}
"""The configuration of each agent."""


def preset(name: str, agent: str = "planet") -> Config:
    """Returns the named preset of an agent.

    Raises:
        UsageError: there is no such agent, or it has no such preset.
    """
    if agent not in PRESETS:
        raise UsageError(
            f"unknown agent {agent!r}, expected one of {', '.join(PRESETS)}."
            + nearest(agent, PRESETS)
        )
    if name not in PRESETS[agent]:
        raise UsageError(
            f"unknown preset {name!r} of {agent}, expected one of {', '.join(PRESETS[agent])}."
            + nearest(name, PRESETS[agent])
        )
    return PRESETS[agent][name]()
