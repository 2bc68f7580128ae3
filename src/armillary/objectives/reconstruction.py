"""PlaNet's loss: the negative variational bound (Eq. 3) on images and rewards."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.config import ObjectiveConfig
from armillary.dynamics.world_model import WorldModel
from armillary.nets.distributions import divergence
from armillary.nets.image import Decoder, batch_last, preprocess
from armillary.nets.pieces import in_pieces, sum_in_pieces
from armillary.objectives.bound import clipped_divergence, variational_bound
from armillary.replay.sampler import Batch


def reconstruction_loss(
    model: WorldModel, chunks: Batch, key: PRNGKeyArray, config: ObjectiveConfig
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Returns the loss and its terms, in nats per time step.

    All distributions of observations and rewards have unit variance, so that a negative
    log-likelihood is half a squared error (the constants are left out), summed over pixels,
    averaged over batch and time. One sample of the posterior estimates the expectations.

    Returns:
        The loss, and the metrics `loss/total`, `loss/image`, `loss/reward`, `loss/divergence`
        (clipped, as in the loss) and `divergence` (as it is).
    """
    noise_key, state_key, offset_key = jax.random.split(key, 3)
    batch, time = chunks.reward.shape
    images = preprocess(jnp.asarray(chunks.image), config.bits, noise_key)

    def encode(images: Array, _: Array | None) -> Float[Array, "n embedding"]:
        return model.encoder(batch_last(images))

    embeddings = in_pieces(encode, images.reshape(batch * time, *images.shape[2:]))
    posteriors, priors = model.dynamics.observe(
        _swap(embeddings.reshape(batch, time, -1)), _swap(chunks.action), state_key
    )
    features = model.dynamics.features(posteriors)  # (time, batch, features)

    kept = _every_few_steps(images, _swap(features), config.image_steps, offset_key)

    image = sum_in_pieces(_image_loss, model.decoder, kept) / len(kept[0])
    reward_error = model.reward(posteriors) - _swap(chunks.reward)
    reward = 0.5 * jnp.mean(reward_error**2)
    posterior = posteriors.distribution
    loss = -variational_bound(
        -(image + config.reward_scale * reward),
        posterior,
        priors,
        free_nats=config.free_nats,
        free_nats_per=config.free_nats_per,
        divergence_scale=config.divergence_scale,
    )
    metrics = {
        "loss/total": loss,
        "loss/image": image,
        "loss/reward": reward,
        "loss/divergence": clipped_divergence(
            posterior, priors, config.free_nats, config.free_nats_per
        ),
        "divergence": jnp.mean(divergence(posterior, priors)),
    }
    return loss, metrics


def _image_loss(decoder: Decoder, inputs: tuple[Array, Array], _: Array | None) -> Float[Array, ""]:
    images, features = inputs
    return 0.5 * jnp.sum((decoder(features) - batch_last(images)) ** 2)


def _swap(x: Float[Array | np.ndarray, "a b *rest"]) -> Float[Array, "b a *rest"]:
    return jnp.swapaxes(x, 0, 1)


def _every_few_steps(
    images: Float[Array, "batch time 64 64 3"],
    features: Float[Array, "batch time features"],
    steps: int | None,
    key: PRNGKeyArray,
) -> tuple[Float[Array, "n 64 64 3"], Float[Array, "n features"]]:
    """Returns the images and features of `steps` evenly spaced time steps, at a random offset.

    The mean over them is an unbiased estimate of the mean over all time steps. None: all.
    """
    time = images.shape[1]
    stride = 1 if steps is None else time // steps
    offset = jax.random.randint(key, (), 0, stride)

    def keep(x: Float[Array, "batch time *rest"]) -> Float[Array, "n *rest"]:
        x = x.reshape(x.shape[0], time // stride, stride, *x.shape[2:])
        kept = jax.lax.dynamic_index_in_dim(x, offset, axis=2, keepdims=False)
        return kept.reshape(-1, *kept.shape[2:])

    return keep(images), keep(features)
