"""Uniform random actions: the seed episodes of Algorithm 1, and the score to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.agents.base import Observation, masked
from armillary.nets.distributions import IMPOSSIBLE, OneHot
from armillary.spec import MASK, Spec


@dataclass(frozen=True)
class Random:
    """An agent that learns nothing and believes nothing."""

    spec: Spec

    def init(self, key: PRNGKeyArray) -> None:
        """Returns nothing: there are no parameters."""

    def initial_belief(self, state: None, environments: int) -> None:
        """Returns nothing."""

    def act(
        self, state: None, belief: None, observation: Observation, key: PRNGKeyArray, explore: bool
    ) -> tuple[Any, Float[Array, "environment action"], dict[str, Array]]:
        """Returns actions drawn uniformly: from [-1, 1], or of those that may be taken."""
        count = len(next(iter(observation.values())))
        return None, uniform(self.spec, observation, count, key), {}


def uniform(
    spec: Spec, observation: Observation, count: int, key: PRNGKeyArray
) -> Float[Array, "environment action"]:
    """Returns uniform random actions for environments side by side.

    Args:
        spec: of the environments.
        observation: theirs, of which the mask counts.
        count: how many there are.
        key: of the actions.
    """
    shape = (count, spec.action.size)
    if not spec.discrete:
        return masked(jax.random.uniform(key, shape, minval=-1.0, maxval=1.0), observation)
    logits = jnp.zeros(shape)
    if MASK in observation:
        logits = jnp.where(observation[MASK], logits, IMPOSSIBLE)
    return OneHot(logits).sample(jax.random.gumbel(key, shape))
