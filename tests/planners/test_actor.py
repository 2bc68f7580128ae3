"""Plans with a value at the horizon and with an actor's proposals, on a system of known optimum."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.agents.dreamer import Dreamer, DreamerState
from armillary.agents.planet import Planet, PlanetState
from armillary.config import (
    ActorPlannerConfig,
    BehaviorConfig,
    DreamerConfig,
    PlanetConfig,
    PlannerConfig,
    planner_of,
)
from armillary.dynamics.base import LatentState
from armillary.errors import UsageError
from armillary.nets.policy import Policy
from armillary.planners.cem import Plan, cem
from armillary.planners.rollout import Beyond, actor_sequences, latent_returns
from armillary.spec import Continuous, Discrete, Field, Spec, pixels
from models import GAMMA, A, B, Linear, Q, R, System, starts_at

SYSTEM = System(Linear(jnp.array(A)))
X = 0.5
BEHAVIOR = BehaviorConfig(discount=GAMMA, layers=1, hidden=8, initial_std=0.4)
POLICY = Policy(2, Continuous(1), BEHAVIOR, key=jax.random.key(5))


def _to_go() -> float:
    """Returns c of the least cost c x^2 of all that comes after x, by iterating Bellman's equation.

    c x^2 = min over u of R u^2 + (Q + gamma c) (A x + B u)^2.
    """
    c = 0.0
    for _ in range(200):
        m = Q + GAMMA * c
        c = m * A**2 * R / (R + m * B**2)
    return c


def _gain(m: float) -> float:
    """Returns k of the best u = -k x where x' costs m x'^2."""
    return m * A * B / (R + m * B**2)


def _value(features: Any) -> Any:
    """The true value of a state, which contains its own reward."""
    x, u = features[..., :1], features[..., 1:]
    return -((Q + GAMMA * _to_go()) * x**2 + R * u**2)


def _state(x: float = X) -> LatentState:
    return jax.tree.map(lambda leaf: leaf[0], starts_at(jnp.array([x])))


def _plan(horizon: int, beyond: Beyond | None, **given: Any) -> Plan:
    config = PlannerConfig(horizon=horizon, iterations=12, candidates=300, elites=20)
    evaluate = latent_returns(SYSTEM, _state(), beyond)
    return cem(evaluate, jax.random.key(0), action_size=1, config=config, **given)


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_value_at_the_horizon_makes_a_short_plan_the_best_of_all(horizon: int) -> None:
    found = _plan(horizon, Beyond(_value, GAMMA))
    best = _gain(Q + GAMMA * _to_go())
    assert float(found.mean[0, 0]) == pytest.approx(-best * X, abs=0.01)
    assert float(found.predicted_return) == pytest.approx(-_to_go() * X**2, rel=0.01)
    short = float(_plan(1, None).mean[0, 0])
    assert short == pytest.approx(-_gain(Q) * X, abs=0.01)  # what one step alone asks for
    assert abs(best - _gain(Q)) * X > 0.1


def test_returns_with_a_value_equal_a_loop() -> None:
    """Discounted, and only as far as the episode goes on: after an end nothing counts any more."""
    system = System(Linear(jnp.array(A)), end=0.6)
    candidates = jax.random.uniform(jax.random.key(1), (40, 4, 1), minval=-1.0, maxval=1.0)
    evaluate = latent_returns(system, _state(), Beyond(_value, GAMMA))
    expected, ended = [], 0
    for actions in np.asarray(candidates, np.float64)[..., 0]:
        x, total, weight = X, 0.0, 1.0
        for t, u in enumerate(actions):
            x = A * x + B * u
            last = t == len(actions) - 1
            total += weight * (
                float(_value(np.array([x, u]))[0]) if last else -(Q * x**2 + R * u**2)
            )
            weight *= GAMMA * (abs(x) < 0.6)
        expected.append(total)
        ended += weight == 0
    assert 5 < ended < 35
    np.testing.assert_allclose(evaluate(candidates, jax.random.key(2)), expected, rtol=1e-4)


def _seen(config: PlannerConfig, **given: Any) -> list[np.ndarray]:
    """Returns the candidates that the model was given in each iteration."""
    seen: list[np.ndarray] = []

    def evaluate(candidates: Any, key: Any) -> Any:
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), candidates, ordered=True)
        return latent_returns(SYSTEM, _state())(candidates, key)

    cem(evaluate, jax.random.key(3), action_size=1, config=config, **given)
    jax.effects_barrier()
    return [candidates for candidates in seen if len(candidates) > 1]


def test_proposals_are_the_last_candidates_of_every_iteration() -> None:
    config = PlannerConfig(horizon=4, iterations=3, candidates=12, elites=4)
    sequences = actor_sequences(
        SYSTEM, POLICY, _state(), None, jax.random.key(4), count=5, horizon=4
    )
    plain, mixed = _seen(config), _seen(config, proposals=sequences)
    assert len(plain) == len(mixed) == 3
    for candidates in mixed:
        np.testing.assert_array_equal(candidates[7:], sequences)
    np.testing.assert_array_equal(mixed[0][:7], plain[0][:7])  # what is drawn stays what it was
    assert np.any(mixed[2][:7] != plain[2][:7])  # but the proposals were among the elites


def test_a_plan_starts_where_it_is_told() -> None:
    config = PlannerConfig(horizon=2, iterations=1, candidates=50, elites=4)
    mean = jnp.array([[0.3], [-0.2]])
    plain, moved = _seen(config)[0], _seen(config, mean=mean)[0]
    inside = np.abs(plain) < 1
    expected = np.clip(plain + mean, -1, 1)
    np.testing.assert_allclose(moved[inside], expected[inside], atol=1e-6)


def test_an_actors_sequences_are_its_actions_along_the_way() -> None:
    """Its mode first, then samples, whose noise is standard normal and independent."""
    count, horizon = 3000, 3
    sequences = np.asarray(
        actor_sequences(
            SYSTEM, POLICY, _state(), None, jax.random.key(6), count=count, horizon=horizon
        ),
        np.float64,
    )
    x, u = np.full(count, X), np.zeros(count)
    noise = []
    for t in range(horizon):
        acts = POLICY(jnp.stack([x, u], axis=-1))
        mean, std = (np.asarray(p)[:, 0] for p in acts)
        u = sequences[:, t, 0]
        noise.append((np.arctanh(u) - mean) / std)
        x = A * x + B * u
    noise = np.array(noise)
    np.testing.assert_allclose(noise[:, 0], 0, atol=1e-4)
    assert np.all(np.abs(noise[:, 1:].mean(axis=1)) < 0.08)
    assert np.all(np.abs(noise[:, 1:].std(axis=1) - 1) < 0.06)
    assert abs(np.corrcoef(noise[:, 1:])[0, 1]) < 0.08
    masked = actor_sequences(
        SYSTEM, POLICY, _state(), np.zeros(1, bool), jax.random.key(6), count=4, horizon=2
    )
    assert not np.any(masked)


def _dreamer(**planner: Any) -> tuple[Dreamer, DreamerState]:
    plain = {"horizon": 3, "iterations": 2, "candidates": 20, "elites": 4, "proposals": 0.0}
    settings = plain | {"start": "zero"} | planner
    config = DreamerConfig(act="plan", planner=ActorPlannerConfig(**settings), behavior=BEHAVIOR)
    optimizers: Any = ((), (), ())
    model: Any = SYSTEM
    value: Any = _value
    state = DreamerState(model, POLICY, value, None, optimizers, jnp.zeros((), jnp.int32))
    return Dreamer(config, pixels(64, 1)), state


def _chosen(agent: Any, state: Any) -> tuple[Any, Any]:
    latent = starts_at(jnp.array([0.5, -0.4]))
    return agent.choose(state, latent, None, jax.random.key(8), False)


def test_without_value_and_actor_it_plans_as_planet_does() -> None:
    agent, state = _dreamer(value=False)
    planner = PlannerConfig(horizon=3, iterations=2, candidates=20, elites=4)
    planet: Any = PlanetState(state.model, ())
    wanted, extras = _chosen(Planet(PlanetConfig(planner=planner), pixels(64, 1)), planet)
    action, more = _chosen(agent, state)
    np.testing.assert_array_equal(action, wanted)
    np.testing.assert_array_equal(more["predicted_return"], extras["predicted_return"])
    assert more["value"].shape == (2,)
    assert np.any(_chosen(*_dreamer())[0] != wanted)  # the value counts


def test_the_settings_reach_the_plan() -> None:
    """With nothing but proposals of which one is kept, the plan is one of the actor's sequences."""
    only, state = _dreamer(proposals=1.0, iterations=1, elites=1)
    action, _ = _chosen(only, state)
    for i, key in enumerate(jax.random.split(jax.random.key(8), 2)):
        latent = jax.tree.map(lambda leaf, i=i: leaf[i], starts_at(jnp.array([0.5, -0.4])))
        sequences = actor_sequences(
            SYSTEM, POLICY, latent, None, jax.random.fold_in(key, 2), count=20, horizon=3
        )
        returns = latent_returns(SYSTEM, latent, Beyond(_value, GAMMA))(sequences, key)
        np.testing.assert_allclose(action[i], sequences[jnp.argmax(returns), 0], rtol=1e-5)
    plain, started = (_chosen(*_dreamer(start=start))[0] for start in ("zero", "actor"))
    assert np.any(plain != started)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.001, 1), (0.07, 14), (1.0, 200)])
