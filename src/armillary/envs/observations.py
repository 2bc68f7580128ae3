"""What an agent observes of an environment: images, vectors, or several of them by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space
from gymnasium.spaces.utils import flatdim, flatten
from jaxtyping import UInt8

from armillary.config import EnvironmentConfig
from armillary.envs.guard import LARGEST, describe
from armillary.envs.pixels import ImageSource, entry, is_image, parts
from armillary.errors import EnvironmentFailure, UsageError, nearest
from armillary.spec import IMAGE, MASK, Continuous, Discrete, Field, Spec

VECTOR = "vector"
"""The name of everything in an observation that is no image, as one vector."""
ALL = "all"
"""The name of every part of an observation, each by its own name."""


def fields_named(observe: str) -> list[str]:
    """Returns the names in `EnvironmentConfig.observe`."""
    return [name.strip() for name in observe.split(",")]


def draws(config: EnvironmentConfig) -> bool:
    """Whether an environment of the control suite has to draw itself."""
    return IMAGE in fields_named(config.observe)


class Observed(gymnasium.Wrapper):
    """Observations as the fields that an agent sees (`EnvironmentConfig.observe`).

    An observation with a single field is that array itself, one with several a dictionary of them.
    Where the environment's actions are filled up to a common size, one of them is the mask.

    Args:
        env: An environment with actions as agents give them.
        name: Its name, for messages.
        config: Which fields, and the size and source of the image.

    Raises:
        UsageError: There is no such field.
    """

    def __init__(self, env: gymnasium.Env, name: str, config: EnvironmentConfig) -> None:
        super().__init__(env)
        self.name, self._config = name, config
        space = getattr(env, "observation_space", None)
        self._see: dict[str, Callable[[Any, str], np.ndarray]] = {}
        self._fields: dict[str, Field] = {}
        own = getattr(env.unwrapped, "agent_spec", None)
        self._players = 1
        names = fields_named(config.observe)
        if own is not None:
            self._players = own.players
            for field, kind in own.fields.items():
                self._see[field] = _as_given(field)
                self._fields[field] = kind
            names = [field for field in names if field not in own.fields]
            names = [] if fields_named(config.observe) == [IMAGE] else names
        for field in _expanded(names, space):
            self._add(field, space)
        if config.action_size is not None:
            self._add_mask(env.get_wrapper_attr("action_mask"))
        self._bare = next(iter(self._fields)) if len(self._fields) == 1 else None
        spaces: dict[str, Space] = {field: _space(kind) for field, kind in self._fields.items()}
        self.observation_space = spaces[self._bare] if self._bare else Dict(spaces)
        self._seen: dict[str, np.ndarray] = {}

    def _add(self, field: str, space: Space | None) -> None:
        """Finds out how a field is seen."""
        config = self._config
        parts_of = {"/".join(map(str, keys)): (keys, part) for keys, part in parts(space)}
        found = parts_of.get(field)
        if field == IMAGE or (found is not None and is_image(found[1])):
            source = config.pixels if field == IMAGE else field
            self._see[field] = ImageSource(self.env, self.name, config.size, source).see
            self._fields[field] = Field((config.size, config.size, 3), "uint8")
            return
        if field == VECTOR and space is not None:
            chosen = [(keys, part) for keys, part in parts_of.values() if not is_image(part)]
        elif found is not None:
            chosen = [found]
        else:
            names = [IMAGE, VECTOR, ALL, *parts_of]
            raise UsageError(
                f"{self.name} has nothing called {field!r} to observe: expected one or more of "
                f"{', '.join(name for name in names if name)}.{nearest(field, names)}"
            )
        if not chosen:
            raise UsageError(
                f"{self.name} observes {space}, in which there is nothing but images: observe "
                "'image'"
            )
        size = sum(_size(part, self.name) for _, part in chosen)

        def see(observation: Any, when: str) -> np.ndarray:
            where = f"{self.name}: the observation {when}"
            numbers = [_flat(entry(observation, keys, where), part, where) for keys, part in chosen]
            return np.concatenate(numbers)

        self._see[field] = see
        self._fields[field] = Field((size,))

    def _add_mask(self, used: np.ndarray) -> None:
        """Fills the mask up: of actions that the environment has, its own says which are legal."""
        legal = self._see.get(MASK)

        def see(observation: Any, when: str) -> np.ndarray:
            mask = used.copy()
            if legal is not None:
                mask[used] = legal(observation, when)
            return mask

        self._see[MASK] = see
        self._fields[MASK] = Field(used.shape, "bool")

    @property
    def agent_spec(self) -> Spec:
        """What an agent of this environment is made from."""
        space: Any = self.action_space
        action: Continuous | Discrete
        if isinstance(space, gymnasium.spaces.Discrete):
            action = Discrete(int(space.n))
        else:
            action = Continuous(int(space.shape[0]))
        return Spec.of(self._fields, action, self._players)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the environment."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._observe(observation), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Steps the environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        steps = self.env.get_wrapper_attr("simulator_steps")
        if not abs(float(reward)) <= LARGEST:
            raise EnvironmentFailure(
                f"{self.name}: the rewards of the steps of one action, the last of them step "
                f"{steps}, add up to {reward}, more than 32 bits hold (3.4e38): scale them down in "
                "the environment"
            )
        info = {**info, "simulator_steps": steps}
        return self._observe(observation), float(reward), terminated, truncated, info

    def render(self) -> UInt8[np.ndarray, "height width 3"] | Any:
        """Returns the last image that was observed; without one what the environment draws."""
        images = [name for name, field in self._fields.items() if field.is_image]
        return self._seen[images[0]].copy() if images and self._seen else self.env.render()

    def _observe(self, observation: Any) -> Any:
        steps = self.env.get_wrapper_attr("simulator_steps")
        when = f"at step {steps}" if steps else "at reset"
        self._seen = {field: see(observation, when) for field, see in self._see.items()}
        if self._bare is not None:
            return self._seen[self._bare].copy()
        return {field: array.copy() for field, array in self._seen.items()}


def _as_given(field: str) -> Callable[[Any, str], np.ndarray]:
    return lambda observation, when: observation[field]


def _expanded(names: list[str], space: Space | None) -> Iterable[str]:
    """Yields the fields' names, with the parts of the observation in place of `all`."""
    for name in names:
        if name == ALL and isinstance(space, Dict | gymnasium.spaces.Tuple):
            yield from ("/".join(map(str, keys)) for keys, _ in parts(space))
        elif name == ALL:
            yield IMAGE if space is not None and is_image(space) else VECTOR
        else:
            yield name


