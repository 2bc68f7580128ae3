"""The recurrent state-space model (PlaNet, Eq. 4)."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.config import ModelConfig
from armillary.dynamics.base import Dynamics, LatentState, gaussian, sample
from armillary.nets.dense import GRU, Stack
from armillary.nets.distributions import Normal


class RSSM(Dynamics):
    """Deterministic and stochastic paths side by side (PlaNet, Eq. 4, Figure 2c).

    - deterministic state model: h_t = f(h_t-1, s_t-1, a_t-1), a hidden layer and a GRU;
    - stochastic state model: s_t ~ p(s_t | h_t), a hidden layer and a Gaussian;
    - encoder: q(s_t | h_t, o_t), a hidden layer on [h_t, embedding of o_t] and a Gaussian.

    The image reaches the features [s_t, h_t] only through the sample s_t.
    """

    inputs: Stack
    gru: GRU
    prior: Stack
    posterior: Stack
    stochastic_size: int = eqx.field(static=True)
    deterministic_size: int = eqx.field(static=True)
    feature_size: int = eqx.field(static=True)
    min_std: float = eqx.field(static=True)

    def __init__(
        self, embedding_size: int, action_size: int, config: ModelConfig, *, key: PRNGKeyArray
    ) -> None:
        keys = jax.random.split(key, 4)
        s, h, hidden, act = (
            config.stochastic,
            config.deterministic,
            config.hidden,
            config.activation,
        )
        self.inputs = Stack([s + action_size, hidden], act, activate_last=True, key=keys[0])
        self.gru = GRU(hidden, h, key=keys[1])
        self.prior = Stack([h, hidden, 2 * s], act, key=keys[2])
        self.posterior = Stack([h + embedding_size, hidden, 2 * s], act, key=keys[3])
        self.stochastic_size = s
        self.deterministic_size = h
        self.feature_size = s + h
        self.min_std = config.min_std

    def predict(
        self,
        state: LatentState,
        action: Float[Array, "*batch action"],
        noise: Float[Array, "*batch stochastic"] | None,
    ) -> LatentState:
        """Returns h_t = f(h_t-1, s_t-1, a_t-1) and s_t ~ p(s_t | h_t)."""
        x = self.inputs(jnp.concatenate([state.stochastic, action], axis=-1))
        h = self.gru(x, state.deterministic)
        distribution = gaussian(self.prior(h), self.min_std)
        return LatentState(distribution, sample(distribution, noise), h)

    def infer(
        self,
        state: LatentState,
        action: Float[Array, "*batch action"],
        embedding: Float[Array, "*batch embedding"],
        noise: Float[Array, "*batch stochastic"] | None,
    ) -> tuple[LatentState, Normal]:
        """Returns s_t ~ q(s_t | h_t, o_t), with the prior's h_t, and the prior p(s_t | h_t)."""
        prior = self.predict(state, action, None)
        h = prior.deterministic
        parameters = self.posterior(jnp.concatenate([h, embedding], axis=-1))
        distribution = gaussian(parameters, self.min_std)
        return LatentState(distribution, sample(distribution, noise), h), prior.distribution

    def features(self, state: LatentState) -> Float[Array, "*batch features"]:
        """Returns [s_t, h_t]."""
        return jnp.concatenate([state.stochastic, state.deterministic], axis=-1)
