"""Settings of exploration without reward, after Plan2Explore (Sekar et al., 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field

from armillary.config.dreamer import DreamerConfig
from armillary.config.settings import positive, require
from armillary.config.world_model import Activation


@dataclass(frozen=True)
class EnsembleConfig:
    """The one-step predictions whose disagreement the explorer seeks."""

    members: int = 10
    """Networks, each with other initial parameters."""
    layers: int = 2
    """Hidden layers of each."""
    hidden: int = 400
    """Units of each of these layers."""
    activation: Activation = "elu"
    """Their non-linearity."""
    rate: float = 3e-4
    """Their learning rate."""
    epsilon: float = 1e-7
    """Adam's epsilon."""
    clip_norm: float = 100.0
    """The gradient of all of them together is scaled down to this global norm."""

    def __post_init__(self) -> None:
        positive(self, "layers", "hidden", "rate", "epsilon", "clip_norm")
        require(
            self.members > 1,
            f"members is {self.members}, but one network alone cannot disagree: give 2 or more",
        )


@dataclass(frozen=True)
class ExplorerConfig(DreamerConfig):
    """A run of the explorer: a Dreamer that is paid for what its model does not know yet."""

    agent: str = "explorer"
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
