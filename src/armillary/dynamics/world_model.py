"""A latent dynamics model with its encoder, observation model and reward model."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.config import ModelConfig
from armillary.dynamics.base import Dynamics, LatentState, gaussian
from armillary.dynamics.drnn import DRNN
from armillary.dynamics.rnn import RNN
from armillary.dynamics.rssm import RSSM
from armillary.dynamics.ssm import SSM
from armillary.errors import UsageError
from armillary.nets.dense import Stack
from armillary.nets.distributions import Normal
from armillary.nets.observations import ObservationDecoder, ObservationEncoder, Seen
from armillary.spec import Spec

DYNAMICS: dict[str, Callable[..., Dynamics]] = {"rssm": RSSM, "ssm": SSM, "rnn": RNN, "drnn": DRNN}
"""Of `(embedding_size, action_size, config, key=key)`, by the names in `ModelConfig.dynamics`."""


_GOES_ON = 5.0
"""The logit of going on before anything is learned: nearly certain, or all values would begin as if
episodes ended at every other step."""
_STATE_MODEL_STD = 0.1
"""Added to the state model's standard deviation, as to those of the latent Gaussians."""


class WorldModel(eqx.Module):
    """p(s_t | s_t-1, a_t-1), p(o_t | s_t), p(r_t | s_t) and q(s_t | o_<=t, a_<t) (PlaNet, Eq. 2).

    Attributes:
        encoder: observations (N, ...) to embeddings (N, E).
        dynamics: the transition model and the posterior.
        decoder: features (N, F) to the means of observations (N, ...); None where the
            representation is not reconstruction.
        reward_head: features (..., F) to the mean of the reward (..., 1).
        state_head: embeddings (..., E) to the mean and raw standard deviation of the features
            (..., 2F), the state model q(s_t | o_t) (Dreamer, Eq. 13); only where the representation
            is contrastive.
        discount_head: features (..., F) to the logit of going on (..., 1), if it is asked for.
    """

    encoder: ObservationEncoder
    dynamics: Dynamics
    decoder: ObservationDecoder | None
    reward_head: Stack
    state_head: Stack | None = None
    discount_head: Stack | None = None

    def __init__(
        self,
        spec: Spec,
        config: ModelConfig,
        representation: str = "reconstruction",
        *,
        key: PRNGKeyArray,
    ) -> None:
        """Makes the initial parameters.

        Args:
            spec: what is observed, and the actions.
            config: sizes and the dynamics.
            representation: reconstruction, contrastive or reward; decides which heads there are.
            key: of the parameters.
        """
        keys = jax.random.split(key, 4)
        self.encoder = ObservationEncoder(spec, config, key=keys[0])
        dynamics = DYNAMICS[config.dynamics](
            self.encoder.embedding_size, spec.action.size, config, key=keys[1]
        )
        self.dynamics = dynamics
        features = dynamics.feature_size
        self.decoder = None
        if representation == "reconstruction":
            self.decoder = ObservationDecoder(features, spec, config, key=keys[2])
        hidden = [config.reward_hidden or config.hidden] * config.reward_layers
        self.reward_head = Stack([features, *hidden, 1], config.activation, key=keys[3])
        if representation == "contrastive":
            sizes = [self.encoder.embedding_size, config.hidden, 2 * features]
            self.state_head = Stack(sizes, config.activation, key=jax.random.fold_in(key, 4))
        if config.discount_head:
            head = Stack([features, *hidden, 1], config.activation, key=jax.random.fold_in(key, 5))
            self.discount_head = eqx.tree_at(
                lambda h: h.layers[-1].linear.bias, head, jnp.full(1, _GOES_ON, jnp.float32)
            )

    def reward(self, state: LatentState) -> Float[Array, "*batch"]:
        """Returns the mean of p(r_t | s_t)."""
        return self.reward_head(self.dynamics.features(state))[..., 0]

    def goes_on(self, state: LatentState) -> Float[Array, "*batch"]:
        """Returns the probability that the episode goes on after s_t; 1 without a discount head."""
        features = self.dynamics.features(state)
        if self.discount_head is None:
            return jnp.ones(features.shape[:-1])
        return jax.nn.sigmoid(self.discount_head(features)[..., 0])

    def state_model(self, embeddings: Float[Array, "*batch embedding"]) -> Normal:
        """Returns q(s_t | o_t) over features (Dreamer, Eq. 13), with a contrastive representation.

        Raises:
            UsageError: the representation is another one.
        """
        if self.state_head is None:
            raise UsageError(
                "this world model has no state model: its representation is not contrastive"
            )
        return gaussian(self.state_head(embeddings), _STATE_MODEL_STD)

    def decode(self, features: Float[Array, "batch features"]) -> Seen:
        """Returns the means of q(o_t | s_t).

        Raises:
            UsageError: the representation has no decoder.
        """
        if self.decoder is None:
            raise UsageError(
                "this world model has no decoder, because it does not learn by reconstruction: "
                "there are no frames to show. Train with --representation reconstruction for them"
            )
        return self.decoder(features)

    def decode_images(
        self, features: Float[Array, "batch features"]
    ) -> Float[Array, "batch 64 64 3"]:
        """Returns the means of the images, of the first ones by name where there are several.

        Raises:
            UsageError: there is no decoder, or no image is observed.
        """
        images = self.decode(features).images
        if not images:
            raise UsageError(
                "this world model observes no images, so there are no frames to show. Train with "
                "--environment.observe image for them"
            )
        return images[min(images)]
