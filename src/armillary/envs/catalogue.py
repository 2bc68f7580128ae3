"""The tasks of the control suite: their names, sizes and the papers that used them.

A table, so that listing the tasks neither imports nor renders anything; the tests hold it against
the suite itself. References: PlaNet, Figure 4 and Appendix A; Dreamer, Appendix C.
"""

from __future__ import annotations

from dataclasses import dataclass

from armillary.config import PLANET

_SUITE: dict[str, tuple[int, tuple[str, ...]]] = {
    "acrobot": (1, ("swingup", "swingup_sparse")),
    "ball_in_cup": (2, ("catch",)),
    "cartpole": (
        1,
        ("balance", "balance_sparse", "swingup", "swingup_sparse", "two_poles", "three_poles"),
    ),
    "cheetah": (6, ("run",)),
    "dog": (38, ("stand", "walk", "trot", "run", "fetch")),
    "finger": (2, ("spin", "turn_easy", "turn_hard")),
    "fish": (5, ("upright", "swim")),
    "hopper": (4, ("stand", "hop")),
    "humanoid": (21, ("stand", "walk", "run", "run_pure_state")),
    "humanoid_CMU": (56, ("stand", "walk", "run")),
    "lqr": (0, ("lqr_2_1", "lqr_6_2")),
    "manipulator": (5, ("bring_ball", "bring_peg", "insert_ball", "insert_peg")),
    "pendulum": (1, ("swingup",)),
    "point_mass": (2, ("easy", "hard")),
    "quadruped": (12, ("walk", "run", "escape", "fetch")),
    "reacher": (2, ("easy", "hard")),
    "stacker": (5, ("stack_2", "stack_4")),
    "swimmer": (0, ("swimmer6", "swimmer15")),
    "walker": (6, ("stand", "walk", "run")),
}
"""For each domain the dimensions of its actions and its tasks; 0: they differ between tasks."""

_ACTION_SIZES = {
    "lqr-lqr_2_1": 1,
    "lqr-lqr_6_2": 2,
    "swimmer-swimmer6": 5,
    "swimmer-swimmer15": 14,
}

_PLANET_REPEATS = {
    "cartpole": 8,
    "reacher": 4,
    "cheetah": 4,
    "ball_in_cup": 4,
    "finger": 2,
    "walker": 2,
}

DREAMER = (
    "acrobot-swingup",
    "ball_in_cup-catch",
    "cartpole-balance",
    "cartpole-balance_sparse",
    "cartpole-swingup",
    "cartpole-swingup_sparse",
    "cheetah-run",
    "finger-spin",
    "finger-turn_easy",
    "finger-turn_hard",
    "hopper-hop",
    "hopper-stand",
    "pendulum-swingup",
    "quadruped-run",
    "quadruped-walk",
    "reacher-easy",
    "reacher-hard",
    "walker-run",
    "walker-stand",
    "walker-walk",
)
"""The twenty tasks of Dreamer."""


@dataclass(frozen=True)
class Task:
    """A task of the control suite."""

    name: str
    """`domain-task`, as `make` takes it."""
    action_size: int
    """Dimensions of an action."""
    action_repeat: int
    """R: simulator steps for each action."""
    episode_steps: int | None
    """Simulator steps in an episode; None: the episode has no limit."""
    papers: tuple[str, ...]
    """The papers that report on it."""

    @property
    def domain(self) -> str:
        """The suite's name of the robot: what comes before the hyphen."""
        return self.name.split("-")[0]


def tasks() -> list[Task]:
    """Returns every task of the control suite, in the alphabetical order of its domains."""
    return [
        Task(
            name=(name := f"{domain}-{task}"),
            action_size=size or _ACTION_SIZES[name],
            action_repeat=action_repeat(name),
            episode_steps=None if domain == "lqr" else 1000,
            papers=tuple(
                paper for paper, used in (("PlaNet", PLANET), ("Dreamer", DREAMER)) if name in used
            ),
        )
        for domain, (size, names) in _SUITE.items()
        for task in names
    ]


def names() -> list[str]:
    """Returns the names of the control suite's tasks."""
    return [f"{domain}-{task}" for domain, (_, of) in _SUITE.items() for task in of]


def action_repeat(task: object) -> int:
    """Returns R, the simulator steps for each action (PlaNet, Appendix A).

    Args:
        task: Whatever `make` takes.

    Returns:
        The paper's value for the domains of its six tasks, 2 for the other domains of the control
        suite (Dreamer, Appendix A), and 1 for every other environment.
    """
    if not isinstance(task, str) or task not in names():
        return 1
    return _PLANET_REPEATS.get(task.split("-")[0], 2)
