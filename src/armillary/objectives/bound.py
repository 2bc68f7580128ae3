"""The variational bound on the log-likelihood of a sequence (PlaNet, Eq. 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from armillary.nets.distributions import Normal, divergence


def clipped_divergence(
    posterior: Normal,
    prior: Normal,
    free_nats: float,
    per: Literal["step", "batch"] = "step",
    where: Bool[Array, "*batch"] | None = None,
) -> Float[Array, ""]:
    """Returns the mean divergence, not pushed below the free nats (PlaNet, Appendix A).

    It is zero for a model without stochastic states.

    Args:
        posterior: q, leading axes of any number.
        prior: p, of the same shape.
        free_nats: the divergence below which there is no gradient, in nats.
        per: "step" clips each time step of each sequence, then averages (PlaNet); "batch" clips
            the average (Dreamer's code). The gradients differ.
        where: which entries the mean is over; None: all.
    """
    if posterior.mean.shape[-1] == 0:
        return jnp.zeros(())
    nats = divergence(posterior, prior)
    if per == "step":
        return jnp.mean(jnp.maximum(nats, free_nats), where=where)
    return jnp.maximum(jnp.mean(nats, where=where), free_nats)


Complexity = Callable[..., Float[Array, ""]]
"""Of the posterior, the prior, the free nats and what they are per, as `clipped_divergence`."""


def variational_bound(
    log_likelihood: Float[Array, "*batch"] | Float[Array, ""],
    posterior: Normal,
    prior: Normal,
    *,
    free_nats: float = 0.0,
    free_nats_per: Literal["step", "batch"] = "step",
    divergence_scale: float = 1.0,
    complexity_of: Complexity = clipped_divergence,
) -> Float[Array, ""]:
    """Returns the bound of PlaNet, Eq. 3, in nats for each time step: the mean over all axes of

        ln p(o_t | s_t) - KL[q(s_t | o_<=t, a_<t) || p(s_t | s_t-1, a_t-1)],

    the reconstruction term minus the complexity term. Times T it is, in expectation over the
    posterior's samples, a lower bound on ln p(o_1:T | a_1:T) (without free nats, at scale one).

    Args:
        log_likelihood: ln p(o_t | s_t) at the posterior's sample, or its mean.
        posterior: q(s_t | o_<=t, a_<t).
        prior: p(s_t | s_t-1, a_t-1) at the sample of s_t-1.
        free_nats: as in `clipped_divergence`.
        free_nats_per: as in `clipped_divergence`.
        divergence_scale: beta, the weight of the complexity term.
        complexity_of: the complexity term, of the four before; another one makes another bound.
    """
    complexity = complexity_of(posterior, prior, free_nats, free_nats_per)
    return jnp.mean(log_likelihood) - divergence_scale * complexity
