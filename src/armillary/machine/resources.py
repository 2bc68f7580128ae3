"""What this process may use of the machine: cores, memory, graphics cards.

In a container the machine has more than the process may use, so the limits of its control group
are read too, of both versions.
"""

from __future__ import annotations

import ctypes
import gc
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_UNLIMITED = 1 << 60
"""Version 1 writes a number near 2**63 where there is no limit."""


@dataclass(frozen=True)
class Cores:
    """Processor cores."""

    machine: int
    """Of the machine."""
    allowed: int
    """On which this process may run: fewer after `taskset`, or in a container with a set of
    them."""
    quota: float | None
    """Cores' worth of time that the control group allows; None: no limit."""

    @property
    def usable(self) -> float:
        """What can be counted on."""
        return self.allowed if self.quota is None else min(self.allowed, self.quota)


@dataclass(frozen=True)
class Memory:
    """Main memory, in bytes."""

    machine: int
    """Of the machine."""
    available: int
    """What this process can still take, the control group's limit included."""
    limit: int | None
    """The control group's limit; None: none."""


def cores() -> Cores:
    """Returns the processor cores."""
    machine = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    return Cores(machine, allowed, cpu_quota())


def memory() -> Memory:
    """Returns the main memory."""
    import psutil

    machine = psutil.virtual_memory()
    limit, used = memory_limit()
    available = machine.available if limit is None else min(machine.available, limit - used)
    return Memory(machine.total, available, limit)


def peak_memory() -> int:
    """Returns the most memory in bytes that this process has held (its resident set)."""
    try:
        import resource
    except ImportError:  # not a Unix
        import psutil

        return psutil.Process().memory_info().peak_wset
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def give_back_memory() -> None:
    """Gives memory that nothing uses back to the system, where the C library is one that can.

    glibc keeps what was freed for the next who asks in the same thread: where threads come and go,
    a process grows by a few megabytes with each of them.
    """
    gc.collect()
    with suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def processor() -> str:
    """Returns the processor's name, or an empty string."""
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return ""


def graphics_cards() -> list[str]:
    """Returns the NVIDIA graphics cards that the driver shows, whether or not JAX can use them."""
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            done = None
        if done is not None and done.returncode == 0:
            return [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return [str(path) for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]


def cpu_quota(root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> float | None:
    """Returns the cores' worth of time that the control groups allow; None: no limit."""
    limits = []
    for folder in _groups(root, proc, "cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:
            quota = _read(folder / "cpu.cfs_quota_us")
            period = _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def memory_limit(
    root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")
) -> tuple[int | None, int]:
    """Returns the control groups' limit on memory (None: none) and what is in use of it, bytes.

    What files in the cache take is not counted as in use: it is given back when it is needed.
    """
    tightest: tuple[int | None, int] = (None, 0)
    for folder in _groups(root, proc, "memory"):
        for limit, used in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            text = _read(folder / limit)
            if not text.isdigit() or int(text) >= _UNLIMITED:
                continue
            if tightest[0] is None or int(text) < tightest[0]:
                taken = int(_read(folder / used) or 0) - _reclaimable(folder)
                tightest = int(text), max(0, taken)
    return tightest


def _reclaimable(folder: Path) -> int:
    """Returns the bytes of files in the cache, version 2's or version 1's."""
    rows = (line.split() for line in _read(folder / "memory.stat").splitlines())
    values = {row[0]: int(row[1]) for row in rows if len(row) == 2}
    return values.get("total_inactive_file", values.get("inactive_file", 0))


def _groups(root: Path, proc: Path, controller: str) -> list[Path]:
    """Returns the folders of this process's control group and of those that hold it."""
    folders = []
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controller if controllers else root
        folder = base / path.lstrip("/")
        while folder != base:
            folders.append(folder)
            folder = folder.parent
        folders.append(base)
    return folders


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # the other version's file, or not a Linux
        return ""
