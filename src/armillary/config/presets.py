"""Named configurations of each agent: functions that return one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

from armillary.config.distilled import DistilledConfig
from armillary.config.dreamer import BehaviorConfig, DreamerConfig
from armillary.config.explorer import EnsembleConfig, ExplorerConfig
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
from armillary.config.planet import PlanetConfig, PlannerConfig
from armillary.config.settings import (
    GAMES,
    Config,
    EnvironmentConfig,
    EvaluationConfig,
    TrainingConfig,
)
from armillary.config.world_model import (
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    WorldModelConfig,
)
from armillary.errors import UsageError, nearest

IsGame = Callable[[str], bool]
"""Says whether a task is a board game."""

T = TypeVar("T", bound=WorldModelConfig)


def known_game(task: str) -> bool:
    """Whether a task is one of the board games that are here."""
    return task in GAMES


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
        episodes=26,
        environment=EnvironmentConfig(renderer="warp"),
        model=ModelConfig(deterministic=128, hidden=128, depth=8),
        objective=ObjectiveConfig(reward_scale=100.0, image_steps=8),
        optimizer=OptimizerConfig(learning_rate=2e-3),
        planner=PlannerConfig(horizon=12, iterations=4, candidates=150, elites=15),
        training=TrainingConfig(batch_size=10, chunk_length=32),
        evaluation=EvaluationConfig(every=5, episodes=1, final_episodes=5),
    )


def planet_medium() -> PlanetConfig:
    """An agent that learns for an hour on one CPU core, to be compared with Dreamer's `medium`."""
    return _for_an_hour(planet_small())


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


def dreamer_medium() -> DreamerConfig:
    """An agent that swings up the cartpole in an hour on one CPU core (`docs/results.md`).

    At an action repeat of 8 the discount of 0.97 looks 33 actions ahead, 2.7 seconds.
    """
    small = dreamer_small()
    return _for_an_hour(replace(small, behavior=replace(small.behavior, discount=0.97)))


def _for_an_hour(small: T) -> T:
    """Returns the preset `small` of an agent with ten times the episodes, fewer updates for each.

    It learns more carefully: at half the rate, from images without noise, with fewer nats for free.
    """
    return replace(
        small,
        task="cartpole-swingup",
        preset="medium",
        episodes=250,
        model=replace(small.model, depth=16),
        objective=replace(small.objective, free_nats=1.0, bits=8, dequantize=False),
        optimizer=replace(small.optimizer, learning_rate=1e-3),
        training=replace(small.training, collect_interval=40),
        evaluation=replace(small.evaluation, every=10, episodes=2),
    )


def explorer_paper() -> ExplorerConfig:
    """An explorer with the networks of Dreamer's paper."""
    return _exploring(dreamer_paper(), EnsembleConfig())


def explorer_small() -> ExplorerConfig:
    """An explorer that collects in minutes on two CPU cores."""
    return _exploring(dreamer_small(), EnsembleConfig(members=5, hidden=128, rate=1e-3))


def explorer_medium() -> ExplorerConfig:
    """An explorer that collects for an hour on one CPU core."""
    return _exploring(dreamer_medium(), explorer_small().ensemble)


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


def muzero_paper(task: str | None = None, is_game: IsGame = known_game) -> MuZeroConfig:
    """The paper's agent: of a board game if the task is one, else of Atari."""
    if task is None or not is_game(task):
        return MuZeroConfig(task=task or "ALE/Pong-v5", environment=EnvironmentConfig(size=96))
    alpha = {"chess": 0.3, "shogi": 0.15}.get(task, 0.03)
    return MuZeroConfig(
        task=task,
        episodes=1_000_064,
        search=SearchConfig(simulations=800, noise_alpha=alpha),
        target=TargetConfig(discount=1.0),
        replay=ReplayConfig(capacity=100_000_000, priority=0.0, correction=0.0),
        optimizer=DescentConfig(learning_rate=0.1 if task in ("chess", "shogi") else 0.01,
                                decay_steps=400_000),
        collection=SelfPlayConfig(side_by_side=64, seed_episodes=64, temperatures=(1.0,),
                                  moves=30),
        training=StepsConfig(collect_interval=64, batch_size=2048),
    )  # fmt: skip


