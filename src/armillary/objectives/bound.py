"""The variational bound on the log-likelihood of a sequence (PlaNet, Eq. 3)."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from armillary.nets.distributions import Normal, divergence


def variational_bound(
    log_likelihood: Float[Array, "*batch"], posterior: Normal, prior: Normal
) -> Float[Array, "*batch"]:
    """Returns the summand of PlaNet, Eq. 3, for each time step, in nats.

    Summed over time it is, in expectation over the posterior's samples, a lower bound on
    ln p(o_1:T | a_1:T): the reconstruction term minus the complexity term

        ln p(o_t | s_t) - KL[q(s_t | o_<=t, a_<t) || p(s_t | s_t-1, a_t-1)].

    Args:
        log_likelihood: ln p(o_t | s_t) at the posterior's sample.
        posterior: q(s_t | o_<=t, a_<t).
        prior: p(s_t | s_t-1, a_t-1) at the sample of s_t-1.
    """
    return log_likelihood - divergence(posterior, prior)


def clipped_divergence(
    posterior: Normal,
    prior: Normal,
    free_nats: float,
    per: Literal["step", "batch"] = "step",
) -> Float[Array, ""]:
    """Returns the mean divergence, not pushed below the free nats (PlaNet, Appendix A).

    Args:
        posterior: q, leading axes of any number.
        prior: p, of the same shape.
        free_nats: the divergence below which there is no gradient, in nats.
        per: "step" clips each time step of each sequence, then averages (PlaNet); "batch" clips
            the average (Dreamer's code). The gradients differ.
    """
    nats = divergence(posterior, prior)
    if per == "step":
        return jnp.mean(jnp.maximum(nats, free_nats))
    return jnp.maximum(jnp.mean(nats), free_nats)
