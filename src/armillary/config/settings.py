"""Every hyperparameter, with its meaning, its unit and the paper's value.

Frozen dataclasses of plain values. This module imports nothing heavy: the command line is made from
it. The symbols in the docstrings are those of PlaNet,
Appendix A and Algorithms 1 and 2. The defaults are the paper's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from tyro.conf import arg

from armillary.config import keywords
from armillary.config.keywords import Keywords
from armillary.errors import UsageError

PLANET = (
    "cartpole-swingup",
    "reacher-easy",
    "cheetah-run",
    "finger-spin",
    "ball_in_cup-catch",
    "walker-walk",
)
"""The six tasks of PlaNet."""

Activation = Literal["relu", "elu"]
Backend = Literal["auto", "egl", "osmesa", "warp"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(message)


def name_of(create: Callable[..., object]) -> str:
    """Returns the `module:name` by which another process finds a callable.

    Raises:
        UsageError: it cannot be found by a name.
    """
    module, name = getattr(create, "__module__", None), getattr(create, "__qualname__", None)
    found: object = sys.modules.get(str(module))
    for part in str(name).split("."):
        found = getattr(found, part, None)
    _require(
        module != "__main__" and found is create,
        f"the task is {create!r}, which cannot be found again by a name, so a run could not go on "
        "from its folder: give a function or a class at the top of a module that can be imported "
        "(not of the script itself), or its name 'module:callable'",
    )
    return f"{module}:{name}"


def _positive(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        _require(value > 0, f"{name} is {value}, but it must be greater than zero")


@dataclass(frozen=True)
class EnvironmentConfig:
    """What the agent sees of its environment, and how it is rendered."""

    action_repeat: int | None = None
    """R: simulator steps for each action, rewards summed. None: the paper's value for the task
    (cartpole 8, reacher, cheetah and cup 4, finger and walker 2), 2 for the rest of the control
    suite, 1 for other environments."""
    size: int = 64
    """Height and width of the images in pixels. The paper's networks need 64."""
    renderer: Backend = "auto"
    """Rendering back end of the control suite: EGL, OSMesa or mujoco-warp (no OpenGL, on the CPU).
    auto: the first that works on this machine."""
    pixels: str = "auto"
    """Where the images of other environments come from. observation, render: from there. The name
    of an image in a dictionary of observations (cameras/front in a nested one): that. auto: the
    observation if it holds one image, else `render()`."""
    time_limit: int | None = None
    """Steps of the wrapped environment after which an episode is cut. None: its own limit."""
    action_size: int | None = None
    """Entries of an action; what exceeds those of the task is ignored. None: the task's own (of
    several tasks together: the most that one of them has)."""
    kwargs: Keywords = field(default_factory=dict, hash=False)
    """Keyword arguments with which an environment from elsewhere is made: name=value, several after
    one another, or one JSON object. Values are JSON, and text where they are not."""
    processes: bool = False
    """Step several environments in a process each, side by side, rather than one after another."""
    step_timeout: float | None = 600.0
    """Seconds after which an environment that does not return from a step, a reset or a drawing is
    given up, as far as Python can end it (with `processes`: always). None: never."""

    def __post_init__(self) -> None:
        _positive(self, "size")
        for name in ("action_repeat", "time_limit", "action_size"):
            value = getattr(self, name)
            _require(
                value is None or value > 0,
                f"{name} is {value}, but it must be at least 1 (or None)",
            )
        _require(
            self.step_timeout is None or self.step_timeout > 0,
            f"step_timeout is {self.step_timeout}, but it must be greater than zero (or None)",
        )
        object.__setattr__(self, "kwargs", keywords.checked(self.kwargs))


