"""Distributions: diagonal Gaussians of latent spaces, and those of actions."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
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


class TanhNormal(NamedTuple):
    """A diagonal Gaussian squashed by tanh into (-1, 1) (Haarnoja et al., 2018; Dreamer, Eq. 3).

    Attributes:
        mean: mean before the tanh, any leading axes.
        std: standard deviation before the tanh, of the same shape, greater than zero.
    """

    mean: Float[Array, "*batch size"]
    std: Float[Array, "*batch size"]

    def sample(self, noise: Float[Array, "*batch size"]) -> Float[Array, "*batch size"]:
        """Returns the reparameterised sample `tanh(mean + std * noise)` for normal noise."""
        return jnp.tanh(self.mean + self.std * noise)

    def mode(self) -> Float[Array, "*batch size"]:
        """Returns tanh(mean), the median: what the published code calls the mode."""
        return jnp.tanh(self.mean)

    def log_prob(self, value: Float[Array, "*batch size"]) -> Float[Array, "*batch"]:
        """Returns the log-density of `value` in nats, summed over the last axis.

        At the edges, where float32 has rounded a sample to -1 or 1, it is the density a little
        inside of them: finite, and so is its gradient.
        """
        x = jnp.arctanh(jnp.clip(value, -1 + _EDGE, 1 - _EDGE))
        return Normal(self.mean, self.std).log_prob(x) - jnp.sum(_log_slope(x), axis=-1)

    def entropy(self, noise: Float[Array, "*batch size"]) -> Float[Array, "*batch"]:
        """Returns an unbiased estimate of the entropy in nats, from one sample's normal noise.

        The Gaussian's in closed form, and what the tanh adds at `sample(noise)`. At most that of
        the uniform distribution on average, `size * log(2)`.
        """
        gaussian = jnp.log(self.std) + 0.5 * (1 + math.log(2 * math.pi))
        return jnp.sum(gaussian + _log_slope(self.mean + self.std * noise), axis=-1)


IMPOSSIBLE = -1e9
"""The logit of a choice that may not be taken: finite, so that its share of the entropy is 0."""


class OneHot(NamedTuple):
    """A categorical distribution over one-hot vectors, its samples with straight-through gradients.

    Attributes:
        logits: unnormalised log-probabilities, any leading axes.
    """

    logits: Float[Array, "*batch size"]

    def sample(self, noise: Float[Array, "*batch size"]) -> Float[Array, "*batch size"]:
        """Returns a one-hot sample for Gumbel noise; its gradient is that of the probabilities."""
        probabilities = jax.nn.softmax(self.logits)
        choice = _one_hot(self.logits + noise)
        return choice + (probabilities - jax.lax.stop_gradient(probabilities))  # exactly one-hot

    def mode(self) -> Float[Array, "*batch size"]:
        """Returns the most likely choice, one-hot."""
        return _one_hot(self.logits)

    def log_prob(self, value: Float[Array, "*batch size"]) -> Float[Array, "*batch"]:
        """Returns the log-probability of a one-hot vector, in nats."""
        return jnp.sum(value * jax.nn.log_softmax(self.logits), axis=-1)

    def entropy(self, noise: Float[Array, "*batch size"]) -> Float[Array, "*batch"]:
        """Returns the entropy in nats; the noise is not needed."""
        return -jnp.sum(jax.nn.softmax(self.logits) * jax.nn.log_softmax(self.logits), axis=-1)


def _log_slope(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns log(1 - tanh(x)^2), without cancellation."""
    return 2.0 * (math.log(2.0) - x - jax.nn.softplus(-2.0 * x))


def _one_hot(scores: Float[Array, "*batch size"]) -> Float[Array, "*batch size"]:
    return jax.nn.one_hot(jnp.argmax(scores, axis=-1), scores.shape[-1])


_EDGE = 1e-6
"""Half of it is about what float32 can tell from 1."""


def divergence(q: Normal, p: Normal) -> Float[Array, "*batch"]:
    """Returns KL[q || p] in nats, in closed form, summed over the last axis."""
    ratio = (q.std / p.std) ** 2
    distance = ((q.mean - p.mean) / p.std) ** 2
    return 0.5 * jnp.sum(ratio + distance - 1.0 - jnp.log(ratio), axis=-1)
