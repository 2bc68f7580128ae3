"""Small networks that read quantities from a latent state (PlaNet, Appendix I)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.errors import UsageError
from armillary.nets.dense import Stack

CONSTANT = 1e-6
"""A quantity whose standard deviation is smaller cannot be told from a constant."""


@dataclass(frozen=True)
class ProbeConfig:
    """The networks that read a latent state, and how they are fitted.

    Attributes:
        hidden: units of each of two hidden layers (ELU).
        steps: of Adam, on the squared error of standardised quantities.
        batch_size: rows in a batch.
        learning_rate: at first; it decays to zero as a half cosine.
        check_every: steps between two looks at the rows that are set aside.
    """

    hidden: int = 64
    steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 5e-3
    check_every: int = 50


class Probe(eqx.Module):
    """One network for each of K quantities, with the scales of its inputs and outputs."""

    networks: Stack  # every array with a leading axis of K
    center: Float[Array, " features"]
    scale: Float[Array, " features"]
    mean: Float[Array, " quantities"]
    std: Float[Array, " quantities"]

    def __call__(
        self, features: Float[Array, "*batch features"]
    ) -> Float[Array, "*batch quantities"]:
        """Returns the quantities in their own units."""
        inputs = (features - self.center) / self.scale
        outputs = eqx.filter_vmap(lambda network: network(inputs)[..., 0])(self.networks)
        return jnp.moveaxis(outputs, 0, -1) * self.std + self.mean


def fit(
    features: Float[np.ndarray, "rows features"],
    targets: Float[np.ndarray, "rows quantities"],
    key: PRNGKeyArray,
    config: ProbeConfig | None = None,
) -> Probe:
    """Fits a network to each quantity, by itself.

    A fifth of the rows is set aside, in five blocks spread over all of them: one odd episode would
    not do. Each network begins as the mean of its quantity and is kept as it was when it erred
    least there, so a latent state that tells nothing of a quantity leaves about the mean.

    Raises:
        UsageError: there are fewer than ten rows.
    """
    config = config or ProbeConfig()
    if len(features) < 10:
        raise UsageError(
            f"the probes have {len(features)} rows to learn from, but need ten at least: give more "
            "or longer episodes"
        )
    mean, std = targets.mean(0), targets.std(0)
    center, scale = features.mean(0), features.std(0)
    std, scale = (np.where(x > CONSTANT, x, 1.0) for x in (std, scale))
    rows = np.arange(len(features))
    aside = rows // max(1, len(rows) // 25) % 5 == 4
    x = jnp.asarray((features - center) / scale, jnp.float32)
    y = jnp.asarray((targets - mean) / std, jnp.float32).T
    networks = _train((x[~aside], y[:, ~aside]), (x[aside], y[:, aside]), key, config)
    return Probe(networks, *(jnp.asarray(a, jnp.float32) for a in (center, scale, mean, std)))


@eqx.filter_jit
def _train(
    rows: tuple[Array, Array], aside: tuple[Array, Array], key: PRNGKeyArray, config: ProbeConfig
) -> Stack:
    init_key, batch_key = jax.random.split(key)
    rounds = max(1, config.steps // config.check_every)
    schedule = optax.cosine_decay_schedule(config.learning_rate, rounds * config.check_every)
    optimizer = optax.adam(schedule)
    sizes = [rows[0].shape[1], config.hidden, config.hidden, 1]

    def make(key: PRNGKeyArray) -> Stack:
        network = Stack(sizes, "elu", key=key)
        last = jax.tree.map(jnp.zeros_like, network.layers[-1])
        return eqx.tree_at(lambda n: n.layers[-1], network, last)

    def errors(networks: Stack, x: Array, y: Array) -> Float[Array, " quantities"]:
        outputs = eqx.filter_vmap(lambda network: network(x)[..., 0])(networks)
        return jnp.mean((outputs - y) ** 2, axis=1)

    def step(carry: tuple[Any, Any], key: PRNGKeyArray) -> tuple[tuple[Any, Any], None]:
        networks, state = carry
        picks = jax.random.randint(key, (config.batch_size,), 0, len(rows[0]))
        x, y = rows[0][picks], rows[1][:, picks]
        gradient = eqx.filter_grad(lambda n: jnp.sum(errors(n, x, y)))(networks)
        updates, state = optimizer.update(gradient, state)
        return (eqx.apply_updates(networks, updates), state), None

    def look(carry: Any, key: PRNGKeyArray) -> tuple[Any, None]:
        networks, state, best, least = carry
        keys = jax.random.split(key, config.check_every)
        (networks, state), _ = jax.lax.scan(step, (networks, state), keys)
        now = errors(networks, *aside)
        better = now < least

        def choose(new: Array, old: Array) -> Array:
            return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        best = jax.tree.map(choose, networks, best)
        return (networks, state, best, jnp.minimum(now, least)), None

    networks = eqx.filter_vmap(make)(jax.random.split(init_key, len(rows[1])))
    state = optimizer.init(eqx.filter(networks, eqx.is_inexact_array))
    carry = (networks, state, networks, errors(networks, *aside))
    (_, _, best, _), _ = jax.lax.scan(look, carry, jax.random.split(batch_key, rounds))
    return best
