"""Some of the time steps in place of all."""

from __future__ import annotations

from typing import TypeVar

import jax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

Arrays = TypeVar("Arrays", bound=PyTree)


def every_few_steps(arrays: Arrays, steps: int | None, key: PRNGKeyArray) -> Arrays:
    """Returns `steps` evenly spaced time steps of each array, at a random offset common to all.

    The mean over them is an unbiased estimate of the mean over all time steps.

    Args:
        arrays: leading axes (batch, time).
        steps: how many; None: all.
        key: of the offset.

    Returns:
        The arrays with one leading axis in place of the two.
    """
    batch, time = jax.tree.leaves(arrays)[0].shape[:2]
    stride = 1 if steps is None else time // steps
    offset = jax.random.randint(key, (), 0, stride)

    def keep(x: Float[Array, "batch time *rest"]) -> Float[Array, "n *rest"]:
        x = x.reshape(batch, time // stride, stride, *x.shape[2:])
        kept = jax.lax.dynamic_index_in_dim(x, offset, axis=2, keepdims=False)
        return kept.reshape(-1, *kept.shape[2:])

    return jax.tree.map(keep, arrays)
