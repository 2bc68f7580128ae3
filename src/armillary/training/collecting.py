"""Where a training run's episodes come from: environments, or games against oneself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jaxtyping import PRNGKeyArray

from armillary.agents.base import Actor
from armillary.config import Config
from armillary.envs import games, side_by_side
from armillary.envs.build import common
from armillary.envs.parallel import SideBySide
from armillary.replay.episode import Episode
from armillary.spec import Spec
from armillary.training.rollout import rollout
from armillary.training.selfplay import self_play

if TYPE_CHECKING:
    import pgx


OnStep = Callable[[int], None]
Play = Callable[[Actor, Any, PRNGKeyArray, Sequence[int], OnStep], list[Episode]]
"""Plays an episode for each of the seeds: from who acts and its parameters, the key of everything
random, the seeds, and what is called with the number of steps taken, see `rollout`."""


@dataclass(frozen=True)
class Collector:
    """Plays one round of episodes at a time: of one task, with the same parameters.

    Attributes:
        agent_spec: what an agent of the task is made from.
        play: plays a round. Nothing is carried over from one to the next.
        close: ends what was opened for it.
        several: whether the rounds of several seeds are played in one call, by `Several`.
    """

    agent_spec: Spec
    play: Play
    close: Callable[[], None]
    several: bool = True


def collectors(config: Config, seeds: int = 1) -> dict[str, Collector]:
    """Returns who collects the episodes of each task.

    Args:
        config: of the run.
        seeds: how many collect a round at the same time.

    Raises:
        UsageError, RenderingError, EnvironmentFailure: as `armillary.envs.make`.
    """
    environment = common(config.tasks, config.environment)
    if (
        config.training.overlap and environment.engine == "mujoco"
    ):  # what an environment draws with may belong to a thread
        environment = replace(environment, processes=True)
    made: dict[str, Collector] = {}
    try:
        for task in config.tasks:
            if games.is_game(task, environment.kwargs):
                games.check_settings(task, config.environment)
                openings = getattr(config.collection, "openings", 0)
                made[task] = _of_game(games.game(task, environment.kwargs), openings)
            else:
                made[task] = _of_environments(
                    side_by_side(task, environment, seeds * config.round_size)
                )
    except BaseException:
        for collector in made.values():
            collector.close()
        raise
    return made


def _of_environments(envs: SideBySide) -> Collector:
    """Returns what plays an episode in each of these environments."""

    def play(
        actor: Actor, state: Any, key: PRNGKeyArray, seeds: Sequence[int], on_step: OnStep
    ) -> list[Episode]:
        return rollout(envs, actor, state, key, seeds=seeds, explore=True, on_step=on_step)

    return Collector(envs.agent_spec, play, envs.close)


def _of_game(game: pgx.Env, openings: int) -> Collector:
    """Returns what lets an agent play against itself."""

    def play(
        actor: Actor, state: Any, key: PRNGKeyArray, seeds: Sequence[int], on_step: OnStep
    ) -> list[Episode]:
        count = len(seeds)
        return self_play(game, actor, state, key, count=count, openings=openings, on_step=on_step)

    return Collector(games.spec_of_game(game), play, lambda: None, several=False)
