"""The likelihood of rewards and images at the multi-step priors (PlaNet, Figure 3b).

With images it is observation overshooting (Amos et al., 2018), which decodes D times as many images
as the bound; the paper calls it too expensive, and latent overshooting (Eq. 7) replaces it. It is
also what trains the predictions of a model that has no divergence.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from armillary.config import ObjectiveConfig
from armillary.dynamics.base import Dynamics, LatentState
from armillary.dynamics.world_model import WorldModel
from armillary.nets.image import Decoder, batch_last
from armillary.nets.pieces import images_on_cpu, piece_size, sum_in_pieces
from armillary.objectives.overshooting import predictable
from armillary.objectives.steps import every_few_steps


def prediction_scales(config: ObjectiveConfig, dynamics: Dynamics) -> tuple[float, float]:
    """Returns the weights of the reward and the image loss on predictions.

    Where the configuration leaves them open: as those of the bound for a model without a
    divergence, else zero.
    """
    reward, image = config.overshooting_reward_scale, config.overshooting_image_scale
    alone = dynamics.stochastic_size == 0
    if reward is None:
        reward = config.reward_scale if alone else 0.0
    if image is None:
        image = 1.0 if alone and config.representation == "reconstruction" else 0.0
    return reward, image


def prediction_weights(
    distances: int,
    time: int,
    fixed: bool = False,
    valid: Bool[Array, "time batch"] | None = None,
) -> Float[Array, "distance time"] | Float[Array, "distance time batch"]:
    """Returns the weights of the mean over the time steps that are predicted, then over distances.

    Args:
        distances: D.
        time: T.
        fixed: only the greatest distance counts (Eq. 6), not all of them (Eq. 7).
        valid: which steps count; None: all. With it weights have an axis of the batch, too, whose
            mean they are multiplied with.
    """
    mask = predictable(distances, time)
    if valid is None:
        weights = mask / jnp.sum(mask, axis=1, keepdims=True)
    else:
        both = mask[..., None] & valid
        counts = jnp.sum(both, axis=(1, 2), keepdims=True)
        weights = both / jnp.maximum(counts, 1) * valid.shape[1]
    return weights.at[:-1].set(0.0) if fixed else weights / distances


def predicted_reward_loss(
    model: WorldModel,
    predictions: LatentState,
    rewards: Float[Array, "time batch"],
    weights: Float[Array, "distance time"] | Float[Array, "distance time batch"],
) -> Float[Array, ""]:
    """Returns half the squared error of the rewards of the predicted states, in nats per time step.

    Args:
        model: the world model.
        predictions: from `multi_step_priors`, leading axes (distance, time, batch).
        rewards: r_t.
        weights: from `prediction_weights`.
    """
    errors = (model.reward(predictions) - rewards) ** 2
    if weights.ndim == 3:
        return 0.5 * jnp.sum(jnp.mean(weights * errors, axis=-1))
    return 0.5 * jnp.sum(weights * jnp.mean(errors, axis=-1))


def predicted_image_loss(
    model: WorldModel,
    predictions: LatentState,
    images: dict[str, Float[Array, "batch time 64 64 3"]],
    weights: Float[Array, "distance time"] | Float[Array, "distance time batch"],
    steps: int | None,
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    """Returns half the squared error of the images of the predicted states, in nats per time step.

    A piece has as many decoded images as elsewhere: D times the work, but no more memory.

    Args:
        model: the world model.
        predictions: from `multi_step_priors`, leading axes (distance, time, batch).
        images: o_t as preprocessed, by name.
        weights: from `prediction_weights`.
        steps: decode only so many of the time steps, see `every_few_steps`.
        key: of which they are.
    """
    features = model.dynamics.features(predictions).transpose(2, 1, 0, 3)
    batch, time = features.shape[:2]
    every = jnp.broadcast_to(weights.T, (batch, time, weights.shape[0]))
    kept = every_few_steps((images, features, every), steps, key)
    assert model.decoder is not None  # the configuration has images in reconstruction alone
    count = len(kept[1])
    decoders = model.decoder.images
    piece = max(1, piece_size(count, images_on_cpu(decoders)) // weights.shape[0])
    return sum_in_pieces(_image_loss, decoders, kept, piece) * time / count


def _image_loss(
    decoders: dict[str, Decoder], inputs: tuple[dict[str, Array], Array, Array], _: Array | None
) -> Float[Array, ""]:
    images, features, weights = inputs
    total = jnp.zeros(())
    for name, decoder in decoders.items():
        means = decoder(features.reshape(-1, features.shape[-1]))
        true = batch_last(images[name])[..., None]
        errors = means.reshape(*means.shape[:3], *weights.shape) - true
        total += 0.5 * jnp.sum(weights * jnp.sum(errors**2, axis=(0, 1, 2)))
    return total
