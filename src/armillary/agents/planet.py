"""PlaNet: the model fitting and the acting of Algorithm 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.agents.base import Acting
from armillary.agents.world_model import (
    WorldModelAgent,
    init_model,
    update_model,
)
from armillary.config import PlanetConfig
from armillary.dynamics.base import LatentState
from armillary.dynamics.world_model import WorldModel
from armillary.planners.cem import cem
from armillary.planners.rollout import latent_returns
from armillary.replay.sampler import Batch


class PlanetState(NamedTuple):
    """Everything that is learned: the model's parameters theta and Adam's moments."""

    model: WorldModel
    optimizer: optax.OptState


@dataclass(frozen=True)
class Planet(WorldModelAgent):
    """The agent of PlaNet, Algorithm 1: pure functions over `PlanetState`."""

    config: PlanetConfig

    @property
    def acting(self) -> Acting:
        """A plan, and its size in the letters of Algorithm 2."""
        planner = self.config.planner
        size = f"J={planner.candidates}, I={planner.iterations}, H={planner.horizon}"
        return Acting("plan", "plans", size)

    def init(self, key: PRNGKeyArray) -> PlanetState:
        """Returns random parameters (Algorithm 1, line 2)."""
        return PlanetState(*init_model(self.config, self.action_size, key))

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
        used: Float[Array, "environment action"],
        key: PRNGKeyArray,
        explore: bool,
    ) -> tuple[Float[Array, "environment action"], dict[str, Array]]:
        """Plans in each environment (Algorithm 2); returns also the `predicted_return` of each."""

        def plan_one(latent: LatentState, used: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
            evaluate = latent_returns(state.model, latent)
            plan = cem(
                lambda candidates, key: evaluate(candidates * used, key),
                key,
                action_size=self.action_size,
                config=self.config.planner,
            )
            return plan.mean[0], plan.predicted_return

        keys = jax.random.split(key, len(used))
        action, returns = jax.vmap(plan_one)(latent, used, keys)
        return action, {"predicted_return": returns}
