"""Settings of a world model learned from images, which PlaNet and Dreamer share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from tyro.conf import arg

from armillary.config.settings import CollectionConfig, Config, TrainingConfig, positive, require
from armillary.errors import nearest

Activation = Literal["relu", "elu"]
Precision = Literal["float32", "bfloat16"]
DYNAMICS = ("rssm", "ssm", "rnn", "drnn")


@dataclass(frozen=True)
class ModelConfig:
    """The world model (PlaNet, Section 3 and Appendix A)."""

    dynamics: Annotated[str, arg(aliases=("--dynamics",))] = "rssm"
    """The transition model (Figure 2 and Appendix D). rssm: a deterministic and a stochastic path.
    ssm: purely stochastic. rnn: purely deterministic, no noise and no divergence. drnn: two RNNs,
    encoder and decoder, with a stochastic state sequence between them. Or `module:Class` of one's
    own."""
    stochastic: int = 30
    """Dimensions of the stochastic state s, a diagonal Gaussian (rnn: of its mean)."""
    deterministic: int = 200
    """Units of the GRU, the deterministic state h (drnn: of each of two; ssm: it has none)."""
    hidden: int = 200
    """Units of every hidden fully connected layer."""
    reward_layers: int = 2
    """Hidden layers of the reward model (the paper's text: 2 of 200; its published code: 3 of
    300)."""
    reward_hidden: int | None = None
    """Units of the reward model's hidden layers. None: as `hidden`."""
    discount_head: bool | None = None
    """Predict whether the episode goes on, for environments that terminate. None: where a behaviour
    is learned from it (dreamer), but for the control suite, none of whose tasks terminates."""
    depth: int = 32
    """Channels of the first convolution; the others have 2, 4 and 8 times as many."""
    min_std: float = 0.1
    """Added to the softplus that gives the standard deviation of every latent Gaussian."""
    activation: Activation = "relu"
    """Non-linearity of the fully connected layers, the reward model's too."""
    image_activation: Activation = "relu"
    """Non-linearity of the encoder's and the decoder's convolutions."""
    precision: Precision = "float32"
    """Of the products in the layers of the encoder and the decoder. bfloat16 is for graphics cards,
    and slower on a CPU. Parameters, sums, states and losses are float32 always."""

    def __post_init__(self) -> None:
        require(
            self.dynamics in DYNAMICS or ":" in str(self.dynamics),
            f"dynamics is {self.dynamics!r}, expected one of {', '.join(DYNAMICS)}, or "
            f"module:Class of your own.{nearest(str(self.dynamics), DYNAMICS)}",
        )
        positive(self, "stochastic", "deterministic", "hidden", "depth", "min_std")
        require(
            self.reward_hidden is None or self.reward_hidden > 0,
            f"reward_hidden is {self.reward_hidden}, but it must be greater than zero (or None)",
        )
        require(
            self.reward_layers >= 0,
            f"reward_layers is {self.reward_layers}, but it must not be negative",
        )


