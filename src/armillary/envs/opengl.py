"""MuJoCo's own renderer on an off-screen OpenGL context: EGL or OSMesa."""

from __future__ import annotations

import atexit
import weakref
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    import mujoco

_SHADOW_MAP = 512
"""Side of the shadow map: at 64 pixels it looks as the suite's 2048 does and costs half the
time."""

_open: weakref.WeakSet[OpenGLRenderer] = weakref.WeakSet()


class OpenGLRenderer:
    """Draws a MuJoCo model as dm_control's `physics.render` does.

    The OpenGL context, the scene and the buffers are made once and used for every frame. They
    belong to the thread that made them.
    """

    def __init__(self, model: mujoco.MjModel, camera: int, size: int, backend: str) -> None:
        import mujoco

        if backend == "egl":
            from mujoco.egl import GLContext
        else:
            from mujoco.osmesa import GLContext
        self.backend = backend
        self._model = model
        self._gl = GLContext(size, size)
        if not _open:  # after the context: at exit, it must go before what it was made from
            atexit.register(_close_all)
        _open.add(self)
        self._gl.make_current()
        visual = model.vis
        saved = visual.quality.shadowsize, visual.global_.offwidth, visual.global_.offheight
        visual.quality.shadowsize = min(_SHADOW_MAP, saved[0])
        visual.global_.offwidth = visual.global_.offheight = size
        self._mjr = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        visual.quality.shadowsize, visual.global_.offwidth, visual.global_.offheight = saved
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._mjr)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = camera
        self._rect = mujoco.MjrRect(0, 0, size, size)
        self._pixels = np.empty((size, size, 3), np.uint8)

    def upload(self) -> None:
        """Takes over height fields that changed in the model."""
        import mujoco

        self._gl.make_current()
        for field in range(self._model.nhfield):
            mujoco.mjr_uploadHField(self._model, self._mjr, field)

    def render(self, data: mujoco.MjData) -> UInt8[np.ndarray, "size size 3"]:
        """Returns a new image of the state."""
        import mujoco

        self._gl.make_current()
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._option,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        mujoco.mjr_render(self._rect, self._scene, self._mjr)
        mujoco.mjr_readPixels(self._pixels, None, self._rect, self._mjr)
        return self._pixels[::-1].copy()

    def close(self) -> None:
        """Frees the OpenGL context; a second time does nothing."""
        if self._gl is None:
            return
        self._gl.make_current()
        self._mjr.free()
        self._gl.free()
        self._gl = None
        _open.discard(self)


def _close_all() -> None:
    for renderer in list(_open):
        renderer.close()
