"""The purely deterministic model (PlaNet, Figure 2a)."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.config import ModelConfig
from armillary.dynamics.base import Dynamics, LatentState
from armillary.nets.dense import GRU, Stack
from armillary.nets.distributions import Normal


class RNN(Dynamics):
    """The RSSM with the mean m_t in place of the sample: no noise and no divergence.

    - deterministic state model: h_t = f(h_t-1, m_t-1, a_t-1), a hidden layer and a GRU;
    - prediction: m_t = g(h_t), a hidden layer and a linear one;
    - encoder: m_t = e(h_t, o_t), a hidden layer on [h_t, embedding of o_t] and a linear one.

    All of the state is `deterministic`, [m_t, h_t], which are the features, too; `stochastic` has
    no entries, and the noise neither. Nothing ties g to e but the loss on predicted images and
    rewards that the objective gives to models without a divergence, see
    `ObjectiveConfig.overshooting_image_scale`.
    """

    inputs: Stack
    gru: GRU
    prior: Stack
    posterior: Stack
    stochastic_size: int = eqx.field(static=True)
    deterministic_size: int = eqx.field(static=True)
    feature_size: int = eqx.field(static=True)
    mean_size: int = eqx.field(static=True)

    def __init__(
        self, embedding_size: int, action_size: int, config: ModelConfig, *, key: PRNGKeyArray
    ) -> None:
        keys = jax.random.split(key, 4)
        m, h, hidden, act = (
            config.stochastic,
            config.deterministic,
            config.hidden,
            config.activation,
        )
        self.inputs = Stack([m + action_size, hidden], act, activate_last=True, key=keys[0])
        self.gru = GRU(hidden, h, key=keys[1])
        self.prior = Stack([h, hidden, m], act, key=keys[2])
        self.posterior = Stack([h + embedding_size, hidden, m], act, key=keys[3])
        self.mean_size = m
        self.stochastic_size = 0
        self.deterministic_size = self.feature_size = m + h

    def predict(
        self,
        state: LatentState,
        action: Float[Array, "*batch action"],
        noise: Float[Array, "*batch stochastic"] | None = None,
    ) -> LatentState:
        """Returns h_t = f(h_t-1, m_t-1, a_t-1) and m_t = g(h_t)."""
        h = self._transition(state, action)
        return _state(self.prior(h), h)

    def infer(
        self,
        state: LatentState,
        action: Float[Array, "*batch action"],
        embedding: Float[Array, "*batch embedding"],
        noise: Float[Array, "*batch stochastic"] | None = None,
    ) -> tuple[LatentState, Normal]:
        """Returns h_t and m_t = e(h_t, o_t), and a prior without entries."""
        h = self._transition(state, action)
        posterior = _state(self.posterior(jnp.concatenate([h, embedding], axis=-1)), h)
        return posterior, posterior.distribution

    def features(self, state: LatentState) -> Float[Array, "*batch features"]:
        """Returns [m_t, h_t]."""
        return state.deterministic

    def _transition(
        self, state: LatentState, action: Float[Array, "*batch action"]
    ) -> Float[Array, "*batch h"]:
        mean, h = jnp.split(state.deterministic, [self.mean_size], axis=-1)
        return self.gru(self.inputs(jnp.concatenate([mean, action], axis=-1)), h)


def _state(mean: Float[Array, "*batch mean"], h: Float[Array, "*batch h"]) -> LatentState:
    nothing = jnp.zeros((*h.shape[:-1], 0))
    return LatentState(Normal(nothing, nothing), nothing, jnp.concatenate([mean, h], axis=-1))
