"""The functions of MuZero: representation h, dynamics g and prediction f."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from armillary.config.muzero import NetworkConfig
from armillary.errors import UsageError
from armillary.nets.dense import Dense, Stack
from armillary.nets.observations import symlog
from armillary.nets.residual import Convolution, Norm, Planes, Tower
from armillary.spec import Spec

State = Float[Array, "batch *shape"]
Action = Float[Array, "batch action"]


class History(NamedTuple):
    """What the representation sees: rows of an observation, the last of them the present.

    Attributes:
        observation: each field by its name, leading axes (batch, rows).
        action: `action[:, i]` led to row i; zeros before an episode's first.
    """

    observation: Mapping[str, Shaped[Array, "batch rows *shape"]]
    action: Float[Array, "batch rows action"]


class MuZeroNetwork(eqx.Module):
    """h, g and f (MuZero, slide 3). A hidden state is scaled to [0, 1], each by itself.

    Args:
        spec: what is observed: vectors, boards, or one image.
        config: sizes.
        key: of the parameters.

    Raises:
        UsageError: it cannot observe such things together.
    """

    representation: Callable[[History], State]
    dynamics: Callable[[State, Action], State]
    policy: Callable[[State], Array]
    value: Callable[[State], Array]
    reward: Callable[[State], Array] | None
    players: int = eqx.field(static=True)
    actions: int = eqx.field(static=True)

    def __init__(self, spec: Spec, config: NetworkConfig, *, key: PRNGKeyArray) -> None:
        keys = jax.random.split(key, 5)
        actions, self.players = spec.action.size, spec.players
        self.actions = actions
        outputs = 1 if spec.players > 1 else config.categories
        if kind_of(spec, config) == "dense":
            sizes = (config.hidden,) * config.layers
            names = tuple(spec.vectors)
            inputs = sum(math.prod(field.shape) for field in spec.vectors.values())
            self.representation = Flat(names, (inputs, *sizes, config.state), key=keys[0])
            self.dynamics = DenseStep((config.state + actions, *sizes, config.state), key=keys[1])
            heads = [(config.state, *sizes, size) for size in (actions, outputs, outputs)]
            self.policy, self.value, self.reward = (
                _quiet(Stack(head, "relu", key=k)) for head, k in zip(heads, keys[2:], strict=True)
            )
        else:
            frames = Frames(spec, config, key=keys[0])
            self.representation, shape = frames, frames.shape
            self.dynamics = PlanesStep(shape, actions, config.blocks, key=keys[1])
            self.policy, self.value, self.reward = (
                Head(shape, planes, config.hidden, size, key=k)
                for planes, size, k in zip(
                    (2, 1, 1), (actions, outputs, outputs), keys[2:], strict=True
                )
            )
        if spec.players > 1:
            self.reward = None

    def represent(self, history: History) -> State:
        """Returns s^0 = h(o_1..o_t)."""
        return _scaled(self.representation(history))

    def step(self, state: State, action: Action) -> tuple[State, Float[Array, "batch c"] | None]:
        """Returns s^k and r^k = g(s^k-1, a^k): the reward's logits; None where there are none."""
        state = _scaled(self.dynamics(state, action))
        return state, None if self.reward is None else self.reward(state)

    def predict(self, state: State) -> tuple[Float[Array, "batch action"], Float[Array, "batch c"]]:
        """Returns p^k and v^k = f(s^k): logits of both; of a game's value its tanh, (batch, 1)."""
        value = self.value(state)
        return self.policy(state), jnp.tanh(value) if self.players > 1 else value


def kind_of(spec: Spec, config: NetworkConfig) -> str:
    """Returns `dense` or `residual`.

    Raises:
        UsageError: the observation has more than one kind of things, or is not for this kind.
    """
    with_rows = [name for name, field in spec.fields.items() if len(field.shape) == 3]
    others = [name for name in spec.vectors if name not in with_rows]
    if len(with_rows) + bool(others) != 1:
        raise UsageError(
            f"muzero observes one image or board, or vectors, but here are {spec}: choose with "
            "--environment.observe"
        )
    kind = config.kind
    if kind == "auto":
        kind = "residual" if with_rows else "dense"
    if kind == "dense" and spec.images:
        raise UsageError(
            "network.kind is dense, but an image is observed: give residual, or "
            "--environment.observe vector"
        )
    if kind == "residual" and not with_rows:
        raise UsageError("network.kind is residual, but only vectors are observed: give dense")
    return kind


class Flat(eqx.Module):
    """All numbers of the last row, fully connected."""

    stack: Stack
    names: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self, names: tuple[str, ...], sizes: tuple[int, ...], *, key: PRNGKeyArray
    ) -> None:
        self.names, self.stack = names, Stack(sizes, "relu", key=key)

    def __call__(self, history: History) -> Float[Array, "batch state"]:
        parts = [history.observation[name][:, -1] for name in self.names]
        flat = [symlog(part.astype(jnp.float32)).reshape(part.shape[0], -1) for part in parts]
        return self.stack(jnp.concatenate(flat, axis=-1))


