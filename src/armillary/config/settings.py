"""What every run has, whichever agent learns in it, with its meaning, its unit and its default.

Frozen dataclasses of plain values. These modules import nothing heavy: the command line is made
from them. The configuration of an agent is a subclass of `Config` with its own sections beside
these: `armillary.config.planet` and `armillary.config.dreamer`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

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

GAMES = (
    "tic_tac_toe",
    "connect_four",
    "go_9x9",
    "chess",
    "shogi",
    "othello",
    "hex",
    "gardner_chess",
    "animal_shogi",
    "go_19x19",
)
"""The board games, for which MuZero's presets differ; `armillary.envs.games` knows more of them."""

Backend = Literal["auto", "egl", "osmesa", "warp"]


def require(condition: bool, message: str) -> None:
    """Raises a UsageError with the message unless the condition holds."""
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
    require(
        module != "__main__" and found is create,
        f"the task is {create!r}, which cannot be found again by a name, so a run could not go on "
        "from its folder: give a function or a class at the top of a module that can be imported "
        "(not of the script itself), or its name 'module:callable'",
    )
    return f"{module}:{name}"


def positive(owner: object, *names: str) -> None:
    """Raises a UsageError unless these fields of a section are greater than zero."""
    for name in names:
        value = getattr(owner, name)
        require(value > 0, f"{name} is {value}, but it must be greater than zero")


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
    observe: str = "image"
    """What the agent observes, several with commas between them. image: pixels, from where `pixels`
    says. vector: all numbers of the environment's own observation, which then need not be drawn.
    all: each part of it by its own name. Or names of parts (cameras/front of a nested one)."""
    pixels: str = "auto"
    """Where the images of other environments come from. observation, render: from there. The name
    of an image in a dictionary of observations (cameras/front in a nested one): that. auto: the
    observation if it holds one image, else `render()`."""
    time_limit: int | None = None
    """Steps of the wrapped environment after which an episode is cut. None: its own limit."""
    action_size: int | None = None
    """Entries of an action, or how many discrete ones; what exceeds those of the task is masked.
    None: the task's own (of several tasks together: the most that one of them has)."""
    kwargs: Keywords = field(default_factory=dict, hash=False)
    """Keyword arguments with which an environment from elsewhere is made: name=value, several after
    one another, or one JSON object. Values are JSON, and text where they are not."""
    engine: Literal["mujoco", "warp"] = "mujoco"
    """What simulates several environments of the control suite side by side. mujoco: one after the
    other on the CPU, or in a process each. warp: mujoco-warp, which simulates and draws all of them
    together in 32 bits, on a graphics card if JAX uses one; one task, from images alone."""
    processes: bool = False
    """Step several environments in a process each, side by side, rather than one after another."""
    step_timeout: float | None = 600.0
    """Seconds after which an environment that does not return from a step, a reset or a drawing is
    given up, as far as Python can end it (with `processes`: always). None: never."""

    def __post_init__(self) -> None:
        positive(self, "size")
        names = [name.strip() for name in self.observe.split(",")]
        require(
            all(names) and len(set(names)) == len(names) and "mask" not in names,
            f"observe is {self.observe!r}: give image, vector, all, or the names of parts of the "
            "observation, several with a comma between them, each once",
        )
        if self.engine == "warp":
            require(
                not self.processes,
                "engine is 'warp', which simulates all environments together, and processes are "
                "asked for: leave one of them out",
            )
            require(
                self.renderer in ("auto", "warp"),
                f"engine is 'warp', which draws what it simulates, but renderer is "
                f"{self.renderer!r}: leave one of them out",
            )
            object.__setattr__(self, "renderer", "warp")
        for name in ("action_repeat", "time_limit", "action_size"):
            value = getattr(self, name)
            require(
                value is None or value > 0,
                f"{name} is {value}, but it must be at least 1 (or None)",
            )
        require(
            self.step_timeout is None or self.step_timeout > 0,
            f"step_timeout is {self.step_timeout}, but it must be greater than zero (or None)",
        )
        object.__setattr__(self, "kwargs", keywords.checked(self.kwargs))


@dataclass(frozen=True)
class EpisodesConfig:
    """Where the data come from."""

    seed_episodes: int = 5
    """S: episodes of random actions before anything is learned."""
    policy: Annotated[Literal["agent", "random"], arg(aliases=("--collection",))] = "agent"
    """Who acts in the episodes after those. agent: the agent itself, exploring. random: uniform
    random actions, as in the seed episodes (random collection, Figure 5)."""
    side_by_side: int = 1
    """Episodes of one round, which are played at the same time with the same parameters, in as many
    environments, or as games of self-play. There are C updates for each round."""

    def __post_init__(self) -> None:
        positive(self, "seed_episodes", "side_by_side")


