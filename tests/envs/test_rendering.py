"""Back ends: what they draw, against geometry and each other, and what they say when they fail."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from armillary.envs import ControlSuite, kernels, make, raytracing, rendering
from armillary.envs.rendering import Probe
from armillary.errors import RenderingError

WORKING = [result.backend for result in rendering.probe() if result.works]
needs_egl = pytest.mark.skipif("egl" not in WORKING, reason="EGL does not work here")


@pytest.fixture(params=rendering.BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    if request.param not in WORKING:
        pytest.skip(f"{request.param} does not work here")
    if request.param == "osmesa" and "egl" in WORKING:
        pytest.skip("a process has one OpenGL back end, and here it is EGL")
    return request.param


def drawn(task: str, backend: str, seed: int = 0) -> tuple[ControlSuite, np.ndarray]:
    env = ControlSuite(task, renderer=backend)
    env.reset(seed=seed)
    return env, env.render()


def projected(env: ControlSuite, name: str, size: int = 64) -> np.ndarray:
    """Returns the (row, column) at which a pinhole camera sees the center of a geom."""
    physics = env.physics
    rotation = physics.data.cam_xmat[0].reshape(3, 3)
    right, up, back = rotation.T @ (physics.named.data.geom_xpos[name] - physics.data.cam_xpos[0])
    focal = size / 2 / np.tan(np.radians(physics.model.cam_fovy[0]) / 2)
    return np.array([size / 2 - focal * up / -back, size / 2 + focal * right / -back]) - 0.5


def test_warp_works_everywhere() -> None:
    assert "warp" in WORKING


def test_a_target_is_where_a_pinhole_camera_sees_it(backend: str) -> None:
    for seed in range(4):
        env, image = drawn("reacher-easy", backend, seed)
        pixels = image.astype(int)
        red = pixels[..., 0] > 1.2 * pixels[..., 2]
        red &= pixels[..., 1] < 0.75 * pixels[..., 0]  # not the yellow arm
        rows, columns = np.nonzero(red)
        expected = projected(env, "target")
        assert len(rows) > 15
        np.testing.assert_allclose([np.median(rows), np.median(columns)], expected, atol=2)
        env.close()


def test_images_follow_the_state(backend: str) -> None:
    env, first = drawn("cheetah-run", backend)
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(env.render(), first)
    before = first.copy()
    for _ in range(20):
        env.step(np.ones(6, np.float32))
    moved = env.render()
    np.testing.assert_array_equal(first, before)  # an image given away is not drawn over
    assert (np.abs(moved.astype(int) - first).max(axis=-1) > 30).sum() > 40
    env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), first)
    env.close()


def test_the_camera_follows_the_cheetah(backend: str) -> None:
    env, first = drawn("cheetah-run", backend)
    with env.physics.reset_context():
        env.physics.named.data.qpos["rootx"] = 20
    far = env.render()
    env.close()
    brown = [(i[..., 0].astype(int) > i[..., 2] + 30).sum() for i in (first, far)]
    assert brown[1] == pytest.approx(brown[0], rel=0.2)


@needs_egl
@pytest.mark.parametrize(
    "task",
    [
        "cartpole-swingup",
        "cheetah-run",
        "finger-turn_easy",  # its target is a site
        "ball_in_cup-catch",  # its string is a tendon
        "walker-walk",
        "quadruped-walk",
    ],
)
def test_warp_draws_what_opengl_draws(task: str) -> None:
    images = []
    for backend in ("egl", "warp"):
        env, image = drawn(task, backend, seed=3)
        images.append(image.astype(int))
        env.close()
    apart = np.abs(images[0] - images[1])
    assert apart.mean() < 5
    assert (apart.max(axis=-1) > 60).mean() < 0.03


def test_warp_draws_sites_and_tendons() -> None:
    env, shown = drawn("finger-turn_easy", "warp")
    env.physics.named.model.site_rgba["target", 3] = 0
    hidden = env.render()
    changed = np.abs(shown.astype(int) - hidden).max(axis=-1) > 30
    assert changed.sum() > 20
    assert (shown[changed].mean(axis=0)[0] > shown[changed].mean(axis=0)[2]).all()  # red
    env = ControlSuite("ball_in_cup-catch", renderer="warp")
    env.reset(seed=0)
    for _ in range(60):  # the ball falls, and the string is straight
        env.step(np.zeros(2, np.float32))
    shown = env.render()
    env.physics.model.tendon_rgba[:, 3] = 0
    assert (np.abs(shown.astype(int) - env.render()).max(axis=-1) > 5).sum() > 5


@needs_egl
def test_opengl_draws_what_dm_control_draws() -> None:
    code = """
