"""Dense stacks by hand, and the GRU against Flax's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from armillary.nets.dense import GRU, Stack


def test_gru_equals_flax() -> None:
    gru = GRU(5, 7, key=jax.random.key(0))
    noise = jax.random.normal(jax.random.key(3), (7,))
    gru = jax.tree.map(lambda x: x + 0.1 if x.ndim == 1 else x, gru)
    cell = gru.cell
    split = lambda x: jnp.split(x, 3)  # noqa: E731 - reset, update, candidate
    (ir, iz, in_), (hr, hz, hn) = split(cell.weight_ih), split(cell.weight_hh)
    br, bz, bn = split(cell.bias)
    parameters = {
        "ir": {"kernel": ir.T, "bias": br},
        "iz": {"kernel": iz.T, "bias": bz},
        "in": {"kernel": in_.T, "bias": bn},
        "hr": {"kernel": hr.T},
        "hz": {"kernel": hz.T},
        "hn": {"kernel": hn.T, "bias": cell.bias_n},
    }
    x = jax.random.normal(jax.random.key(1), (3, 5))
    state = jnp.broadcast_to(noise, (3, 7))
    _, expected = nn.GRUCell(features=7).apply({"params": parameters}, state, x)
    np.testing.assert_allclose(gru(x, state), expected, rtol=1e-5, atol=1e-6)


def test_gru_remembers_at_first() -> None:
    gru = GRU(4, 6, key=jax.random.key(0))
    kept = gru(jnp.zeros(4), jnp.full(6, 0.5))
    np.testing.assert_array_less(0.25, kept)  # an update gate around sigmoid(1) = 0.73


def test_stack_by_hand() -> None:
    stack = Stack([3, 4, 2], "elu", key=jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(5, 6, 3)).astype(np.float32)
    (w1, b1), (w2, b2) = [(np.asarray(d.linear.weight), d.linear.bias) for d in stack.layers]
    hidden = x @ w1.T + np.asarray(b1)
    hidden = np.where(hidden > 0, hidden, np.expm1(hidden))
    np.testing.assert_allclose(stack(jnp.array(x)), hidden @ w2.T + b2, rtol=1e-4, atol=1e-5)


def test_initialisation_is_glorot_uniform() -> None:
    (layer,) = Stack([300, 200], "relu", key=jax.random.key(0)).layers
    limit = np.sqrt(6 / 500)
    weight = np.asarray(layer.linear.weight)
    assert np.abs(weight).max() <= limit
    np.testing.assert_allclose(weight.std(), limit / np.sqrt(3), rtol=0.02)
    assert not np.asarray(layer.linear.bias).any()
