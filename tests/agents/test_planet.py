"""The agent's three functions: acting, learning, predicting."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from armillary.agents.planet import Planet, PlanetState
from armillary.agents.world_model import Belief
from armillary.config import CollectionConfig, ObjectiveConfig, OptimizerConfig
from armillary.nets.image import preprocess
from armillary.objectives.world_model import world_model_loss
from armillary.planners.cem import cem
from armillary.planners.rollout import latent_returns
from armillary.replay.sampler import Batch
from armillary.spec import pixels
from models import random_state
from settings import TINY

A, COUNT = 2, 3
CONFIG = replace(
    TINY,
    model=replace(TINY.model, depth=1),
    objective=ObjectiveConfig(free_nats=0.0),
    collection=CollectionConfig(seed_episodes=2, action_noise=0.8),
)
SPEC = pixels(64, A)
AGENT = Planet(CONFIG, SPEC)
KEYS = jax.random.split(jax.random.key(11), 2)


@pytest.fixture(scope="module")
def state() -> PlanetState:
    """Random parameters, with which the state matters for the return."""

    def inputs(state: PlanetState) -> Any:
        return state.model.dynamics.inputs.layers[0].linear.weight

    return eqx.tree_at(inputs, random_state(AGENT), replace_fn=lambda weight: 6 * weight)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Two observations of each environment."""
    return np.random.default_rng(0).integers(0, 256, (2, COUNT, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def act() -> Callable[..., Any]:
    return jax.jit(AGENT.act, static_argnames="explore")


@pytest.fixture(scope="module")
def first(state: PlanetState, images: np.ndarray, act: Callable) -> tuple[Any, Any]:
    """The first time step, without and with exploration."""
    belief = AGENT.initial_belief(state, COUNT)
    return tuple(
        act(state, belief, {"image": images[0]}, KEYS[0], explore=e) for e in (False, True)
    )


def test_exploration_adds_gaussian_noise_and_clips(first: Any) -> None:
    (belief, action, _), (noisy_belief, noisy_action, _) = first
    noise = jax.random.normal(jax.random.split(KEYS[0], 4)[3], (COUNT, A))
    expected = np.clip(action + 0.8 * noise, -1, 1)
    assert np.any(np.abs(expected) == 1)
    assert np.any(np.abs(expected) < 1)
    assert np.any(np.abs(action) < 1)
    np.testing.assert_allclose(noisy_action, expected, atol=1e-6)
    np.testing.assert_array_equal(belief.action, action)
    np.testing.assert_array_equal(noisy_belief.action, noisy_action)
    for plain, noisy in zip(belief.latent[1:], noisy_belief.latent[1:], strict=True):
        np.testing.assert_allclose(plain, noisy, rtol=1e-5, atol=1e-6)


def _alone(state: PlanetState, belief: Belief, images: Any, key: Any, i: int) -> Any:
    """The sample, plan and predicted return of environment `i` by the rooms below."""
    model = state.model
    image_key, belief_key, plan_key, _ = jax.random.split(key, 4)
    image = preprocess(images, 5, image_key)[i]
    noise = jax.random.normal(belief_key, (COUNT, model.dynamics.stochastic_size))[i]
    before = jax.tree.map(lambda x: x[i], belief.latent)
    embedding = model.encoder.images["image"](image.transpose(2, 0, 1)[..., None])[0]
    latent, _ = model.dynamics.infer(before, belief.action[i], embedding, noise)
    returns = latent_returns(model, latent)
    plan = cem(returns, jax.random.split(plan_key, COUNT)[i], action_size=A, config=CONFIG.planner)
    return latent.stochastic, latent.deterministic, plan.mean[0], plan.predicted_return


def test_environments_are_planned_as_each_alone(
    state: PlanetState, images: np.ndarray, act: Callable, first: Any
) -> None:
    """Also in a second time step, which follows from the action of the first, noise included."""
    alone = jax.jit(_alone, static_argnums=4)
    belief = AGENT.initial_belief(state, COUNT)
    second = act(state, first[1][0], {"image": images[1]}, KEYS[1], explore=False)
    steps = ((belief, images[0], KEYS[0], first[0]), (first[1][0], images[1], KEYS[1], second))
    for before, image, key, (after, action, extras) in steps:
        together = (*after.latent[1:], action, extras["predicted_return"])
        assert np.ptp(action, axis=0).min() > 1e-2  # the environments differ
        for i in range(COUNT):
            expected = alone(state, before, image, key, i)
            for ours, theirs in zip(together, expected, strict=True):
                np.testing.assert_allclose(ours[i], theirs, rtol=1e-4, atol=1e-5)
    without = first[1][0]._replace(action=first[0][1])
    other = act(state, without, {"image": images[1]}, KEYS[1], explore=False)
    assert np.abs(other[0].latent.deterministic - second[0].latent.deterministic).max() > 1e-3


def test_an_environment_sees_nothing_of_the_others(
    state: PlanetState, images: np.ndarray, act: Callable, first: Any
) -> None:
    image = images[0].copy()
    image[1] = 255 - image[1] // 4
    belief = AGENT.initial_belief(state, COUNT)
    belief_now, action_now, now = act(state, belief, {"image": image}, KEYS[0], explore=False)
    belief_then, action_then, then = first[0]
    pairs = (
        (belief_now.latent.stochastic, belief_then.latent.stochastic),
        (now["predicted_return"], then["predicted_return"]),
        (action_now, action_then),
    )
    for new, old in pairs:
        np.testing.assert_allclose(new[::2], old[::2], rtol=1e-5, atol=1e-6)
    for new, old in pairs[:2]:
        assert np.abs(new[1] - old[1]).max() > 1e-3


def test_random_shooting_executes_the_best_candidate(
    state: PlanetState, images: np.ndarray
) -> None:
    """One iteration, one elite: the first action of the best of J random sequences."""
    planner = replace(CONFIG.planner, iterations=1, elites=1)
    agent = Planet(replace(CONFIG, planner=planner), SPEC)
    belief = agent.initial_belief(state, COUNT)
    act = jax.jit(agent.act, static_argnames="explore")
    after, action, _ = act(state, belief, {"image": images[0]}, KEYS[0], explore=False)
    plan_key = jax.random.split(KEYS[0], 4)[2]

    @jax.jit
    def shoot(latent: Any, key: Any) -> Any:
        sample_key, evaluate_key = jax.random.split(jax.random.split(key, 1)[0])
        noise = jax.random.normal(sample_key, (planner.candidates, planner.horizon, A))
        candidates = jnp.clip(noise, -1, 1)
        return candidates, latent_returns(state.model, latent)(candidates, evaluate_key)

    for i, key in enumerate(jax.random.split(plan_key, COUNT)):
        candidates, returns = shoot(jax.tree.map(lambda x, i=i: x[i], after.latent), key)
        assert np.ptp(returns) > 1e-3
        np.testing.assert_allclose(action[i], candidates[np.argmax(returns), 0], atol=1e-6)


def test_random_collection_acts_at_random_and_tests_by_planning(
    state: PlanetState, images: np.ndarray, first: Any
) -> None:
    collection = replace(CONFIG.collection, policy="random")
    agent = Planet(replace(CONFIG, collection=collection), SPEC)
    belief = agent.initial_belief(state, COUNT)
    act = jax.jit(agent.act, static_argnames="explore")
    after, action, _ = act(state, belief, {"image": images[0]}, KEYS[0], explore=True)
    np.testing.assert_array_equal(after.action, action)
    same = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(after.latent.stochastic, first[1][0].latent.stochastic, **same)
    seen = {"image": jnp.asarray(images[0])}
    many = jax.jit(jax.vmap(lambda key: agent.act(state, belief, seen, key, True)[1]))
    actions = np.asarray(many(jax.random.split(KEYS[1], 300))).reshape(-1, A)
    for values in actions.T:
        assert scipy.stats.kstest(values, scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3
    _, planned, _ = act(state, belief, {"image": images[0]}, KEYS[0], explore=False)
    np.testing.assert_array_equal(planned, first[0][1])


@pytest.mark.parametrize("name", ["rssm", "ssm", "rnn", "drnn"])
def test_every_model_by_its_name(name: Any, images: np.ndarray) -> None:
    """Traced, not computed: updates, plans and predictions; and no ReLU where ELU is asked for."""

    def programs(activation: Any, image_activation: Any) -> str:
        model = replace(
            CONFIG.model, dynamics=name, activation=activation, image_activation=image_activation
        )
        agent = Planet(replace(CONFIG, model=model), SPEC)
        state = jax.eval_shape(agent.init, KEYS[0])
        belief = jax.eval_shape(lambda s: agent.initial_belief(s, COUNT), state)
        chunks = Batch(
            {"image": jax.ShapeDtypeStruct((2, 4, 64, 64, 3), jnp.uint8)},
            *(
                jax.ShapeDtypeStruct((2, 4, *shape), dtype)
                for shape, dtype in (((A,), jnp.float32), ((), jnp.float32), ((), jnp.bool_))
            ),
        )
        update = jax.make_jaxpr(agent.update, return_shape=True)(state, chunks, KEYS[0])
        act = jax.make_jaxpr(agent.act, static_argnums=4, return_shape=True)(
            state, belief, {"image": images[0]}, KEYS[0], True
        )
        film = ({"image": images.reshape(6, 64, 64, 3)}, jnp.zeros((6, A)), KEYS[0], 3)
        predict = jax.make_jaxpr(agent.predict, static_argnums=4, return_shape=True)(state, *film)
        shapes = [jax.tree.map(lambda x: x.shape, p[1]) for p in (update, act, predict)]
        assert shapes[0][0] == jax.tree.map(lambda x: x.shape, state)
        assert shapes[1][:2] == (jax.tree.map(lambda x: x.shape, belief), (COUNT, A))
        assert shapes[2] == (6, 64, 64, 3)
        return "".join(str(p[0]) for p in (update, act, predict))

    elu = programs("elu", "elu")
    assert "name=elu" in elu
    assert "name=relu" not in elu
    if name == "rssm":
        relu = programs("relu", "relu")
        assert "name=relu" in relu
        assert "name=elu" not in relu


@pytest.fixture(scope="module")
def batch() -> Batch:
    generator = np.random.default_rng(1)
    brightness = generator.uniform(0, 200, (2, 4, 1, 1, 1))
    return Batch(
        {"image": jnp.asarray(np.broadcast_to(brightness, (2, 4, 64, 64, 3)), jnp.uint8)},
        jnp.asarray(generator.uniform(-1, 1, (2, 4, A)), jnp.float32),
        jnp.asarray(generator.uniform(0, 1, (2, 4)), jnp.float32),
        jnp.zeros((2, 4), bool),
    )


SETTINGS = OptimizerConfig(learning_rate=1e-2, epsilon=1e-4, clip_norm=0.1)


@pytest.fixture(scope="module")
def update() -> Callable[..., Any]:
    return jax.jit(Planet(replace(CONFIG, optimizer=SETTINGS), SPEC).update)


@pytest.fixture(scope="module")
def gradient() -> Callable[..., Any]:
    """The gradient's leaves as NumPy arrays."""
    function = eqx.filter_jit(eqx.filter_grad(world_model_loss, has_aux=True))

    def leaves(state: PlanetState, batch: Batch, key: Any) -> list[np.ndarray]:
        result, _ = function(state.model, batch, key, CONFIG.objective)
        return [np.asarray(x, np.float64) for x in jax.tree.leaves(result)]

    return leaves


def _adam(
    gradients: list[list[np.ndarray]], settings: OptimizerConfig
) -> tuple[list[np.ndarray], float]:
    """Returns Adam's last step (Kingma and Ba, Algorithm 1) and its gradient's norm."""
    m = [np.zeros_like(g) for g in gradients[0]]
    v = [np.zeros_like(g) for g in gradients[0]]
    for gradient in gradients:
        norm = np.sqrt(sum(np.sum(g**2) for g in gradient))
        clipped = [g * min(1.0, settings.clip_norm / norm) for g in gradient]
        m = [0.9 * a + 0.1 * g for a, g in zip(m, clipped, strict=True)]
        v = [0.999 * a + 0.001 * g**2 for a, g in zip(v, clipped, strict=True)]
    t = len(gradients)
    return [
        -settings.learning_rate
        * (a / (1 - 0.9**t))
        / (np.sqrt(b / (1 - 0.999**t)) + settings.epsilon)
        for a, b in zip(m, v, strict=True)
    ], float(norm)


def _step(before: PlanetState, after: PlanetState) -> list[np.ndarray]:
    pairs = zip(jax.tree.leaves(before.model), jax.tree.leaves(after.model), strict=True)
    return [np.asarray(new, np.float64) - np.asarray(old, np.float64) for old, new in pairs]


def _assert_steps_equal(step: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for ours, theirs in zip(step, expected, strict=True):
        assert np.abs(theirs).max() > 0
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-2 * np.abs(theirs).max() + 1e-7)


def test_an_update_is_a_step_of_adam_on_the_clipped_gradient(
    state: PlanetState, batch: Batch, update: Callable, gradient: Callable
) -> None:
    """Two of them, so that the moments are kept; every parameter takes part.

    Clipped to this norm many entries are near Adam's epsilon, so a step shows the clipping.
    """
    gradients, now = [], state
    for key in KEYS:
        gradients.append(gradient(now, batch, key))
        after, metrics = update(now, batch, key)
        expected, norm = _adam(gradients, SETTINGS)
        assert norm > 10 * SETTINGS.clip_norm
        np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-4)  # not clipped
        _assert_steps_equal(_step(now, after), expected)
        now = after


def test_updates_fit_a_fixed_batch(state: PlanetState, batch: Batch, update: Callable) -> None:
    now, losses = state, []
    for i in range(20):
        now, metrics = update(now, batch, jax.random.key(i))
        losses.append({name: float(value) for name, value in metrics.items()})
    assert losses[-1]["loss/total"] < 0.8 * losses[0]["loss/total"]
    assert losses[-1]["loss/image"] < 0.8 * losses[0]["loss/image"]


def test_predicts_from_the_context_and_the_actions_only(
    state: PlanetState, images: np.ndarray
) -> None:
    def weight(model: Any) -> Any:
        return model.decoder.images["image"].weight

    model = eqx.tree_at(weight, state.model, 4 * weight(state.model))
    state = state._replace(model=model)
    film = images.reshape(6, 64, 64, 3)
    actions = np.random.default_rng(2).uniform(-3, 3, (6, A)).astype(np.float32)
    compiled = jax.jit(AGENT.predict, static_argnames="context")

    def predict(film: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return np.asarray(compiled(state, {"image": film}, actions, KEYS[0], context=3), int)

    def changed(film: np.ndarray, actions: np.ndarray) -> list[bool]:
        return [bool(x) for x in (predict(film, actions) != plain).any((1, 2, 3))]

    plain = predict(film, actions)
    assert plain.shape == film.shape
    for t in range(6):
        other = film.copy()
        other[t] //= 4
        # Seen: changes its own reconstruction and what follows. Later: nothing.
        assert changed(other, actions) == [t < 3 and t <= i for i in range(6)]
        moves = actions.copy()
        moves[t] *= -1
        assert changed(film, moves) == [t <= i for i in range(6)]