import os; os.environ["MUJOCO_GL"] = "egl"
import numpy as np
from armillary.envs import ControlSuite
env = ControlSuite("walker-walk", renderer="egl"); env.reset(seed=0)
theirs = env.physics.render(64, 64, camera_id=0).astype(int)
ours = env.render().astype(int)
assert np.abs(ours - theirs).mean() < 0.5, np.abs(ours - theirs).mean()
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


@needs_egl
def test_any_thread_may_draw() -> None:
    env, first = drawn("cartpole-balance", "egl")
    images: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: images.append(env.render()))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(images[0], first)
    np.testing.assert_array_equal(env.render(), first)
    thread = threading.Thread(target=env.close)
    thread.start()
    thread.join()


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    ours = ("MUJOCO_GL", "PYOPENGL_PLATFORM", rendering._CHOSEN)
    clean = {k: v for k, v in os.environ.items() if k not in ours}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=clean | variables,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_the_end_of_a_process_is_quiet(backend: str) -> None:
    code = f"""
from armillary.envs import make
from armillary.config import EnvironmentConfig
kept = [make(t, EnvironmentConfig(renderer={backend!r})) for t in ("cheetah-run", "reacher-easy")]
for env in kept:
    env.reset(seed=0)
dropped = make("cheetah-run", EnvironmentConfig(renderer={backend!r})); dropped.reset(); del dropped
"""
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_a_machine_without_any_opengl(tmp_path: Path) -> None:
    """Every library of OpenGL is hidden, from the process and from those that it starts."""
    (tmp_path / "sitecustomize.py").write_text(
        """
import ctypes, ctypes.util
def hidden(name):
    return any(part in str(name) for part in ("GL", "OSMesa", "glfw"))
find, load = ctypes.util.find_library, ctypes.CDLL.__init__
def find_library(name):
    return None if hidden(name) else find(name)
def init(self, name, *args, **kwargs):
    if hidden(name):
        raise OSError(f"{name}: cannot open shared object file")
    load(self, name, *args, **kwargs)
ctypes.util.find_library, ctypes.CDLL.__init__ = find_library, init
"""
    )
    code = """
from armillary.envs import make, rendering
from armillary.config import EnvironmentConfig
env = make("cheetah-run")
image, _ = env.reset(seed=0)
assert rendering.choose() == "warp", rendering.choose()
assert image.std() > 10
for name in ("egl", "osmesa"):
    try:
        make("cheetah-run", EnvironmentConfig(renderer=name))
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
"""
    done = run(code, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    egl, osmesa = done.stdout.splitlines()
    assert egl.startswith("RenderingError: the renderer 'egl' does not work here: the library lib")
    assert "libegl1" in egl
    assert osmesa.startswith("RenderingError: the renderer 'osmesa' does not work here")
    assert "libosmesa6" in osmesa


@pytest.fixture
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rendering._CHOSEN, "")
    rendering._probe.cache_clear()


