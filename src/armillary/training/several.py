"""One agent with the parameters of several seeds: their updates, and their actions, as one program.

On a CPU the program computes one seed after the other: the work of one fills the cores, and all at
once takes longer there (docs/performance.md). Elsewhere they are computed at once, by `jax.vmap`.
Either way sums may be taken in another order than in the program of one seed alone, so that the
last bits differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from armillary.agents.base import Actor, Agent, Observation, Records
from armillary.nets.pieces import on_cpu
from armillary.replay.sampler import Batch
from armillary.spec import Spec


def over_seeds(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function of arguments with a leading axis `seed`, as is what it returns.

    Args:
        function: of one seed.
    """

    def mapped(*arguments: Any) -> Any:
        if on_cpu(1):
            return jax.lax.map(lambda of_one: function(*of_one), arguments)
        return jax.vmap(function)(*arguments)

    return mapped


def stacked(trees: Sequence[PyTree]) -> PyTree:
    """Returns trees as one, with a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def update_each(
    agent: Agent, states: Sequence[Any], batches: Sequence[Batch], keys: PRNGKeyArray, counter: int
) -> Any:
    """Takes an update of each seed; it is to be compiled, and the states donated.

    Args:
        agent: of all seeds.
        states: of each.
        batches: of each, of the same shapes.
        keys: of the updates of each, one axis.
        counter: the number of the update.

    Returns:
        What `agent.update` does: the states of each seed, and the rest with a leading axis `seed`.
    """

    def one(state: Any, batch: Batch, key: PRNGKeyArray) -> Any:
        return agent.update(state, batch, jax.random.fold_in(key, counter))

    after, *rest = over_seeds(one)(stacked(states), stacked(batches), keys)
    return tuple(jax.tree.map(lambda x, i=i: x[i], after) for i in range(len(states))), *rest


@dataclass(frozen=True)
class Several:
    """An actor for several seeds, each of which acts in its share of the environments.

    Its states, beliefs and keys have a leading axis `seed`. The first environments are those of the
    first seed.

    Attributes:
        actor: who acts for each.
        seeds: how many.
    """

    actor: Actor
    seeds: int

    @property
    def spec(self) -> Spec:
        """The actor's."""
        return self.actor.spec

    @property
    def records(self) -> tuple[str, ...]:
        """The actor's."""
        return self.actor.records if isinstance(self.actor, Records) else ()

    def init(self, key: PRNGKeyArray) -> PyTree:
        """Returns random parameters, from a key of each seed."""
        return jax.vmap(self.actor.init)(key)

    def initial_belief(self, state: Any, environments: int) -> PyTree:
        """Returns the beliefs before an episode in so many environments, of all seeds together."""
        share = environments // self.seeds
        of_each = jax.vmap(lambda own: self.actor.initial_belief(own, share), axis_size=self.seeds)
        return of_each(state)

    def act(
        self, state: Any, belief: Any, observation: Observation, key: PRNGKeyArray, explore: bool
    ) -> tuple[PyTree, Float[Array, "environment action"], dict[str, Array]]:
        """Returns what the actor does for each seed, the environments of all on one axis."""

        def one(state: Any, belief: Any, observation: Observation, key: PRNGKeyArray) -> Any:
            return self.actor.act(state, belief, observation, key, explore)

        shares = jax.tree.map(lambda x: x.reshape(self.seeds, -1, *x.shape[1:]), dict(observation))
        belief, *rest = over_seeds(one)(state, belief, shares, key)
        action, known = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rest)
        return belief, action, known
