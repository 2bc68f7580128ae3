"""The compiled search against one in plain Python, trees by hand, and noise by its moments."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.config.muzero import SearchConfig
from armillary.search.tree import Root, draw, search
from plain_search import Plain

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
    tables: Tables,
    legal: Any,
    settings: SearchConfig,
    players: int,
    discount: float,
    *,
    keys: tuple[int, ...] = (0,),
    **rest: Any,
) -> Any:
    """Returns what is found with a key, or with each of several."""
    run = partial(search, _model, settings=settings, players=players, **rest)
    compiled = jax.jit(lambda t, r, k, legal, d: run(t, r, k, legal=legal, discount=d))
    found = [
        jax.tree.map(
            np.asarray, compiled(tables, _roots(tables), jax.random.key(key), legal, discount)
        )
        for key in keys
    ]
    return found[0] if len(keys) == 1 else found


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
    legal[-1] = False  # as in self-play, where games of a batch end at different times
    assert 0.2 < (~legal).mean() < 0.4
    discount = 0.8 if normalization == "tree" else 1.0
    found = _search(tables, legal, settings, players, discount)
    assert all(np.isfinite(x).all() for x in found[:5])
    for number in range(MODELS - 1):

        def step(state: int, action: int, number: int = number) -> Any:
            (_, following), *rest = _model(tables, (number, state), action)
            return (following, *rest)

        plain = Plain(
            step,
            -1.0 if players == 2 else discount,
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


def _two_arms(reward: list, following: list, count: int = 1) -> Tables:
    """The same small model for each of some roots, with nothing known of it beforehand."""
    reward_of, next_of = np.array(reward, np.float32), np.array(following)

    def repeated(x: np.ndarray) -> Any:
        return np.repeat(x[None], count, axis=0)

    zeros = np.zeros_like(reward_of)
    return Tables(*(repeated(x) for x in (next_of, reward_of, zeros, zeros[:, 0])))


BANDIT = [[0, 1], [0, 0]], [[1, 1], [1, 1]]
"""The second arm gives 1, the first nothing, and there is nothing afterwards."""
TRAP = [[0, 0], [1, 0], [0, 0]], [[1, 2], [2, 2], [2, 2]]
"""The first arm lets the other player win at once; the second leads to nothing."""


def test_a_bandit_by_hand() -> None:
    """The 15th simulation is the first to come back to the worse arm.

    The arms are visited once each, the first first. Then with m visits of the better one, and
    N = m + 2, it is chosen as long as 1 + 0.625 sqrt(N) / (m + 1) > 0.625 sqrt(N) / 2: with m = 12
    that is 1.180 > 1.169, with m = 13 it would be 1.173 > 1.210.
    """
    tables, legal = _two_arms(*BANDIT, count=2), np.array([[True, True], [True, False]])
    found = _search(tables, legal, SearchConfig(simulations=15), 1, 0.5)
    np.testing.assert_array_equal(found.visits, [[2, 13], [15, 0]])
    np.testing.assert_allclose(found.value, [13 / 16, 0])
    np.testing.assert_array_equal(found.q, [[0, 1], [0, 0]])
    np.testing.assert_allclose(found.policy[0], [2 / 15, 13 / 15])
    np.testing.assert_array_equal(found.action, [1, 0])


@pytest.mark.parametrize("algorithm", ["muzero", "gumbel"])
def test_without_simulations_the_prior_decides(algorithm: Any) -> None:
    """The search finds another arm the better one; where the likelier one is forbidden, the other.

    The value is the network's.
    """
    tables = _two_arms(*BANDIT, count=2)
    logits = np.zeros_like(tables.logits)
    logits[:, 0, 0] = np.log(3)
    tables = tables._replace(logits=logits, value=np.full_like(tables.value, 0.25))
    legal = np.array([[True, True], [False, True]])
    found = _search(tables, legal, SearchConfig(simulations=0, algorithm=algorithm), 1, 0.5)
    np.testing.assert_array_equal(found.action, [0, 1])
    np.testing.assert_allclose(found.policy, [[0.75, 0.25], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(found.value, [0.25, 0.25])
    np.testing.assert_array_equal(found.visits, 0)
    searched = _search(tables, legal, SearchConfig(simulations=15), 1, 0.5)
    np.testing.assert_array_equal(searched.action, [1, 1])


def test_the_other_players_gain_is_a_loss() -> None:
    """With one player the way to the reward is the best, with two it is a trap."""
    settings, legal = SearchConfig(simulations=40), np.ones((1, 2), bool)
    alone = _search(_two_arms(*TRAP), legal, settings, 1, 1.0)
    against = _search(_two_arms(*TRAP), legal, settings, 2, 1.0)
    assert alone.action == 0
    assert alone.q[0, 0] > 0.5
    assert against.action == 1
    assert against.q[0, 0] < -0.5
    assert against.q[0, 1] == 0


def _noisy_prior(settings: SearchConfig, legal: np.ndarray) -> np.ndarray:
    tables = _two_arms([[0.0] * 4], [[0] * 4], count=len(legal))
    tables = tables._replace(
        logits=np.log(np.broadcast_to([0.1, 0.2, 0.3, 0.4], (len(legal), 1, 4)))
    )
    found = _search(tables, legal, settings, 1, 1.0, simulations=1, explore=True)
    return np.asarray(jax.nn.softmax(found.tree.children_prior_logits[:, 0]))


def test_noise_is_dirichlet_s_over_the_legal_actions() -> None:
    """By its mean and variance, alpha 0.3 over three: and mixed with the prior over them."""
    legal = np.tile([True, True, False, True], (4000, 1))
    pure = _noisy_prior(SearchConfig(noise_alpha=0.3, noise_fraction=1.0), legal)
    assert np.all(pure[:, 2] == 0)
    np.testing.assert_allclose(pure.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(pure[:, [0, 1, 3]].mean(0), 1 / 3, atol=0.02)
    variance = (1 / 3) * (2 / 3) / (3 * 0.3 + 1)
    np.testing.assert_allclose(pure[:, [0, 1, 3]].var(0), variance, rtol=0.06)
    prior = np.array([1, 2, 0, 4]) / 7
    mixed = _noisy_prior(SearchConfig(noise_alpha=0.3, noise_fraction=0.25), legal)
    np.testing.assert_allclose(mixed, 0.75 * prior + 0.25 * pure, atol=1e-5)


def test_without_exploring_nothing_is_random() -> None:
    """With equal priors and values everywhere, where any noise would break the ties."""
    tables, legal = _two_arms([[0.0] * 4], [[0] * 4]), np.ones((1, 4), bool)
    for algorithm, visits in (("muzero", [2, 2, 1, 1]), ("gumbel", [2, 2, 1, 1])):
        settings = SearchConfig(simulations=6, algorithm=algorithm, noise_fraction=1.0)  # type: ignore[arg-type]
        one, other = _search(tables, legal, settings, 1, 1.0, keys=(0, 1))
        np.testing.assert_array_equal(one.visits, [visits])
        np.testing.assert_array_equal(other.visits, [visits])
        assert one.action == other.action == 0


def test_actions_are_drawn_in_proportion_to_powers_of_the_policy() -> None:
    policy = np.array([0.0, 0.2, 0.3, 0.5], np.float32)
    temperatures = np.array([0.0, 0.25, 1.0, 2.0, 1e-30, 1e30], np.float32)
    many = jnp.broadcast_to(policy, (6, 20_000, 4))
    drawn = np.stack(
        [
            draw(p, jax.random.key(i), t)
            for i, (p, t) in enumerate(zip(many, temperatures, strict=True))
        ]
    )
    share = np.stack([np.bincount(actions, minlength=4) for actions in drawn]) / 20_000
    for i, temperature in enumerate(temperatures.astype(float)):
        power = np.append(0, (policy[1:] / 0.5) ** (1 / max(temperature, 1e-3)))
        np.testing.assert_allclose(share[i], power / power.sum(), atol=0.015)
    assert np.all(share[:, 0] == 0)


def test_temperatures_may_differ_between_roots_and_ties_go_to_the_first() -> None:
    policy = jnp.array([[0.0, 0.5, 0.5]] * 2000)
    drawn = np.asarray(jax.jit(draw)(policy, jax.random.key(0), jnp.arange(2000) % 2))
    assert np.all(drawn[::2] == 1)
    assert set(drawn[1::2]) == {1, 2}
    tiny = jnp.array([[1e-30, 0.0, 1e-38]])
    assert draw(tiny, jax.random.key(0), 1e-3)[0] == 0
