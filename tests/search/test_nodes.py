"""A search tree as a list of states, against the tree of a search in plain Python."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.config.muzero import SearchConfig
from armillary.search.nodes import Node, fewest_visits, fold, nodes_of
from armillary.search.tree import Root, search
from armillary.search.variation import variation
from plain_search import Node as PlainNode
from plain_search import Plain, _softmax

ROOTS, STATES, ACTIONS, SIMULATIONS = 6, 9, 3, 20


def _same(plain: Plain, nodes: tuple[Node, ...]) -> None:
    """Asserts that a list holds every state of a plain tree once, with what is known of it."""
    seen: list[int] = []

    def check(node: Node, own: PlainNode, depth: int, principal: bool) -> None:
        seen.append(node.number)
        assert (node.depth, node.visits) == (depth, len(own.values))
        assert node.value == pytest.approx(own.value, rel=1e-5, abs=1e-6)
        assert node.principal == principal
        children = [nodes[number] for number in node.children]
        assert {child.action for child in children} == set(own.children)
        counts = [child.visits for child in children]
        assert counts == sorted(counts, reverse=True)
        legal = plain.legal if own is plain.root else [True] * ACTIONS
        prior = _softmax(own.logits, legal)
        best = max(own.children, default=None, key=lambda a: (own.visits(a), plain.q(own, a), -a))
        for child in children:
            assert child.parent == node.number < child.number
            assert child.prior == pytest.approx(prior[child.action], abs=1e-6)
            assert child.reward == pytest.approx(own.rewards[child.action])
            below = own.children[child.action]
            check(child, below, depth + 1, principal and child.action == best)

    check(nodes[0], plain.root, 0, True)
    assert (nodes[0].parent, nodes[0].action) == (-1, -1)
    assert sorted(seen) == list(range(SIMULATIONS + 1)) == [node.number for node in nodes]


@pytest.mark.parametrize("players", [1, 2])
def test_states_are_those_of_a_search_in_plain_python(players: int) -> None:
    random = np.random.default_rng(players)
    following = random.integers(STATES, size=(ROOTS, STATES, ACTIONS))
    logits = random.normal(size=(ROOTS, STATES, ACTIONS)).astype(np.float32)
    value = np.tanh(random.normal(size=(ROOTS, STATES))).astype(np.float32)
    reward = 0.2 * random.normal(size=(ROOTS, STATES, ACTIONS)).astype(np.float32)
    legal = np.ones((ROOTS, ACTIONS), bool)
    legal[::2, 0] = False

    def model(_: None, state: Any, action: Any) -> Any:
        number, at = state
        after = jnp.asarray(following)[number, at, action]
        paid = jnp.asarray(reward)[number, at, action]
        given = jnp.asarray(logits)[number, after], jnp.asarray(value)[number, after]
        return (number, after), paid, *given

    @jax.jit
    def run() -> Any:
        numbers = jnp.arange(ROOTS)
        root = Root(jnp.asarray(logits[:, 0]), jnp.asarray(value[:, 0]), (numbers, numbers * 0))
        settings = SearchConfig(simulations=SIMULATIONS)
        found = search(
            model,
            None,
            root,
            jax.random.key(0),
            settings,
            legal=jnp.asarray(legal),
            players=players,
            discount=0.8,
        )
        return found.tree, variation(found.tree, found.action, SIMULATIONS)

    tree, expected = run()
    for number in range(ROOTS):

        def step(state: int, action: int, n: int = number) -> Any:
            after = int(following[n, state, action])
            paid = float(reward[n, state, action])
            return after, paid, logits[n, after].tolist(), float(value[n, after])

        plain = Plain(step, -1.0 if players == 2 else 0.8, players, "tree")
        first = logits[number, 0].tolist(), float(value[number, 0])
        plain.search(0, *first, legal[number].tolist(), SIMULATIONS)
        nodes = nodes_of(tree, np.asarray(expected)[number].tolist(), number)
        _same(plain, nodes)


def _tree(visits: dict[str, int], principal: str) -> tuple[Node, ...]:
    """Returns a tree whose states are called by the actions that lead there, `` the root."""
    names = sorted(visits)
    number = {name: i for i, name in enumerate(names)}
    return tuple(
        Node(
            number=number[name],
            parent=number[name[:-1]] if name else -1,
            children=tuple(number[n] for n in names if n and n[:-1] == name),
            depth=len(name),
            action=int(name[-1]) if name else -1,
            prior=0.5,
            reward=0.0,
            visits=visits[name],
            value=0.1,
            principal=principal.startswith(name),
            name=name,
        )
        for name in names
    )


TREE = _tree(
    {"": 12, "0": 7, "00": 3, "000": 2, "0000": 1, "01": 3, "1": 4, "10": 2, "11": 1}, "1000"
)


def test_what_is_folded_is_counted() -> None:
    """Of the root, 0 and 00 by their visits; 1 and 10, seldom visited, are the principal ones."""
    kept = fold(TREE, depth=2, visits=3)
    assert [node.name for node in kept] == ["", "0", "00", "01", "1", "10"]
    assert [node.folded for node in kept] == [0, 0, 2, 0, 1, 0]
    assert [node.number for node in kept] == list(range(6))
    assert [node.parent for node in kept] == [-1, 0, 1, 1, 0, 4]
    assert [node.children for node in kept] == [(1, 4), (2, 3), (), (), (5,), ()]
    assert fold(TREE, depth=9, visits=1) == TREE
    alone = fold(TREE, depth=0, visits=1)
    assert [(node.name, node.children, node.folded) for node in alone] == [("", (), 8)]


@pytest.mark.parametrize("most", range(1, 11))
def test_no_more_states_stay_than_may(most: int) -> None:
    """The principal variation of three stays always; and no fewer stay than could."""
    visits = fewest_visits(TREE, depth=9, most=most)
    kept = len(fold(TREE, depth=9, visits=visits))
    assert kept <= max(most, 3)
    assert visits == 1 or len(fold(TREE, depth=9, visits=visits - 1)) > most
