"""Settings of a policy that is distilled from a planning agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from armillary.config.settings import positive, require
from armillary.config.world_model import Activation, WorldModelConfig


@dataclass(frozen=True)
class DistillationConfig:
    """The fitting of the policy to what the planner chooses."""

    layers: int = 2
    """Hidden layers of the policy."""
    hidden: int = 200
    """Units of each of these layers."""
    activation: Activation = "elu"
    """Their non-linearity."""
    learning_rate: float = 1e-3
    """Adam's."""
    batch_size: int = 256
    """Beliefs in a batch."""
    epochs: int = 100
    """How often the policy sees every belief; the parameters of the epoch with the least error on
    what is held out are kept."""
    held_out: float = 0.1
    """Share of the episodes whose beliefs are not fitted, but measure the error; at least one."""

    def __post_init__(self) -> None:
        positive(self, "layers", "hidden", "learning_rate", "batch_size", "epochs")
        require(
            0 < self.held_out < 1,
            f"held_out is {self.held_out}, but it must be a share between 0 and 1",
        )


@dataclass(frozen=True)
class DistilledConfig(WorldModelConfig):
    """A run of a policy that was distilled from another run, its `source`."""

    made_by: ClassVar[str] = "distill RUN"

    agent: str = "distilled"
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
