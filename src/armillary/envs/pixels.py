"""The images that an agent sees, from whatever an environment observes or draws."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space, Tuple
from jaxtyping import UInt8

from armillary.envs.guard import describe
from armillary.errors import EnvironmentFailure, UsageError, nearest

log = logging.getLogger(__name__)

_IMAGE_KEYS = ("pixels", "image", "rgb")
_SMALLEST_IMAGE = 8
"""A Box with a shorter side than this is not taken for an image."""
_ROUNDING = 1e-4
"""By how much of its range a value may leave it: what rounding does."""


class ImageSource:
    """Where the images of an environment come from, as (size, size, 3) bytes.

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

    Attributes:
        path: Of the image in an observation; None: it is drawn.

    Raises:
        UsageError: Neither the observation nor `render()` gives images, or not the one asked for.
    """

    def __init__(self, env: gymnasium.Env, name: str, size: int = 64, source: str = "auto") -> None:
        self.env, self.name, self.size = env, name, size
        self.path = self._choose(source)
        if self.path is not None:
            self._keys, box = self._images[self.path]
            assert isinstance(box, Box)  # an image is in no other
            self._space = box

    def _choose(self, source: str) -> str | None:
        """Returns the path of the image in an observation; None: it is drawn."""
        space = getattr(self.env, "observation_space", None)
        images = self._images = {
            "/".join(map(str, k)): (k, box) for k, box in parts(space) if is_image(box)
        }
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

    def see(self, observation: Any, when: str) -> UInt8[np.ndarray, "size size 3"]:
        """Returns the image of an observation that the environment has just given.

        Args:
            observation: the environment's own.
            when: `at step 3`, for messages.

        Raises:
            EnvironmentFailure: It is not what was promised.
        """
        if self.path is None:
            where = f"{self.name}: render() {when}"
            return _to_rgb(self.env.render(), None, self.size, where)
        where = f"{self.name}: the observation {when}"
        image = entry(observation, self._keys, where)
        return _to_rgb(image, self._space, self.size, where)


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


def parts(space: Space | None, keys: tuple = ()) -> Iterator[tuple[tuple, Space]]:
    """Yields the keys and the space of each part of an observation, however nested."""
    inner: Any = ()
    if isinstance(space, Dict):
        inner = space.items()
    elif isinstance(space, Tuple):
        inner = enumerate(space)
    elif space is not None:
        yield keys, space
    for key, part in inner:
        yield from parts(part, (*keys, key))


def entry(observation: Any, keys: tuple, where: str) -> Any:
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


def is_image(space: Space) -> bool:
    """Whether what a space holds is taken for an image."""
    if not isinstance(space, Box):
        return False
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
