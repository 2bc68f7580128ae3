"""A latent dynamics model with its encoder, observation model and reward model."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.config import ModelConfig
from armillary.dynamics.base import Dynamics, LatentState
from armillary.dynamics.drnn import DRNN
from armillary.dynamics.rnn import RNN
from armillary.dynamics.rssm import RSSM
from armillary.dynamics.ssm import SSM
from armillary.nets.dense import Stack
from armillary.nets.image import Decoder, Encoder

DYNAMICS: dict[str, Callable[..., Dynamics]] = {"rssm": RSSM, "ssm": SSM, "rnn": RNN, "drnn": DRNN}
"""Of `(embedding_size, action_size, config, key=key)`, by the names in `ModelConfig.dynamics`."""


class WorldModel(eqx.Module):
    """p(s_t | s_t-1, a_t-1), p(o_t | s_t), p(r_t | s_t) and q(s_t | o_<=t, a_<t) (PlaNet, Eq. 2).

    Attributes:
        encoder: images (3, 64, 64, N) to embeddings (N, E).
        dynamics: the transition model and the posterior.
        decoder: features (N, F) to the means of images (3, 64, 64, N).
        reward_head: features (..., F) to the mean of the reward (..., 1).
    """

    encoder: Encoder
    dynamics: Dynamics
    decoder: Decoder
    reward_head: Stack

    def __init__(self, action_size: int, config: ModelConfig, *, key: PRNGKeyArray) -> None:
        keys = jax.random.split(key, 4)
        self.encoder = Encoder(config.depth, config.image_activation, key=keys[0])
        dynamics = DYNAMICS[config.dynamics](
            self.encoder.embedding_size, action_size, config, key=keys[1]
        )
        self.dynamics = dynamics
        features = dynamics.feature_size
        self.decoder = Decoder(features, config.depth, config.image_activation, key=keys[2])
        hidden = [config.reward_hidden or config.hidden] * config.reward_layers
        self.reward_head = Stack([features, *hidden, 1], config.activation, key=keys[3])

    def reward(self, state: LatentState) -> Float[Array, "*batch"]:
        """Returns the mean of p(r_t | s_t)."""
        return self.reward_head(self.dynamics.features(state))[..., 0]
