"""What a world model learns about observations (Dreamer, Section 4 and Appendix C).

Reconstruction predicts their pixels, contrastive estimation which of them a state belongs to;
reward prediction alone adds nothing here.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.nets.distributions import Normal
from armillary.nets.image import Decoder, batch_last
from armillary.nets.pieces import sum_in_pieces
from armillary.objectives.steps import every_few_steps


def image_loss(
    decoder: Decoder,
    images: Float[Array, "batch time 64 64 3"],
    features: Float[Array, "batch time features"],
    steps: int | None,
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    """Returns -ln q(o_t | s_t) without its constant (Dreamer, Eq. 10), in nats per time step.

    Args:
        decoder: the observation model, of unit variance.
        images: o_t as preprocessed.
        features: of s_t.
        steps: decode only so many of the time steps, see `every_few_steps`.
        key: of which they are.
    """
    kept = every_few_steps((images, features), steps, key)
    return sum_in_pieces(_squared_error, decoder, kept) / len(kept[0])


def _squared_error(
    decoder: Decoder, inputs: tuple[Array, Array], _: Array | None
) -> Float[Array, ""]:
    images, features = inputs
    return 0.5 * jnp.sum((decoder(features) - batch_last(images)) ** 2)


def info_nce(state_model: Normal, features: Float[Array, "*batch size"]) -> Float[Array, "*batch"]:
    """Returns ln q(s_t | o_t) - ln sum_o' q(s_t | o'), the InfoNCE bound (Dreamer, Eq. 12).

    The sum is over the observations o' of all sequences and time steps of the batch, its own among
    them. So it is at most 0; with N observations a state model that tells nothing apart gets
    exactly -ln N.

    Args:
        state_model: q(s | o) for each observation o (Eq. 13), leading axes as those of `features`.
        features: of the sampled states s_t.
    """
    size = features.shape[-1]
    states = features.reshape(-1, size)
    mean, std = (x.reshape(-1, size) for x in state_model)
    # ln q(s_i | o_j) for all pairs is three matrix products: the square is multiplied out, around
    # the batch's mean, so that little is lost to cancellation
    center = jax.lax.stop_gradient(jnp.mean(mean, axis=0))
    states, mean = states - center, mean - center
    precision = std**-2
    constant = jnp.sum(0.5 * mean**2 * precision + jnp.log(std), axis=-1)
    scores = states @ (mean * precision).T - 0.5 * states**2 @ precision.T - constant
    scores -= 0.5 * size * math.log(2 * math.pi)
    bound = jnp.diagonal(scores) - jax.nn.logsumexp(scores, axis=1)
    return bound.reshape(features.shape[:-1])
