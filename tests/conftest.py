"""Workers side by side, programs and runs that are made once for all of them, and processes.

Shape annotations are checked in the numerical rooms while the tests run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from jaxtyping import install_import_hook

install_import_hook(
    [f"armillary.{room}" for room in ("nets", "dynamics", "objectives", "planners", "agents")],
    "beartype.beartype",
)

TESTS = Path(__file__).parent

os.environ.setdefault("ARMILLARY_TRUST", "toys")  # our own, so that runs of them can be played

MEMORY = 3 * 2**30
"""Bytes that a worker and what it starts may need."""

# Equal programs are compiled once, also by other workers and in the processes that tests start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # one that is given is kept
    _compiled = tempfile.TemporaryDirectory(prefix="armillary-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Says how many workers `-n auto` starts: none for files or names, which are sooner done so."""
    few = any(".py" in argument for argument in config.args)
    if few or config.option.keyword:
        return 0
    from armillary.machine import resources

    return int(min(resources.cores().usable, resources.memory().available // MEMORY))


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Returns this worker's own copy of a folder that one worker makes and the others wait for.

    Args:
        factory: of the session.
        name: of the folder.
        make: is called with the folder to fill, which does not exist.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = factory.mktemp("once") / name
        make(folder)
        return folder
    shared = factory.getbasetemp().parent / "once" / name
    shared.parent.mkdir(exist_ok=True)
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            making = shared.with_name(f"{name}.making")
            shutil.rmtree(making, ignore_errors=True)  # of a worker that failed
            make(making)
            making.rename(shared)
    return Path(shutil.copytree(shared, factory.mktemp("once") / name))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny run, with its report."""
    from armillary.studies.report import write_report
    from armillary.training.loop import train
    from settings import TINY

    def make(folder: Path) -> None:
        train(TINY, folder)
        write_report(folder)

    return once(tmp_path_factory, "trained", make)


def environment() -> dict[str, str]:
    """The environment variables of a process that can import the toys."""
    return os.environ | {"PYTHONPATH": str(TESTS), "COLUMNS": "200"}


@pytest.fixture
def armillary(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a process of its own, in an empty folder."""

    def run(*arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "armillary", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment(),
            cwd=tmp_path,
        )

    return run
