"""What a training run makes of a full disk, damaged files, broken environments and numbers.

Real processes, as a user starts them; a run that goes on after a fault must end as one that never
met it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from armillary.config.typed import options
from conftest import complaints, environment
from settings import TINY

pytestmark = pytest.mark.slow

ROOM = (200_000, 1_000_000)
"""Bytes of a small disk: enough for an episode; for half of what a run writes."""

OWN = """
from toys import Point

class Own(Point):
    episodes = 0

    def __init__(self):
        super().__init__(steps=12)

    def reset(self, **arguments):
        self.episodes += 1
        self.fail_at = 5 if self.episodes == {broken} else None
        return super().reset(**arguments)
"""
"""A user's environment: broken in its third episode, or mended."""


def _train(folder: Path, *more: str, limit: int = -1) -> subprocess.CompletedProcess[str]:
    """Trains beside a folder; `limit` is the largest file that may be written, in bytes."""
    start = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "from armillary.cli.main import main; main()"
    )
    program = ["-m", "armillary"] if limit < 0 else ["-c", start]
    return subprocess.run(
        [sys.executable, *program, "train", *options(TINY), "--run", str(folder), *more],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(),
        cwd=folder.parent,
    )


def _failed(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """One clear sentence, exit code 1, no traceback."""
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    (line,) = complaints(result.stderr)
    assert "unexpected" not in line
    for word in words:
        assert word in line


def _is_as_undisturbed(folder: Path, trained: Path) -> None:
    """The parameters to the last bit, the episodes, the scores."""
    from armillary.training.player import load

    ours, theirs = (jax.tree.leaves(load(path).state) for path in (folder, trained))
    for a, b in zip(ours, theirs, strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    for path in (trained / "episodes").glob("*.npz"):
        with np.load(path) as a, np.load(folder / "episodes" / path.name) as b:
            assert all(np.array_equal(a[name], b[name]) for name in a.files)
    _has_the_scores_of(folder, trained)


def _has_the_scores_of(folder: Path, trained: Path) -> None:
    ours, theirs = (json.loads((p / "results.json").read_text()) for p in (folder, trained))
    for name in ("agent", "random", "updates", "simulator_steps"):
        assert ours[name] == theirs[name]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, of a size that the test sets."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        _mount(folder, "size=100m")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(folder: Path, wish: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", wish, "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("size", ROOM)
def test_a_full_disk_stops_the_run_until_there_is_room(
    disk: Path, trained: Path, size: int
) -> None:
    _mount(disk, f"remount,size={size}")
    _failed(_train(disk / "run"), "could not write", "No space left", "make room")
    _mount(disk, "remount,size=100m")
    result = _train(disk / "run")
    assert result.returncode == 0, result.stderr
    _is_as_undisturbed(disk / "run", trained)


def test_a_file_that_may_not_grow_stops_the_run(tmp_path: Path, trained: Path) -> None:
    """The next best to a full disk, where none can be mounted."""
    size = (trained / "episodes" / "episode-000000.npz").stat().st_size
    result = _train(tmp_path / "run", limit=size - 1)
    _failed(result, "could not write", "episode-000000", "File too large", "run the same command")
    assert not list((tmp_path / "run" / "episodes").iterdir())


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that its environment has ended, and the environment, mended since."""
    folder = tmp_path_factory.mktemp("stopped")
    (folder / "own.py").write_text(OWN.format(broken=3))
    result = _train(folder / "run", "--task", "own:Own")
    _failed(result, "own:Own raised RuntimeError at step 5: the toy broke on purpose")
    assert len(list((folder / "run" / "episodes").glob("*.npz"))) == 2
    (folder / "own.py").write_text(OWN.format(broken=-1))
    return folder


@pytest.mark.parametrize("damage", ["nothing", "the newest checkpoint", "an episode"])
def test_a_stopped_run_goes_on(stopped: Path, tmp_path: Path, trained: Path, damage: str) -> None:
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "run"
    named = None
    if damage == "the newest checkpoint":
        named = max((folder / "checkpoints").glob("*.armillary"))
        content = bytearray(named.read_bytes())
        content[len(content) // 2] ^= 1
        named.write_bytes(content)
    elif damage == "an episode":
        named = folder / "episodes" / "episode-000000.npz"
        named.write_bytes(named.read_bytes()[:-1000])
    result = _train(folder, "--task", "own:Own")
    assert result.returncode == 0, result.stderr
    warnings = [line for line in result.stderr.splitlines() if line.startswith("WARNING: ")]
    assert len(warnings) == (named is not None), warnings
    for line in warnings:
        assert str(named) in line
        assert "damaged" in line
    if damage != "an episode":
        _is_as_undisturbed(folder, trained)
    else:
        assert json.loads((folder / "results.json").read_text())["episodes"] == TINY.episodes


def test_an_infinite_loss_ends_the_run(tmp_path: Path) -> None:
    result = _train(tmp_path / "run", "--task", "toys:rich")
    _failed(result, "update 1 ", "loss/reward = inf", "checkpoint-00000")
    assert len(list((tmp_path / "run" / "episodes").glob("*.npz"))) == 2


def test_environments_in_processes_give_the_same_scores(tmp_path: Path, trained: Path) -> None:
    result = _train(tmp_path / "run", "--environment.processes")
    assert result.returncode == 0, result.stderr
    _is_as_undisturbed(tmp_path / "run", trained)
