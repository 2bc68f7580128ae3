"""The principal variation against a plain walk down a plain tree."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from armillary.config.muzero import SearchConfig
from armillary.search.tree import Root, search
from armillary.search.variation import variation
from plain_search import Node, Plain

ROOTS, STATES, ACTIONS, LENGTH = 12, 9, 3, 5


def _walk(plain: Plain, node: Node, action: int) -> list[int]:
    """Returns the action and the most visited ones after it, -1 past the end of the tree."""
    found = []
    while action in node.children and len(found) < LENGTH:
        found.append(action)
        node = node.children[action]
        visited = node.children or [0]
        action = max(visited, key=lambda a: (node.visits(a), _q(plain, node, a), -a))
    return found + [-1] * (LENGTH - len(found))


def _q(plain: Plain, node: Node, action: int) -> float:
    return plain.q(node, action) if action in node.children else -math.inf


def test_it_is_a_walk_along_the_most_visited_children() -> None:
    random = np.random.default_rng(0)
    following = random.integers(STATES, size=(ROOTS, STATES, ACTIONS))
    logits = random.normal(size=(ROOTS, STATES, ACTIONS)).astype(np.float32)
    value = np.tanh(random.normal(size=(ROOTS, STATES))).astype(np.float32)
    legal = np.ones((ROOTS, ACTIONS), bool)
    legal[::2, 0] = False

    def model(_: None, state: Any, action: Any) -> Any:
        number, at = state
        after = jnp.asarray(following)[number, at, action]
        given = jnp.asarray(logits)[number, after], jnp.asarray(value)[number, after]
        return (number, after), jnp.zeros(len(action)), *given

    @jax.jit
    def run(other: Any) -> Any:
        numbers = jnp.arange(ROOTS)
        root = Root(jnp.asarray(logits[:, 0]), jnp.asarray(value[:, 0]), (numbers, numbers * 0))
        settings = SearchConfig(simulations=14)
        found = search(model, None, root, jax.random.key(0), settings, legal=legal, players=2)
        first = jnp.where(other >= 0, other, found.action)
        return first, variation(found.tree, first, LENGTH)

    best, expected = run(jnp.full(ROOTS, -1))
    _, forbidden = run(jnp.zeros(ROOTS, jnp.int32))
    seen = set()
    for number in range(ROOTS):

        def step(state: int, action: int, n: int = number) -> Any:
            after = int(following[n, state, action])
            return after, 0.0, logits[n, after].tolist(), float(value[n, after])

        plain = Plain(step, -1.0, 2, "tree")
        may = legal[number].tolist()
        root = plain.search(0, logits[number, 0].tolist(), float(value[number, 0]), may, 14)
        walked = _walk(plain, root, int(best[number]))
        assert expected[number].tolist() == walked
        seen.add(walked.count(-1))
        if not may[0]:  # an action that was never visited leads nowhere
            assert forbidden[number].tolist() == [-1] * LENGTH
    assert len(seen) > 1  # some trees end sooner than others
