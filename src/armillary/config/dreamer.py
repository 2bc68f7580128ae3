"""Settings of Dreamer (Hafner et al., 2020); the defaults are the paper's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from armillary.config.planet import PlannerConfig
from armillary.config.settings import positive, require
from armillary.config.world_model import Activation, WorldModelConfig


@dataclass(frozen=True)
class BehaviorConfig:
    """The action and the value model, learned by latent imagination (Dreamer, Section 3)."""

    horizon: int = 20
    """H: steps that are imagined from every state of a batch (the published code: 15)."""
    discount: float = 0.99
    """gamma."""
    trace: float = 0.95
    """lambda, which weighs estimates over few and over many steps (Eq. 6)."""
    estimate: Literal["lambda", "fixed", "rewards"] = "lambda"
    """What the actor maximises. lambda: V_lambda (Eq. 6). fixed: V_N^k over the whole horizon
    (Eq. 5). rewards: V_R, the sum of rewards up to the horizon, with no value model (Eq. 4)."""
    entropy_scale: float = 0.0
    """Weight of the policy's entropy in what the actor maximises, for each imagined step: keeps it
    from deciding before the model is good (not in the paper; DreamerV2 has it)."""
    slow_value_every: int | None = 100
    """Updates after which the slow value network, with which returns are estimated, becomes a copy
    of the value network (the paper's text). None: there is no slow one (its published code)."""
    through_policy: bool = True
    """Whether gradients also flow through what the actor sees of imagined states: the whole
    gradient of Eq. 7 (the published code: no)."""
    layers: int = 3
    """Hidden layers of the action and of the value model."""
    hidden: int = 300
    """Units of each of these layers (the published code: 400)."""
    activation: Activation = "elu"
    """Their non-linearity."""
    actor_rate: float = 3e-4
    """Learning rate of the action model (the published code: 8e-5)."""
    value_rate: float = 3e-4
    """Learning rate of the value model (the published code: 8e-5)."""
    epsilon: float = 1e-7
    """Adam's epsilon, of both."""
    clip_norm: float = 100.0
    """The gradients of the action and of the value model are scaled down to this global norm."""
    mean_scale: float = 5.0
    """The mean before the tanh is this many times tanh(m / this many): its greatest value."""
    initial_std: float = 5.0
    """Standard deviation before the tanh at the beginning."""
    min_std: float = 1e-4
    """Added to the standard deviation before the tanh."""
    collect: Literal["mode", "sample"] = "mode"
    """What collected episodes take of the actor before the noise is added: its mode (the paper) or
    a sample (the published code). Tests take the mode."""

    def __post_init__(self) -> None:
        positive(self, "horizon", "layers", "hidden", "actor_rate", "value_rate", "epsilon")
        positive(self, "clip_norm", "mean_scale", "initial_std", "min_std")
        require(
            self.entropy_scale >= 0,
            f"entropy_scale is {self.entropy_scale}, but it must not be negative",
        )
        for name in ("discount", "trace"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} is {value}, but it must be from 0 to 1")
        require(
            self.slow_value_every is None or self.slow_value_every > 0,
            f"slow_value_every is {self.slow_value_every}, but it must be at least 1 (or None)",
        )


@dataclass(frozen=True)
class ActorPlannerConfig(PlannerConfig):
    """The cross-entropy method of an agent that has an actor and a value, too (`--act plan`).

    The plan is that of PlaNet's preset `small`: the value stands for what is beyond its horizon.
    What the actor proposes keeps it where the model and the value know what they say
    (docs/results.md).
    """

    horizon: int = 8
    iterations: int = 4
    candidates: int = 150
    elites: int = 15
    value: bool = True
    """Add the learned value at the horizon: a candidate's return is V_N^H (Dreamer, Eq. 5) with the
    behaviour's discount. Off: the sum of the rewards up to the horizon (PlaNet)."""
    proposals: float = 0.1
    """Share of the J candidates that are not drawn: action sequences that the actor takes in
    imagination, in every iteration."""
    start: Literal["zero", "actor"] = "actor"
    """The mean of the first belief over action sequences. actor: those of the actor's mode."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 <= self.proposals <= 1,
            f"proposals is {self.proposals}, but it must be a share of the candidates, from 0 to 1",
        )

    @property
    def proposed(self) -> int:
        """How many of the candidates are the actor's: at least one, unless the share is 0."""
        return max(1, round(self.proposals * self.candidates)) if self.proposals else 0


@dataclass(frozen=True)
class DreamerConfig(WorldModelConfig):
    """A run of Dreamer."""

    agent: str = "dreamer"
    act: Literal["policy", "plan"] = "policy"
    """Who chooses the actions. policy: the action model. plan: the cross-entropy method in the
    world model, with the section `planner`; the behaviour is learned all the same."""
    behavior: BehaviorConfig = field(default_factory=BehaviorConfig)
    planner: ActorPlannerConfig = field(default_factory=ActorPlannerConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.act == "policy" or not self.planner.value or self.behavior.estimate != "rewards",
            "act is 'plan' with planner.value, but with behavior.estimate 'rewards' no value is "
            "learned: add --planner.no-value, or take another estimate",
        )
