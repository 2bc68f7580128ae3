"""Work on many images in pieces that fit a CPU's cache, one after another.

The patches of a convolution over a whole batch of 2,500 images are hundreds of megabytes. In pieces
of 20 to 100 images the same work is faster on a CPU and needs a fraction of the memory. On other
platforms there is one piece: everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from armillary.errors import UsageError

FEWEST, MOST = 20, 100
"""Images in a piece on a CPU, about."""

PARAMETERS_AN_IMAGE = 35_000
"""Parameters of a network for each image of a piece, between these two."""

in_one_piece = jax.make_user_context(False)
"""`with in_one_piece(True):` everything is traced in one piece, so that nothing is computed twice:
to count what the mathematics asks for (`armillary.machine.flop`). What is compiled does not mix."""

Parameters = TypeVar("Parameters")


def on_cpu(size: int) -> int | None:
    """Returns the wished size of a piece on a CPU; None elsewhere: one piece of everything."""
    return size if jax.default_backend() == "cpu" else None


def images_on_cpu(network: PyTree) -> int | None:
    """Returns how many images a piece should have on a CPU; None elsewhere: all of them.

    Few images stay in the cache. But each piece reads all parameters and adds to all their
    gradients, so a network with many of them wants more images at a time
    (`benchmarks/convolutions.py`).

    Args:
        network: the one that takes or gives the images.
    """
    parameters = sum(x.size for x in jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array)))
    return on_cpu(min(max(FEWEST, parameters // PARAMETERS_AN_IMAGE), MOST))


def piece_size(count: int, wished: int | None = None) -> int:
    """Returns how many of `count` items to take at a time.

    The divisor of `count` nearest to `wished` between half and twice of it; where there is none,
    `wished` itself, and the last piece is smaller. All of them inside `in_one_piece`.

    Args:
        count: items in all.
        wished: None: all of them.

    Raises:
        UsageError: `wished` is not positive.
    """
    if wished is None:
        return count
    if wished < 1:
        raise UsageError(f"the piece size is {wished}, but it must be at least 1")
    if wished >= count or in_one_piece.value:
        return count
    divisors = [n for n in range(-(-wished // 2), 2 * wished + 1) if count % n == 0]
    return min(divisors, key=lambda n: abs(n - wished), default=wished)


def in_pieces(
    function: Callable[[PyTree, PRNGKeyArray | None], PyTree],
    inputs: PyTree,
    piece: int | None = None,
    key: PRNGKeyArray | None = None,
) -> PyTree:
    """Maps `function` over pieces of the leading axis and concatenates what it returns.

    Each of several pieces is computed again when it is differentiated, so only the inputs and
    outputs are kept. (Keeping the activations as well is slower on a CPU: they are half a gigabyte
    to write.) One piece that is everything, as on a GPU, is differentiated as usual.

    Args:
        function: from a piece of the inputs and the piece's key to arrays with the piece's leading
            axis. It may close over parameters that are differentiated.
        inputs: arrays with a common leading axis.
        piece: the wished size of a piece, see `piece_size`.
        key: piece `i` gets `fold_in(key, i)`, so two calls with the same key and number of items
            draw the same noise for the same item. None: each piece gets None.
    """
    count = jax.tree.leaves(inputs)[0].shape[0]
    if piece_size(count, piece) < count:
        function = jax.checkpoint(function, prevent_cse=False)
    return _scan(function, lambda _, outputs: (None, outputs), inputs, piece, key)[1]


def sum_in_pieces(
    function: Callable[[Parameters, PyTree, PRNGKeyArray | None], Float[Array, ""]],
    parameters: Parameters,
    inputs: PyTree,
    piece: int | None = None,
    key: PRNGKeyArray | None = None,
) -> Float[Array, ""]:
    """Sums `function` over pieces of the leading axis.

    When it is differentiated, the gradient of each piece is computed along with its value, so
    nothing is computed twice and nothing but the gradients is kept. Only floating-point arrays get
    gradients.

    Args:
        function: from parameters, a piece of the inputs and the piece's key to a number. It must
            not close over anything that is differentiated.
        parameters: whatever `function` shares between the pieces.
        inputs: arrays with a common leading axis.
        piece: as in `in_pieces`.
        key: as in `in_pieces`.
    """
    smooth, rest = eqx.partition((parameters, inputs), eqx.is_inexact_array)

    def of_piece(
        parameters: PyTree, inputs: PyTree, rest: tuple[PyTree, PyTree], key: PRNGKeyArray | None
    ) -> Float[Array, ""]:
        parameters, inputs = eqx.combine((parameters, inputs), rest)
        return function(parameters, inputs, key)

    @jax.custom_vjp
    def total(smooth: tuple[PyTree, PyTree], rest: PyTree, key: PRNGKeyArray | None) -> Array:
        def body(arrays: tuple[PyTree, PyTree], key: PRNGKeyArray | None) -> Array:
            return of_piece(smooth[0], arrays[0], (rest[0], arrays[1]), key)

        arrays = (smooth[1], rest[1])
        return _scan(body, lambda s, value: (s + value, None), arrays, piece, key, 0.0)[0]

    def forward(
        smooth: tuple[PyTree, PyTree], rest: PyTree, key: PRNGKeyArray | None
    ) -> tuple[Array, PyTree]:
        def body(arrays: tuple[PyTree, PyTree], key: PRNGKeyArray | None) -> tuple:
            derivative = jax.value_and_grad(of_piece, argnums=(0, 1))
            return derivative(smooth[0], arrays[0], (rest[0], arrays[1]), key)

        def add(sums: PyTree, outputs: tuple) -> tuple[PyTree, PyTree]:
            value, (to_parameters, to_inputs) = outputs
            return jax.tree.map(jnp.add, sums, (value, to_parameters)), to_inputs

        zeros = (0.0, jax.tree.map(jnp.zeros_like, smooth[0]))
        sums, to_inputs = _scan(body, add, (smooth[1], rest[1]), piece, key, zeros)
        return sums[0], (sums[1], to_inputs)

    def backward(gradients: PyTree, scale: Array) -> tuple[PyTree, None, None]:
        return jax.tree.map(lambda g: g * scale, gradients), None, None

    total.defvjp(forward, backward)
    return total(smooth, rest, key)


def mean_in_pieces(
    function: Callable[..., PyTree],
    inputs: PyTree,
    piece: int | None = None,
    key: PRNGKeyArray | None = None,
) -> PyTree:
    """Averages what `function` returns of pieces of the leading axis.

    For means over items together with their gradients, which `function` takes itself: nothing but
    their sums is kept from one piece to the next.

    Args:
        function: from a piece of the inputs and the piece's key to arrays, each a mean over the
            piece's items.
        inputs: arrays with a common leading axis.
        piece: the wished size of a piece, see `piece_size`.
        key: piece `i` gets `fold_in(key, i)`, and one piece that is everything `key` itself.
    """
    count = jax.tree.leaves(inputs)[0].shape[0]
    size = piece_size(count, piece)
    if size == count:
        return function(inputs, key)

    def share(arrays: PyTree, key: PRNGKeyArray | None) -> PyTree:
        part = jax.tree.leaves(arrays)[0].shape[0] / count
        return jax.tree.map(lambda x: part * x, function(arrays, key))

    def add(sums: PyTree, outputs: PyTree) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, sums, outputs), None

    first = jax.eval_shape(share, jax.tree.map(lambda x: x[:size], inputs), key)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), first)
    return _scan(share, add, inputs, piece, key, zeros)[0]


def _scan(
    body: Callable[[PyTree, PRNGKeyArray | None], PyTree],
    combine: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    inputs: PyTree,
    piece: int | None,
    key: PRNGKeyArray | None,
    carry: PyTree = None,
) -> tuple[PyTree, PyTree]:
    """Returns the last carry and the concatenated outputs of `combine(carry, body(piece, key))`."""
    counts = {x.shape[0] for x in jax.tree.leaves(inputs)}
    if len(counts) != 1:
        raise UsageError(
            f"the inputs have leading axes of {sorted(counts)}, but they must have one in common"
        )
    (count,) = counts
    size = piece_size(count, piece)
    whole = count // size

    def step(carry: PyTree, xs: tuple) -> tuple[PyTree, PyTree]:
        index, arrays = xs
        return combine(carry, body(arrays, None if key is None else jax.random.fold_in(key, index)))

    if whole * size == count == size:
        return step(carry, (0, inputs))
    pieces = jax.tree.map(lambda x: x[: whole * size].reshape(whole, size, *x.shape[1:]), inputs)
    carry, outputs = lax.scan(step, carry, (jnp.arange(whole), pieces))
    outputs = jax.tree.map(lambda x: x.reshape(whole * size, *x.shape[2:]), outputs)
    if whole * size < count:
        rest = jax.tree.map(lambda x: x[whole * size :], inputs)
        carry, last = step(carry, (whole, rest))
        outputs = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), outputs, last)
    return carry, outputs
