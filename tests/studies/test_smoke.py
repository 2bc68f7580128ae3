"""Every study of training runs at the scale `smoke`, run as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import pytest

from conftest import environment

pytestmark = pytest.mark.slow

TASK = ("--tasks", "reacher-easy")


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "armillary", "study", *map(str, arguments), "--scale", "smoke"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def study(*arguments: object) -> str:
    process = start(*arguments)
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    return out


def numbers(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(study(*arguments, "--json"))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all studies: they share their runs."""
    return tmp_path_factory.mktemp("studies")


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("figure4", {"PlaNet (RSSM)", "stochastic (SSM)", "deterministic (GRU)"}),
        ("figure5", {"PlaNet", "random collection", "random shooting"}),
        (
            "figure8",
            {"PlaNet (RSSM)", "RSSM, latent overshooting", "DRNN", "DRNN, latent overshooting"},
        ),
        ("figure9", {"RSSM, ReLU", "RSSM, ELU", "SSM, ReLU", "SSM, ELU"}),
        ("table1", {"PlaNet"}),
    ],
)
def test_a_study_of_one_task(folder: Path, name: str, variants: set[str]) -> None:
    found = numbers(name, "--run", folder, *TASK)
    scores = found["tasks"]["reacher-easy"]
    assert set(scores) >= variants
    assert all(len(scores[variant]["scores"]) == 1 for variant in variants)
    assert imageio.imread(folder / f"{name}.png").std() > 10
    assert json.loads((folder / f"{name}.json").read_text()) == found


@pytest.mark.parametrize("name", ["figure6", "figure7"])
def test_one_agent_for_two_tasks(folder: Path, name: str) -> None:
    found = numbers(name, "--run", folder)
    whole = {"all tasks"} if name == "figure6" else set()
    assert set(found["tasks"]) == {"reacher-easy", "cartpole-swingup"} | whole
    for scores in found["tasks"].values():
        assert {"an agent for each task", "one agent for all tasks"} <= set(scores)
    assert imageio.imread(folder / f"{name}.png").std() > 10


def test_looking_into_an_agent_of_two_tasks(folder: Path) -> None:
    """Figures 10 and 11, of its second task."""
    run = folder / "all" / "planet-seed0"
    options = ("--run", folder, "--runs", run, "--task", "cartpole-swingup", "--episodes", 1)
    study("figure10", *options)
    assert json.loads((folder / "figure10.json").read_text())["task"] == "cartpole-swingup"
    study("figure11", *options)
    found = json.loads((folder / "figure11.json").read_text())
    assert found["task"] == "cartpole-swingup"
    assert any("slider" in quantity for quantity in json.dumps(found).split())


def test_looking_into_the_models_of_figure_4(folder: Path) -> None:
    study("figure10", "--run", folder, "--episodes", 1)
    found = json.loads((folder / "figure10.json").read_text())
    assert found["task"] == "reacher-easy"
    assert set(found["models"]) >= {"RSSM", "SSM", "RNN"}


def test_killed_in_the_middle_and_started_again(folder: Path, tmp_path: Path) -> None:
    """The figure is that of a study that was never stopped, and what was done is not done again."""
    process = start("figure4", "--run", tmp_path, *TASK)
    first = tmp_path / "reacher-easy" / "planet-seed0" / "results.json"
    second = tmp_path / "reacher-easy" / "dynamics-ssm-seed0" / "metrics.jsonl"
    deadline = time.monotonic() + 600
    while not (second.exists() and second.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done = first.stat().st_mtime_ns
    again = numbers("figure4", "--run", tmp_path, *TASK)
    assert first.stat().st_mtime_ns == done
    assert again == numbers("figure4", "--run", folder, *TASK)
    pictures = [imageio.imread(at / "figure4.png") for at in (folder, tmp_path)]
    assert (pictures[0] == pictures[1]).all()
