"""A search tree as a list of its states, for people and pages to look at: plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import mctx
import numpy as np

NOWHERE = -1
"""In place of the number of a state or of an action, where there is none."""


@dataclass(frozen=True)
class Node:
    """A state in a tree, and the action that leads to it.

    Attributes:
        number: its place in the list, in which a state comes before those behind it.
        parent: the number of the state before; -1 of the root.
        children: the numbers of the states behind it, the most visited first.
        depth: actions from the root.
        action: that leads here; -1 of the root.
        prior: what the network gives that action, 0 to 1; 1 of the root.
        reward: of that action, from the view of who takes it; 0 of the root.
        visits: N: simulations that came here, and of the root the first look at it, too.
        value: V: the mean of its own and of all that was backed up, from the view of who is to
            move in it.
        principal: whether it is on the principal variation, as the root always is.
        folded: states behind it that `fold` has left out.
        name: what people call the action; empty: nobody has said, see `training.trees`.
        possible: whether the action could be taken there, as far as anybody knows: a tree forbids
            nothing behind its root.
    """

    number: int
    parent: int
    children: tuple[int, ...]
    depth: int
    action: int
    prior: float
    reward: float
    visits: int
    value: float
    principal: bool
    folded: int = 0
    name: str = ""
    possible: bool = True


def nodes_of(tree: mctx.Tree, variation: Sequence[int], root: int = 0) -> tuple[Node, ...]:
    """Returns the states of one tree, each once.

    Args:
        tree: of a search from one root or several.
        variation: the actions that are expected from this root on, -1 past their end.
        root: which.
    """
    following, rewards, visits, values = (
        np.asarray(x[root])
        for x in (tree.children_index, tree.children_rewards, tree.node_visits, tree.node_values)
    )
    priors = np.asarray(jax.nn.softmax(tree.children_prior_logits[root], axis=-1))
    principal, at = {tree.ROOT_INDEX}, tree.ROOT_INDEX
    for action in variation:
        if action == NOWHERE:
            break
        at = int(following[at, action])
        principal.add(at)

    places: list[int] = []  # of each node in the tree's own arrays
    found: list[Node] = []
    children: list[list[int]] = []
    waiting = [(tree.ROOT_INDEX, NOWHERE, NOWHERE)]
    while waiting:
        at, parent, action = waiting.pop()
        number, depth, prior, reward = len(found), 0, 1.0, 0.0
        if parent != NOWHERE:
            before, depth = places[parent], found[parent].depth + 1
            prior, reward = float(priors[before, action]), float(rewards[before, action])
            children[parent].append(number)
        node = Node(
            number=number,
            parent=parent,
            children=(),
            depth=depth,
            action=action,
            prior=prior,
            reward=reward,
            visits=int(visits[at]),
            value=float(values[at]),
            principal=at in principal,
        )
        found.append(node)
        children.append([])
        places.append(at)
        behind = [(int(after), a) for a, after in enumerate(following[at]) if after >= 0]
        behind.sort(key=lambda x: (visits[x[0]], x[0] in principal, -x[1]))
        waiting += [(after, number, a) for after, a in behind]
    return tuple(replace(n, children=tuple(c)) for n, c in zip(found, children, strict=True))


def fold(nodes: Sequence[Node], *, depth: int, visits: int) -> tuple[Node, ...]:
    """Returns a smaller tree: of states that are too deep or visited too seldom their number alone.

    The principal variation stays, as far as it is not too deep.

    Args:
        nodes: of `nodes_of`.
        depth: actions from the root, at most.
        visits: of a state that stays, at least.
    """
    kept = [n for n in nodes if n.depth <= depth and (n.visits >= visits or n.principal)]
    numbers = {node.number: i for i, node in enumerate(kept)}
    sizes = [1] * len(nodes)  # of the subtree at each
    folded = [0] * len(nodes)
    for node in reversed(nodes[1:]):
        sizes[node.parent] += sizes[node.number]
        if node.number not in numbers:
            folded[node.parent] += sizes[node.number]
    return tuple(
        replace(
            node,
            number=i,
            parent=numbers.get(node.parent, NOWHERE),
            children=tuple(numbers[child] for child in node.children if child in numbers),
            folded=folded[node.number],
        )
        for i, node in enumerate(kept)
    )


def fewest_visits(nodes: Sequence[Node], *, depth: int, most: int) -> int:
    """Returns how often a state has to be visited so that not too many stay in `fold`.

    Args:
        nodes: of `nodes_of`.
        depth: as in `fold`.
        most: how many may stay; more do if the principal variation alone is longer.
    """
    visits = 1
    counts = sorted({node.visits for node in nodes})
    while counts and len(fold(nodes, depth=depth, visits=visits)) > most:
        visits = counts.pop(0) + 1
    return visits
