"""The convolutions of the CPU against XLA's own and against numerical derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax.test_util import check_grads

from armillary.errors import UsageError
from armillary.nets.conv import convolution, extract, overlap_add, transposed_convolution

# height, width, kernel rows, kernel columns, stride, channels in, channels out
CASES = [
    (10, 10, 4, 4, 2, 3, 5),
    (9, 8, 4, 4, 2, 3, 5),  # the last row is not covered
    (11, 12, 5, 4, 3, 2, 3),
    (7, 7, 3, 3, 1, 2, 2),
    (5, 6, 2, 1, 4, 2, 3),  # the stride is larger than the kernel
    (1, 1, 1, 1, 2, 4, 3),
    (6, 6, 6, 6, 2, 3, 1),
]


@pytest.fixture
def shapes_unchecked() -> Iterator[None]:
    """Without the checks of annotations that the tests add, as a user has it."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def arrays(case: tuple[int, ...], transposed: bool) -> tuple[jax.Array, jax.Array]:
    height, width, rows, columns, _, channels_in, channels_out = case
    a, b = jax.random.split(jax.random.key(0))
    channels = (channels_out, channels_in) if transposed else (channels_in, channels_out)
    x = jax.random.normal(a, (channels_in, height, width, 4))
    return x, jax.random.normal(b, (rows, columns, *channels))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("function", [convolution, transposed_convolution])
def test_values_and_gradients_are_those_of_xla(function: Callable, case: tuple[int, ...]) -> None:
    x, kernel = arrays(case, function is transposed_convolution)
    results = []
    for method in ("patches", "lax"):

        @jax.jit
        def both(x: jax.Array, kernel: jax.Array, method: str = method) -> tuple[jax.Array, ...]:
            y, pull = jax.vjp(partial(function, stride=case[4], method=method), x, kernel)
            return (y, *pull(jax.random.normal(jax.random.key(1), y.shape)))

        results.append(both(x, kernel))
    for mine, xla in zip(*results, strict=True):
        np.testing.assert_allclose(mine, xla, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("function", [convolution, transposed_convolution])
def test_values_are_those_of_the_definition(function: Callable) -> None:
    case = (7, 8, 3, 2, 2, 2, 3)
    x, kernel = arrays(case, function is transposed_convolution)
    pixels, weights = np.asarray(x), np.asarray(kernel)
    height, width, rows, columns, stride, _, channels_out = case
    if function is convolution:
        expected = np.zeros((channels_out, 3, 4, 4))
        for i, j in np.ndindex(3, 4):
            patch = pixels[:, 2 * i : 2 * i + rows, 2 * j : 2 * j + columns]
            expected[:, i, j] = np.einsum("cabn,abco->on", patch, weights)
    else:
        shape = ((height - 1) * stride + rows, (width - 1) * stride + columns)
        expected = np.zeros((channels_out, *shape, 4))
        for i, j, a, b in np.ndindex(height, width, rows, columns):
            expected[:, stride * i + a, stride * j + b] += weights[a, b] @ pixels[:, i, j]
    for method in ("patches", "lax"):
        compiled = jax.jit(partial(function, method=method))
        np.testing.assert_allclose(compiled(x, kernel), expected, atol=1e-5)


@pytest.mark.parametrize("case", CASES[1:5])
@pytest.mark.parametrize("function", [convolution, transposed_convolution])
def test_derivatives_by_hand_are_the_numerical_ones(
    function: Callable, case: tuple[int, ...]
) -> None:
    with jax.enable_x64(True):
        x, kernel = arrays(case, function is transposed_convolution)
        x, kernel = x.astype(jnp.float64), kernel.astype(jnp.float64)
        compiled = jax.jit(partial(function, stride=case[4], method="patches"))
        check_grads(compiled, (x, kernel), order=1, modes=["rev"])


def test_overlap_add_is_the_adjoint_of_extract() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 11, 9, 3))
    patches = jax.jit(extract, static_argnums=(1, 2, 3))(x, 5, 4, 3)
    other = jax.random.normal(jax.random.key(1), patches.shape)
    back = jax.jit(overlap_add, static_argnums=(1, 2, 3))(other, 11, 9, 3)
    np.testing.assert_allclose(jnp.vdot(patches, other), jnp.vdot(x, back), rtol=1e-4)


def test_gradients_through_a_scan_with_rematerialisation() -> None:
    x, kernel = arrays((9, 8, 4, 4, 2, 3, 5), False)

    def loss(kernel: jax.Array, method: str) -> jax.Array:
        @jax.checkpoint
        def step(total: jax.Array, scale: jax.Array) -> tuple[jax.Array, None]:
            y = convolution(scale * x, kernel, method=method)
            z = transposed_convolution(jnp.tanh(y), kernel, method=method)
            return total + jnp.sum(jnp.sin(z)), None

        return jax.lax.scan(step, 0.0, jnp.arange(1.0, 4.0))[0]

    mine, xla = (jax.jit(jax.grad(loss), static_argnums=1)(kernel, m) for m in ("patches", "lax"))
    np.testing.assert_allclose(mine, xla, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="on a CPU patches are the default")
def test_a_cpu_takes_patches_by_default() -> None:
    x, kernel = arrays(CASES[0], False)
    assert "conv_general_dilated" not in str(jax.make_jaxpr(convolution)(x, kernel))


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("x", "kernel", "stride"),
    [
        ((3, 8, 8, 1), (4, 4, 2, 5), 2),  # other channels
        ((3, 3, 8, 1), (4, 4, 3, 5), 2),  # the kernel is larger than the image
        ((8, 8, 1), (4, 4, 3, 5), 2),
        ((3, 8, 8, 1), (4, 4, 3, 5), 0),
    ],
)
def test_what_does_not_fit_is_named(x: tuple, kernel: tuple, stride: int) -> None:
    with pytest.raises(UsageError):
        convolution(jnp.zeros(x), jnp.zeros(kernel), stride)
