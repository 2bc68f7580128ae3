"""SSM, RNN and DRNN against transcriptions of their recurrences in NumPy; what may flow where.

The RSSM's transcription is in test_rssm.py; what all four have in common is tested for all four.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.config import ModelConfig
from armillary.config.world_model import DYNAMICS as KNOWN
from armillary.dynamics.base import Dynamics, LatentState
from armillary.dynamics.world_model import DYNAMICS
from armillary.nets.distributions import Normal

EMBEDDING, ACTION, S, H, HIDDEN = 7, 2, 3, 5, 4
T, B = 6, 2
CONFIG = ModelConfig(stochastic=S, deterministic=H, hidden=HIDDEN, activation="elu")
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def _make(name: str) -> Dynamics:
    """A model with biases, and weights large enough that everything matters."""

    def shapes() -> Dynamics:
        return DYNAMICS[name](EMBEDDING, ACTION, CONFIG, key=jax.random.key(0))

    generator = np.random.default_rng(1)
    return jax.tree.map(
        lambda x: jnp.asarray(generator.normal(0, 0.6, x.shape), x.dtype),
        eqx.filter_eval_shape(shapes),
    )


@pytest.fixture(scope="module")
def models() -> dict[str, Dynamics]:
    return {name: _make(name) for name in DYNAMICS}


@pytest.fixture(scope="module")
def data() -> tuple[jax.Array, jax.Array]:
    generator = np.random.default_rng(2)
    embeddings, actions = (generator.normal(0, 1, (T, B, n)) for n in (EMBEDDING, ACTION))
    return jnp.asarray(embeddings, jnp.float32), jnp.asarray(actions, jnp.float32)


# The transcriptions: one sequence at a time, one time step after the other.


def _dense(layer, x):
    return np.asarray(layer.linear.weight) @ x + np.asarray(layer.linear.bias)


def _elu(x):
    return np.where(x > 0, x, np.expm1(x))


def _two(stack, *parts):
    return _dense(stack.layers[1], _elu(_dense(stack.layers[0], np.concatenate(parts))))


def _gaussian(stack, *parts):
    y = _two(stack, *parts)
    return y[:S], np.log1p(np.exp(y[S:])) + 0.1


def _gru(gru, x, h):
    """Cho et al. (2014), the reset gate after the product."""
    cell = gru.cell
    wi, wh = np.split(np.asarray(cell.weight_ih), 3), np.split(np.asarray(cell.weight_hh), 3)
    b = np.split(np.asarray(cell.bias), 3)
    reset, update = (1 / (1 + np.exp(-(wi[i] @ x + wh[i] @ h + b[i]))) for i in (0, 1))
    new = np.tanh(wi[2] @ x + b[2] + reset * (wh[2] @ h + np.asarray(cell.bias_n)))
    return (1 - update) * new + update * h


def _ssm(model, state, action, embedding, noise):
    """s ~ p(s | s', a), or s ~ q(s | p's mean, p's deviation, o)."""
    prior = _gaussian(model.prior, state["s"], action)
    mean, std = prior if embedding is None else _gaussian(model.posterior, *prior, embedding)
    s = mean + std * noise
    return {"s": s, "features": s, "mean": mean, "std": std, "prior": prior}


def _rnn(model, state, action, embedding, noise):
    """h = f(h', m', a), then m = g(h), or m = e(h, o)."""
    x = _elu(_dense(model.inputs.layers[0], np.concatenate([state["m"], action])))
    h = _gru(model.gru, x, state["h"])
    m = _two(model.prior, h) if embedding is None else _two(model.posterior, h, embedding)
    return {"h": h, "m": m, "features": np.concatenate([m, h])}


def _drnn(model, state, action, embedding, noise):
    """e = f(e', s', a, o), s ~ q(s | e, s', d'), d = g(d', s); the prior has no o."""

    def belief(x):
        e = _gru(model.encoder, _elu(x), state["e"])
        return e, _gaussian(model.belief, e, state["s"], state["d"])

    x = _dense(model.inputs, np.concatenate([state["s"], action]))
    prior = belief(x)[1]
    e, (mean, std) = belief(x if embedding is None else x + _dense(model.image, embedding))
    s = mean + std * noise
    d = _gru(model.decoder, s, state["d"])
    return {"e": e, "s": s, "d": d, "features": d, "mean": mean, "std": std, "prior": prior}


STEPS = {"ssm": _ssm, "rnn": _rnn, "drnn": _drnn}


def _first() -> dict[str, np.ndarray]:
    sizes = {"s": S, "m": S, "h": H, "e": H, "d": H}
    return {name: np.zeros(size) for name, size in sizes.items()}


def _noise(key, time: int, size: int) -> np.ndarray:
    return np.asarray(jax.random.normal(key, (time, B, size)))


@pytest.mark.parametrize("name", STEPS)
def test_observe_and_imagine_equal_the_transcription(models, data, name: str) -> None:
    """Four steps are observed, and two more imagined."""
    model, (embeddings, actions) = models[name], data
    keys = jax.random.split(jax.random.key(3))
    seen = 4
    posteriors, priors = model.observe(embeddings[:seen], actions[:seen], keys[0])
    last = jax.tree.map(lambda x: x[-1], posteriors)
    ahead = model.imagine(last, actions[seen:], keys[1])
    features = np.concatenate([model.features(posteriors), model.features(ahead)])
    size = model.stochastic_size
    noise = np.concatenate([_noise(keys[0], seen, size), _noise(keys[1], T - seen, size)])
    for i in range(B):
        state = _first()
        for t in range(T):
            embedding = embeddings[t, i] if t < seen else None
            state = STEPS[name](model, state, actions[t, i], embedding, noise[t, i])
            np.testing.assert_allclose(features[t, i], state["features"], **CLOSE)
            if not size:
                continue
            ours = posteriors if t < seen else ahead
            k = t if t < seen else t - seen
            np.testing.assert_allclose(ours.stochastic[k, i], state["s"], **CLOSE)
            np.testing.assert_allclose(ours.distribution.mean[k, i], state["mean"], **CLOSE)
            np.testing.assert_allclose(ours.distribution.std[k, i], state["std"], **CLOSE)
            if t < seen:
                np.testing.assert_allclose(priors.mean[k, i], state["prior"][0], **CLOSE)
                np.testing.assert_allclose(priors.std[k, i], state["prior"][1], **CLOSE)


def _state(model: Dynamics, seed: int) -> LatentState:
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(generator.normal(0.1, 1, x.shape)), model.initial(B))


