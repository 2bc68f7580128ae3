"""Diagonal Gaussians, the only distribution in PlaNet's latent space."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Normal(NamedTuple):
    """A Gaussian with diagonal covariance; the last axis is the event.

    Attributes:
        mean: mean, any leading axes.
        std: standard deviation, of the same shape, greater than zero.
    """

    mean: Float[Array, "*batch size"]
    std: Float[Array, "*batch size"]

    def sample(self, noise: Float[Array, "*batch size"]) -> Float[Array, "*batch size"]:
        """Returns the reparameterised sample `mean + std * noise` for standard normal noise."""
        return self.mean + self.std * noise

    def log_prob(self, value: Float[Array, "*batch size"]) -> Float[Array, "*batch"]:
        """Returns the log-density of `value` in nats, summed over the last axis."""
        z = (value - self.mean) / self.std
        return jnp.sum(-0.5 * z**2 - jnp.log(self.std) - 0.5 * math.log(2 * math.pi), axis=-1)


def divergence(q: Normal, p: Normal) -> Float[Array, "*batch"]:
    """Returns KL[q || p] in nats, in closed form, summed over the last axis."""
    ratio = (q.std / p.std) ** 2
    distance = ((q.mean - p.mean) / p.std) ** 2
    return 0.5 * jnp.sum(ratio + distance - 1.0 - jnp.log(ratio), axis=-1)
