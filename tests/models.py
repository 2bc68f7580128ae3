"""World models with random parameters, and a system that is known, in the place of one."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from armillary.config import ModelConfig
from armillary.dynamics.base import LatentState
from armillary.dynamics.world_model import WorldModel
from armillary.nets.distributions import Normal
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


A, B, Q, R, GAMMA = 1.1, 0.5, 1.0, 0.3, 0.95
"""x' = A x + B u, which alone runs away; the reward is -(Q x^2 + R u^2)."""


class Linear(eqx.Module):
    """A system in the place of a world model's dynamics; its state is x and the last u."""

    gain: jax.Array
    stochastic_size: int = eqx.field(static=True, default=0)
    feature_size: int = eqx.field(static=True, default=2)

    def features(self, state: LatentState) -> Any:
        return state.deterministic

    def predict(self, state: LatentState, action: Any, noise: Any) -> LatentState:
        x = self.gain * state.deterministic[..., :1] + B * action
        return state._replace(deterministic=jnp.concatenate([x, action], axis=-1))


class System(eqx.Module):
    """What a behaviour and a planner ask of a world model."""

    dynamics: Linear
    end: float = eqx.field(static=True, default=jnp.inf)

    def reward(self, state: LatentState) -> Any:
        x, u = state.deterministic[..., 0], state.deterministic[..., 1]
        return -(Q * x**2 + R * u**2)

    def goes_on(self, state: LatentState) -> Any:
        return 1.0 * (jnp.abs(state.deterministic[..., 0]) < self.end)


def starts_at(x: Any) -> LatentState:
    """Returns states of the system, the last u 0."""
    state = jnp.stack([x, jnp.zeros_like(x)], axis=-1)
    empty = jnp.zeros((*x.shape, 0))
    return LatentState(Normal(empty, empty), empty, state)