class DenseStep(eqx.Module):
    """The next state from a state and an action."""

    stack: Stack

    def __init__(self, sizes: tuple[int, ...], *, key: PRNGKeyArray) -> None:
        self.stack = Stack(sizes, "relu", key=key)

    def __call__(self, state: State, action: Action) -> State:
        return state + self.stack(jnp.concatenate([state, action], axis=-1))


class Frames(eqx.Module):
    """A tower on a board, or on the frames of a history and the actions that led to them.

    Frames are halved until they have at most 8 rows: those of 96x96 to 6x6 (MuZero, Atari).
    """

    towers: list[Tower]
    name: str = eqx.field(static=True)
    of_images: bool = eqx.field(static=True)
    shape: tuple[int, int, int] = eqx.field(static=True)

    def __init__(self, spec: Spec, config: NetworkConfig, *, key: PRNGKeyArray) -> None:
        fields = spec.images or spec.vectors
        self.of_images = bool(spec.images)
        self.name, field = next(iter(fields.items()))
        height, width, channels = field.shape
        keys = iter(jax.random.split(key, 8))
        if not spec.images:
            self.towers = [Tower(channels, config.channels, config.blocks, key=next(keys))]
            self.shape = (height, width, config.channels)
            return
        inputs, outputs = (channels + 1) * config.history, max(config.channels // 2, 1)
        blocks = max(config.blocks // 8, 1)
        self.towers = []
        while max(height, width) > 8:
            self.towers.append(Tower(inputs, outputs, blocks, stride=2, key=next(keys)))
            height, width = -(-height // 2), -(-width // 2)
            inputs, outputs = outputs, config.channels
        self.towers.append(Tower(inputs, config.channels, config.blocks, key=next(keys)))
        self.shape = (height, width, config.channels)

    def __call__(self, history: History) -> Planes:
        rows = history.observation[self.name]
        if not self.of_images:
            x = rows[:, -1].astype(jnp.float32)
        else:
            batch, _, height, width, _ = rows.shape
            size = history.action.shape[-1]
            number = history.action @ (jnp.arange(1, size + 1) / size)  # 0: there was none
            planes = jnp.broadcast_to(number[:, :, None, None, None], (*rows.shape[:-1], 1))
            x = jnp.concatenate([rows.astype(jnp.float32) / 255.0, planes], axis=-1)
            x = jnp.moveaxis(x, 1, 3).reshape(batch, height, width, -1)
        for tower in self.towers:
            x = tower(x)
        return x


class PlanesStep(eqx.Module):
    """The next planes from planes and an action, which becomes two planes by a linear map.

    The maps of the paper are special cases: one-hot planes, or the plane of the point played.
    """

    planes: Dense
    tower: Tower
    shape: tuple[int, int, int] = eqx.field(static=True)

    def __init__(
        self, shape: tuple[int, int, int], actions: int, blocks: int, *, key: PRNGKeyArray
    ) -> None:
        first, second = jax.random.split(key)
        height, width, channels = self.shape = shape
        self.planes = Dense(actions, 2 * height * width, key=first)
        self.tower = Tower(channels + 2, channels, blocks, key=second)

    def __call__(self, state: Planes, action: Action) -> Planes:
        height, width, _ = self.shape
        planes = self.planes(action).reshape(-1, height, width, 2)
        return state + self.tower(jnp.concatenate([state, planes], axis=-1))


class Head(eqx.Module):
    """Few planes, then fully connected (AlphaZero)."""

    convolution: Convolution
    norm: Norm
    stack: Stack

    def __init__(
        self,
        shape: tuple[int, int, int],
        planes: int,
        hidden: int,
        outputs: int,
        *,
        key: PRNGKeyArray,
    ) -> None:
        first, second = jax.random.split(key)
        height, width, channels = shape
        planes *= 8
        self.convolution = Convolution(channels, planes, size=1, key=first)
        self.norm = Norm(planes)
        self.stack = _quiet(Stack((height * width * planes, hidden, outputs), "relu", key=second))

    def __call__(self, state: Planes) -> Float[Array, "batch outputs"]:
        x = jax.nn.relu(self.norm(self.convolution(state)))
        return self.stack(x.reshape(x.shape[0], -1))


def _quiet(stack: Stack) -> Stack:
    """Returns layers whose outputs begin as zeros: no preference, and no value."""
    weight = stack.layers[-1].linear.weight
    return eqx.tree_at(lambda s: s.layers[-1].linear.weight, stack, jnp.zeros_like(weight))


def _scaled(state: State) -> State:
    """Brings each state to [0, 1] by its own least and greatest entry."""
    axes = tuple(range(1, state.ndim))
    least = jnp.min(state, axis=axes, keepdims=True)
    greatest = jnp.max(state, axis=axes, keepdims=True)
    return (state - least) / jnp.maximum(greatest - least, 1e-5)
