"""Rendering back ends: which of them work on this machine, and how to get those that do not."""

from __future__ import annotations

import ctypes.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import UInt8

from armillary.advice import install
from armillary.errors import RenderingError, UsageError, nearest

if TYPE_CHECKING:
    import mujoco

BACKENDS = ("egl", "osmesa", "warp")
"""In the order in which `auto` tries them."""

_CHOSEN = "ARMILLARY_RENDERER"
"""Environment variable in which the automatic choice is handed to the processes started later."""

_ADVICE = {
    "egl": "install libegl1 and libgl1 (Debian, Ubuntu), and libegl-mesa0 or the GPU's driver; in "
    "a container on an NVIDIA GPU, also set NVIDIA_DRIVER_CAPABILITIES=all",
    "osmesa": "install libosmesa6 (Debian up to 12, Ubuntu up to 24.04) or mesalib (conda-forge)",
    "warp": "reinstall mujoco-warp and warp-lang",
}
_CACHE = "set WARP_CACHE_PATH (and TMPDIR) to a folder that can be written and has room"

_TIMEOUT = 120.0
"""Seconds after which a trial counts as failed."""

_SCENE = """
<mujoco>
  <worldbody>
    <light pos="0 0 3"/>
    <camera pos="0 -2 1.5" xyaxes="1 0 0 0 .45 .9"/>
    <geom type="plane" size="2 2 .1" rgba="0 0 1 1"/>
    <body pos="0 0 .5"><geom size=".4" rgba="1 0 0 1"/></body>
  </worldbody>
</mujoco>
"""


class Renderer(Protocol):
    """Draws one camera of one MuJoCo model."""

    backend: str

    def render(self, data: mujoco.MjData) -> UInt8[np.ndarray, "size size 3"]:
        """Returns a new image of the state."""

    def upload(self) -> None:
        """Takes over what changed in the model since the last call; needed after a reset."""

    def device(self) -> str:
        """Returns what draws: a graphics card, or a program in its place."""

    def close(self) -> None:
        """Frees the renderer."""


@dataclass(frozen=True)
class Probe:
    """What came of drawing one image with a back end in a process of its own."""

    backend: str
    works: bool
    seconds: float | None = None
    """Time for each image of a small scene, 64 by 64 pixels."""
    device: str = ""
    """Vendor and renderer, as OpenGL gives them."""
    reason: str = ""
    """Why it does not work."""
    advice: str = ""
    """What to install."""


def choose(backend: str = "auto") -> str:
    """Returns the back end to draw with, once it has really drawn an image.

    EGL and OSMesa are tried in another process, because a broken driver may kill the process that
    tries it. The automatic choice is made once and handed on to child processes.

    Args:
        backend: `egl`, `osmesa`, `warp`, or `auto` for the first of them that works.

    Raises:
        UsageError: There is no such back end.
        RenderingError: It does not work here; the message names the packages to install.
    """
    if backend == "auto":
        if os.environ.get(_CHOSEN) not in BACKENDS:
            tried = []
            for name in BACKENDS:
                tried.append(_probe(name))
                if tried[-1].works:
                    os.environ[_CHOSEN] = name
                    break
            else:
                raise RenderingError("no rendering back end works here: " + _told(tried))
        return os.environ[_CHOSEN]
    if backend not in BACKENDS:
        raise UsageError(
            f"unknown renderer {backend!r}, expected auto, {', '.join(BACKENDS)}."
            + nearest(backend, BACKENDS)
        )
    if backend != "warp" and os.environ.get(_CHOSEN) != backend:
        result = _probe(backend)
        if not result.works:
            raise RenderingError(
                f"the renderer {backend!r} does not work here: {result.reason}. To use it, "
                f"{result.advice}; or choose renderer 'warp', which needs no OpenGL."
            )
    return backend


def probe() -> list[Probe]:
    """Returns the result of really drawing with each back end."""
    return [_probe(backend) for backend in BACKENDS]


def create(backend: str, model: mujoco.MjModel, camera: int = 0, size: int = 64) -> Renderer:
    """Returns a renderer of the model's `camera`, for images of `size` by `size` pixels.

    Raises:
        RenderingError: The back end does not work in this process.
    """
    _forget_platform()
    try:
        if backend == "warp":
            from armillary.envs.raytracing import WarpRenderer

            return WarpRenderer(model, camera, size)
        from armillary.envs.opengl import OpenGLRenderer

        return OpenGLRenderer(model, camera, size, backend)
    except Exception as error:
        advice = _CACHE if backend == "warp" and isinstance(error, OSError) else _ADVICE[backend]
        raise RenderingError(
            f"the renderer {backend!r} failed: {_reason(error, backend)}. To use it, {advice}."
        ) from error


