"""PlaNet: the model fitting and the acting of Algorithm 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from armillary.agents.base import used_entries
from armillary.config import Config
from armillary.dynamics.base import LatentState
from armillary.dynamics.prediction import predict_images
from armillary.dynamics.world_model import WorldModel
from armillary.nets.image import batch_last, preprocess
from armillary.objectives.reconstruction import reconstruction_loss
from armillary.planners.cem import cem
from armillary.planners.rollout import latent_returns
from armillary.replay.sampler import Batch


class PlanetState(NamedTuple):
    """Everything that is learned: the model's parameters theta and Adam's moments."""

    model: WorldModel
    optimizer: optax.OptState


class PlanetBelief(NamedTuple):
    """What the agent carries from one time step to the next, for each of several environments.

    Attributes:
        latent: a sample of q(s_t | o_<=t, a_<t), leading axis `environment`.
        action: the action taken last, which leads to the next observation.
        used: 1 for the entries of an action that the environment uses, 0 for those that fill it up.
    """

    latent: LatentState
    action: Float[Array, "environment action"]
    used: Float[Array, "environment action"]


@dataclass(frozen=True)
class Planet:
    """The agent of PlaNet, Algorithm 1: pure functions over `PlanetState`."""

    config: Config
    action_size: int

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        settings = self.config.optimizer
        return optax.chain(
            optax.clip_by_global_norm(settings.clip_norm),
            optax.adam(settings.learning_rate, eps=settings.epsilon),
        )

    def init(self, key: PRNGKeyArray) -> PlanetState:
        """Returns random parameters (Algorithm 1, line 2)."""
        model = WorldModel(self.action_size, self.config.model, key=key)
        return PlanetState(model, self._optimizer.init(eqx.filter(model, eqx.is_inexact_array)))

    def update(
        self, state: PlanetState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[PlanetState, dict[str, Float[Array, ""]]]:
        """Takes one gradient step on the loss (Algorithm 1, lines 6 and 7)."""
        model, optimizer = state
        gradient_of = eqx.filter_value_and_grad(reconstruction_loss, has_aux=True)
        (_, metrics), gradient = gradient_of(model, batch, key, self.config.objective)
        updates, optimizer = self._optimizer.update(gradient, optimizer)
        metrics = metrics | {"gradient_norm": optax.tree.norm(gradient)}
        return PlanetState(eqx.apply_updates(model, updates), optimizer), metrics

    def initial_belief(
        self,
        state: PlanetState,
        environments: int,
        used: Float[Array | np.ndarray, " action"] | None = None,
    ) -> PlanetBelief:
        """Returns the belief before the first observation of an episode."""
        latent = state.model.dynamics.initial(environments)
        action = jnp.zeros((environments, self.action_size))
        return PlanetBelief(latent, action, used_entries(used, environments, self.action_size))

    def act(
        self,
        state: PlanetState,
        belief: PlanetBelief,
        observation: UInt8[Array, "environment 64 64 3"],
        key: PRNGKeyArray,
        explore: bool,
    ) -> tuple[PlanetBelief, Float[Array, "environment action"], dict[str, Array]]:
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

        images = preprocess(observation, settings.objective.bits, image_key)
        embedding = model.encoder(batch_last(images))
        noise = jax.random.normal(belief_key, (count, model.dynamics.stochastic_size))
        latent, _ = model.dynamics.infer(belief.latent, belief.action, embedding, noise)
        if explore and settings.collection.policy == "random":
            action = jax.random.uniform(noise_key, belief.action.shape, minval=-1.0, maxval=1.0)
            action = action * belief.used
            return PlanetBelief(latent, action, belief.used), action, {}

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
        return PlanetBelief(latent, action, belief.used), action, {"predicted_return": returns}

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
        bits = self.config.objective.bits
        return predict_images(state.model, images, actions, key, bits=bits, context=context)
