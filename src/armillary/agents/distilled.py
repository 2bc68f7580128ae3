"""A policy network that imitates a planner, at the cost of one pass through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from armillary.agents.world_model import WorldModelAgent
from armillary.config import DistillationConfig, DistilledConfig
from armillary.dynamics.base import LatentState
from armillary.dynamics.world_model import WorldModel
from armillary.nets.dense import Stack


class DistilledState(NamedTuple):
    """What acting takes: the world model, which infers the belief, and the policy.

    Attributes:
        model: the planning agent's world model, as it was.
        policy: features (..., F) to actions (..., A) before the tanh.
    """

    model: WorldModel
    policy: Stack


@dataclass(frozen=True)
class Distilled(WorldModelAgent):
    """Acts by a policy that `armillary distill` has fitted to a planner; it learns no further."""

    config: DistilledConfig

    def init(self, key: PRNGKeyArray) -> DistilledState:
        """Returns random parameters, in the shapes of those that are distilled."""
        model_key, policy_key = jax.random.split(key)
        representation = self.config.objective.representation
        model = WorldModel(self.spec, self.config.model, representation, key=model_key)
        sizes = (model.dynamics.feature_size, self.spec.action.size)
        return DistilledState(model, new_policy(*sizes, self.config.distillation, policy_key))

    def choose(
        self,
        state: DistilledState,
        latent: LatentState,
        mask: Bool[Array | np.ndarray, "environment action"] | None,
        key: PRNGKeyArray,
        explore: bool,
    ) -> tuple[Float[Array, "environment action"], dict[str, Array]]:
        """Takes what the policy gives; nothing in it is random."""
        return jnp.tanh(state.policy(state.model.dynamics.features(latent))), {}


def new_policy(
    feature_size: int, action_size: int, config: DistillationConfig, key: PRNGKeyArray
) -> Stack:
    """Returns a policy that has learned nothing."""
    sizes = [feature_size, *[config.hidden] * config.layers, action_size]
    return Stack(sizes, config.activation, key=key)
