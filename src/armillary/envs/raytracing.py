"""mujoco-warp's ray tracer: images without any OpenGL library, of many states at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from armillary.envs.kernels import ensure_cache
from armillary.envs.scene import LOOKS, POSES, Arrays, Scene

if TYPE_CHECKING:
    import mujoco

_SAMPLES = 2
"""Rays for each pixel, along each side: OpenGL's are drawn with 4 samples too."""


def start() -> tuple[Any, Any]:
    """Returns the modules `mujoco_warp` and `warp`, the latter initialised, without a word."""
    with _silent():
        import mujoco_warp
        import warp
    ensure_cache(warp.config.version)
    with _silent():
        warp.config.log_level = warp.LOG_WARNING
        warp.init()
    return mujoco_warp, warp


class RayTracer:
    """Draws one camera of a model in several worlds at once.

    Args:
        model: a MuJoCo model.
        camera: the number of its camera.
        size: height and width of the images in pixels.
        worlds: how many states are drawn together.
        device: Warp's name of the device that draws.
    """

    def __init__(
        self, model: mujoco.MjModel, camera: int, size: int, worlds: int = 1, device: str = "cpu"
    ) -> None:
        self._mjw, self._warp = start()
        self._size, self._worlds = size, worlds
        self._device = self._warp.get_device(device)
        self._scene = Scene(model, camera)
        self._build()

    def _build(self) -> None:
        own = ("geom_size", "geom_rgba", "mat_rgba")
        with self._warp.ScopedDevice(self._device):
            self._drawn = self._mjw.put_model(
                self._scene.model, batch_sizes=dict.fromkeys(own, self._worlds)
            )
            self._state = self._mjw.make_data(
                self._scene.model, nworld=self._worlds, nconmax=1, njmax=1
            )
            self._context = self._mjw.create_render_context(
                self._scene.model,
                nworld=self._worlds,
                cam_res=(self._size, self._size),
                render_rgb=True,
                render_depth=False,
                render_seg=False,
                use_shadows=True,
                shadow_light_fraction=0.0,
                render_skybox=True,
                samples_per_pixel=_SAMPLES,
            )
        placed = ("geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat", "light_xpos", "light_xdir")
        self._arrays = {name: getattr(self._state, name) for name in placed} | {
            name: getattr(self._drawn, name) for name in own
        }
        # On the CPU these are views of the arrays that are drawn: writing to them is enough.
        self._into = {name: array.numpy() for name, array in self._arrays.items()}

    def upload(self) -> None:
        """Takes over height fields that changed in the model."""
        if self._scene.take_height_fields():
            self._build()

    def draw(self, poses: Arrays, looks: Arrays) -> UInt8[np.ndarray, "worlds size size 3"]:
        """Returns a new image of each world.

        Args:
            poses: where everything is, `scene.POSES`.
            looks: how it looks, `scene.LOOKS`.
        """
        self._scene.place(poses, looks, self._into)
        with self._warp.ScopedDevice(self._device):
            if not self._device.is_cpu:
                for name, array in self._arrays.items():
                    array.assign(self._into[name])
            self._mjw.refit_bvh(self._drawn, self._state, self._context)
            self._mjw.render(self._drawn, self._state, self._context)
            packed = self._context.rgb_data.numpy()
        pixels = packed.view(np.uint8).reshape(self._worlds, self._size, self._size, 4)
        return np.ascontiguousarray(pixels[..., 2::-1])


class WarpRenderer:
    """Draws one camera of a MuJoCo model by ray tracing on the CPU, like `OpenGLRenderer`."""

    backend = "warp"

    def __init__(self, model: mujoco.MjModel, camera: int, size: int) -> None:
        self._model = model
        self._tracer = RayTracer(model, camera, size)

    def upload(self) -> None:
        """Takes over height fields that changed in the model."""
        self._tracer.upload()

    def render(self, data: mujoco.MjData) -> UInt8[np.ndarray, "size size 3"]:
        """Returns a new image of the state."""
        poses = {name: getattr(data, name)[None] for name in POSES}
        looks = {name: getattr(self._model, name)[None] for name in LOOKS}
        return self._tracer.draw(poses, looks)[0]

    def device(self) -> str:
        """Returns what draws."""
        return "ray tracing on the CPU"

    def close(self) -> None:
        """Nothing to free: the arrays go with the object."""


@contextmanager
def _silent() -> Iterator[None]:
    """Silences what a native library prints: Warp tells every machine without a GPU so."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
