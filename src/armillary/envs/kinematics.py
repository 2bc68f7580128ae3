"""Where the bodies are, for many states of a MuJoCo model at once.

MuJoCo computes this for one state at a time, and a rollout gives back positions of joints only.

A vector here is a tuple of three entries and a matrix one of three rows. An entry that is the same
in all states is a plain number, so that nothing is computed for the zeros and ones of which most
models' frames are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float64

from armillary.errors import UsageError, nearest

Entry = float | Float64[np.ndarray, "*states"]
Vector = Sequence[Entry]
Matrix = Sequence[Vector]
Mocap = tuple[Float64[np.ndarray, "nmocap 3"], Float64[np.ndarray, "nmocap 4"]]

_KINDS = ("body", "inertia", "geom", "site")


class Frame(NamedTuple):
    """A position in the world and the matrix whose columns are the axes."""

    position: Vector
    rotation: Matrix


_WORLD = Frame((0.0, 0.0, 0.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))


def body_frame(
    model: mujoco.MjModel,
    qpos: Float64[np.ndarray, "*states nq"],
    body: int,
    mocap: Mocap | None = None,
) -> Frame:
    """Returns the frame of a body (MuJoCo's `xpos` and `xmat`).

    Only the joints between the body and the world are looked at.

    Args:
        model: the model.
        qpos: joint positions of each state.
        body: the body's number.
        mocap: positions and quaternions of the mocap bodies, the same in all states; None: those
            of the model.
    """
    if body == 0:
        return _WORLD
    if mocap is not None and model.body_mocapid[body] >= 0:
        position, quaternion = (part[model.body_mocapid[body]] for part in mocap)
        return Frame(tuple(position), _matrix(quaternion))
    first, count = model.body_jntadr[body], model.body_jntnum[body]
    if count and model.jnt_type[first] == mujoco.mjtJoint.mjJNT_FREE:
        start = model.jnt_qposadr[first]
        position = tuple(qpos[..., start + axis] for axis in range(3))
        return Frame(position, _matrix(qpos[..., start + 3 : start + 7]))
    frame = body_frame(model, qpos, model.body_parentid[body], mocap)
    frame = _fixed(frame, model.body_pos[body], model.body_quat[body])
    for joint in range(first, first + count):
        start = model.jnt_qposadr[joint]
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_BALL:
            turn = _matrix(qpos[..., start : start + 4])
        else:
            axis, moved = model.jnt_axis[joint], qpos[..., start] - model.qpos0[start]
            if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE:
                offset = [_dot([part], [moved]) for part in axis]
                frame = Frame(_moved(frame, offset), frame.rotation)
                continue
            turn = _about(axis, moved)
        anchor = model.jnt_pos[joint]
        turned = Frame(_moved(frame, anchor), _product(frame.rotation, turn))
        frame = Frame(_moved(turned, -anchor), turned.rotation)
    return frame


def frame(
    model: mujoco.MjModel,
    qpos: Float64[np.ndarray, "*states nq"],
    kind: str,
    name: str,
    mocap: Mocap | None = None,
) -> Frame:
    """Returns the frame of a body or of something that is fixed to one.

    Args:
        model: the model.
        qpos: joint positions of each state.
        kind: `body`, `geom`, `site`, or `inertia` (at the centre of mass of the body of that name).
        name: its name in the model.
        mocap: as above.

    Raises:
        UsageError: there is no such kind, or the model has none of that name.
    """
    if kind not in _KINDS:
        raise UsageError(f"kind is {kind!r}, expected one of {', '.join(_KINDS)}")
    if kind in ("body", "inertia"):
        body = index = _index(model, "body", name)
        local = (model.body_ipos, model.body_iquat)
    else:
        index = _index(model, kind, name)
        body = getattr(model, f"{kind}_bodyid")[index]
        local = getattr(model, f"{kind}_pos"), getattr(model, f"{kind}_quat")
    of_body = body_frame(model, qpos, int(body), mocap)
    return of_body if kind == "body" else _fixed(of_body, local[0][index], local[1][index])


def as_array(
    part: Sequence[Any], shape: tuple[int, ...]
) -> Float64[np.ndarray, "*states 3"] | Float64[np.ndarray, "*states 3 3"]:
    """Returns a frame's position or rotation as an array, for states of this shape.

    Args:
        part: a vector or a matrix.
        shape: its leading axes in the result.
    """
    if isinstance(part[0], Sequence):
        return np.stack([as_array(row, shape) for row in part], axis=-2)
    result = np.empty((*shape, len(part)))
    for axis, entry in enumerate(part):
        result[..., axis] = entry
    return result


def _index(model: mujoco.MjModel, kind: str, name: str) -> int:
    count = {"body": model.nbody, "geom": model.ngeom, "site": model.nsite}[kind]
    names = [getattr(model, kind)(i).name for i in range(count)]
    if not name or name not in names:
        raise UsageError(f"the model has no {kind} {name!r}.{nearest(name, filter(None, names))}")
    return names.index(name)


def _fixed(frame: Frame, position: np.ndarray, quaternion: np.ndarray) -> Frame:
    """Returns the frame that has this position and orientation in another."""
    return Frame(_moved(frame, position), _product(frame.rotation, _matrix(quaternion)))


def _moved(frame: Frame, by: Iterable[Entry]) -> Vector:
    """Returns the point of the world that has these coordinates in a frame."""
    by = tuple(by)
    return tuple(
        _dot((1.0, *row), (start, *by))
        for start, row in zip(frame.position, frame.rotation, strict=True)
    )


def _product(left: Matrix, right: Matrix) -> Matrix:
    columns = tuple(zip(*right, strict=True))
    return tuple(tuple(_dot(row, column) for column in columns) for row in left)


def _dot(left: Vector, right: Vector) -> Entry:
    """Returns the sum of products; skips the factors 0 and 1."""
    total: Entry = 0.0
    for a, b in zip(left, right, strict=True):
        if _is(a, 0) or _is(b, 0):
            continue
        product = b if _is(a, 1) else a if _is(b, 1) else a * b
        total = product if _is(total, 0) else total + product
    return total


def _is(entry: Entry, number: int) -> bool:
    return isinstance(entry, float) and entry == number


def _about(axis: np.ndarray, angle: Float64[np.ndarray, "*states"]) -> Matrix:
    """Returns the rotation about a fixed unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    along = np.outer(axis, axis)
    across = np.eye(3) - along
    parts = (1.0, np.cos(angle), np.sin(angle))
    return tuple(
        tuple(_dot(parts, (along[i, j], across[i, j], cross[i, j])) for j in range(3))
        for i in range(3)
    )


def _matrix(quaternion: Float64[np.ndarray, "*states 4"]) -> Matrix:
    """Returns the rotation of a quaternion (w, x, y, z), normalised first."""
    unit = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    w, x, y, z = np.moveaxis(unit, -1, 0)
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
