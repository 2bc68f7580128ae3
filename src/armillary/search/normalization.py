"""Values of actions brought to [0, 1], so that they can be weighed against visits.

By the minimum and the maximum of Q over the whole tree (MuZero, slide 4), widened to the known
bounds -1 and 1 in games of two players; or as mctx does it, over a state and its successors.
All take one tree, without a leading axis.
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import mctx
from jaxtyping import Array, Float, Int32

Normalization = Literal["tree", "node"]
_EPSILON = 1e-8
"""The least spread that values are divided by."""
_SCALE, _VISITS = 0.1, 50.0
"""c_scale and c_visit of Gumbel MuZero, as mctx has them."""


def normalized(
    kind: Normalization, players: int, tree: mctx.Tree, node: Int32[Array, ""]
) -> Float[Array, " actions"]:
    """Returns Q of the actions in a state, in [0, 1]; 0 where they were not visited."""
    if kind == "node":
        return mctx.qtransform_by_parent_and_siblings(tree, node)
    low, high = _bounds(tree, players)
    share = (tree.qvalues(node) - low) / jnp.maximum(high - low, _EPSILON)
    return jnp.where(tree.children_visits[node] > 0, share, 0.0)


def completed(
    kind: Normalization, players: int, tree: mctx.Tree, node: Int32[Array, ""]
) -> Float[Array, " actions"]:
    """Returns sigma(Q) of Gumbel MuZero: Q in [0, 1], scaled to be added to logits.

    Actions that were not visited have the mixed value of the state (Danihelka et al., 2022,
    Appendix D), which counts among what the minimum and the maximum are of.
    """
    if kind == "node":
        return mctx.qtransform_completed_by_mix_value(tree, node)
    scale = _SCALE * (_VISITS + jnp.max(tree.children_visits[node]))
    scaled = mctx.qtransform_completed_by_mix_value(
        tree, node, value_scale=_SCALE, maxvisit_init=_VISITS, rescale_values=False
    )
    q = scaled / scale
    low, high = _bounds(tree, players)
    low, high = jnp.minimum(low, jnp.min(q)), jnp.maximum(high, jnp.max(q))
    return scale * (q - low) / jnp.maximum(high - low, _EPSILON)


def _bounds(tree: mctx.Tree, players: int) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the least and the greatest Q of a tree: infinite ones where it has none."""
    q = tree.children_rewards + tree.children_discounts * tree.children_values
    seen = tree.children_visits > 0
    known = 1.0 if players == 2 else -jnp.inf
    low = jnp.min(q, initial=-known, where=seen)
    return low, jnp.max(q, initial=known, where=seen)
