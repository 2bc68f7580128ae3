"""Curiosity: how much an ensemble of one-step predictions disagrees (Plan2Explore, Section 3).

Each member learns from the same transitions to predict the next latent state. Where there have been
many they agree; where there have been none they say what their first parameters made them say. What
is only random they agree on too, for each predicts the mean.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from armillary.dynamics.base import Dynamics, LatentState
from armillary.nets.ensemble import Ensemble
from armillary.replay.sampler import Batch


def transitions(
    dynamics: Dynamics, posteriors: LatentState, batch: Batch
) -> tuple[
    Float[Array, "steps batch inputs"],
    Float[Array, "steps batch stochastic"],
    Bool[Array, "steps batch"] | None,
]:
    """Returns what the ensemble sees of each step of a batch, and what it is to predict.

    Stored `action[t]` has led to row t. So what is seen of step t are the features of s_t and the
    action of row t + 1, which was taken there, and the target is the posterior mean of s_t+1. None
    of it gets a gradient.

    Args:
        dynamics: of the world model.
        posteriors: inferred of the batch, leading axes (time, batch).
        batch: its actions, and which rows count.

    Returns:
        Inputs, targets, and which steps count (None: all), one step fewer than rows.
    """
    features = dynamics.features(posteriors)
    actions = jnp.swapaxes(jnp.asarray(batch.action), 0, 1)
    inputs = seen(features[:-1], actions[1:])
    valid = None if batch.valid is None else jnp.swapaxes(jnp.asarray(batch.valid), 0, 1)[1:]
    targets = posteriors.distribution.mean[1:]
    return jax.lax.stop_gradient(inputs), jax.lax.stop_gradient(targets), valid


def seen(
    features: Float[Array, "*batch features"], actions: Float[Array | np.ndarray, "*batch action"]
) -> Float[Array, "*batch inputs"]:
    """Returns what the ensemble sees: a state, and the action that is taken there."""
    return jnp.concatenate([features, actions], axis=-1)


def disagreement(
    predictions: Float[Array, "members *batch stochastic"],
) -> Float[Array, "*batch"]:
    """Returns the variance of the members' predictions, averaged over dimensions."""
    return jnp.mean(jnp.var(predictions, axis=0), axis=-1)


def ensemble_loss(
    ensemble: Ensemble,
    inputs: Float[Array, "*batch inputs"],
    targets: Float[Array, "*batch stochastic"],
    valid: Bool[Array, "*batch"] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the members' negative log-likelihood, and their mean disagreement on the batch.

    Gaussians of unit variance: half a squared error, summed over dimensions, averaged over members
    and steps.

    Args:
        ensemble: the members.
        inputs: of `transitions`.
        targets: likewise.
        valid: likewise.
    """
    predictions = ensemble(inputs)
    errors = 0.5 * jnp.sum((predictions - targets) ** 2, axis=-1)
    loss = jnp.mean(jnp.mean(errors, axis=0), where=valid)
    return loss, jnp.mean(disagreement(predictions), where=valid)