def test_a_share_of_the_candidates_is_proposed(share: float, count: int) -> None:
    assert ActorPlannerConfig(candidates=200, elites=20, proposals=share).proposed == count


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match=r"proposals is 1\.5"):
        ActorPlannerConfig(proposals=1.5)
    rewards = BehaviorConfig(estimate="rewards")
    with pytest.raises(UsageError, match="no value is learned"):
        DreamerConfig(act="plan", behavior=rewards)
    DreamerConfig(act="plan", behavior=rewards, planner=ActorPlannerConfig(value=False))
    lamps = Spec.of({"lamp": Field((3,))}, Discrete(3))
    with pytest.raises(UsageError, match="discrete: leave --act plan out"):
        Dreamer(DreamerConfig(act="plan"), lamps)


def test_the_planner_of_a_configuration_is_the_one_that_acts() -> None:
    dreamer, planet = DreamerConfig(), PlanetConfig()
    assert planner_of(planet) == planet.planner
    assert planner_of(dreamer) is None
    assert planner_of(dreamer, "plan") == dreamer.planner
    planning = DreamerConfig(act="plan")
    assert planner_of(planning) == planning.planner
    assert planner_of(planning, "policy") is None
    assert Dreamer(dreamer, pixels(64, 1)).acting.name == "act"
    assert Dreamer(planning, pixels(64, 1)).acting.size == "J=150, I=4, H=8"
