"""World models with random parameters, made without compiling anything."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from armillary.config import ModelConfig
from armillary.dynamics.world_model import WorldModel
from armillary.spec import pixels


def random_model(config: ModelConfig, action_size: int, seed: int = 0) -> WorldModel:
    """Returns a model whose biases are not zero and whose images are far from grey."""
    spec = pixels(64, action_size)
    shapes = eqx.filter_eval_shape(WorldModel, spec, config, key=jax.random.key(0))
    return _fill(shapes, seed)


def random_state(agent: Any, seed: int = 0) -> Any:
    """Returns what `agent.init` would: random parameters, and an optimiser that begins."""
    state = jax.eval_shape(agent.init, jax.random.key(0))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state.optimizer)
    return state._replace(model=_fill(state.model, seed), optimizer=zeros)


def _fill(shapes: WorldModel, seed: int) -> WorldModel:
    generator = np.random.default_rng(seed)

    def fill(leaf: Any) -> Any:
        fan = 25 if leaf.ndim == 1 else np.prod(leaf.shape) / min(leaf.shape[-2:])
        return jnp.asarray(generator.normal(0, fan**-0.5, leaf.shape), leaf.dtype)

    return jax.tree.map(fill, shapes)
