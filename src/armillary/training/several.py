"""One agent with the parameters of several seeds: their updates as one program, and their actions.

On a CPU the program computes one seed after the other. The work of one fills the cores, so that all
at once would take longer there (docs/performance.md), and each gets the bits that it has alone
(`tests/training/test_seeds.py`; `armillary bench --seeds` says it of any agent). Elsewhere they are
computed at once, by `jax.vmap`, which sums in another order: the last bits differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from armillary.agents.base import Actor, Agent, Records
from armillary.replay.sampler import Batch
from armillary.spec import Spec


def one_by_one() -> bool:
    """Whether seeds are computed one after the other."""
    return jax.default_backend() == "cpu"


def update_each(
    agent: Agent, states: Sequence[Any], batches: Sequence[Batch], keys: PRNGKeyArray, counter: int
) -> Any:
    """Takes an update of each seed; it is to be compiled, and the states donated.

    Args:
        agent: of all seeds.
        states: of each seed.
        batches: of each, of the same shapes.
        keys: of the updates of each, one axis.
        counter: the number of the update.

    Returns:
        What `agent.update` does: the states of each seed, and the rest with a leading axis `seed`.
    """

    def one(state: Any, batch: Batch, key: PRNGKeyArray) -> Any:
        return agent.update(state, batch, jax.random.fold_in(key, counter))

    arguments = stacked(states), stacked(batches), keys
    if one_by_one():
        found = jax.lax.map(lambda of_one: one(*of_one), arguments)
    else:
        found = jax.vmap(one)(*arguments)
    after, *rest = found
    return tuple(jax.tree.map(lambda x, i=i: x[i], after) for i in range(len(states))), *rest


def alike(batches: Sequence[Batch]) -> bool:
    """Whether batches are of the same shapes: of episodes that had to be filled up, or of none."""
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), batch) for batch in batches]
    return all(shape == shapes[0] for shape in shapes)


def stacked(trees: Sequence[Any]) -> Any:
    """Returns trees as one, with a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@dataclass(frozen=True)
class Several:
    """An actor for several seeds, each of which acts in its own share of the environments.

    Its states, beliefs and keys are those of each seed, as `of_each` returns them.

    Attributes:
        actor: who acts for each.
        count: how many seeds.
    """

    actor: Actor
    count: int

    @property
    def spec(self) -> Spec:
        """The actor's."""
        return self.actor.spec

    @property
    def records(self) -> tuple[str, ...]:
        """The actor's."""
        return self.actor.records if isinstance(self.actor, Records) else ()

    def of_each(self, trees: Sequence[Any]) -> Any:
        """Returns what each seed has of something, as the functions below take it."""
        return tuple(trees) if one_by_one() else _stack(tuple(trees))

    def initial_belief(self, states: Any, environments: int) -> Any:
        """Returns the beliefs before an episode."""

        def one(state: Any) -> Any:
            return self.actor.initial_belief(state, environments // self.count)

        if one_by_one():
            return tuple(map(one, states))
        return jax.vmap(one, axis_size=self.count)(states)

    def acting(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """Returns what acts for all seeds.

        Args:
            act: what does for one, compiled; see `armillary.training.rollout.compiled`.
        """

        def in_turn(
            states: Any, beliefs: Any, observation: Any, keys: Any, step: int, explore: bool
        ) -> Any:
            shares = [
                jax.tree.map(lambda x, i=i: np.split(x, self.count)[i], observation)
                for i in range(self.count)
            ]
            found = [  # all are under way before the first is waited for
                act(state, belief, share, key, step, explore=explore)
                for state, belief, share, key in zip(states, beliefs, shares, keys, strict=True)
            ]
            beliefs, actions, known = zip(*found, strict=True)
            actions, known = jax.device_get((actions, known))
            together = jax.tree.map(lambda *leaves: np.concatenate(leaves), *known)
            return beliefs, np.concatenate(actions), together

        @partial(jax.jit, static_argnames="explore")
        def at_once(
            states: Any, beliefs: Any, observation: Any, keys: Any, step: int, explore: bool
        ) -> Any:
            shares = jax.tree.map(lambda x: x.reshape(self.count, -1, *x.shape[1:]), observation)
            each = jax.vmap(partial(act, explore=explore), in_axes=(0, 0, 0, 0, None))
            beliefs, *rest = each(states, beliefs, shares, keys, step)
            return beliefs, *jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rest)

        return lambda *arguments, **options: (in_turn if one_by_one() else at_once)(
            *arguments, **options
        )


_stack = jax.jit(stacked)
