"""Where the bodies are, for many states of a MuJoCo model at once.

MuJoCo computes this for one state at a time, and a rollout gives back positions of joints only.
"""

from __future__ import annotations

import mujoco
import numpy as np
from jaxtyping import Float64

Position = Float64[np.ndarray, "*states 3"]
Rotation = Float64[np.ndarray, "*states 3 3"]


def body_pose(
    model: mujoco.MjModel, qpos: Float64[np.ndarray, "*states nq"], body: int
) -> tuple[Position, Rotation]:
    """Returns the position and orientation of a body's frame (MuJoCo's `xpos` and `xmat`).

    Only the joints between the body and the world are looked at.

    Args:
        model: the model.
        qpos: joint positions of each state.
        body: the body's number.

    Returns:
        Its position in the world, and the matrix whose columns are its axes. Where no joint moves
        it, both have no leading axes.
    """
    if body == 0:
        return np.zeros(3), np.eye(3)
    position, rotation = body_pose(model, qpos, model.body_parentid[body])
    first, count = model.body_jntadr[body], model.body_jntnum[body]
    if count and model.jnt_type[first] == mujoco.mjtJoint.mjJNT_FREE:
        start = model.jnt_qposadr[first]
        return qpos[..., start : start + 3], _matrix(qpos[..., start + 3 : start + 7])
    position = position + _apply(rotation, model.body_pos[body])
    rotation = rotation @ _matrix(model.body_quat[body])
    for joint in range(first, first + count):
        start = model.jnt_qposadr[joint]
        axis, anchor = model.jnt_axis[joint], model.jnt_pos[joint]
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE:
            moved = qpos[..., start] - model.qpos0[start]
            position = position + _apply(rotation, axis) * moved[..., None]
            continue
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_BALL:
            turn = _matrix(qpos[..., start : start + 4])
        else:
            turn = _about(axis, qpos[..., start] - model.qpos0[start])
        turned = rotation @ turn
        if anchor.any():
            position = position + _apply(rotation - turned, anchor)
        rotation = turned
    return position, rotation


def pose(
    model: mujoco.MjModel, qpos: Float64[np.ndarray, "*states nq"], kind: str, name: str
) -> tuple[Position, Rotation]:
    """Returns the position and orientation of something that is fixed to a body.

    Args:
        model: the model.
        qpos: joint positions of each state.
        kind: `body`, `geom`, `site`, or `inertia` (the centre of mass of the body of that name).
        name: its name in the model.

    Raises:
        KeyError: the model has none of that name.
    """
    if kind in ("body", "inertia"):
        body = model.body(name).id
        at = (model.body_ipos[body], model.body_iquat[body]) if kind == "inertia" else None
    elif kind in ("geom", "site"):
        index = getattr(model, kind)(name).id
        body = int(getattr(model, f"{kind}_bodyid")[index])
        at = getattr(model, f"{kind}_pos")[index], getattr(model, f"{kind}_quat")[index]
    else:
        raise KeyError(f"kind is {kind!r}, expected 'body', 'inertia', 'geom' or 'site'")
    position, rotation = body_pose(model, qpos, body)
    if at is None:
        return position, rotation
    return position + _apply(rotation, at[0]), rotation @ _matrix(at[1])


def _apply(rotation: Rotation, vector: np.ndarray) -> Position:
    """Returns a fixed vector, turned; skips the axes along which it is zero."""
    total = np.zeros(rotation.shape[:-1])
    for axis in np.flatnonzero(vector):
        total += rotation[..., axis] * vector[axis]
    return total


def _about(axis: np.ndarray, angle: Float64[np.ndarray, "*states"]) -> Rotation:
    """Returns the rotation about a fixed unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    cosine, sine = np.cos(angle)[..., None, None], np.sin(angle)[..., None, None]
    return cosine * np.eye(3) + sine * cross + (1 - cosine) * np.outer(axis, axis)


def _matrix(quaternion: Float64[np.ndarray, "*states 4"]) -> Rotation:
    """Returns the rotation of a quaternion (w, x, y, z), normalised first."""
    unit = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    w, x, y, z = np.moveaxis(unit, -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
