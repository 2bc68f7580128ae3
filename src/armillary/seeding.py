"""Randomness as explicit keys, derived from (seed, purpose, counter).

A resumed run draws what the uninterrupted one would have drawn, because nothing depends on how
many numbers were drawn before.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import jax


def purpose_key(seed: int, purpose: str) -> jax.Array:
    """Returns the JAX key of `purpose`: `fold_in(purpose_key, counter)` is `key(..., counter)`."""
    import jax

    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))


def key(seed: int, purpose: str, counter: int = 0) -> jax.Array:
    """Returns the JAX key for the `counter`-th use of `purpose` in the run seeded with `seed`."""
    import jax

    return jax.random.fold_in(purpose_key(seed, purpose), counter)


def fold(key: jax.Array, counter: Any) -> jax.Array:
    """Returns the key of a counter: `fold_in`, also of an array of keys."""
    import jax

    if key.ndim == 0:
        return jax.random.fold_in(key, counter)
    return jax.vmap(lambda one: jax.random.fold_in(one, counter))(key)


def generator(seed: int, purpose: str, counter: int = 0) -> np.random.Generator:
    """Returns the NumPy generator for the `counter`-th use of `purpose`."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), counter])


def integer(seed: int, purpose: str, counter: int = 0) -> int:
    """Returns a seed below 2**31 for what takes only an integer, an environment for instance."""
    return int(generator(seed, purpose, counter).integers(2**31))
