"""`armillary pack`, and packed agents where run folders are expected."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from armillary.training.packing import pack

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_a_run_is_packed_and_used(armillary: Run, trained: Path, tmp_path: Path) -> None:
    done = armillary("pack", trained, "--licence", "mit", "--episodes", 2, "--note", "a\x1bb")
    assert done.returncode == 0, done.stderr
    path = tmp_path / f"{trained.name}.armillary"
    assert f"{path}: {path.stat().st_size / 1e6:.2f} MB" in done.stdout
    page = armillary("pack", path, "--card")
    assert page.stdout.startswith('---\nlicense: "mit"\n')
    assert "| note | ab |" in page.stdout  # what would command the terminal is left out
    packed, folder = (armillary("evaluate", where, "--episodes", 2) for where in (path, trained))
    assert packed.returncode == 0, packed.stderr
    scores = packed.stdout.replace(str(path), "X")
    assert scores == folder.stdout.replace(str(trained), "X")
    changed = armillary("evaluate", path, "--episodes", 2, "--planner.candidates", 6)
    assert changed.stdout.splitlines()[1] != packed.stdout.splitlines()[1]
    done = armillary("video", path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"{trained.name}-agent-0.mp4").exists()
    assert {p.name for p in tmp_path.iterdir()} == {path.name, f"{trained.name}-agent-0.mp4"}


def test_what_a_pack_lacks_is_said(armillary: Run, trained: Path, tmp_path: Path) -> None:
    """And nothing is left behind."""
    pack(trained, tmp_path / "x.armillary")
    lacks = "is a packed agent, which has weights, settings and scores but no"
    for words in (
        "train --run x.armillary",
        "train --run demo:x",
        "train --task toys:short --run hf:me/x",
        "train --from x.armillary --run new",
        "plot x.armillary",
        "plot demo:x",
        "distill x.armillary",
        "study planet/figure10 --runs x.armillary --run new",
    ):
        done = armillary(*words.split())
        assert done.returncode == 2, words
        assert lacks in done.stderr, words
        assert {path.name for path in tmp_path.iterdir()} <= {"x.armillary", "new"}
    done = armillary("study", "planet/figure11", "--runs", "x.armillary")
    assert "beside which nothing is written: give the folder" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("pack nothing", 1, "'nothing' is not a run folder (it does not exist)"),
        ("pack nothing.armillary", 1, "there is no 'nothing.armillary'"),
        ("pack demo:nothing", 2, "there is no demo 'nothing', expected one of demo:"),
        ("pack runs --card", 2, "is no packed agent: pack it first"),
        ("pack demo:tic_tac_toe --out x.zip", 2, "the name must end in .armillary"),
        ("pack demo:tic_tac_toe --episodes -1", 2, "neither must be negative"),
        ("evaluate demo:nothing", 2, "there is no demo 'nothing'"),
        ("evaluate nothing.armillary", 1, "there is no 'nothing.armillary'"),
        ("push demo:tic_tac_toe me", 2, "give OWNER/NAME"),
        ("pull me/x --out x.txt", 2, "the name must end in .armillary"),
    ],
)
def test_wrong_requests(armillary: Run, words: str, code: int, text: str) -> None:
    done = armillary(*words.split())
    assert done.returncode == code
    assert text in done.stderr
    assert done.stdout == ""
