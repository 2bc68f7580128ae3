"""A room imports only rooms below it, and what must be quick to import is."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import armillary

SOURCE = Path(armillary.__file__).parent

BOTTOM = ["version", "errors", "waiting"]
FOUNDATIONS = [*BOTTOM, "spec", "advice", "config", "seeding", "files"]
ORDER = [
    *FOUNDATIONS,
    *("nets", "envs", "replay", "dynamics", "objectives", "planners", "search", "agents"),
    *("video", "training", "export", "machine", "studies", "explore", "cli"),
]
BELOW = {room: ORDER[:rank] for rank, room in enumerate(ORDER)} | {
    "spec": BOTTOM,
    "advice": BOTTOM,
    "config": BOTTOM,
    "seeding": BOTTOM,
    "files": BOTTOM,
    "envs": FOUNDATIONS,  # they know nothing of models
    "replay": FOUNDATIONS,
}
ENVIRONMENTS = {"gymnasium", "dm_control", "mujoco", "mujoco_warp", "ale_py", "pgx"}
TRUE_SIMULATOR = SOURCE / "planners" / "simulator.py"
"""The one file of the numerical rooms that plans with an environment instead of a model."""


def _room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _files() -> list[Path]:
    """Every file but the package's own face, which is lazy and names all rooms."""
    return [p for p in sorted(SOURCE.rglob("*.py")) if _room(p) not in ("__init__", "__main__")]


def _imports(path: Path) -> Iterator[str]:
    """Yields the dotted name of all that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            if node.module == "armillary":
                yield from (f"armillary.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def test_every_file_has_a_room() -> None:
    assert {_room(path) for path in _files()} == set(ORDER)


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_rooms_below_it(room: str) -> None:
    allowed = {room, "__version__", *BELOW[room]}
    for path in _files():
        if _room(path) == room:
            names = [n.split(".") for n in _imports(path) if n.split(".")[0] == "armillary"]
            above = {name[1] for name in names if len(name) > 1} - allowed
            assert not above, f"{path.relative_to(SOURCE)} imports {above}"


@pytest.mark.parametrize("room", ["nets", "replay", "dynamics", "objectives", "planners", "search"])
def test_a_numerical_room_imports_no_environment(room: str) -> None:
    """But for the planner with the true simulator."""
    for path in _files():
        if _room(path) == room and path != TRUE_SIMULATOR:
            names = set(_imports(path))
            found = ENVIRONMENTS & {name.split(".")[0] for name in names}
            found |= {name for name in names if name.startswith("armillary.envs")}
            assert not found, f"{path.relative_to(SOURCE)} imports {found}"


def _loaded(modules: str) -> set[str]:
    """Returns the top-level modules that a new process has after it imported some."""
    code = f"import sys, {modules}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


def test_the_face_and_the_command_line_are_quick_to_import() -> None:
    loaded = _loaded("armillary, armillary.cli.main, armillary.config")
    heavy = {"jax", "jaxlib", "equinox", "optax", "matplotlib", "scipy", "tensorboardX"}
    assert "armillary" in loaded
    assert not loaded & (heavy | ENVIRONMENTS)


def test_the_numerical_rooms_load_no_environment() -> None:
    rooms = ("planners.rollout", "objectives.world_model", "dynamics.prediction")
    loaded = _loaded(", ".join(f"armillary.{room}" for room in rooms))
    assert {"armillary", "jax"} <= loaded
    assert not loaded & ENVIRONMENTS
