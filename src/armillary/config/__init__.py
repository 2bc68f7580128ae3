"""Every setting of a run: dataclasses, presets, and their form as dictionaries."""

from armillary.config.dreamer import BehaviorConfig, DreamerConfig
from armillary.config.explorer import EnsembleConfig, ExplorerConfig
from armillary.config.fields import changed, differences, flatten, from_dict, to_dict
from armillary.config.keywords import Keywords
from armillary.config.planet import PlanetConfig, PlannerConfig
from armillary.config.presets import CONFIGS, PRESETS, planet_paper, planet_small, preset
from armillary.config.settings import (
    PLANET,
    Backend,
    CollectionConfig,
    Config,
    EnvironmentConfig,
    EvaluationConfig,
    TrainingConfig,
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
    "Backend",
    "BehaviorConfig",
    "CollectionConfig",
    "Config",
    "DreamerConfig",
    "EnsembleConfig",
    "EnvironmentConfig",
    "EvaluationConfig",
    "ExplorerConfig",
    "Keywords",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PlanetConfig",
    "PlannerConfig",
    "TrainingConfig",
    "WorldModelConfig",
    "changed",
    "differences",
    "flatten",
    "from_dict",
    "planet_paper",
    "planet_small",
    "preset",
    "to_dict",
]
