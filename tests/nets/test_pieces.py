"""Work in pieces gives what the work at once gives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.nets.image import Decoder
from armillary.nets.pieces import (
    images_on_cpu,
    in_one_piece,
    in_pieces,
    mean_in_pieces,
    piece_size,
    sum_in_pieces,
)

WEIGHT = jax.random.normal(jax.random.key(0), (5, 3))


@pytest.mark.parametrize(
    ("count", "wished", "expected"),
    [(2500, 128, 125), (2500, 100, 100), (96, 128, 96), (128, 128, 128), (2503, 100, 100)],
)
def test_pieces_divide_the_whole_where_they_can(count: int, wished: int, expected: int) -> None:
    assert piece_size(count, wished) == expected


@pytest.mark.parametrize(("depth", "images"), [(8, 20), (16, 28), (32, 100)])
def test_a_large_network_takes_more_images_at_a_time(depth: int, images: int) -> None:
    assert images_on_cpu(Decoder(230, depth, key=jax.random.key(0))) == images


def test_all_at_once_where_no_size_is_wished() -> None:
    assert piece_size(2503) == 2503


def test_piece_must_be_positive() -> None:
    with pytest.raises(UsageError, match="0"):
        piece_size(10, 0)


@pytest.mark.parametrize(("count", "piece"), [(12, 4), (11, 4), (3, 4), (13, 1)])
def test_map_and_gradient(count: int, piece: int) -> None:
    x = jax.random.normal(jax.random.key(1), (count, 5))

    def function(x: jax.Array, weight: jax.Array) -> jax.Array:
        return jnp.tanh(x @ weight)

    def in_parts(weight: jax.Array, x: jax.Array) -> jax.Array:
        return in_pieces(lambda part, _: function(part, weight), x, piece)

    np.testing.assert_allclose(in_parts(WEIGHT, x), function(x, WEIGHT), rtol=1e-5)
    mine = jax.grad(lambda w, x: jnp.sum(in_parts(w, x) ** 3), argnums=(0, 1))(WEIGHT, x)
    once = jax.grad(lambda w, x: jnp.sum(function(x, w) ** 3), argnums=(0, 1))(WEIGHT, x)
    for a, b in zip(mine, once, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("count", "piece"), [(12, 4), (11, 4), (3, 4)])
def test_sum_and_gradient_with_respect_to_everything(count: int, piece: int) -> None:
    x = jax.random.normal(jax.random.key(1), (count, 5))
    labels = jnp.arange(count) % 3
    parameters = {"weight": WEIGHT, "shift": jnp.asarray(2)}

    def function(parameters: dict, inputs: tuple, _: None) -> jax.Array:
        x, labels = inputs
        y = jnp.tanh(x @ parameters["weight"]) ** parameters["shift"]
        return jnp.sum(y * (labels[:, None] == jnp.arange(3)))

    def mine(weight: jax.Array, x: jax.Array) -> jax.Array:
        # A factor that is itself differentiated, so that the cotangent is not one.
        everything = {**parameters, "weight": weight}
        return jnp.sin(sum_in_pieces(function, everything, (x, labels), piece))

    def once(weight: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.sin(function({**parameters, "weight": weight}, (x, labels), None))

    np.testing.assert_allclose(mine(WEIGHT, x), once(WEIGHT, x), rtol=1e-5)
    a, b = (jax.jit(jax.grad(f, argnums=(0, 1)))(WEIGHT, x) for f in (mine, once))
    for left, right in zip(a, b, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("count", "piece"), [(12, 4), (11, 4), (3, 4)])
def test_mean_of_values_and_gradients(count: int, piece: int) -> None:
    x = jax.random.normal(jax.random.key(1), (count, 5))

    def gradient(x: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        return jax.value_and_grad(lambda w: jnp.mean(jnp.tanh(x @ w) ** 2))(WEIGHT)

    mine = jax.jit(lambda x: mean_in_pieces(gradient, x, piece))(x)
    for a, b in zip(mine, gradient(x, None), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_everything_is_one_piece_where_it_is_so_asked() -> None:
    def count(x: jax.Array, _: None) -> jax.Array:
        return jnp.asarray(x.shape[0])

    x = jnp.zeros(12)
    assert mean_in_pieces(count, x, 4) == 4
    with in_one_piece(True):
        assert (piece_size(12, 4), mean_in_pieces(count, x, 4)) == (12, 12)
    assert piece_size(12, 4) == 4


def test_each_piece_has_its_own_noise_and_two_calls_the_same() -> None:
    x = jnp.zeros((11, 2))

    def noisy(x: jax.Array, key: jax.Array) -> jax.Array:
        return x + jax.random.normal(key, x.shape)

    key = jax.random.key(5)
    first, second = in_pieces(noisy, x, 4, key), in_pieces(noisy, x, 4, key)
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first)) == first.size
    total = sum_in_pieces(lambda _, x, k: jnp.sum(noisy(x, k)), None, x, 4, key)
    np.testing.assert_allclose(total, jnp.sum(first), rtol=1e-5)
    mean = mean_in_pieces(lambda x, k: jnp.mean(noisy(x, k)), x, 4, key)
    np.testing.assert_allclose(mean, jnp.mean(first), rtol=1e-5)


def test_leading_axes_must_agree() -> None:
    with pytest.raises(UsageError, match="leading"):
        in_pieces(lambda x, _: x[0], (jnp.zeros((3, 1)), jnp.zeros((4, 1))), 2)
