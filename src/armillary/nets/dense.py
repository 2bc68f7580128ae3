"""Fully connected layers and the GRU cell, with TensorFlow's initialisation as in the published
code of PlaNet: Glorot uniform weights, zero biases, gate biases of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": jax.nn.relu, "elu": jax.nn.elu}

_glorot = jax.nn.initializers.glorot_uniform(in_axis=-1, out_axis=-2)


class Dense(eqx.Module):
    """A fully connected layer on the last axis, any leading axes."""

    linear: eqx.nn.Linear

    def __init__(self, inputs: int, outputs: int, *, key: PRNGKeyArray) -> None:
        linear = eqx.nn.Linear(inputs, outputs, key=key)
        self.linear = eqx.tree_at(
            lambda layer: (layer.weight, layer.bias),
            linear,
            (_glorot(key, (outputs, inputs)), jnp.zeros(outputs)),
        )

    @property
    def bias(self) -> Float[Array, " outputs"]:
        """The bias, which this layer always has."""
        assert self.linear.bias is not None
        return self.linear.bias

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        return x @ self.linear.weight.T + self.bias


class Stack(eqx.Module):
    """Fully connected layers of the given sizes, with the activation between them.

    Args:
        sizes: inputs, hidden units and outputs, `len(sizes) - 1` layers.
        activation: applied after every layer but the last, or after the last one too if
            `activate_last`.
    """

    layers: list[Dense]
    activation: str = eqx.field(static=True)
    activate_last: bool = eqx.field(static=True)

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str,
        *,
        activate_last: bool = False,
        key: PRNGKeyArray,
    ) -> None:
        keys = jax.random.split(key, len(sizes) - 1)
        pairs = zip(sizes[:-1], sizes[1:], keys, strict=True)
        self.layers = [Dense(inputs, outputs, key=k) for inputs, outputs, k in pairs]
        self.activation = activation
        self.activate_last = activate_last

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        activation = ACTIVATIONS[self.activation]
        for layer in self.layers[:-1]:
            x = activation(layer(x))
        x = self.layers[-1](x)
        return activation(x) if self.activate_last else x


class GRU(eqx.Module):
    """A gated recurrent unit (Cho et al., 2014) on the last axis, any leading axes.

    The cell is `equinox.nn.GRUCell` (the reset gate acts after the product, as in cuDNN); the
    biases of the reset and update gates start at one, so that it remembers at first.
    """

    cell: eqx.nn.GRUCell

    def __init__(self, inputs: int, units: int, *, key: PRNGKeyArray) -> None:
        cell = eqx.nn.GRUCell(inputs, units, key=key)
        kernel = _glorot(key, (3 * units, inputs + units))
        bias = jnp.concatenate([jnp.ones(2 * units), jnp.zeros(units)])
        self.cell = eqx.tree_at(
            lambda c: (c.weight_ih, c.weight_hh, c.bias, c.bias_n),
            cell,
            (kernel[:, :inputs], kernel[:, inputs:], bias, jnp.zeros(units)),
        )

    def __call__(
        self, x: Float[Array, "*batch inputs"], state: Float[Array, "*batch units"]
    ) -> Float[Array, "*batch units"]:
        """Returns the next state."""
        return jnp.vectorize(self.cell, signature="(i),(u)->(u)")(x, state)
