"""Uniform random actions: the seed episodes of Algorithm 1, and the score to beat."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from armillary.agents.base import used_entries


@dataclass(frozen=True)
class Random:
    """An agent that learns nothing: its belief is no more than which entries of an action count."""

    action_size: int

    def init(self, key: PRNGKeyArray) -> None:
        """Returns nothing: there are no parameters."""

    def initial_belief(
        self,
        state: None,
        environments: int,
        used: Float[Array | np.ndarray, " action"] | None = None,
    ) -> Float[Array, "environment action"]:
        """Returns which entries of an action are used."""
        return used_entries(used, environments, self.action_size)

    def act(
        self,
        state: None,
        belief: Float[Array, "environment action"],
        observation: UInt8[Array, "environment height width 3"],
        key: PRNGKeyArray,
        explore: bool,
    ) -> tuple[Array, Float[Array, "environment action"], dict[str, Array]]:
        """Returns actions drawn uniformly from [-1, 1]."""
        return belief, belief * jax.random.uniform(key, belief.shape, minval=-1.0, maxval=1.0), {}
