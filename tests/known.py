"""A system whose state is visible in its pixels, and models of it that are written, not learned.

The position of a damped point and its velocity are the brightness of two halves of the image.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from armillary.agents.planet import Planet, PlanetState
from armillary.config import ModelConfig, ObjectiveConfig, PlanetConfig
from armillary.dynamics.base import Dynamics, LatentState
from armillary.dynamics.world_model import WorldModel
from armillary.nets.distributions import Normal
from armillary.replay.episode import Episode
from armillary.spec import pixels
from armillary.studies.states import Recording
from armillary.training.player import Player
from models import random_model
from toys import Point

RANGE = 2.0
BITS = 8


def advance(state: Any, action: Any) -> Any:
    """Returns the next (position, velocity), NumPy's or JAX's."""
    xp = jnp if isinstance(state, jax.Array) else np
    velocity = 0.5 * state[..., 1] + 0.5 * action[..., 0]
    return xp.stack([0.9 * state[..., 0] + 0.3 * velocity, velocity], axis=-1)


def draw(states: np.ndarray) -> np.ndarray:
    """Returns the images of states (rows, 2)."""
    brightness = np.rint(255 * (states / RANGE + 1) / 2).clip(0, 255).astype(np.uint8)
    image = np.zeros((len(states), 64, 64, 3), np.uint8)
    image[:, :, :32] = brightness[:, None, None, None, 0]
    image[:, :, 32:] = brightness[:, None, None, None, 1]
    return image


def recordings(count: int, steps: int = 100, seed: int = 0) -> list[Recording]:
    """Returns episodes of random actions, with their states."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        actions = generator.uniform(-1, 1, (steps + 1, 1)).astype(np.float32)
        actions[0] = 0
        states = [generator.uniform(-0.5, 0.5, 2)]
        for action in actions[1:]:
            states.append(advance(states[-1], action))
        table = np.array(states)
        reward = np.exp(-((table[:, 0] / 0.3) ** 2)).astype(np.float32)
        reward[0] = 0
        episode = Episode({"image": draw(table)}, actions, reward)
        state = {"position/p": table[:, 0], "velocity/v": table[:, 1]}
        found.append(Recording(episode, state))
    return found


class Exact(Dynamics):
    """The state itself. `responds`: whether the actions move it; if not, it stays as it was seen.

    `lag`: whether the action of a step acts on the next one, as if rows were off by one.
    """

    responds: bool = eqx.field(static=True, default=True)
    lag: bool = eqx.field(static=True, default=False)
    stochastic_size: int = eqx.field(static=True, default=0)
    deterministic_size: int = eqx.field(static=True, default=3)
    feature_size: int = eqx.field(static=True, default=2)

    def predict(self, state: LatentState, action: jax.Array, noise: Any) -> LatentState:
        now, before = state.deterministic[..., :2], state.deterministic[..., 2:]
        later = advance(now, before if self.lag else action) if self.responds else now
        return self._state(later, action)

    def infer(self, state: LatentState, action: Any, embedding: Any, noise: Any) -> Any:
        posterior = self._state(embedding, action)
        return posterior, posterior.distribution

    def features(self, state: LatentState) -> jax.Array:
        return state.deterministic[..., :2]

    def _state(self, values: jax.Array, action: jax.Array) -> LatentState:
        nothing = jnp.zeros((*values.shape[:-1], 0))
        both = jnp.concatenate([values, action], axis=-1)
        return LatentState(Normal(nothing, nothing), nothing, both)


class Noise(Dynamics):
    """A latent state that has nothing to do with anything."""

    stochastic_size: int = eqx.field(static=True, default=2)
    deterministic_size: int = eqx.field(static=True, default=0)
    feature_size: int = eqx.field(static=True, default=2)

    def predict(self, state: LatentState, action: jax.Array, noise: jax.Array) -> LatentState:
        standard = Normal(jnp.zeros_like(noise), jnp.ones_like(noise))
        return LatentState(standard, noise, jnp.zeros((*noise.shape[:-1], 0)))

    def infer(self, state: LatentState, action: Any, embedding: Any, noise: jax.Array) -> Any:
        posterior = self.predict(state, action, noise)
        return posterior, posterior.distribution

    def features(self, state: LatentState) -> jax.Array:
        return state.stochastic


class Known(WorldModel):
    """Reads the state off the image, and draws it."""

    def __init__(self, dynamics: Dynamics | None = None) -> None:
        random = random_model(ModelConfig(stochastic=2, deterministic=2, hidden=2, depth=1), 1)
        self.encoder = eqx.tree_at(lambda e: e.images, random.encoder, {"image": _Reader()})
        self.decoder = eqx.tree_at(lambda d: d.images, random.decoder, {"image": _Painter()})
        self.dynamics = Exact() if dynamics is None else dynamics
        self.reward_head = None


class _Reader(eqx.Module):
    def __call__(self, images: jax.Array) -> jax.Array:
        halves = [half.mean((0, 1, 2)) for half in (images[:, :, :32], images[:, :, 32:])]
        return RANGE * (2 * ((jnp.stack(halves, -1) + 0.5) * 256 - 0.5) / 255 - 1)


class _Painter(eqx.Module):
    def __call__(self, features: jax.Array) -> jax.Array:
        brightness = jnp.rint(255 * (features / RANGE + 1) / 2)
        halves = jnp.repeat(brightness, 32, axis=1).T[None, None]  # 1 1 64 batch
        return jnp.broadcast_to((halves + 0.5) / 256 - 0.5, (3, 64, *halves.shape[2:]))


def player(dynamics: Dynamics | None = None) -> Player:
    """Returns an agent that has such a model."""
    config = PlanetConfig(task="known:told", objective=ObjectiveConfig(bits=BITS))
    return Player(config, Planet(config, pixels(64, 1)), PlanetState(Known(dynamics), None), {})


class Told(Point):
    """A `Point` that tells its state."""

    def reset(self, **arguments: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode."""
        image, _ = super().reset(**arguments)
        return image, {"state": {"position": self.position.copy()}}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes a step."""
        image, reward, terminated, truncated, _ = super().step(action)
        info = {"state": {"position": self.position.copy()}}
        return image, reward, terminated, truncated, info


def told() -> gym.Env:
    """Makes a `Told`: the task `known:told`."""
    return Told(steps=12)