@dataclass(frozen=True)
class CollectionConfig(EpisodesConfig):
    """Where the data come from (PlaNet, Algorithm 1)."""

    action_noise: float = 0.3
    """Standard deviation of the Gaussian noise added to the actions of collected episodes."""
    random_actions: float = 0.1
    """Share of the discrete actions of collected episodes that are drawn at random."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.action_noise >= 0,
            f"action_noise is {self.action_noise}, but it must not be negative",
        )
        require(
            0 <= self.random_actions <= 1,
            f"random_actions is {self.random_actions}, but it must be from 0 to 1",
        )


@dataclass(frozen=True)
class UpdatesConfig:
    """The fitting of the model between two episodes (PlaNet, Algorithm 1)."""

    collect_interval: int = 100
    """C: updates for each collected episode, or round of episodes."""
    batch_size: int = 50
    """B: chunks in a batch, or single steps."""
    checkpoint_minutes: float = 2.0
    """Minutes between two checkpoints. Finished episodes are kept anyway; what came after the last
    checkpoint is computed again when the run goes on."""
    devices: int = 1
    """Devices of this machine among which each batch is divided; 0: all that JAX finds."""
    overlap: Annotated[bool, arg(aliases=("--overlap",))] = False
    """Play each round of episodes while the updates before it are made, in processes of the
    environments' own (with the engine warp: in a thread), with the parameters from before these
    updates. So what is collected lags behind by C updates, always; nothing depends on times."""

    def __post_init__(self) -> None:
        positive(self, "collect_interval", "batch_size", "checkpoint_minutes")
        require(self.devices >= 0, f"devices is {self.devices}, but it must not be negative")


@dataclass(frozen=True)
class TrainingConfig(UpdatesConfig):
    """The fitting of a model of sequences between two episodes (PlaNet, Algorithm 1)."""

    chunk_length: int = 50
    """L: consecutive steps in a chunk."""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "chunk_length")


@dataclass(frozen=True)
class EvaluationConfig:
    """Noise-free test episodes while training goes on."""

    every: int = 25
    """Episodes collected between two evaluations, or rounds of episodes."""
    episodes: int = 10
    """Episodes of each evaluation (the paper shows 10 trajectories for each seed)."""
    final_episodes: int = 10
    """Episodes of the evaluation at the end, of the agent and of random actions. 0: none at all,
    where episodes that are there are learned from."""

    def __post_init__(self) -> None:
        positive(self, "every", "episodes")
        require(
            self.final_episodes >= 0,
            f"final_episodes is {self.final_episodes}, but it must not be negative",
        )


@dataclass(frozen=True)
class Config:
    """A whole run: what does not depend on the agent. An agent's own sections are in a subclass.

    `preset(name, agent)` gives one; `dataclasses.replace` or the command line edits it.
    """

    made_by: ClassVar[str] = "train"
    """The command that makes such a run."""

    task: str = "cheetah-run"
    """A task of the control suite or a board game by its name (`armillary tasks` lists them), a
    Gymnasium id (`module:id` where a module registers it) or `module:callable` that returns a
    Gymnasium environment, or a game's rules; in Python also such a callable. Several, separated by
    commas: one agent learns all of them and is never told which one it plays; `planet`: the paper's
    six."""
    agent: str = ""
    """The agent that learns: planet, dreamer, explorer, muzero, or `module:Class` of one's own."""
    preset: str = "paper"
    """The preset from which this configuration was made: small, medium or paper."""
    seed: int = 0
    """Seed of everything random: parameters, batches, planning, noise and environments."""
    episodes: int = 1000
    """Episodes to collect of each task, the seed episodes among them."""
    source: Annotated[str | None, arg(aliases=("--from",))] = None
    """Learn from episodes that are there, and collect none: those of a run folder, of a folder of
    episode-*.npz, or minari:NAME of a Minari data set on this disk (needs the extra `minari`).
    There are as many updates as in a run of so many `episodes`. With `evaluation.final_episodes` 0
    no environment is needed."""
    wandb: str | None = None
    """Weights & Biases project to which the scalars are sent, too (needs the extra `wandb`)."""
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    collection: EpisodesConfig = field(default_factory=EpisodesConfig)
    training: UpdatesConfig = field(default_factory=UpdatesConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that one agent learns; nearly always one."""
        return tuple(self.task.split(","))

    @property
    def round_size(self) -> int:
        """Episodes of each task that are played before the agent learns from them."""
        return self.collection.side_by_side

    @property
    def learner(self) -> str:
        """The agent, and what of its settings makes its updates cost many times as much."""
        return self.agent

    def check_trained(self) -> None:
        """Makes sure that training makes such a run.

        Raises:
            UsageError: another command does.
        """
        require(
            self.made_by == "train",
            f"the agent {self.agent!r} is not trained on a task, and learns no further: "
            f"`armillary {self.made_by}` makes one",
        )

    def __post_init__(self) -> None:
        if callable(self.task):
            object.__setattr__(self, "task", name_of(self.task))
        if self.task == "planet":
            object.__setattr__(self, "task", ",".join(PLANET))
        require(
            all(self.tasks) and len(set(self.tasks)) == len(self.tasks),
            f"the task is {self.task!r}: give a task, or several different ones with a comma "
            "between them; `armillary tasks` lists the control suite's",
        )
        require(
            self.environment.engine == "mujoco" or len(self.tasks) == 1,
            "environment.engine is 'warp', with which one task is learned, but there are "
            f"{len(self.tasks)}: leave the engine out",
        )
        positive(self, "episodes")
        require(
            self.evaluation.final_episodes > 0 or self.source is not None,
            "evaluation.final_episodes is 0, but it must be greater than zero where no source of "
            "episodes is given",
        )
        require(0 <= self.seed < 2**32, f"seed is {self.seed}, but it must be from 0 to 2^32 - 1")
        require(
            self.episodes >= self.collection.seed_episodes,
            f"episodes is {self.episodes}, fewer than the "
            f"{self.collection.seed_episodes} seed episodes it includes",
        )
        for name, number in (
            ("episodes", self.episodes),
            ("collection.seed_episodes", self.collection.seed_episodes),
        ):
            require(
                number % self.round_size == 0,
                f"{name} is {number}, but a round has {self.round_size} episodes "
                "(collection.side_by_side): give a multiple of it",
            )
