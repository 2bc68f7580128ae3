"""The networks of MuZero: their convolutions, what a hidden state is, and what is told by it."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from armillary.config.muzero import NetworkConfig
from armillary.nets.muzero import History, MuZeroNetwork
from armillary.nets.residual import Convolution, Norm, Tower
from armillary.spec import MASK, Discrete, Field, Spec

GAME = Spec.of({"board": Field((3, 4, 2), "bool"), MASK: Field((5,), "bool")}, Discrete(5), 2)
FRAMES = Spec.of({"image": Field((20, 20, 3), "uint8")}, Discrete(4))
VECTOR = Spec.of({"vector": Field((3,))}, Discrete(4))
SMALL = NetworkConfig(state=6, hidden=8, channels=4, blocks=1, history=2, categories=11)


def _seen(spec: Spec, batch: int, rows: int) -> History:
    random = np.random.default_rng(0)
    observation = {
        name: jnp.array(random.integers(0, 2 if field.dtype == "bool" else 200,
                                        (batch, rows, *field.shape)), field.dtype)
        for name, field in spec.fields.items()
        if name != MASK
    }  # fmt: skip
    number = random.integers(spec.action.size, size=(batch, rows))
    return History(observation, jnp.array(np.eye(spec.action.size, dtype=np.float32)[number]))


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(5, 6), (3, 4), (1, 1)])
def test_a_convolution_and_its_derivatives_are_those_of_xla(
    size: int, stride: int, shape: tuple[int, int]
) -> None:
    layer = Convolution(3, 2, size, stride, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (2, *shape, 3))

    def ours(x: jax.Array, kernel: jax.Array) -> jax.Array:
        found: jax.Array = eqx.tree_at(lambda layer: layer.kernel, layer, kernel)(x)
        return found

    def by_xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
        strides, layout = (stride, stride), ("NHWC", "HWIO", "NHWC")
        found: jax.Array = lax.conv_general_dilated(
            x, kernel, strides, "SAME", dimension_numbers=layout
        )
        return found + layer.bias

    given = (x, layer.kernel)
    np.testing.assert_allclose(ours(*given), by_xla(*given), rtol=1e-4, atol=1e-5)
    pairs = [
        jax.grad(lambda x, kernel, f=f: jnp.sum(f(x, kernel) ** 2), argnums=(0, 1))(*given)
        for f in (ours, by_xla)
    ]
    for found, expected in zip(*pairs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_norm_brings_each_position_to_mean_0_and_variance_1() -> None:
    x = 5 + 3 * jax.random.normal(jax.random.key(0), (2, 4, 16))
    y = Norm(16)(x)
    np.testing.assert_allclose(y.mean(axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(axis=-1), 1, rtol=1e-3)


def test_around_the_convolutions_of_a_block_goes_its_input() -> None:
    tower = Tower(2, 4, 2, key=jax.random.key(0))
    off = eqx.tree_at(
        lambda t: [block.norms[1].scale for block in t.blocks],
        tower,
        [jnp.zeros(4) for _ in tower.blocks],
    )
    x = jax.random.normal(jax.random.key(1), (1, 3, 3, 2))
    first = jax.nn.relu(tower.norm(tower.first(x)))
    np.testing.assert_array_equal(off(x), first)
    assert np.abs(tower(x) - first).max() > 0


@pytest.mark.parametrize(("spec", "rows"), [(GAME, 1), (FRAMES, 2), (VECTOR, 1)])
def test_states_are_scaled_each_by_itself_and_heads_begin_without_preference(
    spec: Spec, rows: int
) -> None:
    network = MuZeroNetwork(spec, SMALL, key=jax.random.key(0))
    state = eqx.filter_jit(network.represent)(_seen(spec, 3, rows))
    action = jnp.eye(spec.action.size)[jnp.array([0, 1, 2])]
    after, reward = network.step(state, action)
    for found in (state, after):
        flat = np.asarray(found).reshape(3, -1)
        np.testing.assert_allclose(flat.min(axis=1), 0, atol=1e-6)
        np.testing.assert_allclose(flat.max(axis=1), 1, atol=1e-6)
    assert np.abs(after - state).max() > 0
    other, _ = network.step(state, jnp.eye(spec.action.size)[jnp.array([1, 2, 0])])
    assert np.abs(after - other).reshape(3, -1).max(axis=1).min() > 0  # it sees the action
    logits, value = network.predict(after)
    np.testing.assert_array_equal(logits, 0)
    np.testing.assert_array_equal(value, 0)
    assert value.shape == (3, 1 if spec.players == 2 else SMALL.categories)
    assert (reward is None) == (spec.players == 2)


def test_the_value_of_a_game_is_never_beyond_its_outcomes() -> None:
    network = MuZeroNetwork(GAME, SMALL, key=jax.random.key(0))
    loud = eqx.tree_at(lambda n: n.value.stack.layers[-1].linear.bias, network, jnp.array([30.0]))
    assert loud.predict(loud.represent(_seen(GAME, 2, 1)))[1].max() <= 1.0


def test_frames_and_the_actions_before_them_are_seen() -> None:
    network = MuZeroNetwork(FRAMES, SMALL, key=jax.random.key(0))
    seen = _seen(FRAMES, 2, 2)
    state = network.represent(seen)
    assert state.shape == (2, 5, 5, 4)  # 20, halved until there are at most 8 rows
    for changed in (
        seen._replace(action=jnp.roll(seen.action, 1, axis=-1)),
        seen._replace(observation={"image": seen.observation["image"].at[:, 0].set(0)}),
    ):
        assert np.abs(network.represent(changed) - state).max() > 0
    of_atari = Spec.of({"image": Field((96, 96, 3), "uint8")}, Discrete(4))
    shape = jax.eval_shape(
        lambda: MuZeroNetwork(of_atari, SMALL, key=jax.random.key(0)).represent(
            History({"image": jnp.zeros((1, 2, 96, 96, 3), jnp.uint8)}, jnp.zeros((1, 2, 4)))
        )
    ).shape
    assert shape == (1, 6, 6, 4)
