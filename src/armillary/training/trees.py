"""The tree of one search: in an episode after some steps, and with moves by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
import jax
import numpy as np
from jaxtyping import PRNGKeyArray, UInt8

from armillary import seeding
from armillary.agents.base import Actor, Searches
from armillary.envs.faces import face_of
from armillary.envs.games import compiled as compiled_rules
from armillary.errors import UsageError
from armillary.search.nodes import Node, nodes_of
from armillary.search.variation import variation
from armillary.training.rollout import compiled

if TYPE_CHECKING:
    import pgx

    from armillary.training.player import Player


class Moment(NamedTuple):
    """A moment of an episode.

    Attributes:
        nodes: the search from which the agent chooses its next action.
        image: what it sees, of an agent that sees images.
    """

    nodes: tuple[Node, ...]
    image: UInt8[np.ndarray, "height width 3"] | None


def searched(
    actor: Actor, state: Any, belief: Any, observation: Any, key: PRNGKeyArray, step: int
) -> tuple[Node, ...]:
    """Returns the search by which an actor acts in one environment, without exploration.

    Args:
        actor: who acts.
        state: its parameters.
        belief: before the step.
        observation: its fields, with a leading axis of length 1.
        key: of the episode.
        step: time steps before.

    Raises:
        UsageError: it searches no tree.
    """
    if not isinstance(actor, Searches):
        raise UsageError(
            f"{type(actor).__name__} searches no tree, so there is none to see: give a run of "
            "muzero"
        )
    tree, expected = _compiled(actor)(state, belief, observation, key, step)
    return nodes_of(tree, np.asarray(expected)[0].tolist())


@lru_cache(maxsize=8)
def _compiled(actor: Any) -> Callable[..., Any]:
    """Returns the program of a search and of what it expects, the same for equal actors."""

    def run(state: Any, belief: Any, observation: Any, key: PRNGKeyArray, step: int) -> Any:
        step_key = jax.random.fold_in(key, step)
        found = actor.searched(state, belief, observation, step_key, False)
        length = found.tree.children_index.shape[1]
        # What the model believes in each state is large, and nothing to look at.
        return found.tree.replace(embeddings=None), variation(found.tree, found.action, length)

    return jax.jit(run)


def named(nodes: Sequence[Node], rules: pgx.Env, state: Any) -> tuple[Node, ...]:
    """Returns the nodes with the names of their moves.

    What cannot be played, which a tree does not know behind its root, is called by its number.

    Args:
        nodes: of a search.
        rules: of the game.
        state: pgx's, in which the search begins.
    """
    face, (_, step) = face_of(rules), compiled_rules(rules)
    states: list[Any] = [state]
    found = list(nodes[:1])
    for node in nodes[1:]:
        before = states[node.parent]
        over = before is None or bool(before.terminated | before.truncated)
        possible = not over and bool(before.legal_action_mask[node.action])
        name = face.move(before, node.action) if possible else f"#{node.action}"
        states.append(step(before, np.int32(node.action)) if possible else None)
        found.append(replace(node, name=name, possible=possible))
    return tuple(found)


def moment(player: Player, steps: int, seed: int, task: str | None = None) -> Moment:
    """Returns the search of an agent after some steps of an episode that it plays.

    The episode is the one that `armillary video` shows for this seed.

    Args:
        player: the agent.
        steps: actions that it takes before.
        seed: of the episode and of the agent.
        task: one of those that it learned; None: the first.

    Raises:
        UsageError: the agent searches no tree or did not learn that task, or the episode is over
            sooner.
        EnvironmentFailure: the environment broke.
    """
    agent, state, key = player.agent, player.state, seeding.key(seed, "evaluate", 0)
    env = player.make_env(task)
    try:
        given, _ = env.reset(seed=seeding.integer(seed, "evaluate", 0))
        belief = agent.initial_belief(state, 1)
        for step in range(steps):
            belief, action, _ = compiled(agent)(
                state, belief, _row(agent, given), key, step, explore=False
            )
            given, _, ended, cut, _ = env.step(agent.spec.own_action(action)[0])
            if ended or cut:
                raise UsageError(
                    f"the episode is over after {step + 1} steps, but its search after {steps} was "
                    "asked for: give fewer steps"
                )
        observation = _row(agent, given)
        nodes = searched(agent, state, belief, observation, key, steps)
        called = words(env, agent.spec.action.size)
    finally:
        env.close()
    image = next((observation[name][0] for name in agent.spec.images), None)
    return Moment(
        (nodes[0], *(replace(node, name=called[node.action]) for node in nodes[1:])), image
    )


def words(env: gym.Env, count: int) -> list[str]:
    """Returns what the actions of an environment are called: by Atari's words, or its numbers."""
    own = env.unwrapped
    if callable(meanings := getattr(own, "get_action_meanings", None)):
        return list(meanings())
    start = int(getattr(own.action_space, "start", 0))
    return [str(start + number) for number in range(count)]


def _row(agent: Actor, given: Any) -> dict[str, Any]:
    """Returns what the agent sees in one environment, with a leading axis."""
    return {name: np.asarray(x)[None] for name, x in agent.spec.named(given).items()}
