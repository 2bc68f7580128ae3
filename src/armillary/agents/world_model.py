"""What agents with a world model of images share: acting from its belief, and its update."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from armillary.agents.base import used_entries
from armillary.config import OptimizerConfig, WorldModelConfig
from armillary.dynamics.base import LatentState
from armillary.dynamics.prediction import predict_images
from armillary.dynamics.world_model import WorldModel
from armillary.nets.image import batch_last, preprocess
from armillary.objectives.world_model import world_model_loss
from armillary.replay.sampler import Batch

Module = TypeVar("Module", bound=eqx.Module)


Loss = Callable[..., tuple[Float[Array, ""], tuple[dict[str, Float[Array, ""]], LatentState]]]
"""Such as `world_model_loss`."""


class Belief(NamedTuple):
    """What an agent carries from one time step to the next, for each of several environments.

    Attributes:
        latent: a sample of q(s_t | o_<=t, a_<t), leading axis `environment`.
        action: the action taken last, which leads to the next observation.
        used: 1 for the entries of an action that the environment uses, 0 for those that fill it up.
    """

    latent: LatentState
    action: Float[Array, "environment action"]
    used: Float[Array, "environment action"]


@dataclass(frozen=True)
class WorldModelAgent(abc.ABC):
    """An agent that acts from the belief of a world model; a subclass learns, and chooses.

    The subclass's state is a tuple with a field `model`, the world model.
    """

    config: WorldModelConfig
    action_size: int

    loss: ClassVar[Loss] = staticmethod(world_model_loss)
    """What the world model minimises; a subclass may have another (docs/extending.md)."""

    @abc.abstractmethod
    def choose(
        self,
        state: Any,
        latent: LatentState,
        used: Float[Array, "environment action"],
        key: PRNGKeyArray,
        explore: bool,
    ) -> tuple[Float[Array, "environment action"], dict[str, Array]]:
        """Returns the action in each state, without exploration noise, and what else is known.

        Args:
            state: the parameters.
            latent: a sample of the belief in each environment.
            used: 1 for the entries of an action that an environment uses, 0 for the others.
            key: of what is random in the choice.
            explore: whether it is for a collected episode.
        """

    def initial_belief(
        self,
        state: Any,
        environments: int,
        used: Float[Array | np.ndarray, " action"] | None = None,
    ) -> Belief:
        """Returns the belief before the first observation of an episode."""
        latent = state.model.dynamics.initial(environments)
        action = jnp.zeros((environments, self.action_size))
        return Belief(latent, action, used_entries(used, environments, self.action_size))

    def act(
        self,
        state: Any,
        belief: Belief,
        observation: UInt8[Array, "environment 64 64 3"],
        key: PRNGKeyArray,
        explore: bool,
    ) -> tuple[Belief, Float[Array, "environment action"], dict[str, Array]]:
        """Infers the belief, chooses an action and adds exploration noise.

        PlaNet, Algorithm 1, lines 10 to 12; Dreamer, Algorithm 1, lines 18 to 20.

        Args:
            state: the parameters.
            belief: from the previous time step, or `initial_belief`.
            observation: o_t of each environment.
            key: of everything random in this time step.
            explore: whether to add the exploration noise, N(0, `action_noise`); in random
                collection, whether to act at random instead.

        Returns:
            The next belief, the actions in [-1, 1], and what `choose` says of them.
        """
        model, objective, collection = state.model, self.config.objective, self.config.collection
        image_key, belief_key, choice_key, noise_key = jax.random.split(key, 4)
        images = preprocess(
            observation, objective.bits, image_key if objective.dequantize else None
        )
        embedding = model.encoder(batch_last(images))
        noise = jax.random.normal(belief_key, (len(observation), model.dynamics.stochastic_size))
        latent, _ = model.dynamics.infer(belief.latent, belief.action, embedding, noise)

        extras: dict[str, Array] = {}
        if explore and collection.policy == "random":
            action = jax.random.uniform(noise_key, belief.action.shape, minval=-1.0, maxval=1.0)
        else:
            action, extras = self.choose(state, latent, belief.used, choice_key, explore)
            if explore:
                noise = jax.random.normal(noise_key, action.shape)
                action = action + collection.action_noise * noise
            action = jnp.clip(action, -1.0, 1.0)
        action = action * belief.used
        return Belief(latent, action, belief.used), action, extras

    @property
    def predicts_frames(self) -> bool:
        """Whether the world model has a decoder."""
        return self.config.objective.representation == "reconstruction"

    def predict(
        self,
        state: Any,
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


def init_model(
    config: WorldModelConfig, action_size: int, key: PRNGKeyArray
) -> tuple[WorldModel, optax.OptState]:
    """Returns random parameters and the optimiser's state (PlaNet, Algorithm 1, line 2)."""
    model = WorldModel(action_size, config.model, config.objective.representation, key=key)
    return model, init_optimizer(adam(config.optimizer), model)


def update_model(
    model: WorldModel,
    optimizer: optax.OptState,
    batch: Batch,
    key: PRNGKeyArray,
    config: WorldModelConfig,
    loss: Loss = world_model_loss,
) -> tuple[WorldModel, optax.OptState, dict[str, Float[Array, ""]], LatentState]:
    """Takes one gradient step on the world model's loss (PlaNet, Algorithm 1, lines 6 and 7).

    Returns:
        The model, the optimiser's state, the metrics, and the states that were inferred with the
        model as it was, leading axes (time, batch).
    """
    gradient_of = eqx.filter_value_and_grad(loss, has_aux=True)
    (_, (metrics, posteriors)), gradient = gradient_of(model, batch, key, config.objective)
    model, optimizer, norm = descend(adam(config.optimizer), gradient, optimizer, model)
    return model, optimizer, metrics | {"gradient_norm": norm}, posteriors


def adam(config: OptimizerConfig) -> optax.GradientTransformation:
    """Returns Adam on gradients of a bounded global norm."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adam(config.learning_rate, eps=config.epsilon),
    )


def init_optimizer(optimizer: optax.GradientTransformation, module: eqx.Module) -> optax.OptState:
    """Returns the optimiser's state before the first step on a module's parameters."""
    return optimizer.init(eqx.filter(module, eqx.is_inexact_array))


def descend(
    optimizer: optax.GradientTransformation,
    gradient: Module,
    state: optax.OptState,
    module: Module,
) -> tuple[Module, optax.OptState, Float[Array, ""]]:
    """Takes a step; returns the module, the optimiser's state and the norm of the gradient."""
    updates, state = optimizer.update(gradient, state)
    return eqx.apply_updates(module, updates), state, optax.tree.norm(gradient)
