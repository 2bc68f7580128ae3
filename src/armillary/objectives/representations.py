"""What a world model learns about observations (Dreamer, Section 4 and Appendix C).

Reconstruction predicts their pixels, contrastive estimation which of them a state belongs to;
reward prediction alone adds nothing here.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from armillary.nets.dense import Stack
from armillary.nets.distributions import Normal
from armillary.nets.image import Decoder, batch_last
from armillary.nets.pieces import images_on_cpu, sum_in_pieces
from armillary.objectives.steps import every_few_steps


def image_loss(
    decoders: dict[str, Decoder],
    images: dict[str, Float[Array, "batch time 64 64 3"]],
    features: Float[Array, "batch time features"],
    steps: int | None,
    key: PRNGKeyArray,
    valid: Bool[Array, "batch time"] | None = None,
) -> Float[Array, ""]:
    """Returns -ln q(o_t | s_t) of images without its constant (Dreamer, Eq. 10), in nats per step.

    Args:
        decoders: the observation model of each image, of unit variance.
        images: o_t as preprocessed, by name.
        features: of s_t.
        steps: decode only so many of the time steps, see `every_few_steps`.
        key: of which they are.
        valid: which time steps count; None: all.
    """
    weights = None if valid is None else valid / jnp.mean(valid)
    kept = every_few_steps((images, features, weights), steps, key)
    piece = images_on_cpu(decoders)
    return sum_in_pieces(_squared_error, decoders, kept, piece) / len(kept[1])


def _squared_error(
    decoders: dict[str, Decoder], inputs: tuple[dict[str, Array], Array, Array | None], _: Any
) -> Float[Array, ""]:
    images, features, weights = inputs
    total = jnp.zeros(())
    for name, decoder in decoders.items():
        squares = (decoder(features) - batch_last(images[name])) ** 2
        total += 0.5 * jnp.sum(squares if weights is None else squares * weights)
    return total


def vector_loss(
    decoder: Stack,
    vectors: Float[Array, "*batch size"],
    features: Float[Array, "*batch features"],
    valid: Bool[Array, "*batch"] | None = None,
) -> Float[Array, ""]:
    """Returns -ln q(o_t | s_t) of vectors without its constant, in nats per time step.

    Args:
        decoder: the observation model of the vectors, of unit variance.
        vectors: o_t, compressed.
        features: of s_t.
        valid: which time steps count; None: all.
    """
    errors = decoder(features) - vectors
    return 0.5 * jnp.mean(jnp.sum(errors**2, axis=-1), where=valid)


def info_nce(
    state_model: Normal,
    features: Float[Array, "*batch size"],
    valid: Bool[Array, "*batch"] | None = None,
) -> Float[Array, "*batch"]:
    """Returns ln q(s_t | o_t) - ln sum_o' q(s_t | o'), the InfoNCE bound (Dreamer, Eq. 12).

    The sum is over the observations o' of all sequences and time steps of the batch, its own among
    them. So it is at most 0; with N observations a state model that tells nothing apart gets
    exactly -ln N.

    Args:
        state_model: q(s | o) for each observation o (Eq. 13), leading axes as those of `features`.
        features: of the sampled states s_t.
        valid: which observations there are; the others are no o'. None: all.
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
    if valid is not None:
        scores = jnp.where(valid.reshape(-1), scores, -jnp.inf)
        scores = jnp.where(jnp.eye(len(scores), dtype=bool) & ~valid.reshape(-1), 0.0, scores)
    bound = jnp.diagonal(scores) - jax.nn.logsumexp(scores, axis=1)
    return bound.reshape(features.shape[:-1])
