"""Wrappers between any continuous-action environment and the images an agent sees."""

from __future__ import annotations

import logging
import numbers
from functools import cache
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space
from gymnasium.wrappers import TimeLimit
from jaxtyping import Float32, UInt8

from armillary.errors import ArmillaryError, EnvironmentFailure, UsageError

log = logging.getLogger(__name__)

_IMAGE_KEYS = ("pixels", "image", "rgb")
_SMALLEST_IMAGE = 8
"""A Box with a shorter side than this is not taken for an image."""
_LONG = 100_000
"""Simulator steps after which an episode that nothing limits is suspected to have no end."""


class Guard(gymnasium.Wrapper):
    """Turns whatever goes wrong in an environment into an `EnvironmentFailure` that names it.

    Also counts its steps: `simulator_steps`, since the last reset. Warns once if an episode without
    a time limit seems to have no end.
    """

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        super().__init__(env)
        self.name = name
        self.simulator_steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the environment."""
        self.simulator_steps = 0
        try:
            result = self.env.reset(seed=seed, options=options)
        except ArmillaryError:
            raise
        except Exception as error:
            raise self._failure("raised", error) from error
        if not (isinstance(result, tuple) and len(result) == 2):
            raise EnvironmentFailure(
                f"{self.name}: reset returned {_describe(result)}, but Gymnasium's is the pair "
                "(observation, info)"
            )
        self._check_info(result[1])
        return result

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Steps the environment."""
        self.simulator_steps += 1
        if self.simulator_steps == _LONG + 1 and not _has_time_limit(self.env):
            _warn_of_no_end(self.name)
        try:
            result = self.env.step(action)
        except ArmillaryError:
            raise
        except Exception as error:
            raise self._failure("raised", error) from error
        if not (isinstance(result, tuple) and len(result) == 5):
            raise EnvironmentFailure(
                f"{self.name}: step returned {_describe(result)}, but Gymnasium's is "
                "(observation, reward, terminated, truncated, info)"
            )
        observation, reward, terminated, truncated, info = result
        self._check_info(info)
        if isinstance(reward, np.ndarray) and reward.size == 1:
            reward = reward.item()
        if not isinstance(reward, numbers.Real):
            raise EnvironmentFailure(
                f"{self.name}: the reward {self._where} is {_describe(reward)}, expected a number"
            )
        reward = float(reward)
        if not np.isfinite(reward):
            raise EnvironmentFailure(
                f"{self.name}: the reward {self._where} is {reward}, expected a finite number; "
                "find out in the environment what gives it"
            )
        return observation, reward, bool(terminated), bool(truncated), info

    def render(self) -> Any:
        """Draws the environment."""
        try:
            return self.env.render()
        except ArmillaryError:
            raise
        except Exception as error:
            raise self._failure("could not be drawn:", error) from error

    def _check_info(self, info: Any) -> None:
        if not isinstance(info, dict):
            raise EnvironmentFailure(
                f"{self.name}: the info {self._where} is {_describe(info)}, expected a dictionary, "
                "which may be empty"
            )

    @property
    def _where(self) -> str:
        return f"at step {self.simulator_steps}" if self.simulator_steps else "at reset"

    def _failure(self, what: str, error: Exception) -> EnvironmentFailure:
        return EnvironmentFailure(
            f"{self.name} {what} {type(error).__name__} {self._where}: {error}"
        )


def _has_time_limit(env: gymnasium.Env) -> bool:
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, TimeLimit):
            return True
        env = env.env
    return False


@cache
def _warn_of_no_end(name: str) -> None:
    """Warns once in this process, however many environments of the name there are."""
    log.warning(
        "an episode of %s has gone on for more than %s simulator steps, and no time limit ends it: "
        "if it never ends, give --environment.time-limit N",
        name,
        f"{_LONG:,}",
    )


class NormalizedActions(gymnasium.ActionWrapper):
    """Box actions of any shape and finite bounds, as a vector in [-1, 1].

    Raises:
        UsageError: The actions are discrete, unbounded or of no dimension.
    """

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, Box):
            raise UsageError(
                f"{name} has {type(space).__name__} actions, but PlaNet plans continuous actions: "
                "use an environment whose action space is a Box"
            )
        if not space.is_bounded("both") or not space.shape or not np.prod(space.shape):
            raise UsageError(
                f"{name} has the action space {space}, but its actions must have finite bounds "
                "and at least one dimension: wrap it in gymnasium.wrappers.TransformAction"
            )
        self._space = space
        self._center = (space.low.astype(np.float64) + space.high) / 2
        self._scale = (space.high.astype(np.float64) - space.low) / 2
        self.action_space = Box(-1.0, 1.0, (int(np.prod(space.shape)),), np.float32)

    def action(self, action: Float32[np.ndarray, " n"]) -> np.ndarray:
        """Returns the environment's own action."""
        action = np.asarray(action, np.float64)
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise UsageError(
                f"the action is {_describe(action)}, expected {self.action_space.shape} finite "
                "numbers in [-1, 1]"
            )
        own = self._center + self._scale * action.clip(-1, 1).reshape(self._space.shape)
        if np.issubdtype(self._space.dtype, np.integer):
            own = np.rint(own)
        return own.astype(self._space.dtype).clip(self._space.low, self._space.high)


