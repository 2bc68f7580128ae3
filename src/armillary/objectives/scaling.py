"""Rewards and values as categories of a scaled range (Pohlen et al., 2018; MuZero).

Numbers are scaled by h(x) = sign(x) (sqrt(|x| + 1) - 1) + e x with e = 0.001, so that categories
lie close together near zero and far apart further out, and are told by the two nearest of the
integers -(C - 1) / 2 to (C - 1) / 2: 601 categories reach to about 58,700 on either side.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_E = 1e-3
"""e: it makes the scaling's slope greater than zero far out, and so its inverse steady."""


def scale(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns h(x), written without the difference of what is nearly equal for small x."""
    return x / (jnp.sqrt(jnp.abs(x) + 1) + 1) + _E * x


def unscale(y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns the x whose h(x) is y.

    The published form, ((sqrt(1 + 4 e (|y| + 1 + e)) - 1) / (2 e))^2 - 1, loses all digits of small
    numbers. With t = sqrt(|x| + 1) - 1 it is e t^2 + (1 + 2 e) t = |y|, and |x| = t (t + 2).
    """
    b = 1 + 2 * _E
    share = 2 / (b + jnp.sqrt(b**2 + 4 * _E * jnp.abs(y)))  # t / |y|
    return y * share * (jnp.abs(y) * share + 2)


def two_hot(x: Float[Array, "*shape"], categories: int) -> Float[Array, "*shape categories"]:
    """Returns the probabilities of the two categories next to h(x) whose mean it is.

    Beyond the last category it is that one.

    Args:
        x: rewards or values, not scaled.
        categories: C, odd.
    """
    support = _support(categories)
    scaled = jnp.clip(scale(x), support[0], support[-1])
    return jnp.maximum(1 - jnp.abs(scaled[..., None] - support), 0)


def expectation(logits: Float[Array, "*shape categories"]) -> Float[Array, "*shape"]:
    """Returns the reward or value that these logits tell: h's inverse of the categories' mean."""
    return unscale(jax.nn.softmax(logits) @ _support(logits.shape[-1]))


def _support(categories: int) -> Float[Array, " categories"]:
    return jnp.arange(categories, dtype=jnp.float32) - (categories - 1) / 2
