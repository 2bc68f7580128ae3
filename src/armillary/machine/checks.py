"""What `armillary doctor` looks at before anything is tried: versions, cores, memory, disk."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from armillary.advice import command, install
from armillary.files import cannot_write
from armillary.machine import resources

Status = Literal["ok", "warning", "failed"]

PYTHONS = ((3, 11), (3, 13))
"""The first and the last version of Python that is supported."""

PACKAGES = (
    "armillary",
    "jax",
    "jaxlib",
    "equinox",
    "optax",
    "numpy",
    "mujoco",
    "dm_control",
    "mujoco-warp",
    "warp-lang",
    "gymnasium",
)
"""Whose versions matter most."""

FRAME_BYTES = 64 * 64 * 3
_EPISODE_FRAMES = 251
"""Of cheetah run: 1,000 steps of the simulator, four for each action, and the reset."""
_GIB = 2**30


@dataclass(frozen=True)
class Check:
    """What came of looking at one thing."""

    name: str
    status: Status
    text: str
    """What was found."""
    advice: str = ""
    """What to do about it, if something is wrong."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The same as numbers and names."""


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Check:
    """Checks that this Python is supported."""
    low, high = (".".join(map(str, v)) for v in PYTHONS)
    text = f"{sys.version.split()[0]}, {sys.executable}"
    if PYTHONS[0] <= version <= PYTHONS[1]:
        return Check("python", "ok", text)
    return Check(
        "python", "failed", text, f"use Python {low} to {high}: uv run --python {high} ..."
    )


def check_packages() -> list[Check]:
    """Checks that what armillary requires is installed, in versions it was made for."""
    from packaging.requirements import Requirement

    versions = {name: version_of(name) for name in PACKAGES}
    text = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    checks = [Check("packages", "ok", text, facts=versions)]
    try:
        required = [Requirement(line) for line in importlib.metadata.requires("armillary") or ()]
    except importlib.metadata.PackageNotFoundError:
        required = []
        checks.append(Check("packages", "warning", "armillary is not installed", install(".")))
    for requirement in required:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = version_of(requirement.name)
        name = f"{requirement.name}{requirement.specifier}"
        if version is None:
            text, advice = f"{requirement.name} is missing", install(name)
            checks.append(Check("packages", "failed", text, advice))
        elif not requirement.specifier.contains(version, prereleases=True):
            text = f"{requirement.name} {version} is not a version that armillary was made for"
            checks.append(Check("packages", "warning", text, install(name)))
    return checks


def check_cores() -> Check:
    """Checks how many cores this process may use."""
    cores = resources.cores()
    text = f"{cores.allowed} of {cores.machine} may be used"
    if cores.quota is not None:
        text += f", time for {cores.quota:g} of them (control group)"
    facts = {"machine": cores.machine, "allowed": cores.allowed, "quota": cores.quota}
    if cores.quota is not None and cores.quota < cores.allowed:
        last = max(0, round(cores.quota) - 1)
        advice = f"more threads than time: start with `taskset -c 0-{last} {command('...')}`"
        return Check("cores", "warning", text, advice, facts)
    if cores.usable < 2:
        advice = "training takes twice as long as on two cores: allow this process more"
        return Check("cores", "warning", text, advice, facts)
    return Check("cores", "ok", text, facts=facts)


def check_memory() -> Check:
    """Checks the main memory."""
    memory = resources.memory()
    text = f"{size_text(memory.available)} available of {size_text(memory.machine)}"
    if memory.limit is not None:
        text += f", limited to {size_text(memory.limit)} (control group)"
    facts = {
        "machine_bytes": memory.machine,
        "available_bytes": memory.available,
        "limit_bytes": memory.limit,
    }
    if memory.available < 2 * _GIB:
        advice = "close other programs; if a run is killed, try a smaller training.batch-size"
        return Check("memory", "warning", text, advice, facts)
    return Check("memory", "ok", text, facts=facts)


def check_disk(folder: Path) -> Check:
    """Checks that a run's episodes can be written, and how many there is room for."""
    free = shutil.disk_usage(folder).free
    frames = free // FRAME_BYTES
    episodes = frames // _EPISODE_FRAMES
    text = (
        f"{size_text(free)} free in {folder}: {episodes:,} episodes of {_EPISODE_FRAMES} frames, "
        f"{frames:,} frames of {FRAME_BYTES:,} bytes"
    )
    facts = {"free_bytes": free, "frames": frames, "episodes": episodes}
    reason = cannot_write(folder)
    if reason:
        advice = "go to a folder that you can write in, or give one: --run DIR"
        return Check("disk", "failed", f"{folder} is not writable: {reason}", advice, facts)
    if free < _GIB:
        return Check("disk", "failed" if free < _GIB // 4 else "warning", text, "make room", facts)
    return Check("disk", "ok", text, facts=facts)


def check_temporary() -> Check:
    """Checks that temporary files can be written."""
    advice = "set TMPDIR to a folder that you can write in"
    try:
        folder = Path(tempfile.gettempdir())
    except OSError as error:  # none of those that Python tries
        return Check("temporary files", "failed", str(error), advice)
    reason = cannot_write(folder)
    if reason:
        return Check("temporary files", "failed", f"{folder}: {reason}", advice)
    return Check("temporary files", "ok", f"{folder} is writable")


def version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def size_text(count: int) -> str:
    return f"{count / _GIB:,.1f} GiB"
