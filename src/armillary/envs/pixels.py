"""The images that an agent sees, from whatever an environment observes or draws."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space, Tuple
from jaxtyping import Float32, UInt8

from armillary.envs.guard import LARGEST, describe
from armillary.errors import EnvironmentFailure, UsageError, nearest

log = logging.getLogger(__name__)

_IMAGE_KEYS = ("pixels", "image", "rgb")
_SMALLEST_IMAGE = 8
"""A Box with a shorter side than this is not taken for an image."""
_ROUNDING = 1e-4
"""By how much of its range a value may leave it: what rounding does."""


class Pixels(gymnasium.Wrapper):
    """Observations as images: `Box(0, 255, (size, size, 3), uint8)`.

    What an observation space promises as the largest value becomes 255: a mask of 0 and 1 is black
    and white. With several images in an observation, or none that is the obvious one, a warning
    says once what is shown.

    Args:
        env: An environment that observes images, or that draws them in `rgb_array` mode.
        name: Its name, for messages.
        size: Height and width of the images.
        source: `observation`, `render`, the name of an image in a dictionary (`cameras/front` of a
            nested one), or `auto`: the observation if it holds an image and only one, or one that
            is called pixels, image or rgb; else `render()`.

    Raises:
        UsageError: Neither the observation nor `render()` gives images, or not the one asked for.
    """

    def __init__(self, env: gymnasium.Env, name: str, size: int = 64, source: str = "auto") -> None:
        super().__init__(env)
        self.name, self.size = name, size
        self._path = self._choose(source)
        if self._path is not None:
            self._keys, self._space = self._images[self._path]
        self.observation_space = Box(0, 255, (size, size, 3), np.uint8)
        self._image = np.zeros((size, size, 3), np.uint8)

    def _choose(self, source: str) -> str | None:
        """Returns the path of the image in an observation; None: it is drawn."""
        space = getattr(self.env, "observation_space", None)
        images = self._images = {"/".join(map(str, k)): (k, box) for k, box in _find_images(space)}
        draws = self.env.render_mode == "rgb_array"
        if source in images:
            return source
        if source not in ("auto", "observation", "render"):
            raise UsageError(
                f"pixels is {source!r}, but the images that {self.name} observes are "
                f"{_listed(images)}: name one of them, or give auto, observation or render."
                + nearest(source, [*images, "auto", "observation", "render"])
            )
        if source == "observation" and not images:
            raise UsageError(
                f"{self.name} observes {space}, which is no image: use pixels 'render'"
            )
        obvious = [*(key for key in _IMAGE_KEYS if key in images), *images]
        if source != "render" and (len(images) == 1 or (images and obvious[0] in _IMAGE_KEYS)):
            if len(images) > 1:
                _say(self.name, f"the image {obvious[0]!r} of its observation", _listed(images))
            return obvious[0]
        if source == "observation" or not draws:
            if source != "render" and images:
                raise UsageError(
                    f"{self.name} observes several images: choose one of {_listed(images)} with "
                    "--environment.pixels NAME"
                )
            raise UsageError(
                f"{self.name} gives no images: its observation is {space} and its render_mode is "
                f"{self.env.render_mode!r}, expected an image or 'rgb_array'"
            )
        if source == "auto" and images:
            _say(self.name, "render()", _listed(images))
        return None

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
        if not abs(float(reward)) <= LARGEST:
            raise EnvironmentFailure(
                f"{self.name}: the rewards of the steps of one action, the last of them step "
                f"{steps}, add up to {reward}, more than 32 bits hold (3.4e38): scale them down in "
                "the environment"
            )
        info = {**info, "simulator_steps": steps}
        return self._see(observation), float(reward), terminated, truncated, info

    def render(self) -> UInt8[np.ndarray, "size size 3"]:
        """Returns the last observation."""
        return self._image.copy()

    def _see(self, observation: Any) -> UInt8[np.ndarray, "size size 3"]:
        steps = self.env.get_wrapper_attr("simulator_steps")
        when = f"at step {steps}" if steps else "at reset"
        if self._path is None:
            where = f"{self.name}: render() {when}"
            self._image = _to_rgb(self.env.render(), None, self.size, where)
        else:
            where = f"{self.name}: the observation {when}"
            image = _entry(observation, self._keys, where)
            self._image = _to_rgb(image, self._space, self.size, where)
        return self._image.copy()


@cache
def _say(name: str, source: str, images: str) -> None:
    """Says once in this process what is shown of an environment where there is a choice."""
    log.warning(
        "%s observes several images (%s): the agent sees %s; another one is chosen with "
        "--environment.pixels NAME",
        name,
        images,
        source,
    )


def _listed(images: Iterable[str]) -> str:
    return ", ".join(repr(path) for path in images) or "none"


def _find_images(space: Space | None, keys: tuple = ()) -> Iterator[tuple[tuple, Box]]:
    """Yields where each image is in an observation, and its space."""
    if isinstance(space, Box) and _is_image(space):
        yield keys, space
    parts: Any = ()
    if isinstance(space, Dict):
        parts = space.items()
    elif isinstance(space, Tuple):
        parts = enumerate(space)
    for key, part in parts:
        yield from _find_images(part, (*keys, key))


def _entry(observation: Any, keys: tuple, where: str) -> Any:
    """Returns what an observation holds there."""
    found = observation
    for key in keys:
        try:
            found = found[key]
        except (LookupError, TypeError):
            what = "tuple" if isinstance(keys[0], int) else "dictionary"
            raise EnvironmentFailure(
                f"{where} is {describe(observation)}, but its observation space promises a {what} "
                f"with {'/'.join(map(str, keys))!r}"
            ) from None
    return found


def _is_image(space: Box) -> bool:
    if len(space.shape) not in (2, 3):
        return False
    sides = sorted(space.shape)[-2:]
    channels = len(space.shape) == 2 or space.shape[-1] in (1, 3, 4) or space.shape[0] in (1, 3)
    values = (space.dtype in (np.uint8, np.bool_) and bool((space.high > 0).any())) or (
        np.issubdtype(space.dtype, np.floating)
        and bool((space.low == 0).all())
        and float(np.max(space.high)) in (1.0, 255.0)
    )
    return channels and values and sides[0] >= _SMALLEST_IMAGE


def _to_rgb(image: Any, space: Box | None, size: int, where: str) -> np.ndarray:
    """Returns any image as (size, size, 3) uint8."""
    if not isinstance(image, np.ndarray):
        raise EnvironmentFailure(f"{where} is {describe(image)}, expected an image as an array")
    if space is not None:
        image = _to_bytes(image, space, where)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim == 3 and image.shape[-1] not in (1, 3, 4) and image.shape[0] in (1, 3):
        image = np.moveaxis(image, 0, -1)
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
        raise EnvironmentFailure(f"{where} is {describe(image)}, expected (height, width, 3)")
    if image.dtype != np.uint8:
        raise EnvironmentFailure(f"{where} is {describe(image)}, expected uint8 from 0 to 255")
    image = image[..., :3] if image.shape[-1] != 1 else np.repeat(image, 3, axis=-1)
    if image.shape[:2] == (size, size):
        return image
    from PIL import Image

    shrinks = min(image.shape[:2]) >= size
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((size, size), method))


def _to_bytes(image: np.ndarray, space: Box, where: str) -> np.ndarray:
    """Returns an observed image with its promised largest value as 255.

    Raises:
        EnvironmentFailure: It is not what its space promises, in shape, type or values.
    """
    if image.shape != space.shape or image.dtype != space.dtype:
        raise EnvironmentFailure(
            f"{where} is {describe(image)}, but its observation space promises {space.dtype} of "
            f"shape {space.shape}"
        )
    high = float(np.max(space.high))
    if image.dtype == np.uint8 and high == 255:
        return image
    low, highest = float(image.min()), float(image.max())
    if not (-_ROUNDING * high <= low and highest <= high * (1 + _ROUNDING)):  # NaN too
        raise EnvironmentFailure(
            f"{where} has values from {low:g} to {highest:g}, but its observation space promises 0 "
            f"to {high:g}: mend the one or the other"
        )
    return np.rint(image * (255.0 / high)).clip(0, 255).astype(np.uint8)