@dataclass(frozen=True)
class ObjectiveConfig:
    """The variational bound (PlaNet, Eq. 3), also on multi-step predictions (Eq. 6 and Eq. 7)."""

    free_nats: float = 3.0
    """The divergence is not pushed below this many nats."""
    free_nats_per: Literal["step", "batch"] = "step"
    """step: each time step's divergence is clipped, then averaged (PlaNet). batch: the average is
    clipped (Dreamer's code)."""
    divergence_scale: float = 1.0
    """beta (beta_1 in Eq. 7): the weight of the divergence."""
    distance: int = 1
    """d: the divergence is that from predictions over d steps (Eq. 6). 1: Eq. 3."""
    overshooting: int = 1
    """D: the divergences from predictions over 1, 2, ... D steps are averaged (latent overshooting,
    Eq. 7), as far as chunks are long enough. 1: Eq. 3, as in the paper's final agent."""
    overshooting_scales: tuple[float, ...] = (1.0,)
    """beta_2, beta_3, ... up to beta_D; the last one given holds for all further distances."""
    overshooting_reward_scale: float | None = None
    """Weight of the reward's log-likelihood at the predictions over 1 to D (or over d) steps. None:
    0, but `reward_scale` for a model without a divergence (rnn)."""
    overshooting_image_scale: float | None = None
    """Weight of the image's log-likelihood at these predictions (observation overshooting, Figure
    3b): decodes D times as many images more. None: 0, but 1 for a model without a divergence (rnn),
    whose predictions nothing else trains."""
    global_divergence_scale: float = 0.0
    """Weight of the posterior's divergence from a fixed global prior N(0, 1) (the paper's first
    version), without free nats."""
    reward_scale: float = 10.0
    """Weight of the reward's log-likelihood."""
    representation: Annotated[
        Literal["reconstruction", "contrastive", "reward"], arg(aliases=("--representation",))
    ] = "reconstruction"
    """What the model learns about observations (Dreamer, Section 4). reconstruction: their pixels
    (Eq. 10). contrastive: which image of the batch a state belongs to (InfoNCE, Eq. 12). reward:
    nothing but the reward. Only the first has a decoder, and frames to show."""
    observation_scale: float = 1.0
    """Weight of the term that the representation adds: of the image's log-likelihood, or of
    InfoNCE."""
    vector_scale: float = 100.0
    """Weight of the log-likelihood of observed vectors: 100 as if their standard deviation were
    0.1."""
    discount_scale: float = 10.0
    """Weight of the discount's log-likelihood, where there is a `model.discount_head`."""
    bits: int = 5
    """Bit depth to which images are reduced."""
    dequantize: bool = True
    """Add uniform noise of the width of one level to the images (PlaNet), or none (Dreamer)."""
    image_steps: int | None = None
    """Decode only this many time steps of each chunk, at a random offset and evenly spaced: an
    unbiased estimate of the image term at a part of its cost. None: all of them (the paper)."""

    def __post_init__(self) -> None:
        require(self.free_nats >= 0, f"free_nats is {self.free_nats}, but it must not be negative")
        positive(self, "distance", "overshooting")
        require(
            self.distance == 1 or self.overshooting == 1,
            f"distance is {self.distance} (Eq. 6) and overshooting is {self.overshooting} (Eq. 7): "
            "one of them must be 1",
        )
        object.__setattr__(self, "overshooting_scales", tuple(self.overshooting_scales))  # of JSON
        require(bool(self.overshooting_scales), "overshooting_scales is empty: give one or more")
        for name in (
            "divergence_scale",
            "overshooting_scales",
            "overshooting_reward_scale",
            "overshooting_image_scale",
            "global_divergence_scale",
            "reward_scale",
            "observation_scale",
            "vector_scale",
            "discount_scale",
        ):
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                require(
                    number is None or number >= 0,
                    f"{name} is {value}, but it must not be negative",
                )
        require(
            self.representation == "reconstruction" or not self.overshooting_image_scale,
            f"overshooting_image_scale is {self.overshooting_image_scale}, but representation "
            f"{self.representation!r} predicts no images: it needs reconstruction",
        )
        require(1 <= self.bits <= 8, f"bits is {self.bits}, but it must be from 1 to 8")
        require(
            self.image_steps is None or self.image_steps > 0,
            f"image_steps is {self.image_steps}, but it must be at least 1 (or None)",
        )


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam for all parameters of the world model together (PlaNet, Appendix A)."""

    learning_rate: float = 1e-3
    """alpha."""
    epsilon: float = 1e-4
    """Adam's epsilon."""
    clip_norm: float = 1000.0
    """The gradient is scaled down to this global norm."""

    def __post_init__(self) -> None:
        positive(self, "learning_rate", "epsilon", "clip_norm")


@dataclass(frozen=True)
class WorldModelConfig(Config):
    """A run of an agent that learns a world model from images."""

    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    collection: CollectionConfig = field(default_factory=CollectionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.environment.size == 64,
            f"environment.size is {self.environment.size}, but the networks of this agent need 64",
        )
        require(
            self.objective.distance <= self.training.chunk_length,
            f"distance (d) is {self.objective.distance}, but no chunk is longer than "
            f"{self.training.chunk_length} steps (training.chunk_length)",
        )
        steps = self.objective.image_steps
        require(
            steps is None or self.training.chunk_length % steps == 0,
            f"image_steps is {steps}, but it must divide the chunk length "
            f"{self.training.chunk_length}: give --objective.image-steps such a number, or None",
        )
