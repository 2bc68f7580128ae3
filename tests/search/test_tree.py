"""The compiled search against one in plain Python, trees by hand, and noise by its moments."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_search import Plain

from armillary.config.muzero import SearchConfig
from armillary.search.tree import Found, Root, draw, search

MODELS, STATES, ACTIONS = 24, 12, 5


class Tables(NamedTuple):
    """Models of states that are numbers: a table for each root."""

    following: Any
    reward: Any
    logits: Any
    value: Any


def _model(tables: Tables, state: Any, action: Any) -> Any:
    number, at = state
    following = tables.following[number, at, action]
    return (
        (number, following),
        tables.reward[number, at, action],
        tables.logits[number, following],
        tables.value[number, following],
    )


def _random_tables(seed: int, spread: float) -> Tables:
    random = np.random.default_rng(seed)
    shape = (MODELS, STATES, ACTIONS)
    return Tables(
        random.integers(STATES, size=shape),
        spread * random.normal(size=shape).astype(np.float32),
        random.normal(size=shape).astype(np.float32),
        np.tanh(random.normal(size=shape[:2])).astype(np.float32),
    )


def _roots(tables: Tables) -> Root:
    numbers = np.arange(len(tables.value))
    logits, value = tables.logits[:, 0], tables.value[:, 0]
    return jax.tree.map(jnp.asarray, Root(logits, value, (numbers, np.zeros_like(numbers))))


def _search(
    tables: Tables, legal: Any, settings: SearchConfig, players: int, discount: float, **rest: Any
) -> Found:
    run = partial(search, _model, settings=settings, players=players, **rest)
    compiled = jax.jit(lambda t, r, k, legal, d: run(t, r, k, legal=legal, discount=d))
    found = compiled(tables, _roots(tables), jax.random.key(0), legal, discount)
    return jax.tree.map(np.asarray, found)


@pytest.mark.parametrize("algorithm", ["muzero", "gumbel"])
@pytest.mark.parametrize("normalization", ["tree", "node"])
@pytest.mark.parametrize("players", [1, 2])
def test_the_search_is_that_in_plain_python(
    players: int, normalization: Any, algorithm: Any
) -> None:
    """The same visits, values, policy and choice on random models, with forbidden actions."""
    settings = SearchConfig(
        simulations=40, algorithm=algorithm, normalization=normalization, pb_c_base=20.0
    )
    tables = _random_tables(players, 0.3 if players == 1 else 0.1)
    legal = np.random.default_rng(0).random((MODELS, ACTIONS)) < 0.7
    legal[:, 3] = True
    assert 0.2 < (~legal).mean() < 0.4
    found = _search(tables, legal, settings, players, 0.8)
    for number in range(MODELS):

        def step(state: int, action: int, number: int = number) -> Any:
            (_, following), *rest = _model(tables, (number, state), action)
            return (following, *rest)

        plain = Plain(
            step,
            -1.0 if players == 2 else 0.8,
            players,
            normalization,
            c2=20.0,
            gumbel=algorithm == "gumbel",
        )
        root = plain.search(
            0, tables.logits[number, 0], tables.value[number, 0], list(legal[number]), 40
        )
        np.testing.assert_array_equal(found.visits[number], root.counts)
        np.testing.assert_allclose(found.value[number], root.value, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.policy[number], plain.policy(), atol=1e-5)
        assert found.action[number] == plain.best()
        for action, count in enumerate(root.counts):
            q = plain.q(root, action) if count else 0.0
            np.testing.assert_allclose(found.q[number, action], q, rtol=1e-5, atol=1e-6)
