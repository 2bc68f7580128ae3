"""What agents with a world model of images share: the belief, its filter and the model's update."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from armillary.agents.base import used_entries
from armillary.config import ObjectiveConfig, OptimizerConfig, WorldModelConfig
from armillary.dynamics.base import LatentState
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


def initial_belief(
    model: WorldModel,
    environments: int,
    action_size: int,
    used: Float[Array | np.ndarray, " action"] | None,
) -> Belief:
    """Returns the belief before the first observation of an episode."""
    latent = model.dynamics.initial(environments)
    action = jnp.zeros((environments, action_size))
    return Belief(latent, action, used_entries(used, environments, action_size))


def filter_observation(
    model: WorldModel,
    belief: Belief,
    observation: UInt8[Array, "environment 64 64 3"],
    image_key: PRNGKeyArray,
    belief_key: PRNGKeyArray,
    config: ObjectiveConfig,
) -> LatentState:
    """Infers the state of each environment from its observation (PlaNet, Algorithm 1, line 10)."""
    count = observation.shape[0]
    images = preprocess(observation, config.bits, image_key if config.dequantize else None)
    embedding = model.encoder(batch_last(images))
    noise = jax.random.normal(belief_key, (count, model.dynamics.stochastic_size))
    return model.dynamics.infer(belief.latent, belief.action, embedding, noise)[0]


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