def _size(part: Space, name: str) -> int:
    try:
        return flatdim(part)
    except (ValueError, NotImplementedError) as error:
        raise UsageError(
            f"{name} observes {part}, which cannot be written as a vector: wrap it"
        ) from error


def _space(field: Field) -> Space:
    if field.dtype == "uint8":
        return Box(0, 255, field.shape, np.uint8)
    if field.dtype == "bool":
        return Box(0, 1, field.shape, np.bool_)
    return Box(-np.inf, np.inf, field.shape, np.float32)


def _flat(value: Any, space: Space, where: str) -> np.ndarray:
    """Returns what was observed as a vector of finite 32-bit numbers.

    Raises:
        EnvironmentFailure: It is not what its space promises, or not finite.
    """
    if isinstance(space, Box):
        array = np.asarray(value)
        if array.shape != space.shape or array.dtype.kind not in "buif":
            raise EnvironmentFailure(
                f"{where} is {describe(value)}, but its observation space promises {space.dtype} "
                f"of shape {space.shape}"
            )
        numbers = array.reshape(-1).astype(np.float64)
    elif not space.contains(value):
        raise EnvironmentFailure(
            f"{where} is {value!r:.100}, but its observation space promises {space}"
        )
    else:
        numbers = np.asarray(flatten(space, value), np.float64).reshape(-1)
    wrong = ~(np.abs(numbers) <= LARGEST)  # NaN too
    if wrong.any():
        raise EnvironmentFailure(
            f"{where} holds {numbers[wrong][0]}, expected finite numbers of 32 bits: find out in "
            "the environment what gives it"
        )
    return numbers.astype(np.float32)
