"""Every setting of a run: dataclasses, presets, and their form as dictionaries."""

from armillary.config.fields import changed, differences, flatten, from_dict, to_dict
from armillary.config.keywords import Keywords
from armillary.config.presets import PRESETS, paper, preset, small
from armillary.config.settings import (
    PLANET,
    Activation,
    Backend,
    CollectionConfig,
    Config,
    EnvironmentConfig,
    EvaluationConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    PlannerConfig,
    TrainingConfig,
)

__all__ = [
    "PLANET",
    "PRESETS",
    "Activation",
    "Backend",
    "CollectionConfig",
    "Config",
    "EnvironmentConfig",
    "EvaluationConfig",
    "Keywords",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PlannerConfig",
    "TrainingConfig",
    "changed",
    "differences",
    "flatten",
    "from_dict",
    "paper",
    "preset",
    "small",
    "to_dict",
]
