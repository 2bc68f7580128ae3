"""Uniform random actions: the seed episodes of Algorithm 1, and the score to beat."""

from __future__ import annotations

from dataclasses import dataclass

import jax
from jaxtyping import Array, Float, PRNGKeyArray, UInt8


@dataclass(frozen=True)
class Random:
    """An agent that learns nothing: its state and its belief are empty."""

    action_size: int

    def init(self, key: PRNGKeyArray) -> None:
        """Returns nothing: there are no parameters."""

    def initial_belief(self, state: None, environments: int) -> None:
        """Returns nothing: the agent remembers nothing."""

    def act(
        self,
        state: None,
        belief: None,
        observation: UInt8[Array, "environment height width 3"],
        key: PRNGKeyArray,
        explore: bool,
    ) -> tuple[None, Float[Array, "environment action"], dict[str, Array]]:
        """Returns actions drawn uniformly from [-1, 1]."""
        shape = (observation.shape[0], self.action_size)
        return None, jax.random.uniform(key, shape, minval=-1.0, maxval=1.0), {}