@dataclass(frozen=True)
class ModelConfig:
    """The world model (PlaNet, Section 3 and Appendix A)."""

    dynamics: Annotated[Literal["rssm", "ssm", "rnn", "drnn"], arg(aliases=("--dynamics",))] = (
        "rssm"
    )
    """The transition model (Figure 2 and Appendix D). rssm: a deterministic and a stochastic path.
    ssm: purely stochastic. rnn: purely deterministic, no noise and no divergence. drnn: two RNNs,
    encoder and decoder, with a stochastic state sequence between them."""
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
    depth: int = 32
    """Channels of the first convolution; the others have 2, 4 and 8 times as many."""
    min_std: float = 0.1
    """Added to the softplus that gives the standard deviation of every latent Gaussian."""
    activation: Activation = "relu"
    """Non-linearity of the fully connected layers, the reward model's too."""
    image_activation: Activation = "relu"
    """Non-linearity of the encoder's and the decoder's convolutions."""

    def __post_init__(self) -> None:
        _positive(self, "stochastic", "deterministic", "hidden", "depth", "min_std")
        _require(
            self.reward_hidden is None or self.reward_hidden > 0,
            f"reward_hidden is {self.reward_hidden}, but it must be greater than zero (or None)",
        )
        _require(
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
    bits: int = 5
    """Bit depth to which images are reduced before uniform dequantisation noise is added."""
    image_steps: int | None = None
    """Decode only this many time steps of each chunk, at a random offset and evenly spaced: an
    unbiased estimate of the image term at a part of its cost. None: all of them (the paper)."""

    def __post_init__(self) -> None:
        _require(self.free_nats >= 0, f"free_nats is {self.free_nats}, but it must not be negative")
        _positive(self, "distance", "overshooting")
        _require(
            self.distance == 1 or self.overshooting == 1,
            f"distance is {self.distance} (Eq. 6) and overshooting is {self.overshooting} (Eq. 7): "
            "one of them must be 1",
        )
        object.__setattr__(self, "overshooting_scales", tuple(self.overshooting_scales))  # of JSON
        _require(bool(self.overshooting_scales), "overshooting_scales is empty: give one or more")
        for name in (
            "divergence_scale",
            "overshooting_scales",
            "overshooting_reward_scale",
            "overshooting_image_scale",
            "global_divergence_scale",
            "reward_scale",
        ):
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                _require(
                    number is None or number >= 0,
                    f"{name} is {value}, but it must not be negative",
                )
        _require(1 <= self.bits <= 8, f"bits is {self.bits}, but it must be from 1 to 8")
        _require(
            self.image_steps is None or self.image_steps > 0,
            f"image_steps is {self.image_steps}, but it must be at least 1 (or None)",
        )


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam for all parameters together (PlaNet, Appendix A)."""

    learning_rate: float = 1e-3
    """alpha."""
    epsilon: float = 1e-4
    """Adam's epsilon."""
    clip_norm: float = 1000.0
    """The gradient is scaled down to this global norm."""

    def __post_init__(self) -> None:
        _positive(self, "learning_rate", "epsilon", "clip_norm")


@dataclass(frozen=True)
class PlannerConfig:
    """The cross-entropy method (PlaNet, Algorithm 2).

    One iteration with one elite is random shooting: the best of J random sequences is executed.
    """

    horizon: int = 12
    """H: actions in a plan."""
    iterations: int = 10
    """I: optimisation iterations."""
    candidates: int = 1000
    """J: action sequences sampled in each iteration."""
    elites: int = 100
    """K: the best candidates, to which the belief is refitted."""
    refit: Literal["std", "mad"] = "std"
    """How the belief's spread is refitted to the best candidates: their standard deviation (the
    published code) or the mean absolute deviation sum |a - mean| / (K - 1) (the paper's
    Algorithm 2)."""

    def __post_init__(self) -> None:
        _positive(self, "horizon", "iterations", "candidates", "elites")
        _require(
            self.elites <= self.candidates,
            f"elites (K) is {self.elites}, but only {self.candidates} candidates (J) are sampled: "
            "K must not be greater than J",
        )
        _require(
            self.refit != "mad" or self.elites > 1,
            "refit 'mad' divides by K - 1, so elites (K) must be at least 2",
        )


@dataclass(frozen=True)
class CollectionConfig:
    """Where the data come from (PlaNet, Algorithm 1)."""

    seed_episodes: int = 5
    """S: episodes of random actions before anything is learned."""
    policy: Annotated[Literal["agent", "random"], arg(aliases=("--collection",))] = "agent"
    """Who acts in the episodes after those. agent: the planner, with noise. random: uniform random
    actions, as in the seed episodes (random collection, Figure 5)."""
    action_noise: float = 0.3
    """Standard deviation of the Gaussian noise added to the actions of collected episodes."""

    def __post_init__(self) -> None:
        _positive(self, "seed_episodes")
        _require(
            self.action_noise >= 0,
            f"action_noise is {self.action_noise}, but it must not be negative",
        )


@dataclass(frozen=True)
class TrainingConfig:
    """The fitting of the model between two episodes (PlaNet, Algorithm 1)."""

    collect_interval: int = 100
    """C: updates for each collected episode."""
    batch_size: int = 50
    """B: chunks in a batch."""
    chunk_length: int = 50
    """L: consecutive steps in a chunk."""
    checkpoint_minutes: float = 2.0
    """Minutes between two checkpoints. Finished episodes are kept anyway; what came after the last
    checkpoint is computed again when the run goes on."""

    def __post_init__(self) -> None:
        _positive(self, "collect_interval", "batch_size", "chunk_length", "checkpoint_minutes")


@dataclass(frozen=True)
class EvaluationConfig:
    """Noise-free test episodes while training goes on."""

    every: int = 25
    """Episodes collected between two evaluations."""
    episodes: int = 10
    """Episodes of each evaluation (the paper shows 10 trajectories for each seed)."""
    final_episodes: int = 10
    """Episodes of the evaluation at the end, of the agent and of random actions."""

    def __post_init__(self) -> None:
        _positive(self, "every", "episodes", "final_episodes")


@dataclass(frozen=True)
class Config:
    """A whole run. `preset(name)` gives one; `dataclasses.replace` or the command line edits it."""

    task: str = "cheetah-run"
    """A task of the control suite by its own name (`armillary tasks` lists them), a Gymnasium id
    (`module:id` where a module registers it) or `module:callable` that returns a Gymnasium
    environment; in Python also such a callable. Several, separated by commas: one agent learns all
    of them and is never told which one it plays; `planet`: the paper's six."""
    agent: Literal["planet"] = "planet"
    """The agent that learns."""
    preset: str = "paper"
    """The preset from which this configuration was made: small or paper."""
    seed: int = 0
    """Seed of everything random: parameters, batches, planning, noise and environments."""
    episodes: int = 1000
    """Episodes to collect of each task, the seed episodes among them."""
    wandb: str | None = None
    """Weights & Biases project to which the scalars are sent, too (needs the extra `wandb`)."""
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    collection: CollectionConfig = field(default_factory=CollectionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that one agent learns; nearly always one."""
        return tuple(self.task.split(","))

    def __post_init__(self) -> None:
        if callable(self.task):
            object.__setattr__(self, "task", name_of(self.task))
        if self.task == "planet":
            object.__setattr__(self, "task", ",".join(PLANET))
        _require(
            all(self.tasks) and len(set(self.tasks)) == len(self.tasks),
            f"the task is {self.task!r}: give a task, or several different ones with a comma "
            "between them; `armillary tasks` lists the control suite's",
        )
        _positive(self, "episodes")
        _require(0 <= self.seed < 2**32, f"seed is {self.seed}, but it must be from 0 to 2^32 - 1")
        _require(
            self.episodes >= self.collection.seed_episodes,
            f"episodes is {self.episodes}, fewer than the "
            f"{self.collection.seed_episodes} seed episodes it includes",
        )
        _require(
            self.environment.size == 64,
            f"environment.size is {self.environment.size}, but the networks of this agent need 64",
        )
        _require(
            self.objective.distance <= self.training.chunk_length,
            f"distance (d) is {self.objective.distance}, but no chunk is longer than "
            f"{self.training.chunk_length} steps (training.chunk_length)",
        )
        steps = self.objective.image_steps
        _require(
            steps is None or self.training.chunk_length % steps == 0,
            f"image_steps is {steps}, but it must divide the chunk length "
            f"{self.training.chunk_length}: give --objective.image-steps such a number, or None",
        )
