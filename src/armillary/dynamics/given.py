"""What is given to look into a model: observations, actions and masks, checked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float32

from armillary.errors import UsageError
from armillary.spec import MASK, Spec


def observed(
    spec: Spec, observations: ArrayLike | Mapping[str, ArrayLike]
) -> tuple[dict[str, np.ndarray], tuple[int, ...]]:
    """Returns the fields of a sequence of observations without the mask, and the axes after time.

    Raises:
        UsageError: the shapes or types are not those of the spec.
    """
    named = {name: np.asarray(x) for name, x in spec.named(observations).items()}
    named.pop(MASK, None)
    leading = set()
    for name, array in named.items():
        field = spec.fields[name]
        axes = array.ndim - len(field.shape)
        if axes < 1 or array.shape[axes:] != field.shape or array.dtype != field.dtype:
            what = "frames have" if field.is_image else f"field {name!r} has"
            raise UsageError(
                f"the {what} shape {array.shape} and type {array.dtype}, expected "
                f"{field.dtype} of shape (T, {', '.join(map(str, field.shape))}): as the "
                "environment of `make_env` gives them"
            )
        leading.add(array.shape[:axes])
    if len(leading) != 1:
        raise UsageError(
            f"the fields of the observations have the leading axes {sorted(leading)}, expected "
            "the same of all"
        )
    _, *batch = leading.pop()
    return named, tuple(batch)


def led(
    spec: Spec,
    actions: ArrayLike,
    named: Mapping[str, np.ndarray],
    batch: tuple[int, ...],
    *,
    begun: bool,
) -> Float32[np.ndarray, "time *batch action"]:
    """Returns the actions that led to each of a sequence of observations, 0 where none did.

    Args:
        spec: of the actions.
        actions: as many as observations, or one fewer.
        named: the observations.
        batch: their axes after that of time.
        begun: whether something came before the first.

    Raises:
        UsageError: there are more or fewer, or their shape is another.
    """
    rows = len(next(iter(named.values())))
    chosen = fitting_actions(spec, actions, batch)
    if len(chosen) == rows - 1 and not begun:
        chosen = np.concatenate([np.zeros((1, *batch, spec.action.size), np.float32), chosen])
    if not rows or len(chosen) != rows:
        expected = "as many actions as frames" + ("" if begun else ", or one fewer")
        raise UsageError(f"got {rows} frames and {len(chosen)} actions, expected {expected}")
    return chosen


def fitting_actions(
    spec: Spec, actions: ArrayLike, batch: tuple[int, ...]
) -> Float32[np.ndarray, "time *batch action"]:
    """Returns actions as a model takes them; of numbers of discrete ones the one-hot vectors.

    Raises:
        UsageError: they are not of shape (time, *batch, A).
    """
    chosen = np.asarray(actions)
    if spec.discrete and chosen.ndim == 1 + len(batch) and np.issubdtype(chosen.dtype, np.integer):
        if chosen.size and not (chosen.min() >= 0 and chosen.max() < spec.action.size):
            raise UsageError(
                f"actions are numbers from 0 to {spec.action.size - 1}, but here is one of "
                f"{chosen.max() if chosen.max() >= spec.action.size else chosen.min()}"
            )
        chosen = spec.stored_action(chosen)
    chosen = chosen.astype(np.float32)
    if chosen.ndim != 2 + len(batch) or chosen.shape[-1] != spec.action.size:
        either = " (or their numbers)" if spec.discrete else " in [-1, 1]"
        raise UsageError(
            f"the actions have shape {chosen.shape}, expected {2 + len(batch)} axes, the last one "
            f"of {spec.action.size} entries{either}"
        )
    if chosen.shape[1:-1] != batch:
        raise UsageError(
            f"the actions have shape {chosen.shape}, but for leading axes {batch} they need "
            f"(time, {', '.join(map(str, (*batch, spec.action.size)))})"
        )
    return chosen


def fitting_mask(mask: ArrayLike | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """Returns a mask with one leading axis; None: there is none.

    Raises:
        UsageError: its shape is another.
    """
    if mask is None:
        return None
    legal = np.asarray(mask, bool)
    if legal.shape != shape:
        raise UsageError(f"the mask has shape {legal.shape}, expected {shape}")
    return legal.reshape(-1, shape[-1])
