"""What agents with a world model of observations share: acting from its belief, and its update."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

from armillary.agents.base import Observation, masked
from armillary.agents.random import uniform
from armillary.config import OptimizerConfig, WorldModelConfig
from armillary.dynamics.base import LatentState
from armillary.dynamics.learned import LearnedModel, Value
from armillary.dynamics.prediction import predict_images
from armillary.dynamics.world_model import WorldModel
from armillary.errors import UsageError
from armillary.objectives.world_model import world_model_loss
from armillary.replay.sampler import Batch
from armillary.spec import MASK, Spec

Module = TypeVar("Module", bound=eqx.Module)


Loss = Callable[..., tuple[Float[Array, ""], tuple[dict[str, Float[Array, ""]], LatentState]]]
"""Such as `world_model_loss`."""


class Belief(NamedTuple):
    """What an agent carries from one time step to the next, for each of several environments.

    Attributes:
        latent: a sample of q(s_t | o_<=t, a_<t), leading axis `environment`.
        action: the action taken last, which leads to the next observation.
    """

    latent: LatentState
    action: Float[Array, "environment action"]


@dataclass(frozen=True)
class WorldModelAgent(abc.ABC):
    """An agent that acts from the belief of a world model; a subclass learns, and chooses.

    The subclass's state is a tuple with a field `model`, the world model.

    Raises:
        UsageError: it cannot do what the spec asks for.
    """

    config: WorldModelConfig
    spec: Spec

    loss: ClassVar[Loss] = staticmethod(world_model_loss)
    """What the world model minimises; a subclass may have another (docs/extending.md)."""

    def __post_init__(self) -> None:
        if self.spec.players > 1:
            raise UsageError(
                f"{self.config.agent} learns to act alone, but this is a game of "
                f"{self.spec.players} players: give --agent muzero, or another task"
            )

    @abc.abstractmethod
    def choose(
        self,
        state: Any,
        latent: LatentState,
        mask: Bool[Array | np.ndarray, "environment action"] | None,
        key: PRNGKeyArray,
        explore: bool,
    ) -> tuple[Float[Array, "environment action"], dict[str, Array]]:
        """Returns the action in each state, without exploration noise, and what else is known.

        Args:
            state: the parameters.
            latent: a sample of the belief in each environment.
            mask: which entries of an action count, or which discrete actions there are; None: all.
            key: of what is random in the choice.
            explore: whether it is for a collected episode.
        """

    def initial_belief(self, state: Any, environments: int) -> Belief:
        """Returns the belief before an episode: s_0 of the dynamics, and no action."""
        latent = state.model.dynamics.initial(environments)
        return Belief(latent, jnp.zeros((environments, self.spec.action.size)))

    def act(
        self,
        state: Any,
        belief: Belief,
        observation: Observation,
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
            explore: whether to add the exploration noise, N(0, `action_noise`), or of discrete
                actions to take a random one with the probability `random_actions`; in random
                collection, whether to act at random instead.

        Returns:
            The next belief, the actions in [-1, 1] or one-hot, and what `choose` says of them.
        """
        model, objective, collection = state.model, self.config.objective, self.config.collection
        image_key, belief_key, choice_key, noise_key = jax.random.split(key, 4)
        seen = model.encoder.prepare(
            observation, objective.bits, image_key if objective.dequantize else None
        )
        count = len(belief.action)
        noise = jax.random.normal(belief_key, (count, model.dynamics.stochastic_size))
        latent, _ = model.dynamics.infer(belief.latent, belief.action, model.encoder(seen), noise)

        extras: dict[str, Array] = {}
        if explore and collection.policy == "random":
            action = uniform(self.spec, observation, count, noise_key)
        else:
            mask = observation.get(MASK)
            action, extras = self.choose(state, latent, mask, choice_key, explore)
            if explore:
                action = self._explored(action, observation, noise_key)
        if not self.spec.discrete:
            action = masked(jnp.clip(action, -1.0, 1.0), observation)
        return Belief(latent, action), action, extras

    def _explored(
        self, action: Float[Array, "environment action"], observation: Observation, key: Array
    ) -> Float[Array, "environment action"]:
        """Returns actions with the noise of collected episodes."""
        collection = self.config.collection
        if not self.spec.discrete:
            return action + collection.action_noise * jax.random.normal(key, action.shape)
        chance_key, action_key = jax.random.split(key)
        other = uniform(self.spec, observation, len(action), action_key)
        changed = jax.random.bernoulli(chance_key, collection.random_actions, (len(action), 1))
        return jnp.where(changed, other, action)

    def world_model(self, state: Any) -> LearnedModel:
        """Returns its world model to look into."""
        choose = partial(_choose, self, state)
        bits = self.config.objective.bits
        return LearnedModel(state.model, self.spec, bits, choose, self._value(state))

    def _value(self, state: Any) -> Value | None:
        """Returns what estimates the value of states, if there is anything."""
        return None

    @property
    def predicts_frames(self) -> bool:
        """Whether the world model has a decoder, and of images."""
        reconstructs = self.config.objective.representation == "reconstruction"
        return reconstructs and bool(self.spec.images)

    def predict(
        self,
        state: Any,
        observations: Observation,
        actions: Float[Array, "time action"],
        key: PRNGKeyArray,
        context: int,
    ) -> UInt8[Array, "time 64 64 3"]:
        """Returns the context frames as reconstructed, then frames predicted from actions alone.

        Args:
            state: the parameters.
            observations: o_1..o_T, of which only the first `context` are seen.
            actions: `actions[t]` leads to `observations[t]`.
            key: of the sampled states.
            context: how many are seen.
        """
        objective = self.config.objective
        return predict_images(state.model, observations, actions, key, objective, context=context)


@partial(jax.jit, static_argnums=0)
def _choose(
    agent: WorldModelAgent, state: Any, latent: LatentState, mask: Any, key: PRNGKeyArray
) -> Array:
    return agent.choose(state, latent, mask, key, False)[0]


def init_model(
    config: WorldModelConfig, spec: Spec, key: PRNGKeyArray
) -> tuple[WorldModel, optax.OptState]:
    """Returns random parameters and the optimiser's state (PlaNet, Algorithm 1, line 2)."""
    model = WorldModel(spec, config.model, config.objective.representation, key=key)
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
