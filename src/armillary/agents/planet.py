"""PlaNet: the model fitting and the acting of Algorithm 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from armillary.agents.base import Acting
from armillary.agents.filtering import (
    Belief,
    Loss,
    filter_observation,
    init_model,
    initial_belief,
    update_model,
)
from armillary.config import PlanetConfig
from armillary.dynamics.base import LatentState
from armillary.dynamics.prediction import predict_images
from armillary.dynamics.world_model import WorldModel
from armillary.objectives.world_model import world_model_loss
from armillary.planners.cem import cem
from armillary.planners.rollout import latent_returns
from armillary.replay.sampler import Batch


class PlanetState(NamedTuple):
    """Everything that is learned: the model's parameters theta and Adam's moments."""

    model: WorldModel
    optimizer: optax.OptState


@dataclass(frozen=True)
class Planet:
    """The agent of PlaNet, Algorithm 1: pure functions over `PlanetState`."""

    config: PlanetConfig
    action_size: int

    loss: ClassVar[Loss] = staticmethod(world_model_loss)
    """What the world model minimises; a subclass may have another (docs/extending.md)."""

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

    def initial_belief(
        self,
        state: PlanetState,
        environments: int,
        used: Float[Array | np.ndarray, " action"] | None = None,
    ) -> Belief:
        """Returns the belief before the first observation of an episode."""
        return initial_belief(state.model, environments, self.action_size, used)

    def act(
        self,
        state: PlanetState,
        belief: Belief,
        observation: UInt8[Array, "environment 64 64 3"],
        key: PRNGKeyArray,
        explore: bool,
    ) -> tuple[Belief, Float[Array, "environment action"], dict[str, Array]]:
        """Infers the belief, plans, and adds exploration noise (Algorithm 1, lines 10 to 12).

        Args:
            state: the parameters.
            belief: from the previous time step, or `initial_belief`.
            observation: o_t of each environment.
            key: of everything random in this time step.
            explore: whether to add the exploration noise, N(0, `action_noise`); in random
                collection, whether to act at random in place of planning.

        Returns:
            The next belief, the actions in [-1, 1], and `predicted_return` of each plan, if any.
        """
        model, settings = state.model, self.config
        count = observation.shape[0]
        image_key, belief_key, plan_key, noise_key = jax.random.split(key, 4)

        latent = filter_observation(
            model, belief, observation, image_key, belief_key, settings.objective
        )
        if explore and settings.collection.policy == "random":
            action = jax.random.uniform(noise_key, belief.action.shape, minval=-1.0, maxval=1.0)
            action = action * belief.used
            return Belief(latent, action, belief.used), action, {}

        def plan_one(latent: LatentState, used: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
            evaluate = latent_returns(model, latent)
            plan = cem(
                lambda candidates, key: evaluate(candidates * used, key),
                key,
                action_size=self.action_size,
                config=settings.planner,
            )
            return plan.mean[0], plan.predicted_return

        keys = jax.random.split(plan_key, count)
        action, returns = jax.vmap(plan_one)(latent, belief.used, keys)
        if explore:
            noise = jax.random.normal(noise_key, action.shape)
            action = action + settings.collection.action_noise * noise
        action = jnp.clip(action, -1.0, 1.0) * belief.used
        return Belief(latent, action, belief.used), action, {"predicted_return": returns}

    @property
    def predicts_frames(self) -> bool:
        """Whether the world model has a decoder."""
        return self.config.objective.representation == "reconstruction"

    def predict(
        self,
        state: PlanetState,
        images: UInt8[Array, "time 64 64 3"],
        actions: Float[Array, "time action"],
        key: PRNGKeyArray,
        context: int,
    ) -> UInt8[Array, "time 64 64 3"]:
        """Returns the context frames as reconstructed, then frames predicted from actions alone.

        Args:
            state: the parameters.
            images: o_1..o_T, of which only the first `context` are seen.
            actions: `actions[t]` leads to `images[t]`.
            key: of the sampled states.
            context: how many frames are seen.
        """
        objective = self.config.objective
        return predict_images(state.model, images, actions, key, objective, context=context)
