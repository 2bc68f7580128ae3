"""The loss of a world model: the negative variational bound (PlaNet, Eq. 3, 6 or 7; Dreamer,
Eq. 10 or 12) on observations and rewards."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from armillary.config import ObjectiveConfig
from armillary.dynamics.base import LatentState
from armillary.dynamics.world_model import WorldModel
from armillary.nets.distributions import Normal, divergence
from armillary.nets.observations import Seen
from armillary.nets.pieces import images_on_cpu, in_pieces
from armillary.objectives.bound import Complexity, clipped_divergence, variational_bound
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
from armillary.objectives.representations import image_loss, info_nce, vector_loss
from armillary.replay.sampler import Batch


class Filtered(NamedTuple):
    """Chunks of experience as the model sees them: what every representation is learned from.

    Attributes:
        observations: o_t as the networks see them.
        embeddings: of the observations.
        actions: `actions[t]` leads to step t.
        rewards: r_t.
        posteriors: q(s_t | o_<=t, a_<t) with a sample each, leading axes (time, batch).
        priors: p(s_t | s_t-1, a_t-1), leading axes (time, batch).
        valid: which rows count; None: all.
    """

    observations: Seen
    embeddings: Float[Array, "time batch embedding"]
    actions: Float[Array, "time batch action"]
    rewards: Float[Array, "time batch"]
    posteriors: LatentState
    priors: Normal
    valid: Bool[Array, "time batch"] | None


def filter_chunks(
    model: WorldModel,
    chunks: Batch,
    image_key: PRNGKeyArray,
    state_key: PRNGKeyArray,
    config: ObjectiveConfig,
) -> Filtered:
    """Encodes the observations of a batch of chunks and infers the states of each time step."""
    batch, time = chunks.reward.shape
    noise_key = image_key if config.dequantize else None
    observations = model.encoder.prepare(chunks.observation, config.bits, noise_key)

    def encode(observations: Seen, _: Array | None) -> Float[Array, "n embedding"]:
        return model.encoder(observations)

    rows = jax.tree.map(lambda x: x.reshape(batch * time, *x.shape[2:]), observations)
    embeddings = in_pieces(encode, rows, images_on_cpu(model.encoder)).reshape(batch, time, -1)
    embeddings = _swap(embeddings)
    actions = _swap(chunks.action)
    posteriors, priors = model.dynamics.observe(embeddings, actions, state_key)
    valid = None if chunks.valid is None else _swap(jnp.asarray(chunks.valid))
    rewards = _swap(chunks.reward)
    return Filtered(observations, embeddings, actions, rewards, posteriors, priors, valid)


def world_model_loss(
    model: WorldModel,
    chunks: Batch,
    key: PRNGKeyArray,
    config: ObjectiveConfig,
    complexity_of: Complexity = clipped_divergence,
) -> tuple[Float[Array, ""], tuple[dict[str, Float[Array, ""]], LatentState]]:
    """Returns the loss and its terms, in nats per time step, and the inferred states.

    All distributions of images and rewards have unit variance, so that a negative
    log-likelihood is half a squared error (the constants are left out), summed over pixels,
    averaged over batch and time. One sample of the posterior estimates the expectations.

    Args:
        model: the world model.
        chunks: a batch of experience.
        key: of the images' noise, of the samples and of the steps that are decoded.
        config: the weights and options.
        complexity_of: the term in place of the clipped divergence of one-step predictions. Where
            windows are filled up it also gets `where`, which entries the mean is over.

    Returns:
        The loss, and the metrics and posteriors (leading axes time, batch). The metrics are
        `loss/total`, `loss/image` and `loss/vector` as observations have them (or
        `loss/contrastive`, of the contrastive representation), `loss/reward`, and of one-step
        predictions `loss/divergence` (clipped, as in the loss) and `divergence` (as it is). Where
        they are part of the loss, also `loss/discount`, `loss/overshooting` (clipped) and
        `overshooting` (as it is: of predictions over d steps in Eq. 6, the mean of those over 2 to
        D in Eq. 7), `loss/overshooting_image` and `loss/overshooting_reward` (at the predictions)
        and `loss/global_divergence`. All terms without their weights.
    """
    noise_key, state_key, offset_key = jax.random.split(key, 3)
    prediction_key = jax.random.fold_in(key, 3)
    filtered = filter_chunks(model, chunks, noise_key, state_key, config)
    observations, actions, rewards = filtered.observations, filtered.actions, filtered.rewards
    valid = filtered.valid
    posteriors, priors, posterior = filtered.posteriors, filtered.priors, filtered.posteriors[0]
    features = model.dynamics.features(posteriors)  # (time, batch, features)

    metrics = {}
    observation = jnp.zeros(())
    if model.decoder is not None:
        if model.decoder.images:
            metrics["loss/image"] = observation = image_loss(
                model.decoder.images,
                observations.images,
                _swap(features),
                config.image_steps,
                offset_key,
                None if valid is None else _swap(valid),
            )
        if model.decoder.vector is not None:
            assert observations.vector is not None  # both are of the same spec
            vectors = _swap(observations.vector)
            metrics["loss/vector"] = vector_loss(model.decoder.vector, vectors, features, valid)
            observation += config.vector_scale * metrics["loss/vector"]
    elif model.state_head is not None:
        state_model = model.state_model(filtered.embeddings)
        observation = -jnp.mean(info_nce(state_model, features, valid), where=valid)
        metrics["loss/contrastive"] = observation
    reward = 0.5 * jnp.mean((model.reward(posteriors) - rewards) ** 2, where=valid)
    # Only the divergence is a mean over entries from here on: what has none of them stays as it is.
    complexity = complexity_of if valid is None else partial(complexity_of, where=valid)
    log_likelihood = -(config.observation_scale * observation + config.reward_scale * reward)
    metrics |= {
        "loss/reward": reward,
        "loss/divergence": complexity(posterior, priors, config.free_nats, config.free_nats_per),
        "divergence": jnp.mean(divergence(posterior, priors), where=valid),
    }

    fixed = config.distance > 1
    distances = config.distance if fixed else min(config.overshooting, len(rewards))
    reward_scale, image_scale = prediction_scales(config, model.dynamics)
    if distances == 1 and not reward_scale and not image_scale:
        loss = -_bound(config, log_likelihood, posterior, priors, complexity_of=complexity)
    else:
        predictions = multi_step_priors(
            model.dynamics, posteriors, actions, distances, prediction_key
        )
        predicted = predictions.distribution
        loss = -_bound(config, log_likelihood, posterior, priors, predicted, valid=valid)
        weights = prediction_weights(distances, len(rewards), fixed, valid)
        scored = slice(-1, None) if fixed else slice(None)
        scored_predictions = jax.tree.map(lambda x: x[scored], predictions)
        weights = weights[scored]
        if distances > 1:
            nats = multi_step_divergences(
                posterior, predicted, config.free_nats, config.free_nats_per, valid
            )
            raw = multi_step_divergences(posterior, predicted, valid=valid)
            for name, of in (("loss/overshooting", nats), ("overshooting", raw)):
                metrics[name] = of[-1] if fixed else jnp.mean(of[1:])
        if reward_scale:
            term = predicted_reward_loss(model, scored_predictions, rewards, weights)
            metrics["loss/overshooting_reward"] = term
            loss += reward_scale * term
        if image_scale:
            term = predicted_image_loss(
                model,
                scored_predictions,
                observations.images,
                weights,
                config.image_steps,
                offset_key,
            )
            metrics["loss/overshooting_image"] = term
            loss += image_scale * term
    if model.discount_head is not None:
        goes_on = 1.0 - _swap(jnp.asarray(chunks.terminal, jnp.float32))
        logits = model.discount_head(features)[..., 0]
        nats = optax.sigmoid_binary_cross_entropy(logits, goes_on)
        metrics["loss/discount"] = jnp.mean(nats, where=valid)
        loss += config.discount_scale * metrics["loss/discount"]
    if config.global_divergence_scale:
        standard = Normal(jnp.zeros_like(posterior.mean), jnp.ones_like(posterior.std))
        metrics["loss/global_divergence"] = jnp.mean(divergence(posterior, standard), where=valid)
        loss += config.global_divergence_scale * metrics["loss/global_divergence"]
    return loss, ({"loss/total": loss} | metrics, posteriors)


def _bound(
    config: ObjectiveConfig,
    log_likelihood: Float[Array, ""],
    posterior: Normal,
    priors: Normal,
    predicted: Normal | None = None,
    complexity_of: Complexity = clipped_divergence,
    valid: Bool[Array, "time batch"] | None = None,
) -> Float[Array, ""]:
    """Returns the bound that the configuration asks for: Eq. 6, Eq. 7 or Eq. 3."""
    beta = config.divergence_scale
    free: dict[str, Any] = {"free_nats": config.free_nats, "free_nats_per": config.free_nats_per}
    if predicted is not None and config.distance > 1:
        free["valid"] = valid
        return multi_step_bound(log_likelihood, posterior, predicted, divergence_scale=beta, **free)
    if predicted is not None and config.overshooting > 1:
        scales = (beta, *config.overshooting_scales)
        free["valid"] = valid
        return overshooting_bound(
            log_likelihood, posterior, predicted, divergence_scales=scales, **free
        )
    return variational_bound(
        log_likelihood,
        posterior,
        priors,
        divergence_scale=beta,
        complexity_of=complexity_of,
        **free,
    )


def _swap(x: Shaped[Array | np.ndarray, "a b *rest"]) -> Shaped[Array, "b a *rest"]:
    return jnp.swapaxes(x, 0, 1)
