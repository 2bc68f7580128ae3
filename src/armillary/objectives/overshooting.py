"""Multi-step predictions (PlaNet, Eq. 5) and the two bounds that train them (Eq. 6 and Eq. 7).

Everything is laid out as (distance, time, ...): entry [d - 1, t - 1] is about s_t as predicted from
s_t-d. Of those with t < d there is none, because s_t-d would be before the chunk; they are computed
from the initial state, and left out of every mean (`predictable`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from armillary.dynamics.base import Dynamics, LatentState
from armillary.errors import UsageError
from armillary.nets.distributions import Normal
from armillary.objectives.bound import clipped_divergence


def predictable(distances: int, time: int) -> Bool[Array, "distance time"]:
    """Says of which s_t there is a prediction from d steps before: t >= d, for s_0 is the first.

    Args:
        distances: D.
        time: T, steps in a chunk.

    Raises:
        UsageError: there are not so many steps, or no distances.
    """
    if not 1 <= distances <= time:
        raise UsageError(
            f"predictions over {distances} steps were asked for, but a chunk of {time} steps has "
            f"them over 1 to {time}"
        )
    d, t = jnp.arange(1, distances + 1), jnp.arange(1, time + 1)
    return t >= d[:, None]


def multi_step_priors(
    dynamics: Dynamics,
    posteriors: LatentState,
    actions: Float[Array, "time batch action"],
    distances: int,
    key: PRNGKeyArray,
) -> LatentState:
    """Predicts each state of a chunk from each of the D steps before it (PlaNet, Eq. 5).

    One trajectory of sampled priors estimates the expectation over the states between. All starts
    go forward together: a scan over distances, not over time.

    Args:
        dynamics: the model.
        posteriors: a sample of q(s_t | o_<=t, a_<t) for each time step, leading axes (time, batch).
        actions: `actions[t]` leads to step t.
        distances: D.
        key: of the samples.

    Returns:
        p(s_t | s_t-1) at a sample of s_t-1 ~ p(s_t-1 | s_t-d), with a sample of it; leading axes
        (distance, time, batch).
    """
    time, batch = actions.shape[:2]
    noise = jax.random.normal(key, (distances, time, batch, dynamics.stochastic_size))
    first = dynamics.initial(1, batch)

    def step(
        states: LatentState, noise: Float[Array, "time batch stochastic"]
    ) -> tuple[LatentState, LatentState]:
        before = jax.tree.map(lambda x, y: jnp.concatenate([x, y[:-1]]), first, states)
        states = dynamics.predict(before, actions, noise)
        return states, states

    return jax.lax.scan(step, posteriors, noise)[1]


def multi_step_divergences(
    posterior: Normal,
    priors: Normal,
    free_nats: float = 0.0,
    free_nats_per: Literal["step", "batch"] = "step",
    valid: Bool[Array, "time batch"] | None = None,
) -> Float[Array, " distance"]:
    """Returns E KL[q(s_t | o_<=t) || p(s_t | s_t-1)], s_t-1 predicted from s_t-d, for each d.

    The mean is over the steps that have a prediction of this distance, and over the batch. Where
    there is none, posterior and prior are padded with N(0, 1).

    Args:
        posterior: q, leading axes (time, batch) or (distance, time, batch).
        priors: from `multi_step_priors`, leading axes (distance, time, batch).
        free_nats: as in `clipped_divergence`, for each distance.
        free_nats_per: likewise.
        valid: which steps count; None: all.
    """
    distances, time, batch, _ = priors.mean.shape
    mask = jnp.broadcast_to(predictable(distances, time)[..., None], (distances, time, batch))
    if valid is not None:
        mask = mask & valid

    def pad(belief: Normal) -> Normal:
        mean = jnp.where(mask[..., None], belief.mean, 0.0)
        return Normal(mean, jnp.where(mask[..., None], belief.std, 1.0))

    def of_distance(q: Normal, p: Normal, mask: Array) -> Float[Array, ""]:
        return clipped_divergence(q, p, free_nats, free_nats_per, mask)

    return jax.vmap(of_distance)(pad(posterior), pad(priors), mask)


def multi_step_bound(
    log_likelihood: Float[Array, "*batch"] | Float[Array, ""],
    posterior: Normal,
    priors: Normal,
    *,
    free_nats: float = 0.0,
    free_nats_per: Literal["step", "batch"] = "step",
    divergence_scale: float = 1.0,
    valid: Bool[Array, "time batch"] | None = None,
) -> Float[Array, ""]:
    """Returns the bound on predictions of one distance d (PlaNet, Eq. 6), in nats per time step:

        ln p(o_t | s_t) - KL[q(s_t | o_<=t) || p(s_t | s_t-1)], s_t-1 ~ p(s_t-1 | s_t-d),

    averaged over time and batch. d is the greatest distance of the priors; d = 1 is Eq. 3. The
    posterior gets its gradient, as this is the only divergence that regularises it.

    Args:
        log_likelihood: ln p(o_t | s_t) at the posterior's sample, or its mean.
        posterior: q(s_t | o_<=t, a_<t), leading axes (time, batch).
        priors: from `multi_step_priors`, leading axes (distance, time, batch).
        free_nats: as in `clipped_divergence`.
        free_nats_per: likewise.
        divergence_scale: beta.
        valid: which steps count; None: all.
    """
    nats = multi_step_divergences(posterior, priors, free_nats, free_nats_per, valid)
    return jnp.mean(log_likelihood) - divergence_scale * nats[-1]


def overshooting_bound(
    log_likelihood: Float[Array, "*batch"] | Float[Array, ""],
    posterior: Normal,
    priors: Normal,
    *,
    free_nats: float = 0.0,
    free_nats_per: Literal["step", "batch"] = "step",
    divergence_scales: Sequence[float] = (1.0,),
    valid: Bool[Array, "time batch"] | None = None,
) -> Float[Array, ""]:
    """Returns the bound of latent overshooting (PlaNet, Eq. 7), in nats per time step:

        ln p(o_t | s_t) - 1/D sum_d beta_d KL[q(s_t | o_<=t) || p(s_t | s_t-1)],

    s_t-1 ~ p(s_t-1 | s_t-d), averaged over time and batch; D = 1 is Eq. 3. For d > 1 the posterior
    gets no gradient: the predictions are trained towards it, not the other way around.

    Args:
        log_likelihood: as in `multi_step_bound`.
        posterior: likewise.
        priors: of the distances 1 to D.
        free_nats: likewise, for each distance.
        free_nats_per: likewise.
        divergence_scales: beta_1, beta_2, ...; the last holds for all further distances.
        valid: which steps count; None: all.
    """
    distances = priors.mean.shape[0]
    nats = multi_step_divergences(
        targets(posterior, distances), priors, free_nats, free_nats_per, valid
    )
    last = len(divergence_scales) - 1
    scales = jnp.array([divergence_scales[min(d, last)] for d in range(distances)])
    return jnp.mean(log_likelihood) - jnp.mean(scales * nats)


def targets(posterior: Normal, distances: int) -> Normal:
    """Returns the posterior for each distance, without gradient for d > 1 (PlaNet, Section 4)."""

    def of_distances(
        x: Float[Array, "time batch size"],
    ) -> Float[Array, "distance time batch size"]:
        rest = jnp.broadcast_to(jax.lax.stop_gradient(x), (distances - 1, *x.shape))
        return jnp.concatenate([x[None], rest])

    return Normal(*map(of_distances, posterior))
