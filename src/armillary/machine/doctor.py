"""What this machine can do: each thing is really tried, and what is wrong gets a line of advice.

No check can end the others: what it raises becomes its result. JAX and the rendering back ends are
tried in processes of their own, which a broken driver may kill.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from armillary.advice import extra, install
from armillary.errors import EncodingError, StorageError
from armillary.machine import resources
from armillary.machine.checks import (
    Check,
    Status,
    check_cores,
    check_disk,
    check_memory,
    check_packages,
    check_python,
    check_temporary,
    size_text,
    version_of,
)
from armillary.training import program_cache

DM_CONTROL = ("--no-deps", "dm_control>=1.0.50,<1.1")
"""What to install where it is missing: on Python 3.13 pip cannot install labmaze, which dm_control
requires and the control suite does not use."""

_SOFTWARE_GL = ("llvmpipe", "softpipe", "swrast", "swiftshader")

_JAX_TRIAL = """
import json
import jax, jax.numpy as jnp
from armillary.training.program_cache import keep
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
keep()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
x = jnp.ones((64, 64))
for _ in range(2):
    assert float(jax.jit(lambda x: (x @ x).sum())(x)) == 64.0 ** 3
    jax.clear_caches()
found = "/jax/compilation_cache/cache_hits" in events
def memory(device):
    return (device.memory_stats() or {}).get("bytes_limit")
devices = [
    {"platform": d.platform, "kind": d.device_kind, "memory_bytes": memory(d)}
    for d in jax.devices()
]
print(json.dumps({"backend": jax.default_backend(), "devices": devices, "kept": found}))
"""


def examine(folder: Path) -> Iterator[Check]:
    """Yields one result after another; training can work here unless one has `failed`.

    Args:
        folder: Where runs would be written.
    """
    checks: dict[str, Callable[[], Check | list[Check]]] = {
        "python": check_python,
        "packages": check_packages,
        "cores": check_cores,
        "memory": check_memory,
        "disk": lambda: check_disk(folder),
        "temporary files": check_temporary,
        "jax": check_jax,
        "rendering": check_rendering,
        "simulator": check_simulator,
        "video": check_video,
    }
    for name, check in checks.items():
        try:
            found = check()
        except Exception as error:
            found = Check(
                name,
                "failed" if name in ("jax", "rendering", "simulator") else "warning",
                f"{type(error).__name__}: {' '.join(str(error).split())}",
                "report this with the output of `armillary doctor --json`",
                {"traceback": traceback.format_exc()},
            )
        yield from found if isinstance(found, list) else [found]


def check_jax() -> list[Check]:
    """Checks that JAX computes, on which devices, and whether a graphics card lies idle."""
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
    cards = resources.graphics_cards()
    try:
        done = subprocess.run(
            [sys.executable, "-c", _JAX_TRIAL],
            capture_output=True,
            text=True,
            timeout=180,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return [Check("jax", "failed", "it hung for three minutes", "try JAX_PLATFORMS=cpu")]
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        advice = f"try JAX_PLATFORMS=cpu; else {install('--upgrade', '--force-reinstall', 'jax')}"
        return [Check("jax", "failed", reason, advice)]
    facts = json.loads(done.stdout.splitlines()[-1])
    found_again = facts.pop("kept", None)
    kinds = ", ".join(
        d["kind"] + (f" with {size_text(d['memory_bytes'])}" if d["memory_bytes"] else "")
        for d in facts["devices"]
    )
    checks = [Check("jax", "ok", f"{facts['backend']}: {kinds}", facts=facts)]
    if found_again is not None:
        checks.append(check_programs(found_again))
    if cards and facts["backend"] == "cpu":
        text = f"{', '.join(cards)} is here, but JAX uses the CPU"
        checks.append(Check("gpu", "warning", text, _gpu_advice(), {"cards": cards}))
    return checks


def check_programs(found_again: bool) -> Check:
    """Checks that what was compiled is there at the next start.

    Args:
        found_again: whether a program that was compiled was then taken from the folder.
    """
    where = program_cache.place()
    if where.folder is None:
        reason = (
            f"{where.whose}={os.environ[where.whose]}" if where.whose else "there is no home folder"
        )
        text = f"not kept between starts: {reason}"
        return Check("programs", "ok", text, facts={"folder": None})
    count = program_cache.size(where.folder)
    text = f"{count / 2**20:,.0f} MiB compiled in {where.folder}"
    facts = {"folder": str(where.folder), "bytes": count, "works": found_again}
    if found_again:
        return Check("programs", "ok", text, facts=facts)
    advice = f"set {where.whose or program_cache.PLACE} to a folder that you can write in"
    text = f"every start compiles again: nothing could be kept in {where.folder}"
    return Check("programs", "warning", text, advice, facts)


def _gpu_advice() -> str:
    wish = os.environ.get("JAX_PLATFORMS")
    if wish:
        return f"unset JAX_PLATFORMS, which is {wish!r}"
    if any(version_of(f"jax-cuda{n}-plugin") for n in (12, 13)):
        return "JAX's CUDA plugin is installed but does not start: update the NVIDIA driver"
    return extra("cuda")


def check_rendering() -> list[Check]:
    """Checks every rendering back end by drawing with it."""
    from armillary.envs.rendering import probe

    results = probe()
    works = [result for result in results if result.works]
    checks = []
    for result in results:
        name = f"renderer {result.backend}"
        if not result.works:
            status: Status = "warning" if works else "failed"
            checks.append(Check(name, status, result.reason, result.advice))
            continue
        rate = 1 / result.seconds if result.seconds else 0.0
        software = any(word in result.device.lower() for word in _SOFTWARE_GL)
        text = f"{rate:,.0f} frames/s of a small scene, {result.device}"
        text += " (software, no graphics card)" if software else ""
        facts = {"device": result.device, "frames_per_second": rate, "software": software}
        if software and resources.graphics_cards():
            advice = "a graphics card is here: install its driver's EGL library; in a container, "
            advice += "set NVIDIA_DRIVER_CAPABILITIES=all"
            checks.append(Check(name, "warning", text, advice, facts))
        else:
            checks.append(Check(name, "ok", text, facts=facts))
    return checks


def check_simulator() -> Check:
    """Checks that a task of the control suite can be loaded and stepped."""
    if version_of("dm_control") is None:
        return Check("simulator", "failed", "dm_control is missing", install(*DM_CONTROL))
    from armillary.envs.suite import ControlSuite

    env = ControlSuite("cheetah-run", render_mode=None)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.close()
    return Check("simulator", "ok", "the control suite's cheetah-run was loaded and stepped")


def check_video() -> Check:
    """Checks that a video can be encoded."""
    import numpy as np

    from armillary.video import write_video

    try:
        with tempfile.TemporaryDirectory() as folder:
            frames = np.zeros((4, 64, 64, 3), np.uint8)
            size = write_video(Path(folder) / "trial.mp4", frames, fps=10).stat().st_size
    except EncodingError as error:
        return Check("video", "warning", error.what, error.advice)
    except (OSError, StorageError) as error:
        return Check("video", "warning", str(error), "set TMPDIR to a folder that you can write in")
    return Check("video", "ok", f"an MP4 of {size:,} bytes was written")