def muzero_small(task: str | None = None, is_game: IsGame = known_game) -> MuZeroConfig:
    """An agent that learns in minutes to an hour on two CPU cores: a game, or any other task."""
    task = task or "tic_tac_toe"
    if not is_game(task):
        observe = "image" if task.startswith("ALE/") else "vector"  # Atari has nothing but images
        return MuZeroConfig(
            task=task,
            preset="small",
            episodes=320,
            environment=EnvironmentConfig(observe=observe),
            network=NetworkConfig(hidden=128, channels=32, blocks=2, history=4, categories=101),
            search=SearchConfig(simulations=25),
            target=TargetConfig(steps=50),
            replay=ReplayConfig(capacity=200_000),
            optimizer=DescentConfig(method="adam", learning_rate=1e-3, decay_steps=20_000,
                                    clip_norm=10.0),
            collection=SelfPlayConfig(side_by_side=8, seed_episodes=8),
            training=StepsConfig(collect_interval=200, batch_size=128),
            evaluation=JudgedConfig(every=5, episodes=8, final_episodes=8),
        )  # fmt: skip
    together = _TOGETHER.get(task, 256)
    towers = NetworkConfig(hidden=128, channels=64, blocks=3)
    config = MuZeroConfig(
        task=task,
        preset="small",
        episodes=together * 400,
        network=towers,
        search=SearchConfig(simulations=25, noise_alpha=1.0),
        target=TargetConfig(discount=1.0),
        replay=ReplayConfig(capacity=400_000, priority=0.0, correction=0.0),
        optimizer=DescentConfig(method="adam", learning_rate=1e-3, decay_steps=16_000,
                                clip_norm=10.0),
        collection=SelfPlayConfig(side_by_side=together, seed_episodes=together, openings=6,
                                  temperatures=(1.0,), moves=2, late_temperature=0.5),
        training=StepsConfig(collect_interval=40 if together > 32 else 10, batch_size=512),
        evaluation=JudgedConfig(every=40, episodes=100, final_episodes=200, judge=True),
    )  # fmt: skip
    adapted = {"tic_tac_toe": _thorough, "connect_four": _of_fours}
    return adapted[task](config) if task in adapted else config


def _thorough(config: MuZeroConfig) -> MuZeroConfig:
    """Returns the settings for a game of which every position can be seen many times.

    A position may have one good reply alone, and a prior that has forgotten it has to be
    explored against (`docs/results.md`).
    """
    return replace(
        config,
        episodes=2 * config.episodes,
        network=NetworkConfig(kind="dense", hidden=128),
        search=replace(config.search, noise_fraction=0.5, pb_c_init=2.5),
        replay=replace(config.replay, capacity=200_000),
        optimizer=replace(config.optimizer, weight_decay=1e-5),
        collection=replace(config.collection, openings=7),
    )


def _of_fours(config: MuZeroConfig) -> MuZeroConfig:
    """Returns the settings for an hour of connect four on one core (`docs/results.md`).

    A small tower, a short unroll and few updates for each game, so that there is time for many.
    """
    together = 128
    return replace(
        config,
        episodes=600 * together,
        network=NetworkConfig(channels=32, blocks=1),
        search=replace(config.search, algorithm="gumbel"),
        target=replace(config.target, unroll=2),
        optimizer=replace(
            config.optimizer, learning_rate=4e-3, decay_steps=8_000, weight_decay=1e-5
        ),
        collection=replace(config.collection, side_by_side=together, seed_episodes=together),
        training=StepsConfig(collect_interval=10, batch_size=256),
        evaluation=replace(config.evaluation, every=30),
    )


_TOGETHER = {
    "othello": 64, "hex": 64, "go_9x9": 32, "go_19x19": 8,
    "gardner_chess": 16, "animal_shogi": 32, "chess": 8, "shogi": 8,
}  # fmt: skip
"""Games that `small` plays at the same time, where 256 of them do not fit into memory."""


def distilled_small() -> DistilledConfig:
    """A policy beside the world model of PlaNet's preset `small`, to measure what it costs."""
    return _distilled(planet_small())


def distilled_medium() -> DistilledConfig:
    """The same beside that of the preset `medium`."""
    return _distilled(planet_medium())


def distilled_paper() -> DistilledConfig:
    """The same beside the paper's world model."""
    return _distilled(planet_paper())


def _distilled(config: PlanetConfig) -> DistilledConfig:
    shared = {f.name: getattr(config, f.name) for f in fields(WorldModelConfig)}
    return DistilledConfig(**shared | {"agent": DistilledConfig.agent})


PRESETS: dict[str, dict[str, Callable[..., Config]]] = {
    "planet": {"small": planet_small, "medium": planet_medium, "paper": planet_paper},
    "dreamer": {"small": dreamer_small, "medium": dreamer_medium, "paper": dreamer_paper},
    "explorer": {"small": explorer_small, "medium": explorer_medium, "paper": explorer_paper},
    "muzero": {"small": muzero_small, "paper": muzero_paper},
    "distilled": {"small": distilled_small, "medium": distilled_medium, "paper": distilled_paper},
}
"""For each agent its presets, by name; one may take the task, and then depends on it."""

CONFIGS: dict[str, type[Config]] = {
    "planet": PlanetConfig,
    "dreamer": DreamerConfig,
    "explorer": ExplorerConfig,
    "muzero": MuZeroConfig,
    "distilled": DistilledConfig,
}
"""The configuration of each agent."""


def preset(
    name: str,
    agent: str = "planet",
    task: str | None = None,
    is_game: IsGame = known_game,
) -> Config:
    """Returns the named preset of an agent.

    Args:
        name: small, medium (of agents with a world model) or paper.
        agent: one that is here, or was registered.
        task: for which it is, where that makes a difference; None: the preset's own.
        is_game: asked about the task where that matters. For a game of one's own give
            `armillary.envs.games.is_game`, which imports it.

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
    make = PRESETS[agent][name]
    if task is None:
        return make()
    given: dict[str, Any] = {"task": task, "is_game": is_game}
    wanted = inspect.signature(make).parameters
    return make(**{name: value for name, value in given.items() if name in wanted})