@pytest.mark.usefixtures("nothing_chosen")
@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (subprocess.CompletedProcess([], -11, "", ""), r"it crashed \(SIGSEGV\)"),
        (subprocess.CompletedProcess([], 1, "", "noise\nImportError: no\n"), "ImportError: no"),
        (subprocess.TimeoutExpired([], 1), "it hung"),
    ],
)
def test_a_trial_that_ends_badly(
    outcome: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(subprocess, "run", fail)
    try:
        with pytest.raises(RenderingError, match=rf"'egl' does not work here: {reason}.*libegl1"):
            rendering.choose("egl")
        with pytest.raises(RenderingError, match=rf"no rendering.*egl: {reason}.*libosmesa6"):
            rendering.choose("auto")
    finally:
        rendering._probe.cache_clear()


@pytest.mark.usefixtures("nothing_chosen")
@pytest.mark.parametrize(
    ("working", "chosen"),
    [({"egl", "osmesa", "warp"}, "egl"), ({"osmesa", "warp"}, "osmesa"), ({"warp"}, "warp")],
)
def test_auto_takes_the_first_that_works_once(
    working: set[str], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def trial(backend: str) -> Probe:
        tried.append(backend)
        return Probe(backend, backend in working)

    monkeypatch.setattr(rendering, "_probe", trial)
    assert [rendering.choose() for _ in range(3)] == [chosen] * 3
    assert tried == list(rendering.BACKENDS[: rendering.BACKENDS.index(chosen) + 1])
    assert os.environ[rendering._CHOSEN] == chosen  # for the processes started from here


def test_a_wrong_mujoco_gl_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with (
        pytest.raises(RenderingError, match=r"MUJOCO_GL=osmesa: no such library\. Unset MUJOCO_GL"),
        rendering.importing_mujoco("egl"),
    ):
        raise ImportError("no such library")
    assert os.environ["MUJOCO_GL"] == "osmesa"


@pytest.mark.parametrize("home", ["missing", "file", "own"])
def test_a_home_that_cannot_be_written(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is compiled goes to a temporary folder, and a warning names the variable to set."""
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("WARP_CACHE_PATH", raising=False)
    monkeypatch.setenv(
        "HOME", {"missing": "/proc/none", "file": str(tmp_path / "file")}.get(home, "/")
    )
    if home == "own":
        monkeypatch.setenv("WARP_CACHE_PATH", "/proc/none")
    kernels.ensure_cache("1.0")
    assert Path(os.environ["WARP_CACHE_PATH"]).is_dir()
    assert len(caplog.records) == 1
    assert "set WARP_CACHE_PATH" in caplog.text
    kernels.ensure_cache("1.0")  # the temporary one is good
    assert len(caplog.records) == 1


def test_a_home_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("WARP_CACHE_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    kernels.ensure_cache("1.0")
    assert "WARP_CACHE_PATH" not in os.environ
    assert (tmp_path / ".cache" / "warp" / "1.0").is_dir()


def test_nowhere_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(raytracing, "ensure_cache", fails)
    with pytest.raises(RenderingError, match=r"no usable temporary.*set WARP_CACHE_PATH"):
        rendering.create("warp", None)  # type: ignore[arg-type]


@needs_egl
def test_a_desktops_pyopengl_platform_is_no_obstacle() -> None:
    code = """
from armillary.envs import ControlSuite
env = ControlSuite("cartpole-balance", renderer="egl"); env.reset(seed=0)
assert env.render().any()
"""
    done = run(code, PYOPENGL_PLATFORM="glx")
    assert done.returncode == 0, done.stderr


def test_a_deleted_working_folder_is_named(tmp_path: Path) -> None:
    code = """
import os
from armillary.envs import ControlSuite
os.chdir(os.environ["GONE"]); os.rmdir(os.environ["GONE"])
ControlSuite("cartpole-balance", renderer="warp")
"""
    (tmp_path / "gone").mkdir()
    done = run(code, GONE=str(tmp_path / "gone"))
    assert done.returncode == 1
    assert "the working folder of this process was deleted" in done.stderr.splitlines()[-1]


def test_pygame_does_not_look_for_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):
        monkeypatch.delenv(name, raising=False)
    make("fake_envs:Counter")
    assert (os.environ["SDL_VIDEODRIVER"], os.environ["SDL_AUDIODRIVER"]) == ("dummy", "dummy")
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    make("fake_envs:Counter")
    assert os.environ["SDL_VIDEODRIVER"] == "x11"
