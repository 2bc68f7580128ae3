"""MuJoCo's own renderer on an off-screen OpenGL context: EGL or OSMesa."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from armillary.errors import RenderingError

if TYPE_CHECKING:
    import mujoco

_SHADOW_MAP = 512
"""Side of the shadow map: at 64 pixels it looks as the suite's 2048 does and costs half the
time."""

_open: weakref.WeakSet[OpenGLRenderer] = weakref.WeakSet()


class OpenGLRenderer:
    """Draws a MuJoCo model as dm_control's `physics.render` does.

    The OpenGL context, the scene and the buffers are made once and used for every frame. The
    context is let go after each, so any thread may draw the next.
    """

    _gl = None

    def __init__(self, model: mujoco.MjModel, camera: int, size: int, backend: str) -> None:
        if backend == "egl":
            from mujoco.egl import GLContext
        else:
            from mujoco.osmesa import GLContext
        self.backend = backend
        self._model = model
        self._gl = GLContext(size, size)
        # Now, when EGL has asked to be terminated at exit: what is asked later is done before.
        atexit.unregister(_close_all)
        atexit.register(_close_all)
        _open.add(self)
        with self._current():
            self._make(model, camera, size)

    def _make(self, model: mujoco.MjModel, camera: int, size: int) -> None:
        import mujoco

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

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Makes the context this thread's, and lets it go."""
        if self._gl is None:
            raise RenderingError("the renderer is closed; make a new environment")
        self._gl.make_current()
        try:
            yield
        finally:
            if self.backend == "egl":
                from mujoco.egl import EGL, EGL_DISPLAY

                nothing = EGL.EGL_NO_SURFACE
                EGL.eglMakeCurrent(EGL_DISPLAY, nothing, nothing, EGL.EGL_NO_CONTEXT)

    def device(self) -> str:
        """Returns the vendor and the renderer, as OpenGL gives them."""
        from OpenGL import GL  # type: ignore[import-untyped]

        with self._current():
            return ": ".join(GL.glGetString(n).decode() for n in (GL.GL_VENDOR, GL.GL_RENDERER))

    def upload(self) -> None:
        """Takes over height fields that changed in the model."""
        import mujoco

        if self._model.nhfield:
            with self._current():
                for field in range(self._model.nhfield):
                    mujoco.mjr_uploadHField(self._model, self._mjr, field)

    def render(self, data: mujoco.MjData) -> UInt8[np.ndarray, "size size 3"]:
        """Returns a new image of the state."""
        import mujoco

        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, self._camera, everything, self._scene
        )
        with self._current():
            mujoco.mjr_render(self._rect, self._scene, self._mjr)
            mujoco.mjr_readPixels(self._pixels, None, self._rect, self._mjr)
        return self._pixels[::-1].copy()

    def close(self) -> None:
        """Frees the OpenGL context; a second time does nothing."""
        if self._gl is None:
            return
        with self._current():
            self._mjr.free()
        self._gl.free()
        self._gl = None
        _open.discard(self)

    def __del__(self) -> None:
        self.close()


def _close_all() -> None:
    for renderer in list(_open):
        renderer.close()
