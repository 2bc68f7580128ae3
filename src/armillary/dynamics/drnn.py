"""The doubly recurrent model (PlaNet, Appendix D, Figure 8)."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.config import ModelConfig
from armillary.dynamics.base import Dynamics, LatentState, gaussian, sample
from armillary.nets.dense import ACTIVATIONS, GRU, Dense, Stack
from armillary.nets.distributions import Normal


class DRNN(Dynamics):
    """Two RNNs as encoder and decoder, with a stochastic state sequence between them.

    - encoder RNN: e_t = f(e_t-1, s_t-1, a_t-1, o_t), a hidden layer and a GRU;
    - stochastic state: s_t ~ q(s_t | e_t, s_t-1, d_t-1), a hidden layer and a Gaussian;
    - decoder RNN: d_t = g(d_t-1, s_t), a GRU.

    The prior is the same network without its image: the encoder RNN then goes on with
    e_t = f(e_t-1, s_t-1, a_t-1). What is connected to what is as in google-research/planet
    (`drnn.py` in its history), whose prior sees an embedding of zeros instead, and whose encoder
    RNN has no hidden layer.

    The features are d_t, to which the image comes only through the samples. `deterministic` is
    [e_t, d_t].
    """

    inputs: Dense
    image: Dense
    encoder: GRU
    belief: Stack
    decoder: GRU
    activation: str = eqx.field(static=True)
    stochastic_size: int = eqx.field(static=True)
    deterministic_size: int = eqx.field(static=True)
    feature_size: int = eqx.field(static=True)
    min_std: float = eqx.field(static=True)

    def __init__(
        self, embedding_size: int, action_size: int, config: ModelConfig, *, key: PRNGKeyArray
    ) -> None:
        keys = jax.random.split(key, 5)
        s, units, hidden = config.stochastic, config.deterministic, config.hidden
        self.inputs = Dense(s + action_size, hidden, key=keys[0])
        self.image = Dense(embedding_size, hidden, key=keys[1])
        self.encoder = GRU(hidden, units, key=keys[2])
        self.belief = Stack([2 * units + s, hidden, 2 * s], config.activation, key=keys[3])
        self.decoder = GRU(s, units, key=keys[4])
        self.activation = config.activation
        self.stochastic_size = s
        self.deterministic_size = 2 * units
        self.feature_size = units
        self.min_std = config.min_std

    def predict(
        self,
        state: LatentState,
        action: Float[Array, "*batch action"],
        noise: Float[Array, "*batch stochastic"] | None,
    ) -> LatentState:
        """Returns e_t, s_t and d_t without an image."""
        return self._step(state, self._inputs(state, action), noise)

    def infer(
        self,
        state: LatentState,
        action: Float[Array, "*batch action"],
        embedding: Float[Array, "*batch embedding"],
        noise: Float[Array, "*batch stochastic"] | None,
    ) -> tuple[LatentState, Normal]:
        """Returns e_t, s_t and d_t, given the image o_t, and the prior without it."""
        inputs = self._inputs(state, action)
        posterior = self._step(state, inputs + self.image(embedding), noise)
        return posterior, self._sequence(state, inputs)[1]

    def features(self, state: LatentState) -> Float[Array, "*batch features"]:
        """Returns d_t."""
        return jnp.split(state.deterministic, 2, axis=-1)[1]

    def _inputs(
        self, state: LatentState, action: Float[Array, "*batch action"]
    ) -> Float[Array, "*batch hidden"]:
        return self.inputs(jnp.concatenate([state.stochastic, action], axis=-1))

    def _sequence(
        self, state: LatentState, inputs: Float[Array, "*batch hidden"]
    ) -> tuple[Float[Array, "*batch units"], Normal]:
        """Returns e_t and the Gaussian of s_t."""
        e, d = jnp.split(state.deterministic, 2, axis=-1)
        e = self.encoder(ACTIVATIONS[self.activation](inputs), e)
        parameters = self.belief(jnp.concatenate([e, state.stochastic, d], axis=-1))
        return e, gaussian(parameters, self.min_std)

    def _step(
        self,
        state: LatentState,
        inputs: Float[Array, "*batch hidden"],
        noise: Float[Array, "*batch stochastic"] | None,
    ) -> LatentState:
        e, distribution = self._sequence(state, inputs)
        s = sample(distribution, noise)
        d = self.decoder(s, self.features(state))
        return LatentState(distribution, s, jnp.concatenate([e, d], axis=-1))