def _next(model: Dynamics, state: LatentState, data) -> list[np.ndarray]:
    """Everything that a model makes of a state."""
    embeddings, actions = data
    noise = jnp.ones((B, model.stochastic_size))
    made = (
        model.predict(state, actions[0], noise),
        model.infer(state, actions[0], embeddings[0], noise),
        model.features(state),
    )
    return [np.asarray(x) for x in jax.tree.leaves(made)]


def test_the_ssm_carries_nothing_but_its_sample(models, data) -> None:
    state, other = (_state(models["ssm"], seed) for seed in (1, 2))
    before = _next(models["ssm"], state, data)
    same = _next(models["ssm"], other._replace(stochastic=state.stochastic), data)
    for x, y in zip(before, same, strict=True):
        np.testing.assert_array_equal(x, y)
    after = _next(models["ssm"], state._replace(stochastic=other.stochastic), data)
    changed = [not np.allclose(x, y) for x, y in zip(before, after, strict=True) if x.size]
    assert all(changed)


def test_the_rnn_has_no_noise(models, data) -> None:
    """Any key gives the same, and there is nothing that could be drawn."""
    model, (embeddings, actions) = models["rnn"], data

    def run(seed: int) -> list[np.ndarray]:
        keys = jax.random.split(jax.random.key(seed))
        posteriors, priors = model.observe(embeddings, actions, keys[0])
        last = jax.tree.map(lambda x: x[-1], posteriors)
        return jax.tree.leaves((posteriors, priors, model.imagine(last, actions, keys[1])))

    for x, y in zip(run(0), run(1), strict=True):
        np.testing.assert_array_equal(x, y)
    assert model.stochastic_size == 0
    state = model.initial(B)
    assert state.stochastic.size == state.distribution.mean.size == 0
    assert state.deterministic.shape == (B, S + H)


@pytest.mark.parametrize("name", ["rssm", "ssm", "drnn"])
def test_the_image_reaches_the_features_only_through_the_sample(models, data, name: str) -> None:
    """Whatever the image, the same sample gives the same features."""
    model, (embeddings, actions) = models[name], data
    state = _state(model, 3)
    first, _ = model.infer(state, actions[0], embeddings[0], jnp.ones((B, S)))
    belief = model.infer(state, actions[0], embeddings[1], jnp.zeros((B, S)))[0].distribution
    assert np.abs(belief.mean - first.distribution.mean).min() > 1e-3
    noise = (first.stochastic - belief.mean) / belief.std
    second, _ = model.infer(state, actions[0], embeddings[1], noise)
    np.testing.assert_allclose(second.stochastic, first.stochastic, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.features(second), model.features(first), rtol=1e-4, atol=1e-5)
    other, _ = model.infer(state, actions[0], embeddings[1], jnp.ones((B, S)))
    assert np.abs(model.features(other) - model.features(first)).max() > 1e-3


def test_the_image_reaches_the_rnns_features_directly(models, data) -> None:
    model, (embeddings, actions) = models["rnn"], data
    nothing = jnp.zeros((B, 0))
    one, two = (
        model.infer(model.initial(B), actions[0], embeddings[i], nothing)[0] for i in (0, 1)
    )
    m, h = np.split(np.abs(model.features(one) - model.features(two)), [S], axis=-1)
    assert m.min() > 1e-3
    assert not h.any()


@pytest.mark.parametrize("name", ["rssm", "ssm", "rnn", "drnn"])
def test_the_interface(models, data, name: str) -> None:
    """Any leading axes, sizes as promised, zeros at first, one state feeds any method."""
    model, (embeddings, actions) = models[name], data
    first = model.initial(2, 3)
    for x, size in (
        (first.stochastic, model.stochastic_size),
        (first.deterministic, model.deterministic_size),
        (model.features(first), model.feature_size),
    ):
        assert x.shape == (2, 3, size)
        assert not np.asarray(x).any()
    shapes = jax.tree.map(jnp.shape, model.initial(B))
    noise = jnp.ones((B, model.stochastic_size))
    posterior, prior = model.infer(model.initial(B), actions[0], embeddings[0], noise)
    ahead = model.predict(posterior, actions[1], noise)
    assert jax.tree.map(jnp.shape, posterior) == jax.tree.map(jnp.shape, ahead) == shapes
    assert isinstance(prior, Normal)
    mean = model.predict(posterior, actions[1], None)
    np.testing.assert_array_equal(mean.stochastic, mean.distribution.mean)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves((posterior, ahead)))


def test_the_names_are_those_of_the_configuration() -> None:
    assert set(KNOWN) <= set(DYNAMICS)
    assert all(":" in name for name in set(DYNAMICS) - set(KNOWN))  # of other tests, from outside
