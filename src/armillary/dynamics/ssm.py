"""The purely stochastic state-space model (PlaNet, Eq. 2, Figure 2b)."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.config import ModelConfig
from armillary.dynamics.base import Dynamics, LatentState, gaussian, sample
from armillary.nets.dense import Stack
from armillary.nets.distributions import Normal


class SSM(Dynamics):
    """A stochastic path alone: whatever is remembered passes through a sample at every step.

    - transition model: s_t ~ p(s_t | s_t-1, a_t-1), a hidden layer and a Gaussian;
    - encoder: q(s_t | s_t-1, a_t-1, o_t), a hidden layer on the prior's mean and standard deviation
      and the embedding of o_t, and a Gaussian (as in google-research/planet).

    The features are s_t. `deterministic` has no entries.
    """

    prior: Stack
    posterior: Stack
    stochastic_size: int = eqx.field(static=True)
    deterministic_size: int = eqx.field(static=True)
    feature_size: int = eqx.field(static=True)
    min_std: float = eqx.field(static=True)

    def __init__(
        self, embedding_size: int, action_size: int, config: ModelConfig, *, key: PRNGKeyArray
    ) -> None:
        first, second = jax.random.split(key)
        s, hidden, act = config.stochastic, config.hidden, config.activation
        self.prior = Stack([s + action_size, hidden, 2 * s], act, key=first)
        self.posterior = Stack([2 * s + embedding_size, hidden, 2 * s], act, key=second)
        self.stochastic_size = self.feature_size = s
        self.deterministic_size = 0
        self.min_std = config.min_std

    def predict(
        self,
        state: LatentState,
        action: Float[Array, "*batch action"],
        noise: Float[Array, "*batch stochastic"] | None,
    ) -> LatentState:
        """Returns s_t ~ p(s_t | s_t-1, a_t-1)."""
        parameters = self.prior(jnp.concatenate([state.stochastic, action], axis=-1))
        return self._state(parameters, noise)

    def infer(
        self,
        state: LatentState,
        action: Float[Array, "*batch action"],
        embedding: Float[Array, "*batch embedding"],
        noise: Float[Array, "*batch stochastic"] | None,
    ) -> tuple[LatentState, Normal]:
        """Returns s_t ~ q(s_t | s_t-1, a_t-1, o_t), and the prior."""
        prior = self.predict(state, action, None).distribution
        parameters = self.posterior(jnp.concatenate([*prior, embedding], axis=-1))
        return self._state(parameters, noise), prior

    def features(self, state: LatentState) -> Float[Array, "*batch features"]:
        """Returns s_t."""
        return state.stochastic

    def _state(
        self,
        parameters: Float[Array, "*batch twice"],
        noise: Float[Array, "*batch stochastic"] | None,
    ) -> LatentState:
        distribution = gaussian(parameters, self.min_std)
        nothing = jnp.zeros((*parameters.shape[:-1], 0))
        return LatentState(distribution, sample(distribution, noise), nothing)
