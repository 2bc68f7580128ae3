"""The RSSM against a transcription of PlaNet, Eq. 4 in NumPy, and what may flow where."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.config import ModelConfig
from armillary.dynamics.rssm import RSSM
from armillary.nets.distributions import divergence

EMBEDDING, ACTION = 11, 3
CONFIG = ModelConfig(stochastic=4, deterministic=6, hidden=5)


@pytest.fixture
def rssm() -> RSSM:
    model = RSSM(EMBEDDING, ACTION, CONFIG, key=jax.random.key(0))
    keys = iter(jax.random.split(jax.random.key(9), 100))
    return jax.tree.map(lambda x: x + 0.2 * jax.random.normal(next(keys), x.shape), model)


def _transcription(rssm, embeddings, actions, noise):
    """h_t = f(h_t-1, s_t-1, a_t-1); p(s_t | h_t); q(s_t | h_t, o_t), one sequence at a time."""

    def dense(layer, x):
        return np.asarray(layer.linear.weight) @ x + np.asarray(layer.linear.bias)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def head(stack, x):
        y = dense(stack.layers[1], np.maximum(dense(stack.layers[0], x), 0))
        return y[:4], np.log1p(np.exp(y[4:])) + 0.1

    cell = rssm.gru.cell
    wi, wh = np.split(np.asarray(cell.weight_ih), 3), np.split(np.asarray(cell.weight_hh), 3)
    b = np.split(np.asarray(cell.bias), 3)
    h, s, rows = np.zeros(6), np.zeros(4), []
    for embedding, action, eps in zip(embeddings, actions, noise, strict=True):
        x = np.maximum(dense(rssm.inputs.layers[0], np.concatenate([s, action])), 0)
        reset = sigmoid(wi[0] @ x + wh[0] @ h + b[0])
        update = sigmoid(wi[1] @ x + wh[1] @ h + b[1])
        new = np.tanh(wi[2] @ x + b[2] + reset * (wh[2] @ h + np.asarray(cell.bias_n)))
        h = (1 - update) * new + update * h
        prior = head(rssm.prior, h)
        posterior = head(rssm.posterior, np.concatenate([h, embedding]))
        s = posterior[0] + posterior[1] * eps
        rows.append((h, s, *prior, *posterior))
    return [np.stack(column) for column in zip(*rows, strict=True)]


def test_observe_equals_the_transcription(rssm: RSSM) -> None:
    keys = jax.random.split(jax.random.key(1), 3)
    embeddings = jax.random.normal(keys[0], (7, 2, EMBEDDING))
    actions = jax.random.normal(keys[1], (7, 2, ACTION))
    noise = np.asarray(jax.random.normal(keys[2], (7, 2, 4)))
    posteriors, priors = rssm.observe(embeddings, actions, keys[2])
    for i in range(2):
        h, s, p_mean, p_std, q_mean, q_std = _transcription(
            rssm, np.asarray(embeddings)[:, i], np.asarray(actions)[:, i], noise[:, i]
        )
        close = {"rtol": 1e-4, "atol": 1e-5}
        np.testing.assert_allclose(posteriors.deterministic[:, i], h, **close)
        np.testing.assert_allclose(posteriors.stochastic[:, i], s, **close)
        np.testing.assert_allclose(priors.mean[:, i], p_mean, **close)
        np.testing.assert_allclose(priors.std[:, i], p_std, **close)
        np.testing.assert_allclose(posteriors.distribution.mean[:, i], q_mean, **close)
        np.testing.assert_allclose(posteriors.distribution.std[:, i], q_std, **close)


def test_imagine_samples_the_priors(rssm: RSSM) -> None:
    actions = jax.random.normal(jax.random.key(1), (5, 1, ACTION))
    key = jax.random.key(2)
    states = rssm.imagine(rssm.initial(1), actions, key)
    noise = jax.random.normal(key, (5, 1, 4))
    expected = states.distribution.mean + states.distribution.std * noise
    np.testing.assert_allclose(states.stochastic, expected, rtol=1e-4, atol=1e-6)
    again = rssm.predict(rssm.initial(1), actions[0], noise[0])
    np.testing.assert_allclose(states.deterministic[0], again.deterministic, rtol=1e-4, atol=1e-6)


def test_imagine_continues_observe(rssm: RSSM) -> None:
    """The prior one step after the last observation is the same both ways."""
    embeddings = jax.random.normal(jax.random.key(1), (4, 2, EMBEDDING))
    actions = jax.random.normal(jax.random.key(2), (4, 2, ACTION))
    posteriors, priors = rssm.observe(embeddings, actions, jax.random.key(3))
    third = jax.tree.map(lambda x: x[2], posteriors)
    ahead = rssm.imagine(third, actions[3:], jax.random.key(4))
    np.testing.assert_allclose(ahead.distribution.mean[0], priors.mean[3], rtol=1e-5)


def test_the_image_reaches_the_features_only_through_the_sample(rssm: RSSM) -> None:
    """With the sample cut off, the features of a step do not depend on its own image."""
    embeddings = jax.random.normal(jax.random.key(1), (3, 1, EMBEDDING))
    actions = jnp.ones((3, 1, ACTION))

    def last_features(embeddings: jax.Array, cut: bool) -> jax.Array:
        posteriors, _ = rssm.observe(embeddings, actions, jax.random.key(2))
        last = jax.tree.map(lambda x: x[-1], posteriors)
        if cut:
            last = last._replace(stochastic=jax.lax.stop_gradient(last.stochastic))
        return jnp.sum(rssm.features(last) ** 2)

    whole = jax.grad(last_features)(embeddings, False)
    cut = jax.grad(last_features)(embeddings, True)
    assert np.abs(whole[-1]).max() > 0
    assert not np.asarray(cut[-1]).any()
    assert np.abs(cut[0]).max() > 0  # the earlier images reach it through h


def test_the_future_does_not_change_the_past(rssm: RSSM) -> None:
    embeddings = jax.random.normal(jax.random.key(1), (4, 1, EMBEDDING))
    actions = jnp.ones((4, 1, ACTION))
    before, _ = rssm.observe(embeddings, actions, jax.random.key(2))
    after, _ = rssm.observe(embeddings.at[3].add(1.0), actions, jax.random.key(2))
    np.testing.assert_array_equal(before.stochastic[:3], after.stochastic[:3])
    assert not np.allclose(before.stochastic[3], after.stochastic[3])


def test_posterior_and_prior_differ_where_the_image_matters(rssm: RSSM) -> None:
    embeddings = jax.random.normal(jax.random.key(1), (4, 1, EMBEDDING))
    posteriors, priors = rssm.observe(embeddings, jnp.ones((4, 1, ACTION)), jax.random.key(2))
    assert np.all(np.asarray(divergence(posteriors.distribution, priors)) > 0)
