"""Settings of MuZero and Reanalyze (Schrittwieser et al., 2020); the defaults are for Atari."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from tyro.conf import arg

from armillary.config.settings import (
    Config,
    EpisodesConfig,
    EvaluationConfig,
    UpdatesConfig,
    positive,
    require,
)


@dataclass(frozen=True)
class NetworkConfig:
    """The functions h (representation), g (dynamics) and f (prediction)."""

    kind: Literal["auto", "dense", "residual"] = "auto"
    """dense: fully connected. residual: towers of 3x3 convolutions, for boards and frames. auto:
    residual where an observation has rows and columns."""
    state: int = 64
    """Dimensions of a dense hidden state."""
    hidden: int = 256
    """Units of each hidden fully connected layer."""
    layers: int = 1
    """Hidden layers of each fully connected network."""
    channels: int = 256
    """Planes of the towers."""
    blocks: int = 16
    """Residual blocks of the representation's and of the dynamics' tower."""
    history: int = 32
    """Frames, and the actions before them, that the representation sees of images; boards and
    vectors are seen as they are."""
    categories: int = 601
    """Categories of value and reward: numbers from -300 to 300 of the scaled range. Odd. Games
    of two players have none: their value is a tanh, and they have no reward."""

    def __post_init__(self) -> None:
        positive(self, "state", "hidden", "channels", "blocks", "history")
        require(self.layers >= 0, f"layers is {self.layers}, but it must not be negative")
        require(
            self.categories >= 3 and self.categories % 2 == 1,
            f"categories is {self.categories}, but it must be odd and at least 3: as many below "
            "zero as above",
        )


@dataclass(frozen=True)
class SearchConfig:
    """The tree search (MuZero, slides 2 to 5)."""

    simulations: int = 50
    """Simulations of each search: states that are added to the tree. 0: no search, but the legal
    action of the highest prior, and the network's value; not for training."""
    algorithm: Literal["muzero", "gumbel"] = "muzero"
    """muzero: PUCT, and the share of visits as policy. gumbel: Gumbel MuZero (Danihelka et al.,
    2022), which improves the policy with few simulations, too."""
    normalization: Literal["tree", "node"] = "tree"
    """How values are brought to [0, 1] when they are compared with visits: by the minimum and
    maximum of the whole tree (the slides), or of a state and its successors (mctx)."""
    noise_alpha: float = 0.25
    """Dirichlet noise at the root in self-play: its concentration."""
    noise_fraction: float = 0.25
    """Its share of the root's prior."""
    pb_c_base: float = 19652.0
    """c_2 of PUCT."""
    pb_c_init: float = 1.25
    """c_1 of PUCT."""

    def __post_init__(self) -> None:
        positive(self, "noise_alpha", "pb_c_base", "pb_c_init")
        require(
            self.simulations >= 0,
            f"simulations is {self.simulations}, but it must not be negative",
        )
        require(
            0 <= self.noise_fraction <= 1,
            f"noise_fraction is {self.noise_fraction}, but it must be from 0 to 1",
        )


@dataclass(frozen=True)
class TargetConfig:
    """What the model is trained to predict, and how its errors are weighed."""

    unroll: int = 5
    """K: steps that the model is unrolled from a state that was seen."""
    steps: int | None = None
    """n: rewards that are summed before the value is bootstrapped. None: 10, with `reanalyze` 5.
    Games of two players take their outcome instead."""
    discount: float = 0.997
    """gamma. Games of two players take 1."""
    value_scale: float | None = None
    """Weight of the value's loss. None: 1, with `reanalyze` 0.25."""
    consistency: float = 0.0
    """Weight of the loss that brings the states of the unrolled model to those of what was seen
    then (EfficientZero, Ye et al., 2021). 0: none (MuZero)."""

    def __post_init__(self) -> None:
        positive(self, "unroll")
        require(
            self.steps is None or self.steps > 0,
            f"steps is {self.steps}, but it must be at least 1 (or None)",
        )
        require(
            self.value_scale is None or self.value_scale >= 0,
            f"value_scale is {self.value_scale}, but it must not be negative (or None)",
        )
        require(
            self.consistency >= 0,
            f"consistency is {self.consistency}, but it must not be negative",
        )
        require(
            0 < self.discount <= 1,
            f"discount is {self.discount}, but it must be greater than 0 and at most 1",
        )