class PaddedActions(gymnasium.ActionWrapper):
    """Actions with more entries than the environment has; it takes the first ones.

    So one agent can play environments whose actions differ in size (PlaNet, Appendix C). In the
    action space the bounds of all others are 0; what they are changes nothing.

    Raises:
        UsageError: the environment has more entries than that.
    """

    def __init__(self, env: gymnasium.Env, name: str, size: int) -> None:
        super().__init__(env)
        (self._own,) = env.action_space.shape  # type: ignore[misc]
        if size < self._own:
            raise UsageError(
                f"{name} has actions of {self._own} entries, but action_size is {size}: give at "
                "least as many"
            )
        bound = np.where(np.arange(size) < self._own, 1, 0).astype(np.float32)
        self.action_space = Box(-bound, bound, dtype=np.float32)

    def action(self, action: Float32[np.ndarray, " n"]) -> np.ndarray:
        """Returns the entries that the environment has."""
        if np.shape(action) != self.action_space.shape:
            raise UsageError(
                f"the action is {_describe(action)}, expected {self.action_space.shape} finite "
                "numbers in [-1, 1]"
            )
        return action[: self._own]


class Pixels(gymnasium.Wrapper):
    """Observations as images: `Box(0, 255, (size, size, 3), uint8)`.

    Args:
        env: An environment that observes images, or that draws them in `rgb_array` mode.
        name: Its name, for messages.
        size: Height and width of the images.
        source: `observation`, `render`, or `auto`: the observation if it is an image.

    Raises:
        UsageError: Neither the observation nor `render()` gives images.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        name: str,
        size: int = 64,
        source: Literal["auto", "observation", "render"] = "auto",
    ) -> None:
        super().__init__(env)
        self.name, self.size = name, size
        self._key, self._space = _find_image(env.observation_space)
        if self._space is None and source == "observation":
            raise UsageError(
                f"{name} observes {env.observation_space}, which is no image: use pixels 'render'"
            )
        self._from_observation = source != "render" and self._space is not None
        if not self._from_observation and env.render_mode != "rgb_array":
            raise UsageError(
                f"{name} gives no images: its observation is {env.observation_space} and its "
                f"render_mode is {env.render_mode!r}, expected an image or 'rgb_array'"
            )
        self.observation_space = Box(0, 255, (size, size, 3), np.uint8)
        self._image = np.zeros((size, size, 3), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[UInt8[np.ndarray, "size size 3"], dict[str, Any]]:
        """Resets the environment."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._see(observation), info

    def step(
        self, action: Float32[np.ndarray, " n"]
    ) -> tuple[UInt8[np.ndarray, "size size 3"], float, bool, bool, dict[str, Any]]:
        """Steps the environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        steps = self.env.get_wrapper_attr("simulator_steps")
        info = {**info, "simulator_steps": steps}
        return self._see(observation), float(reward), terminated, truncated, info

    def render(self) -> UInt8[np.ndarray, "size size 3"]:
        """Returns the last observation."""
        return self._image.copy()

    def _see(self, observation: Any) -> UInt8[np.ndarray, "size size 3"]:
        if not self._from_observation:
            self._image = _to_rgb(self.env.render(), None, self.size, f"{self.name}: render()")
            return self._image.copy()
        where = f"{self.name}: the observation"
        if self._key is not None:
            if not isinstance(observation, dict) or self._key not in observation:
                raise EnvironmentFailure(
                    f"{where} is {_describe(observation)}, but its observation space promises a "
                    f"dictionary with {self._key!r}"
                )
            observation = observation[self._key]
        self._image = _to_rgb(observation, self._space, self.size, where)
        return self._image.copy()


def _find_image(space: Space) -> tuple[str | None, Box | None]:
    """Returns the key (of a Dict) and the space of the image in an observation."""
    if isinstance(space, Dict):
        images = {key: box for key, box in space.items() if isinstance(box, Box) and _is_image(box)}
        for key in (*_IMAGE_KEYS, *(images if len(images) == 1 else ())):
            if key in images:
                return key, images[key]
        return None, None
    return None, space if isinstance(space, Box) and _is_image(space) else None


def _is_image(space: Box) -> bool:
    if len(space.shape) not in (2, 3):
        return False
    sides = sorted(space.shape)[-2:]
    channels = len(space.shape) == 2 or space.shape[-1] in (1, 3, 4) or space.shape[0] in (1, 3)
    values = space.dtype == np.uint8 or (
        np.issubdtype(space.dtype, np.floating)
        and bool((space.low == 0).all())
        and float(np.max(space.high)) in (1.0, 255.0)
    )
    return channels and values and sides[0] >= _SMALLEST_IMAGE


def _to_rgb(image: Any, space: Box | None, size: int, where: str) -> np.ndarray:
    """Returns any image as (size, size, 3) uint8."""
    if not isinstance(image, np.ndarray):
        raise EnvironmentFailure(f"{where} is {_describe(image)}, expected an image as an array")
    if space is not None and (image.shape != space.shape or image.dtype != space.dtype):
        raise EnvironmentFailure(
            f"{where} is {_describe(image)}, but its observation space promises {space.dtype} of "
            f"shape {space.shape}"
        )
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim == 3 and image.shape[-1] not in (1, 3, 4) and image.shape[0] in (1, 3):
        image = np.moveaxis(image, 0, -1)
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
        raise EnvironmentFailure(f"{where} is {_describe(image)}, expected (height, width, 3)")
    if space is not None and image.dtype != np.uint8:
        image = np.rint(image * (255.0 / float(np.max(space.high)))).clip(0, 255).astype(np.uint8)
    if image.dtype != np.uint8:
        raise EnvironmentFailure(f"{where} is {_describe(image)}, expected uint8 from 0 to 255")
    image = image[..., :3] if image.shape[-1] != 1 else np.repeat(image, 3, axis=-1)
    if image.shape[:2] == (size, size):
        return image
    from PIL import Image

    shrinks = min(image.shape[:2]) >= size
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((size, size), method))


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    return "None" if value is None else f"of type {type(value).__name__}"
