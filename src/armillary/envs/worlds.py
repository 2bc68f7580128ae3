"""One MuJoCo model in several worlds, simulated and drawn together by mujoco-warp.

On a graphics card if JAX uses one, else on the CPU. It computes in 32 bits, so a long episode is
not the one that MuJoCo simulates from the same start: what little they differ grows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import jax
import mujoco
import numpy as np
from jaxtyping import Bool, Float64, UInt8

from armillary.envs.raytracing import RayTracer, start
from armillary.envs.rewards import States
from armillary.envs.scene import LOOKS, POSES

PLACES = ("geom_pos", "site_pos")
"""What of the model differs between worlds and matters to the simulation: where targets are."""

_CONTACTS = 48
"""Contacts of one world, each of four constraints: no task of the suite has more at a time."""

_STATE = ("time", "qpos", "qvel", "act", "ctrl", "qacc_warmstart", "geom_xpos", "geom_xmat")
"""What an episode begins with; mujoco-warp computes places of what never moves only once."""

_SEEN = ("time", "qpos", "qvel", "act", "ctrl", "sensordata")
"""What a reward looks at."""

_lock = threading.RLock()
"""Warp's streams and captures are a device's, whoever's thread uses them."""

Start = Mapping[str, np.ndarray]
"""What a world begins with: copies of arrays of a model and of its data, by their names."""


def start_of(model: mujoco.MjModel, data: mujoco.MjData) -> Start:
    """Returns what a world begins with that is as this one.

    Args:
        model: differs in no more from the worlds' own than it may.
        data: its state.
    """
    found = {name: np.array(getattr(data, name)) for name in _STATE}
    return found | {name: np.array(getattr(model, name)) for name in (*PLACES, *LOOKS)}


class Worlds:
    """States of one model, each with its own targets.

    Args:
        model: what is simulated; of each world all but `PLACES` and `scene.LOOKS` is as in it.
        count: how many worlds.
        substeps: simulator steps in a step.
        device: Warp's name of the device; None: the first graphics card if JAX uses one, else
            the CPU.

    Attributes:
        models: what differs of each world's model: arrays with a leading axis of worlds.
    """

    def __init__(
        self, model: mujoco.MjModel, count: int, substeps: int, device: str | None = None
    ) -> None:
        self._mjw, self._warp = start()
        self._model, self._count, self._substeps = model, count, substeps
        if device is None:
            cards = self._warp.get_cuda_devices() if jax.default_backend() == "gpu" else []
            device = cards[0].alias if cards else "cpu"
        self._device = self._warp.get_device(device)
        self._graph: Any = None
        self._differs = False
        self._tracer: RayTracer | None = None
        with _lock, self._warp.ScopedDevice(self._device):
            self._put = self._mjw.put_model(model, batch_sizes=dict.fromkeys(PLACES, count))
            self._data = self._mjw.make_data(
                model, nworld=count, nconmax=_CONTACTS, njmax=4 * _CONTACTS + 2 * model.nv
            )
        self.models = {
            name: np.repeat(getattr(model, name)[None], count, axis=0) for name in (*PLACES, *LOOKS)
        }

    @property
    def device(self) -> str:
        """What simulates and draws, by its name."""
        return str(self._device.name)

    def set(self, starts: Mapping[int, Start]) -> None:
        """Puts some worlds into other states; the rest are not touched.

        Args:
            starts: what `start_of` gives, by the number of a world.
        """
        with _lock, self._warp.ScopedDevice(self._device):
            for name in _STATE:
                array = getattr(self._data, name)
                values = array.numpy().copy()
                for world, found in starts.items():
                    values[world] = np.reshape(found[name], values.shape[1:])
                array.assign(values)
            overflow = self._data.overflow.numpy().copy()
            overflow[list(starts)] = 0
            self._data.overflow.assign(overflow)
            for name, values in self.models.items():
                for world, found in starts.items():
                    values[world] = found[name]
            for name in PLACES:
                getattr(self._put, name).assign(self.models[name].astype(np.float32))
            self._mjw.step1(self._put, self._data)
        self._differs = any((x != x[:1]).any() for x in self.models.values())

    def step(self, control: Float64[np.ndarray, "worlds nu"]) -> None:
        """Simulates all worlds for one step, after which everything is up to date."""
        with _lock, self._warp.ScopedDevice(self._device):
            self._data.ctrl.assign(np.asarray(control, np.float32))
            if self._device.is_cpu:
                self._advance()
                return
            if self._graph is None:
                self._advance()  # compiles the kernels, which a capture must not
                with self._warp.ScopedCapture() as capture:
                    self._advance()
                self._graph = capture.graph
                return
            self._warp.capture_launch(self._graph)

    def _advance(self) -> None:
        """What dm_control does: positions and velocities are up to date before and after it."""
        single = self._substeps
        if self._model.opt.integrator != mujoco.mjtIntegrator.mjINT_RK4:
            self._mjw.step2(self._put, self._data)
            single -= 1
        for _ in range(single):
            self._mjw.step(self._put, self._data)
        self._mjw.step1(self._put, self._data)

    def states(self) -> States:
        """Returns the states, as ones that candidates have passed through in a single step."""
        with _lock:
            found = {name: getattr(self._data, name).numpy().astype(np.float64) for name in _SEEN}
        return States(
            model=self._model,
            control=found.pop("ctrl")[:, None],
            **{name: values[:, None] for name, values in found.items()},
        )

    def paid(
        self, reward: Callable[[States], Float64[np.ndarray, "candidates steps"]]
    ) -> Float64[np.ndarray, " worlds"]:
        """Returns what a reward pays in each world."""
        states = self.states()
        self._as_in(0)
        if not self._differs:
            return np.asarray(reward(states))[:, 0]
        paid = np.empty(self._count)
        for world in range(self._count):
            self._as_in(world)
            paid[world] = reward(states.of(np.arange(self._count) == world))[0, 0]
        return paid

    def _as_in(self, world: int) -> None:
        """Makes the model that of a world."""
        for name, values in self.models.items():
            getattr(self._model, name)[:] = values[world]

    def draw(self, camera: int, size: int) -> UInt8[np.ndarray, "worlds size size 3"]:
        """Returns an image of each world, always of the same camera and size."""
        with _lock:
            if self._tracer is None:
                self._tracer = RayTracer(
                    self._model, camera, size, self._count, str(self._device.alias)
                )
            poses = {name: getattr(self._data, name).numpy() for name in POSES}
            return self._tracer.draw(poses, self.models)

    def wrong(self) -> Bool[np.ndarray, " worlds"]:
        """Returns which worlds are no more what their model says.

        Their states are not finite, or they had more contacts than there is room for.
        """
        with _lock:
            states = [getattr(self._data, name).numpy() for name in ("qpos", "qvel", "act")]
            finite = [np.isfinite(x).reshape(self._count, -1).all(1) for x in states]
            kinds = self._mjw.OverflowType
            full = kinds.NEFC | kinds.BROADPHASE | kinds.NARROWPHASE
            return ~np.all(finite, axis=0) | (self._data.overflow.numpy() & int(full) != 0)
