"""PlaNet: the model fitting and the acting of Algorithm 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from armillary.agents.base import Acting
from armillary.agents.world_model import (
    WorldModelAgent,
    init_model,
    update_model,
)
from armillary.config import PlanetConfig
from armillary.dynamics.base import LatentState
from armillary.dynamics.world_model import WorldModel
from armillary.errors import UsageError
from armillary.planners.cem import cem
from armillary.planners.rollout import latent_returns, used
from armillary.replay.sampler import Batch


class PlanetState(NamedTuple):
    """Everything that is learned: the model's parameters theta and Adam's moments."""

    model: WorldModel
    optimizer: optax.OptState


@dataclass(frozen=True)
class Planet(WorldModelAgent):
    """The agent of PlaNet, Algorithm 1: pure functions over `PlanetState`."""

    config: PlanetConfig

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spec.discrete:
            raise UsageError(
                "PlaNet plans continuous actions, but those of this task are discrete: train "
                "another agent (--agent dreamer)"
            )

    @property
    def acting(self) -> Acting:
        """A plan, and its size in the letters of Algorithm 2."""
        return Acting.planning(self.config.planner)

    def init(self, key: PRNGKeyArray) -> PlanetState:
        """Returns random parameters (Algorithm 1, line 2)."""
        return PlanetState(*init_model(self.config, self.spec, key))

    def trimmed(self, state: Any) -> Any:
        """Returns the parameters without Adam's moments."""
        return state._replace(optimizer=None) if isinstance(state, PlanetState) else state

    def update(
        self, state: PlanetState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[PlanetState, dict[str, Float[Array, ""]]]:
        """Takes one gradient step on the loss (Algorithm 1, lines 6 and 7)."""
        model, optimizer, metrics, _ = update_model(*state, batch, key, self.config, self.loss)
        return PlanetState(model, optimizer), metrics

    def choose(
        self,
        state: PlanetState,
        latent: LatentState,
        mask: Bool[Array | np.ndarray, "environment action"] | None,
        key: PRNGKeyArray,
        explore: bool,
    ) -> tuple[Float[Array, "environment action"], dict[str, Array]]:
        """Plans in each environment (Algorithm 2); returns also the `predicted_return` of each."""

        def plan_one(latent: LatentState, mask: Any, key: PRNGKeyArray) -> Any:
            plan = cem(**self.plan_of(state, latent, mask, key))
            return plan.mean[0], plan.predicted_return

        keys = jax.random.split(key, latent.stochastic.shape[0])
        action, returns = jax.vmap(plan_one)(latent, mask, keys)
        return action, {"predicted_return": returns}

    @property
    def plans(self) -> bool:
        """Always."""
        return True

    def plan_of(
        self, state: PlanetState, latent: LatentState, mask: Any, key: PRNGKeyArray
    ) -> dict[str, Any]:
        """Returns what `cem` is given in one environment, for a plan or for its trace."""
        return {
            "evaluate": used(latent_returns(state.model, latent), mask),
            "key": key,
            "action_size": self.spec.action.size,
            "config": self.config.planner,
        }
