"""The principal variation: how a search expects things to go on."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import mctx
from jaxtyping import Array, Int32

END = -1
"""In place of an action, where the tree goes no further."""


def variation(
    tree: mctx.Tree, action: Int32[Array, " batch"], length: int = 6
) -> Int32[Array, "batch length"]:
    """Returns an action at each root, and what follows it in the tree.

    From each state the action visited most, of several that of the highest Q, of several the
    first; after the last visited one `END`. No state is terminal in a tree and nothing is forbidden
    behind its root, so later actions need not be possible.

    Args:
        tree: of a search.
        action: at the roots, that which is taken.
        length: how many actions, at least 1.
    """
    roots = jnp.arange(len(action))

    def follow(carry: Any, _: None) -> Any:
        node, action = carry
        visited = (node != END) & (tree.children_visits[roots, node, action] > 0)
        following = jnp.where(visited, tree.children_index[roots, node, action], END)
        visits = tree.children_visits[roots, following]
        most = visits == jnp.max(visits, axis=-1, keepdims=True)
        best = jnp.argmax(jnp.where(most, tree.qvalues(following), -jnp.inf), axis=-1)
        return (following, best.astype(jnp.int32)), jnp.where(visited, action, END)

    start = (jnp.full_like(action, tree.ROOT_INDEX), action)
    _, actions = jax.lax.scan(follow, start, length=length)
    return actions.T
