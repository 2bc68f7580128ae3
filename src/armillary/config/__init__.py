"""Every setting of a run: dataclasses, presets, and their form as dictionaries."""

from armillary.config.distilled import DistillationConfig, DistilledConfig
from armillary.config.dreamer import ActorPlannerConfig, BehaviorConfig, DreamerConfig
from armillary.config.explorer import EnsembleConfig, ExplorerConfig
from armillary.config.fields import changed, differences, flatten, from_dict, to_dict
from armillary.config.keywords import Keywords
from armillary.config.muzero import MuZeroConfig, SearchConfig, search_of
from armillary.config.planet import PlanetConfig, PlannerConfig, planner_of
from armillary.config.presets import CONFIGS, PRESETS, planet_paper, planet_small, preset
from armillary.config.settings import (
    PLANET,
    Backend,
    CollectionConfig,
    Config,
    EnvironmentConfig,
    EvaluationConfig,
    TrainingConfig,
    UpdatesConfig,
)
from armillary.config.world_model import (
    Activation,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    WorldModelConfig,
)

__all__ = [
    "CONFIGS",
    "PLANET",
    "PRESETS",
    "Activation",
    "ActorPlannerConfig",
    "Backend",
    "BehaviorConfig",
    "CollectionConfig",
    "Config",
    "DistillationConfig",
    "DistilledConfig",
    "DreamerConfig",
    "EnsembleConfig",
    "EnvironmentConfig",
    "EvaluationConfig",
    "ExplorerConfig",
    "Keywords",
    "ModelConfig",
    "MuZeroConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PlanetConfig",
    "PlannerConfig",
    "SearchConfig",
    "TrainingConfig",
    "UpdatesConfig",
    "WorldModelConfig",
    "changed",
    "differences",
    "flatten",
    "from_dict",
    "planet_paper",
    "planet_small",
    "planner_of",
    "preset",
    "search_of",
    "to_dict",
]
