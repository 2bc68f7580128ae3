"""Named configurations: functions that return one."""

from __future__ import annotations

from collections.abc import Callable

from armillary.config.settings import (
    Config,
    EnvironmentConfig,
    EvaluationConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    PlannerConfig,
    TrainingConfig,
)
from armillary.errors import UsageError, nearest


def paper() -> Config:
    """The paper's agent: PlaNet, Appendix A."""
    return Config()


def small() -> Config:
    """An agent that learns cheetah run in minutes on two CPU cores (`docs/results.md`).

    It draws with mujoco-warp, so that the same command gives the same pictures on every machine,
    with OpenGL or without; in software it is also up to three times faster.
    """
    return Config(
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


PRESETS: dict[str, Callable[[], Config]] = {"small": small, "paper": paper}


def preset(name: str) -> Config:
    """Returns the named preset.

    Raises:
        UsageError: there is no such preset.
    """
    if name not in PRESETS:
        raise UsageError(
            f"unknown preset {name!r}, expected one of {', '.join(PRESETS)}."
            + nearest(name, PRESETS)
        )
    return PRESETS[name]()
