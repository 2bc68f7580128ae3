"""Where compiled programs are kept between starts, so that the next one need not compile them.

JAX keeps them itself once it is told where. What is ours: a folder for each kind of machine (an
XLA program for the CPU is made for its instructions and its number of cores, and JAX's key names
neither), a bound on its size, and that no fault of the folder ends or floods a run.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
import shutil
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from armillary.files import cannot_write

log = logging.getLogger(__name__)

PLACE = "ARMILLARY_CACHE"
"""The user's variable: another folder, or `off`."""

THEIRS = "JAX_COMPILATION_CACHE_DIR"
"""JAX's own variable: who sets it has made their own arrangements, which are left alone."""

LARGEST = 2**30
"""Bytes that all programs together may take when a process begins."""

SHORTEST = 0.1
"""Seconds: a program that compiles faster is not kept."""

_FAULT = re.compile(r"Error (reading|writing) persistent compilation cache entry for '([^']+)'")


@dataclass(frozen=True)
class Kept:
    """Where programs are kept.

    Attributes:
        folder: of this kind of machine; None: they are not kept.
        whose: the variable that says so, or an empty string.
    """

    folder: Path | None
    whose: str = ""


def place() -> Kept:
    """Returns where programs are to be kept; touches nothing."""
    if theirs := os.environ.get(THEIRS):
        return Kept(Path(theirs), THEIRS)
    given = os.environ.get(PLACE, "")
    if given.lower() in ("off", "0"):
        return Kept(None, PLACE)
    try:
        return Kept(_root() / _kind_of_machine(), PLACE if given else "")
    except RuntimeError:  # no home
        return Kept(None)


@cache
def keep() -> None:
    """Lets JAX keep what it compiles from now on, once in a process.

    A folder that cannot be written is said once, and the programs are then compiled again.
    """
    import jax

    kept = place()
    if (
        kept.whose == THEIRS
        or kept.folder is None
        or jax.config.values["jax_compilation_cache_dir"]
    ):
        return
    reason = cannot_write(kept.folder, make=True)
    if reason:
        log.warning(
            "%s cannot be written (%s), so the next start compiles everything again: set %s to a "
            "folder that can be written, or to off",
            kept.folder,
            reason,
            PLACE,
        )
        return
    prune(kept.folder.parent, LARGEST)
    _listen(kept.folder)
    jax.config.update("jax_compilation_cache_dir", str(kept.folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST)


def size(folder: Path) -> int:
    """Returns the bytes of all files in a folder, 0 if there is none."""
    return sum(entry.st_size for _, entry in _files(folder))


def empty() -> tuple[Path | None, int]:
    """Deletes our programs of all machines; returns the folder and how many bytes it had.

    The folder of `JAX_COMPILATION_CACHE_DIR` is not ours: it stays, and None is returned.
    """
    kept = place()
    if kept.whose == THEIRS or kept.folder is None:
        return None, 0
    root = kept.folder.parent
    before = size(root)
    shutil.rmtree(root, ignore_errors=True)
    return root, before - size(root)


def prune(folder: Path, largest: int) -> None:
    """Deletes the files that were not used for longest, until the rest fits.

    Args:
        folder: with everything in it.
        largest: bytes.
    """
    files = list(_files(folder))
    files.sort(key=lambda file: max(file[1].st_atime, file[1].st_mtime))
    excess = sum(entry.st_size for _, entry in files) - largest
    for path, entry in files:
        if excess <= 0:
            return
        _delete(path)
        excess -= entry.st_size


def _root() -> Path:
    if given := os.environ.get(PLACE):
        return Path(given).expanduser().absolute() / "programs"
    caches = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(caches) if os.path.isabs(caches) else Path.home() / ".cache"  # XDG: else ignored
    return base / "armillary" / "programs"


def _kind_of_machine() -> str:
    """Returns a name for all that a program depends on and that JAX's key leaves out.

    The instructions that the processor has, and how many threads XLA divides the work between: on
    another number of cores it sums in another order, and so gives other last bits.
    """
    allowed = getattr(os, "sched_getaffinity", None)
    cores = len(allowed(0)) if allowed else os.cpu_count()
    facts = [
        platform.machine(),
        *_processor(),
        str(cores),
        *(os.environ.get(name, "") for name in ("NPROC", "PJRT_NPROC", "XLA_FLAGS")),
    ]
    return f"{platform.machine()}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}"


def _processor() -> list[str]:
    """Returns the processor's model and its features, as the system tells them."""
    wanted = {"vendor_id", "cpu family", "model", "model name", "stepping", "flags"}
    wanted |= {"CPU implementer", "CPU part", "CPU variant", "Features"}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [platform.processor(), platform.node()]  # a machine may be taken for another one
    first = text.split("\n\n", 1)[0].splitlines()
    return [line for line in first if line.partition(":")[0].strip() in wanted]


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """Returns all files with their sizes and times; another process may delete some meanwhile."""
    found = []
    for base, _, names in os.walk(folder):
        for name in names:
            path = Path(base) / name
            try:
                found.append((path, path.stat()))
            except OSError:
                continue
    return found


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.debug("%s could not be deleted: %s", path, error)


def _listen(folder: Path) -> None:
    """Mends what JAX only warns of: an entry that is damaged, or that a full disk cut short.

    JAX goes on without it, but never writes over it, and would warn at every start.
    """
    show = warnings.showwarning
    said = False

    def told(message: Warning | str, *others: Any, **options: Any) -> None:
        nonlocal said
        fault = _FAULT.match(str(message))
        if fault is None:
            show(message, *others, **options)
            return
        for path in folder.glob(f"{fault[2]}-*"):
            _delete(path)
        if not said:
            said = True
            log.warning(
                "a compiled program in %s could not be %s and is compiled again: %s",
                folder,
                "read" if fault[1] == "reading" else "written",
                str(message).partition("': ")[2],
            )

    warnings.filterwarnings("always", message=_FAULT.pattern)
    warnings.showwarning = told
