"""Acting: an agent in several environments side by side, until each episode is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import gymnasium as gym
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from armillary import seeding
from armillary.agents.base import Actor, Predicts, Records, Trims
from armillary.envs.guard import LARGEST
from armillary.errors import EnvironmentFailure
from armillary.replay.episode import Episode


@lru_cache(maxsize=8)
def compiled(actor: Actor) -> Callable[..., Any]:
    """Returns the actor's `act`, compiled once for all who use an equal actor.

    It takes the episode's key and the number of the time step in place of the step's key; of
    several seeds the key of each. What acting does not take of a state is left out before the call,
    which else takes longer than a small policy.
    """

    def act(
        state: Any, belief: Any, observation: Any, key: PRNGKeyArray, step: int, explore: bool
    ) -> Any:
        return actor.act(state, belief, observation, seeding.fold(key, step), explore)

    program = jax.jit(act, static_argnames="explore")
    if not isinstance(actor, Trims):
        return program
    return lambda state, *rest, explore: program(actor.trimmed(state), *rest, explore=explore)


@lru_cache(maxsize=8)
def compiled_predict(agent: Predicts) -> Callable[..., Any]:
    """Returns the agent's `predict`, compiled once for all who use an equal agent."""
    return jax.jit(agent.predict, static_argnames="context")


def rollout(
    envs: gym.vector.VectorEnv,
    actor: Actor,
    state: Any,
    key: PRNGKeyArray,
    *,
    seeds: Sequence[int],
    explore: bool,
    on_step: Callable[[int], None] = lambda count: None,
) -> list[Episode]:
    """Plays one episode in each environment (PlaNet, Algorithm 1, lines 8 to 16).

    Args:
        envs: environments made by `armillary.envs.side_by_side`.
        actor: who acts.
        state: the actor's parameters.
        key: of everything random; time step t uses `fold_in(key, t)`. Of several seeds (see
            `armillary.training.several`) an array with the key of each.
        seeds: of each environment's episode.
        explore: whether the actor explores.
        on_step: called after each time step with the number of environments that took it; what
            it raises ends the rollout.

    Returns:
        The episodes, in the order of the environments.

    Raises:
        EnvironmentFailure: as the environments; or the rewards of an episode add up to more than
            32 bits hold.
    """
    count = envs.num_envs
    act = compiled(actor)
    spec = actor.spec
    reset, _ = envs.reset(seed=list(seeds))  # type: ignore[arg-type]
    observation = spec.named(reset)
    belief = actor.initial_belief(state, count)
    records = [_Record(_row(reset, observation, i), spec.action.size) for i in range(count)]
    kept = actor.records if isinstance(actor, Records) else ()
    running = np.ones(count, bool)
    step = 0
    while running.any():
        belief, action, known = act(state, belief, observation, key, step, explore=explore)
        action = np.asarray(action)
        notes = {name: np.asarray(known[name], np.float32) for name in kept}
        for i in np.flatnonzero(running).tolist():
            records[i].notes.append({name: note[i] for name, note in notes.items()})
        result, reward, terminated, truncated, info = envs.step(spec.own_action(action))
        observation = spec.named(result)
        for i in np.flatnonzero(running).tolist():
            records[i].add(_row(result, observation, i), action[i], reward[i], terminated[i])
            if "simulator_steps" in info:  # environments that were not made here may not count
                records[i].simulator_steps = int(info["simulator_steps"][i])
        on_step(int(running.sum()))
        cut = running & truncated & ~terminated
        if kept and cut.any():  # what is known of the state at which an episode was cut
            _, _, known = act(state, belief, observation, key, step + 1, explore=explore)
            for i in np.flatnonzero(cut).tolist():
                note = {name: np.asarray(known[name][i], np.float32) for name in kept}
                records[i].notes.append(note)
        running &= ~(terminated | truncated)
        step += 1
    return [record.episode() for record in records]


def returns(episodes: Sequence[Episode]) -> Iterator[float]:
    """Yields the sum of each episode's rewards."""
    return (float(np.sum(episode.reward, dtype=np.float64)) for episode in episodes)


def _row(given: Any, seen: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    """Returns what is recorded of one environment: what the actor sees, and what else it gives."""
    fields = {**given, **seen} if isinstance(given, Mapping) else seen
    return {name: np.array(array[number]) for name, array in fields.items()}


class _Record:
    """An episode in progress; its first row is the reset: no action, no reward."""

    def __init__(self, observation: dict[str, np.ndarray], action_size: int) -> None:
        self.observations = [observation]
        self.actions = [np.zeros(action_size, np.float32)]
        self.rewards = [np.float32(0)]
        self.notes: list[dict[str, np.ndarray]] = []
        self.total = 0.0
        self.terminal = False
        self.simulator_steps: int | None = None

    def add(
        self,
        observation: dict[str, np.ndarray],
        action: np.ndarray,
        reward: float,
        terminal: bool,
    ) -> None:
        self.observations.append(observation)
        self.actions.append(np.asarray(action, np.float32))
        self.rewards.append(np.float32(reward))
        self.total += float(reward)
        if not abs(self.total) <= LARGEST:
            raise EnvironmentFailure(
                f"the rewards of an episode add up to {self.total} at action "
                f"{len(self.rewards) - 1}, more than 32 bits hold (3.4e38): scale them down in the "
                "environment; the episode is not kept"
            )
        self.terminal = bool(terminal)

    def episode(self) -> Episode:
        return Episode(
            observation={
                name: np.stack([row[name] for row in self.observations])
                for name in self.observations[0]
            },
            action=np.stack(self.actions),
            reward=np.stack(self.rewards),
            terminal=self.terminal,
            simulator_steps=self.simulator_steps,
            records={name: self._noted(name) for name in (self.notes or [{}])[0]},
        )

    def _noted(self, name: str) -> np.ndarray:
        """Returns a record of each row; zeros in a last one of which nothing is known."""
        rows = [note[name] for note in self.notes]
        missing = len(self.rewards) - len(rows)
        return np.stack(rows + [np.zeros_like(rows[0])] * missing)
