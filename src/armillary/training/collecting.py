"""Where a training run's episodes come from: environments, or games against oneself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

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


class Collector(Protocol):
    """Plays one round of episodes at a time: of one task, with the same parameters.

    Nothing is carried over from one round to the next.
    """

    @property
    def agent_spec(self) -> Spec: ...

    def play(
        self,
        actor: Actor,
        state: Any,
        key: PRNGKeyArray,
        seeds: Sequence[int],
        on_step: Callable[[int], None],
    ) -> list[Episode]:
        """Returns as many episodes as there are seeds, see `rollout`."""
        ...

    def close(self) -> None: ...


def collectors(config: Config) -> dict[str, Collector]:
    """Returns who collects the episodes of each task.

    Raises:
        UsageError, RenderingError, EnvironmentFailure: as `armillary.envs.make`.
    """
    environment = common(config.tasks, config.environment)
    made: dict[str, Collector] = {}
    try:
        for task in config.tasks:
            if games.is_game(task, environment.kwargs):
                games.check_settings(task, config.environment)
                openings = getattr(config.collection, "openings", 0)
                made[task] = SelfPlay(games.game(task, environment.kwargs), openings)
            else:
                made[task] = Environments(side_by_side(task, environment, config.round_size))
    except BaseException:
        for collector in made.values():
            collector.close()
        raise
    return made


@dataclass(frozen=True)
class Environments:
    """Gymnasium environments side by side."""

    envs: SideBySide

    @property
    def agent_spec(self) -> Spec:
        """What an agent of it is made from."""
        return self.envs.agent_spec

    def play(
        self,
        actor: Actor,
        state: Any,
        key: PRNGKeyArray,
        seeds: Sequence[int],
        on_step: Callable[[int], None],
    ) -> list[Episode]:
        """Plays an episode in each environment."""
        return rollout(self.envs, actor, state, key, seeds=seeds, explore=True, on_step=on_step)

    def close(self) -> None:
        """Closes the environments."""
        self.envs.close()


@dataclass(frozen=True)
class SelfPlay:
    """Games of an agent against itself."""

    game: pgx.Env
    openings: int

    @property
    def agent_spec(self) -> Spec:
        """What an agent of it is made from."""
        return games.spec_of_game(self.game)

    def play(
        self,
        actor: Actor,
        state: Any,
        key: PRNGKeyArray,
        seeds: Sequence[int],
        on_step: Callable[[int], None],
    ) -> list[Episode]:
        """Plays as many games as there are seeds."""
        return self_play(
            self.game,
            actor,
            state,
            key,
            count=len(seeds),
            openings=self.openings,
            on_step=on_step,
        )

    def close(self) -> None:
        """There is nothing to close."""
