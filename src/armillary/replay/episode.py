"""One episode, as it is stored and learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from armillary.errors import UsageError


@dataclass(frozen=True)
class Episode:
    """One episode of T agent steps, as T + 1 rows.

    Row 0 is the reset: its action and reward are zero. `action[t]` is the action that leads to
    the observation of row t, and `reward[t]` the reward that came with it (summed over the action
    repeat).

    Raises:
        UsageError: an array has another shape or type.
    """

    observation: Mapping[str, Shaped[np.ndarray, "rows *shape"]]
    """Each field of the observations by its name, see `armillary.spec`."""
    action: Float32[np.ndarray, "rows dims"]
    """Vectors, of discrete actions one-hot ones."""
    reward: Float32[np.ndarray, " rows"]
    terminal: bool = False
    """True if the environment ended the episode, False if a time limit cut it."""
    simulator_steps: int | None = None
    """Steps of the wrapped environment: up to `steps` times the action repeat, and fewer where the
    episode ended inside a repeat. None: not counted, in files of an older version."""
    records: Mapping[str, Float32[np.ndarray, "rows *shape"]] = field(default_factory=dict)
    """What the agent wrote down beside the steps, of row t before its next action: search values,
    for instance. Zeros where there is nothing."""

    def __post_init__(self) -> None:
        for name, dimensions in (("action", 2), ("reward", 1)):
            array = getattr(self, name)
            if not _is_array(array, np.float32) or array.ndim != dimensions:
                raise UsageError(
                    f"an episode's {name} is {_found(array)}, expected float32 with {dimensions} "
                    "dimensions: convert it before it is stored"
                )
        rows = len(self.reward)
        if rows < 2 or len(self.action) != rows:
            raise UsageError(
                f"an episode has {len(self.action)} actions and {rows} rewards, expected T + 1 of "
                "both with at least one step after the reset"
            )
        for name, array in self.records.items():
            if not _is_array(array, np.float32) or len(array) != rows:
                raise UsageError(
                    f"an episode's record {name!r} is {_found(array)}, expected float32 with as "
                    f"many rows as rewards ({rows})"
                )
        if not self.observation:
            raise UsageError("an episode has no observation: give it one field or more")
        for name, array in self.observation.items():
            types = (np.uint8, np.float32, np.bool_)
            right = any(_is_array(array, dtype) for dtype in types) and len(array) == rows
            image = not right or array.dtype != np.uint8 or array.shape[3:] == (3,)
            if not right or not image:
                raise UsageError(
                    f"an episode's field {name!r} is {_found(array)}, expected as many rows as "
                    f"rewards ({rows}): of bytes (T + 1, H, W, 3), or of float32 or bool; convert "
                    "it before it is stored"
                )

    @property
    def steps(self) -> int:
        """T: agent steps, one less than rows."""
        return len(self.reward) - 1

    @property
    def images(self) -> dict[str, UInt8[np.ndarray, "rows height width 3"]]:
        """The fields of the observations that are images."""
        return {
            name: array
            for name, array in self.observation.items()
            if array.ndim == 4 and array.dtype == np.uint8
        }

    @property
    def image(self) -> UInt8[np.ndarray, "rows height width 3"]:
        """The images of an episode with one, and the first of them by name where it has several.

        Raises:
            UsageError: it has none.
        """
        images = self.images
        if not images:
            raise UsageError(
                f"the episode has no images, only {', '.join(map(repr, self.observation))}: it was "
                "played without drawing (environment.observe)"
            )
        return images[min(images)]


def _is_array(array: object, dtype: type) -> TypeGuard[np.ndarray]:
    return isinstance(array, np.ndarray) and array.ndim > 0 and array.dtype == dtype


def _found(array: Any) -> str:
    return f"{getattr(array, 'dtype', type(array))}{list(np.shape(array))}"
