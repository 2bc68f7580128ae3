"""Settings so small that a whole run takes seconds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from armillary.config import (
    BehaviorConfig,
    CollectionConfig,
    DreamerConfig,
    EnsembleConfig,
    EnvironmentConfig,
    EvaluationConfig,
    ExplorerConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    PlanetConfig,
    PlannerConfig,
    TrainingConfig,
)
from armillary.config.muzero import (
    DescentConfig,
    JudgedConfig,
    MuZeroConfig,
    NetworkConfig,
    ReplayConfig,
    SearchConfig,
    SelfPlayConfig,
    StepsConfig,
    TargetConfig,
)

TINY = PlanetConfig(
    task="toys:short",
    preset="small",
    episodes=4,
    model=ModelConfig(stochastic=4, deterministic=16, hidden=16, depth=2),
    objective=ObjectiveConfig(reward_scale=100.0, image_steps=2),
    planner=PlannerConfig(horizon=4, iterations=2, candidates=20, elites=5),
    training=TrainingConfig(collect_interval=6, batch_size=4, chunk_length=8),
    collection=CollectionConfig(seed_episodes=2),
    evaluation=EvaluationConfig(every=1, episodes=2, final_episodes=2),
)
"""A run that shows the plumbing; it learns nothing."""

TINY_DREAMER = DreamerConfig(
    task="toys:short",
    preset="small",
    episodes=4,
    model=TINY.model,
    objective=ObjectiveConfig(reward_scale=100.0, representation="reward"),
    behavior=BehaviorConfig(horizon=3, layers=1, hidden=8, slow_value_every=5, collect="sample"),
    training=TINY.training,
    collection=TINY.collection,
    evaluation=TINY.evaluation,
)
"""The same of Dreamer, which learns nothing about images either, so that it compiles quickly."""

LEARNING = PlanetConfig(
    task="toys:point",
    preset="small",
    episodes=14,
    model=ModelConfig(stochastic=8, deterministic=32, hidden=32, depth=8),
    objective=ObjectiveConfig(reward_scale=100.0, free_nats=1.0, image_steps=5),
    optimizer=OptimizerConfig(learning_rate=3e-3),
    planner=PlannerConfig(horizon=6, iterations=4, candidates=100, elites=10),
    training=TrainingConfig(collect_interval=50, batch_size=16, chunk_length=10),
    collection=CollectionConfig(seed_episodes=10),
    evaluation=EvaluationConfig(every=100, episodes=10, final_episodes=10),
)
"""A run that learns to steer `toys.Point` in 250 updates."""

LEARNING_DREAMER = DreamerConfig(
    task=LEARNING.task,
    preset="small",
    episodes=LEARNING.episodes,
    model=LEARNING.model,
    objective=LEARNING.objective,
    optimizer=LEARNING.optimizer,
    behavior=BehaviorConfig(
        horizon=8,
        discount=0.95,
        entropy_scale=0.01,
        slow_value_every=None,
        layers=2,
        hidden=64,
        actor_rate=1e-3,
        value_rate=1e-3,
        mean_scale=2.0,
        initial_std=1.0,
        collect="sample",
    ),
    training=LEARNING.training,
    collection=LEARNING.collection,
    evaluation=LEARNING.evaluation,
)
"""The same with Dreamer."""


LEARNING_DISCRETE = replace(
    LEARNING_DREAMER,
    task="toys:lamps",
    episodes=22,
    environment=EnvironmentConfig(observe="vector"),
    objective=ObjectiveConfig(reward_scale=100.0, free_nats=1.0),
    behavior=replace(LEARNING_DREAMER.behavior, entropy_scale=0.1, horizon=4, discount=0.5),
    training=TrainingConfig(collect_interval=20, batch_size=16, chunk_length=10),
)
"""A run that learns to choose the lamp that is on, of numbers alone."""

TINY_DISCRETE = replace(
    TINY_DREAMER,
    task="toys:lamps",
    environment=EnvironmentConfig(observe="cameras/front,lamp"),
    objective=ObjectiveConfig(reward_scale=100.0, image_steps=2),
)
"""A tiny run of Dreamer with discrete actions, an image and a vector."""

TINY_MUZERO = MuZeroConfig(
    task="toys:lamps",
    preset="small",
    episodes=4,
    environment=EnvironmentConfig(observe="vector"),
    network=NetworkConfig(state=8, hidden=16, categories=21),
    search=SearchConfig(simulations=4),
    target=TargetConfig(unroll=2, steps=3, discount=0.9),
    optimizer=DescentConfig(method="adam", learning_rate=3e-3),
    training=StepsConfig(collect_interval=6, batch_size=8),
    collection=SelfPlayConfig(seed_episodes=2),
    evaluation=JudgedConfig(every=1, episodes=2, final_episodes=2),
)
"""A tiny run of MuZero, with priorities."""

TINY_GAME = replace(
    TINY_MUZERO,
    task="tic_tac_toe",
    episodes=16,
    environment=EnvironmentConfig(),
    network=replace(TINY_MUZERO.network, kind="dense"),
    target=TargetConfig(unroll=2, discount=1.0),
    replay=ReplayConfig(priority=0.0),
    collection=SelfPlayConfig(seed_episodes=8, side_by_side=4, openings=2, moves=2),
)
"""The same of a game, against itself."""

LEARNING_GAME = replace(
    TINY_GAME,
    task="matches:create",
    episodes=32 * 20,
    network=NetworkConfig(kind="dense", state=16, hidden=32),
    search=SearchConfig(simulations=12, noise_alpha=1.0),
    target=TargetConfig(unroll=3, discount=1.0),
    optimizer=DescentConfig(method="adam", learning_rate=3e-3, decay_steps=3_000),
    training=StepsConfig(collect_interval=30, batch_size=64),
    collection=SelfPlayConfig(
        seed_episodes=32, side_by_side=32, openings=3, moves=2, late_temperature=0.5
    ),
    evaluation=JudgedConfig(every=1000, episodes=10, final_episodes=10),
)
"""A run that learns to take matches."""

LEARNING_CHOICES = replace(
    TINY_MUZERO,
    task="choices:Stay,choices:Leave,choices:Legal,choices:Safe",
    episodes=16 * 40,
    environment=EnvironmentConfig(),
    network=NetworkConfig(state=16, hidden=32, categories=41),
    search=SearchConfig(simulations=24, noise_alpha=1.0, pb_c_init=2.5),
    target=TargetConfig(unroll=3, steps=10, discount=0.99),
    optimizer=DescentConfig(method="adam", learning_rate=3e-3, decay_steps=3_000),
    training=StepsConfig(collect_interval=25, batch_size=64),
    collection=SelfPlayConfig(seed_episodes=16, side_by_side=16),
    evaluation=JudgedConfig(every=1000, episodes=16, final_episodes=16),
)
"""A run that learns the four problems of `choices`."""

EXPLORING = ExplorerConfig(
    task="toys:corridor",
    preset="small",
    episodes=9,
    environment=EnvironmentConfig(observe="vector"),
    model=LEARNING.model,
    objective=LEARNING_DISCRETE.objective,
    optimizer=LEARNING.optimizer,
    behavior=replace(LEARNING_DREAMER.behavior, entropy_scale=1.0),
    ensemble=EnsembleConfig(members=5, layers=1, hidden=32, rate=3e-3),
    training=TrainingConfig(collect_interval=50, batch_size=16, chunk_length=10),
    collection=CollectionConfig(seed_episodes=3),
    evaluation=EvaluationConfig(every=100, episodes=1, final_episodes=1),
)
"""A run that finds the room of `toys.Corridor`, which random actions do not reach."""

TINY_EXPLORER = replace(
    EXPLORING,
    task="toys:short",
    episodes=4,
    environment=EnvironmentConfig(),
    model=TINY.model,
    objective=TINY_DREAMER.objective,
    behavior=TINY_DREAMER.behavior,
    ensemble=EnsembleConfig(members=2, layers=1, hidden=8),
    training=TINY.training,
    collection=TINY.collection,
    evaluation=TINY.evaluation,
)
"""A tiny run of the explorer, otherwise as `TINY_DREAMER`."""

ALL = pytest.mark.parametrize(
    "config",
    [TINY, TINY_DREAMER, TINY_DISCRETE, TINY_MUZERO, TINY_GAME],
    ids=["planet", "dreamer", "discrete", "muzero", "game"],
)
"""What has to hold for every agent."""

KINDS = pytest.mark.parametrize(
    "config",
    [TINY, TINY_DISCRETE, TINY_MUZERO, TINY_GAME],
    ids=["planet", "discrete", "muzero", "game"],
)
"""The same for tests that start many processes: of Dreamer the one that has more parts."""
