"""Several networks of one kind, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.nets.dense import Stack


class Ensemble(eqx.Module):
    """Stacks of the same sizes that begin with different parameters.

    Attributes:
        stacks: one `Stack`, whose arrays have a leading axis of members.
    """

    stacks: Stack

    def __init__(
        self, members: int, sizes: Sequence[int], activation: str, *, key: PRNGKeyArray
    ) -> None:
        make = eqx.filter_vmap(lambda key: Stack(sizes, activation, key=key))
        self.stacks = make(jax.random.split(key, members))

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "members *batch outputs"]:
        """Returns what each of them makes of the same input."""
        return eqx.filter_vmap(lambda stack: stack(x))(self.stacks)
