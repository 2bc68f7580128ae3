"""mujoco-warp's ray tracer on the CPU: images without any OpenGL library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    import mujoco


class WarpRenderer:
    """Draws a MuJoCo model by ray tracing."""

    backend = "warp"

    def __init__(self, model: mujoco.MjModel, camera: int, size: int) -> None:
        import mujoco
        import warp

        warp.config.log_level = warp.config.LOG_ERROR if hasattr(warp.config, "LOG_ERROR") else 40
        import mujoco_warp

        self._warp = mujoco_warp
        self._device = warp.ScopedDevice("cpu")
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        with self._device:
            self._model = mujoco_warp.put_model(model)
            self._data = mujoco_warp.put_data(model, data)
            self._context = mujoco_warp.create_render_context(
                model,
                1,
                cam_res=(size, size),
                cam_active=[camera],
                render_rgb=True,
                render_depth=False,
                use_shadows=True,
                render_skybox=True,
            )
            self._names = (
                "geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat", "light_xpos", "light_xdir"
            )  # fmt: skip
            self._views = [getattr(self._data, name).numpy() for name in self._names]
            pixels = self._context.rgb_data.numpy().view(np.uint8)
            self._pixels = pixels.reshape(size, size, 4)[..., 2::-1]

    def upload(self) -> None:
        """Takes over what changed in the model."""

    def render(self, data: mujoco.MjData) -> UInt8[np.ndarray, "size size 3"]:
        """Returns a new image of the state."""
        for name, view in zip(self._names, self._views, strict=True):
            view[...] = getattr(data, name).reshape(view.shape)
        with self._device:
            self._warp.refit_bvh(self._model, self._data, self._context)
            self._warp.render(self._model, self._data, self._context)
        return np.ascontiguousarray(self._pixels)

    def close(self) -> None:
        """Nothing to free."""
