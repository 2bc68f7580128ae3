"""Workers side by side, programs and runs that are made once for all of them, and processes.

Shape annotations are checked in the numerical rooms while the tests run.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from jaxtyping import install_import_hook
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from playwright.sync_api import Browser

install_import_hook(
    [f"armillary.{room}" for room in ("nets", "dynamics", "objectives", "planners", "agents")],
    "beartype.beartype",
)

Command = Callable[..., subprocess.CompletedProcess[str]]

TESTS = Path(__file__).parent

os.environ.setdefault("ARMILLARY_TRUST", "toys")  # our own, so that runs of them can be played

MEMORY = 6 * 2**30
"""Bytes that a worker and what it starts may need."""

# Equal programs are compiled once, also by other workers and in the processes that tests start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # one that is given is kept
    _compiled = tempfile.TemporaryDirectory(prefix="armillary-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

# Programs that run for a second need no more than half of the compiler. Those of
# `settings.LEARNING` take 11 s on one core, with the emitters 21, and its updates are as fast; with
# less than this they are six times slower.
QUICK = "--xla_backend_optimization_level=1"
if version("jaxlib").startswith("0.10."):  # later ones have no such choice, and end at the flag
    QUICK += " --xla_cpu_use_fusion_emitters=false"
if "xla_backend_optimization_level" not in (_given := os.environ.get("XLA_FLAGS", "")):
    os.environ["XLA_FLAGS"] = f"{_given} {QUICK}".strip()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Says how many workers `-n auto` starts: none for files or names, which are sooner done so."""
    few = any(".py" in argument for argument in config.args)
    if few or config.option.keyword:
        return 0
    from armillary.machine import resources

    return int(min(resources.cores().usable, resources.memory().available // MEMORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts what takes long first, so that at the end no worker waits for the last one."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


MAPS = 25_000
"""Pieces of memory that a process may have between two files; Linux gives it 65,530, and a compiler
that gets no more of them crashes."""


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Lets go of compiled programs, each of several pieces of memory, before there are too many."""
    pieces = Path("/proc/self/maps")
    if (nextitem is not None and nextitem.path == item.path) or not pieces.exists():
        return
    with pieces.open() as lines:
        if sum(1 for _ in lines) < MAPS:
            return
    import jax

    jax.clear_caches()  # those on the disk stay


def shared_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """Returns a folder of this session that all workers see."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    return folder


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Returns this worker's own copy of a folder that one worker makes and the others wait for.

    Args:
        factory: of the session.
        name: of the folder.
        make: is called with the folder to fill, which does not exist.
    """
    shared = shared_folder(factory, "once") / name
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            making = shared.with_name(f"{name}.making")
            shutil.rmtree(making, ignore_errors=True)  # of a worker that failed
            make(making)
            making.rename(shared)
    return Path(shutil.copytree(shared, factory.mktemp(name) / name))


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser without a window: Debian's `chromium`, driven by Playwright.

    One module's: while it is there, nothing else of asyncio runs in this process.
    """
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no `chromium` here (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that this process has saved, the last one last, to look at what is in them."""
    figures: list[Figure] = []
    save = Figure.savefig

    def remember(self: Figure, *arguments: Any, **options: Any) -> None:
        figures.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", remember)
    return figures


def environment(*, as_users: bool = False) -> dict[str, str]:
    """The environment variables of a process that can import the toys.

    Args:
        as_users: its programs are compiled as a user's are.
    """
    flags = os.environ["XLA_FLAGS"]
    flags = flags.replace(QUICK, "").strip() if as_users else flags  # a space would be a file
    return os.environ | {"PYTHONPATH": str(TESTS), "COLUMNS": "200", "XLA_FLAGS": flags}


def complaints(said: str) -> list[str]:
    """Returns the lines in which a command says what is wrong: not those of what is waited for."""
    lines = [line for line in said.splitlines() if line.startswith("armillary: ")]
    return [line for line in lines if not line.startswith("armillary: compiling ")]


@pytest.fixture
def armillary_process(tmp_path: Path) -> Command:
    """Runs the command line in a process of its own, in an empty folder.

    It takes seconds to start: it is for what only a process shows. See `armillary`.
    """

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "armillary", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            env=environment(),
            cwd=tmp_path,
        )

    return run


@pytest.fixture
def armillary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """Runs the command line in this process, in an empty folder, as `armillary_process` does.

    Unlike there, what a library prints to standard output past Python is not kept from it, and
    nothing runs when the interpreter ends.
    """
    from armillary.cli.main import main

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        argv = [*map(str, arguments)]
        capfd.readouterr()
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setenv("COLUMNS", "200")
            patch.setattr(sys, "path", list(sys.path))
            patch.setattr(logging.root, "handlers", [])  # so that the command makes its own
            patch.setattr(logging.root, "level", logging.WARNING)
            with pytest.raises(SystemExit) as end:
                main(argv)
        _forget_modules(tmp_path)
        out, err = capfd.readouterr()
        code = end.value.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(argv, code, out, err)

    return run


def _forget_modules(folder: Path) -> None:
    """Lets modules of one name in two tests' folders be two modules."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(f"{folder}{os.sep}"):
            del sys.modules[name]