def choose_opengl() -> None:
    """Sets MUJOCO_GL for an environment that draws with MuJoCo by itself, without a display.

    Raises:
        RenderingError: Neither EGL nor OSMesa works here.
    """
    if os.environ.get("MUJOCO_GL") or os.environ.get("DISPLAY"):
        return
    _forget_platform()
    tried = []
    for name in ("egl", "osmesa"):
        tried.append(_probe(name))
        if tried[-1].works:
            os.environ["MUJOCO_GL"] = name
            return
    raise RenderingError(
        "this environment draws with OpenGL by itself, and none works here: " + _told(tried)
    )


@contextmanager
def importing_mujoco(backend: str) -> Iterator[None]:
    """Lets MuJoCo and dm_control be imported where OpenGL is missing or broken.

    Both load an OpenGL library when they are imported, by MUJOCO_GL. The renderers here make their
    own contexts and do not need it, so without the user's wish they are told to load none.
    """
    wish = os.environ.get("MUJOCO_GL")
    _forget_platform()
    if wish is None:
        os.environ["MUJOCO_GL"] = backend if backend in ("egl", "osmesa") else "disable"
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the control suite needs {error.name}, which is not installed (on Python 3.13 pip "
            f"leaves dm_control out): run `{install('--no-deps', 'dm_control>=1.0.50,<1.1')}`"
        ) from error
    except Exception as error:
        if _is_nowhere():
            raise RenderingError(
                "MuJoCo could not be imported, because the working folder of this process was "
                "deleted: go to one that is there, and start again"
            ) from error
        raise RenderingError(
            f"MuJoCo could not be imported with MUJOCO_GL={os.environ['MUJOCO_GL']}: "
            f"{_reason(error)}. Unset MUJOCO_GL, or set it to 'disable': armillary chooses its "
            "renderer by itself."
        ) from error
    finally:
        if wish is None:
            del os.environ["MUJOCO_GL"]


def _forget_platform() -> None:
    """Unsets PYOPENGL_PLATFORM while it can still be chosen anew: MuJoCo sets it as it needs it.

    What a desktop sets it to, glx, needs a display and is refused by MuJoCo.
    """
    if "OpenGL" not in sys.modules:
        os.environ.pop("PYOPENGL_PLATFORM", None)


def _is_nowhere() -> bool:
    """Whether the working folder was deleted."""
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _told(tried: list[Probe]) -> str:
    return "; ".join(f"{t.backend}: {t.reason} ({t.advice})" for t in tried)


@cache
def _probe(backend: str) -> Probe:
    # Not what this process has imported decides, but what a new one can.
    clean = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"from {__name__} import _trial; _trial({backend!r})"],
            env=clean,
            cwd=os.sep if _is_nowhere() else None,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return Probe(backend, False, reason="it hung", advice=_ADVICE[backend])
    if done.returncode == 0:
        return Probe(**json.loads(done.stdout.splitlines()[-1]))
    if done.returncode < 0:
        reason = f"it crashed ({signal.Signals(-done.returncode).name})"
    else:
        reason = (done.stderr.strip().splitlines() or ["it failed"])[-1]
    return Probe(backend, False, reason=reason, advice=_ADVICE[backend])


def _trial(backend: str) -> None:
    """Draws with a back end and prints what came of it: the body of a probing process."""
    with importing_mujoco("none"):
        import mujoco
    model = mujoco.MjModel.from_xml_string(_SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    try:
        renderer = create(backend, model)
        image = renderer.render(data)
        start = time.perf_counter()
        for _ in range(10):
            image = renderer.render(data)
        seconds = (time.perf_counter() - start) / 10
        works = bool(image[32, 32, 0] > 2 * image[32, 32, 2])
        result = Probe(
            backend,
            works,
            seconds,
            device=renderer.device(),
            reason="" if works else "it draws a wrong image",
            advice="" if works else _ADVICE[backend],
        )
        renderer.close()
    except RenderingError as error:
        reason = _reason(error.__cause__, backend)
        result = Probe(backend, False, reason=reason, advice=_ADVICE[backend])
    print(json.dumps(asdict(result)))


def _reason(error: BaseException | None, backend: str = "") -> str:
    """Returns the cause in a few words: how a missing library shows itself is no help to anyone."""
    library = {"egl": "EGL", "osmesa": "OSMesa"}.get(backend)
    if library and isinstance(error, AttributeError):  # PyOpenGL found no function
        found = ctypes.util.find_library(library)
        return f"the library lib{library} {'could not be loaded' if found else 'was not found'}"
    text = " ".join(str(error).split())
    if "PYOPENGL_PLATFORM" in text:
        return "another OpenGL back end is already in use in this process"
    text = text.split(". ")[0][:200] or "no reason given"
    return text if isinstance(error, ImportError) else f"{type(error).__name__}: {text}"