@dataclass(frozen=True)
class SelfPlayConfig(EpisodesConfig):
    """How episodes are played: by whom, and how much at random."""

    openings: int = 0
    """A game of self-play begins with 0 to this many uniformly random moves (their number is drawn
    for each game); its policy and value are learned from the first move that was chosen."""
    temperatures: tuple[float, ...] = (1.0, 0.5, 0.25)
    """Actions are drawn in proportion to visits to the power of 1 / temperature: the first for half
    of the run, the others for equal parts of the rest."""
    moves: int | None = None
    """Actions of an episode after which `late_temperature` holds. None: it never does."""
    late_temperature: float = 0.0
    """0: the action that was visited most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "temperatures", tuple(self.temperatures))  # of JSON
        require(self.openings >= 0, f"openings is {self.openings}, but it must not be negative")
        require(
            bool(self.temperatures) and all(t >= 0 for t in self.temperatures),
            f"temperatures are {self.temperatures}: give one or more, none negative",
        )
        require(
            self.moves is None or self.moves >= 0,
            f"moves is {self.moves}, but it must not be negative (or None)",
        )
        require(
            self.late_temperature >= 0,
            f"late_temperature is {self.late_temperature}, but it must not be negative",
        )


@dataclass(frozen=True)
class ReplayConfig:
    """Which of the steps that were played are learned from."""

    capacity: int = 25_000_000
    """Steps that are kept to draw from, the newest; older ones stay in the files. (The paper: 125
    thousand sequences of 200 steps, or a million games.)"""
    priority: float = 1.0
    """alpha: steps are drawn in proportion to |v - z| to this power. 0: uniformly, as for games."""
    correction: float = 1.0
    """beta: losses are weighed by the probability of their draw to this power, inverted."""

    def __post_init__(self) -> None:
        positive(self, "capacity")
        for name in ("priority", "correction"):
            value = getattr(self, name)
            require(value >= 0, f"{name} is {value}, but it must not be negative")


@dataclass(frozen=True)
class ReanalyzeConfig:
    """MuZero Reanalyze: old steps searched again with newer parameters."""

    policy: float = 0.8
    """Share of the policy's targets that are searched afresh."""
    target_every: int = 100
    """Updates after which the parameters that bootstrap values become a copy of the newest."""

    def __post_init__(self) -> None:
        positive(self, "target_every")
        require(0 <= self.policy <= 1, f"policy is {self.policy}, but it must be from 0 to 1")


@dataclass(frozen=True)
class DescentConfig:
    """How the parameters are learned."""

    method: Literal["sgd", "adam"] = "sgd"
    """sgd: with momentum 0.9."""
    learning_rate: float = 0.05
    """At the beginning."""
    decay: float = 0.1
    """The learning rate is multiplied by this after every `decay_steps` updates, smoothly."""
    decay_steps: int = 350_000
    """Updates."""
    weight_decay: float = 1e-4
    """c: the weight of the squared norm of the parameters."""
    clip_norm: float = 1000.0
    """The gradient is scaled down to this global norm."""

    def __post_init__(self) -> None:
        positive(self, "learning_rate", "decay", "decay_steps", "clip_norm")
        require(
            self.weight_decay >= 0,
            f"weight_decay is {self.weight_decay}, but it must not be negative",
        )


@dataclass(frozen=True)
class StepsConfig(UpdatesConfig):
    """The fitting of the model between two rounds."""

    batch_size: int = 1024
    """B: steps in a batch, from each of which the model is unrolled."""


@dataclass(frozen=True)
class JudgedConfig(EvaluationConfig):
    """Test episodes, and what else is found out of a board game's player."""

    every: int = 25
    """Rounds of episodes (`collection.side_by_side` in each) between two evaluations."""
    judge: bool = False
    """Let the judge of a game say at each test how strong the agent is: the losing lines of
    tic-tac-toe; the optimal moves of connect four, for which `bitbully` must be installed. Other
    tasks have no judge. `armillary plot RUN --score judge` draws it."""


@dataclass(frozen=True)
class MuZeroConfig(Config):
    """A run of MuZero."""

    agent: str = "muzero"
    reanalyze: Annotated[bool, arg(name="reanalyze")] = False
    """Learn from old steps again, with fresh searches and values: fewer steps, more updates."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    fresh: ReanalyzeConfig = field(default_factory=ReanalyzeConfig)
    optimizer: DescentConfig = field(default_factory=DescentConfig)
    collection: SelfPlayConfig = field(default_factory=SelfPlayConfig)
    training: StepsConfig = field(default_factory=StepsConfig)
    evaluation: JudgedConfig = field(default_factory=JudgedConfig)

    @property
    def learner(self) -> str:
        """Reanalyze searches in its updates."""
        return f"{self.agent} with Reanalyze" if self.reanalyze else self.agent

    @property
    def steps(self) -> int:
        """n: rewards that are summed before the value is bootstrapped."""
        return self.target.steps or (5 if self.reanalyze else 10)

    @property
    def value_scale(self) -> float:
        """Weight of the value's loss."""
        given = self.target.value_scale
        return (0.25 if self.reanalyze else 1.0) if given is None else given

    def check_trained(self) -> None:
        """Makes sure that training makes such a run, and that there are searches to learn from."""
        super().check_trained()
        require(
            self.search.simulations > 0,
            "search.simulations is 0, but the policy is learned from what searches find: give at "
            "least 1, and 0 in `armillary evaluate` alone",
        )


def search_of(config: Config) -> SearchConfig | None:
    """Returns the settings with which an agent searches; None: it does not."""
    search = getattr(config, "search", None)
    return search if isinstance(search, SearchConfig) else None


def judged(config: Config) -> bool:
    """Whether the judge of a game is asked at each test."""
    return isinstance(config.evaluation, JudgedConfig) and config.evaluation.judge
