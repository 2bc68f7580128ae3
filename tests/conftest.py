"""Shape annotations are checked in the numerical rooms while the tests run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook(
    [f"armillary.{room}" for room in ("nets", "dynamics", "objectives", "planners", "agents")],
    "beartype.beartype",
)

TESTS = Path(__file__).parent

# Equal programs are compiled once, also in the processes that tests start.
_compiled = tempfile.TemporaryDirectory(prefix="armillary-tests-")  # unless one is given, to keep
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _compiled.name)
os.environ.setdefault("ARMILLARY_TRUST", "toys")  # our own, so that runs of them can be played
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny run, with its report."""
    from armillary.studies.report import write_report
    from armillary.training.loop import train
    from settings import TINY

    folder = tmp_path_factory.mktemp("trained") / "run"
    train(TINY, folder)
    write_report(folder)
    return folder


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
