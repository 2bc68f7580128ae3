"""PlaNet's loss: the negative variational bound (Eq. 3, 6 or 7) on images and rewards."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.config import ObjectiveConfig
from armillary.dynamics.world_model import WorldModel
from armillary.nets.distributions import Normal, divergence
from armillary.nets.image import Decoder, batch_last, preprocess
from armillary.nets.pieces import in_pieces, sum_in_pieces
from armillary.objectives.bound import clipped_divergence, variational_bound
from armillary.objectives.observations import (
    predicted_image_loss,
    predicted_reward_loss,
    prediction_scales,
    prediction_weights,
)
from armillary.objectives.overshooting import (
    multi_step_bound,
    multi_step_divergences,
    multi_step_priors,
    overshooting_bound,
)
from armillary.objectives.steps import every_few_steps
from armillary.replay.sampler import Batch


def reconstruction_loss(
    model: WorldModel, chunks: Batch, key: PRNGKeyArray, config: ObjectiveConfig
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Returns the loss and its terms, in nats per time step.

    All distributions of observations and rewards have unit variance, so that a negative
    log-likelihood is half a squared error (the constants are left out), summed over pixels,
    averaged over batch and time. One sample of the posterior estimates the expectations.

    Returns:
        The loss, and the metrics `loss/total`, `loss/image`, `loss/reward`, and of one-step
        predictions `loss/divergence` (clipped, as in the loss) and `divergence` (as it is). Where
        they are part of the loss, also `loss/overshooting` (clipped) and `overshooting` (as it is:
        of predictions over d steps in Eq. 6, the mean of those over 2 to D in Eq. 7),
        `loss/overshooting_image` and `loss/overshooting_reward` (at the predictions) and
        `loss/global_divergence`. All terms without their weights.
    """
    noise_key, state_key, offset_key = jax.random.split(key, 3)
    prediction_key = jax.random.fold_in(key, 3)
    batch, time = chunks.reward.shape
    images = preprocess(jnp.asarray(chunks.image), config.bits, noise_key)

    def encode(images: Array, _: Array | None) -> Float[Array, "n embedding"]:
        return model.encoder(batch_last(images))

    embeddings = in_pieces(encode, images.reshape(batch * time, *images.shape[2:]))
    actions, rewards = _swap(chunks.action), _swap(chunks.reward)
    posteriors, priors = model.dynamics.observe(
        _swap(embeddings.reshape(batch, time, -1)), actions, state_key
    )
    features = model.dynamics.features(posteriors)  # (time, batch, features)

    kept = every_few_steps((images, _swap(features)), config.image_steps, offset_key)
    image = sum_in_pieces(_image_loss, model.decoder, kept) / len(kept[0])
    reward = 0.5 * jnp.mean((model.reward(posteriors) - rewards) ** 2)
    log_likelihood = -(image + config.reward_scale * reward)
    posterior = posteriors.distribution
    metrics = {
        "loss/image": image,
        "loss/reward": reward,
        "loss/divergence": clipped_divergence(
            posterior, priors, config.free_nats, config.free_nats_per
        ),
        "divergence": jnp.mean(divergence(posterior, priors)),
    }

    fixed = config.distance > 1
    distances = config.distance if fixed else min(config.overshooting, time)
    reward_scale, image_scale = prediction_scales(config, model.dynamics)
    if distances == 1 and not reward_scale and not image_scale:
        loss = -_bound(config, log_likelihood, posterior, priors)
    else:
        predictions = multi_step_priors(
            model.dynamics, posteriors, actions, distances, prediction_key
        )
        predicted = predictions.distribution
        loss = -_bound(config, log_likelihood, posterior, priors, predicted)
        weights = prediction_weights(distances, time, fixed)
        scored = slice(-1, None) if fixed else slice(None)
        scored_predictions = jax.tree.map(lambda x: x[scored], predictions)
        weights = weights[scored]
        if distances > 1:
            nats = multi_step_divergences(
                posterior, predicted, config.free_nats, config.free_nats_per
            )
            raw = multi_step_divergences(posterior, predicted)
            for name, of in (("loss/overshooting", nats), ("overshooting", raw)):
                metrics[name] = of[-1] if fixed else jnp.mean(of[1:])
        if reward_scale:
            term = predicted_reward_loss(model, scored_predictions, rewards, weights)
            metrics["loss/overshooting_reward"] = term
            loss += reward_scale * term
        if image_scale:
            term = predicted_image_loss(
                model, scored_predictions, images, weights, config.image_steps, offset_key
            )
            metrics["loss/overshooting_image"] = term
            loss += image_scale * term
    if config.global_divergence_scale:
        standard = Normal(jnp.zeros_like(posterior.mean), jnp.ones_like(posterior.std))
        metrics["loss/global_divergence"] = jnp.mean(divergence(posterior, standard))
        loss += config.global_divergence_scale * metrics["loss/global_divergence"]
    return loss, {"loss/total": loss} | metrics


def _bound(
    config: ObjectiveConfig,
    log_likelihood: Float[Array, ""],
    posterior: Normal,
    priors: Normal,
    predicted: Normal | None = None,
) -> Float[Array, ""]:
    """Returns the bound that the configuration asks for: Eq. 6, Eq. 7 or Eq. 3."""
    beta = config.divergence_scale
    free: dict[str, Any] = {"free_nats": config.free_nats, "free_nats_per": config.free_nats_per}
    if predicted is not None and config.distance > 1:
        return multi_step_bound(log_likelihood, posterior, predicted, divergence_scale=beta, **free)
    if predicted is not None and config.overshooting > 1:
        scales = (beta, *config.overshooting_scales)
        return overshooting_bound(
            log_likelihood, posterior, predicted, divergence_scales=scales, **free
        )
    return variational_bound(log_likelihood, posterior, priors, divergence_scale=beta, **free)


def _image_loss(decoder: Decoder, inputs: tuple[Array, Array], _: Array | None) -> Float[Array, ""]:
    images, features = inputs
    return 0.5 * jnp.sum((decoder(features) - batch_last(images)) ** 2)


def _swap(x: Float[Array | np.ndarray, "a b *rest"]) -> Float[Array, "b a *rest"]:
    return jnp.swapaxes(x, 0, 1)
