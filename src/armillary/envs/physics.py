"""MuJoCo's state, and MuJoCo's warnings."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import mujoco
import numpy as np
from jaxtyping import Float64

_State = mujoco.mjtState

PHYSICS = _State.mjSTATE_FULLPHYSICS.value
"""Time, positions, velocities, activations, delays and plug-ins."""

CONTROL = _State.mjSTATE_CTRL.value
"""What the actuators are told."""

INPUTS = _State.mjSTATE_USER.value & ~CONTROL
"""What else MuJoCo is told: applied forces, mocap poses, equality constraints in use, user data."""

LARGEST = 1e10
"""Positions and velocities beyond this are an instability to MuJoCo (its `mjMAXVAL`)."""


def read(model: mujoco.MjModel, data: mujoco.MjData, kind: int) -> Float64[np.ndarray, " n"]:
    """Returns the parts of a state that `kind` (of `mujoco.mjtState`) selects."""
    part = np.empty(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, data, part, kind)
    return part


def layout(model: mujoco.MjModel) -> tuple[int, int]:
    """Returns what two models have in common if one's `MjData` fits the other."""
    return model.signature, mujoco.mj_stateSize(model, _State.mjSTATE_INTEGRATION.value)


_lock = threading.Lock()
_depth, _handler = 0, None


@contextmanager
def silent() -> Iterator[None]:
    """Keeps MuJoCo from printing its warnings, or writing them to a file in the working folder.

    Its handler of warnings is one for the whole process.
    """
    global _depth, _handler
    with _lock:
        if not _depth:
            _handler = mujoco.get_mju_user_warning()
            mujoco.set_mju_user_warning(lambda message: None)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth:
                mujoco.set_mju_user_warning(_handler)
