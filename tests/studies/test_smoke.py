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
from matplotlib.figure import Figure

from armillary.studies import runs
from armillary.studies.dreamer.comparisons import PAPER
from conftest import Command, environment, shared_folder
from drawing import curves
from folders import finish

pytestmark = pytest.mark.slow

TASK = ("--tasks", "reacher-easy")


class Study:
    """Runs a study by the command line, and looks at what it drew; waits for other workers."""

    def __init__(self, armillary: Command, drawn: list[Figure]) -> None:
        self._armillary, self.figures = armillary, drawn

    def __call__(self, *arguments: object) -> str:
        deadline = time.monotonic() + 600
        done = self._run(*arguments)
        while done.returncode and "another process" in done.stderr and time.monotonic() < deadline:
            time.sleep(1)  # it trains one of the runs, or plays the episodes
            done = self._run(*arguments)
        assert done.returncode == 0, done.stderr
        assert self.figures
        return done.stdout

    def _run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        self.figures.clear()
        return self._armillary("study", *arguments, "--scale", "smoke")

    def numbers(self, *arguments: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self(*arguments, "--json"))
        return found

    def curves(self) -> set[str]:
        """What the last study's figures show, without how many seeds it is of."""
        labels = set().union(*map(curves, self.figures))
        return {label.removesuffix(", 1 seed") for label in labels}


@pytest.fixture
def study(armillary: Command, drawn: list[Figure]) -> Study:
    return Study(armillary, drawn)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all studies, in all workers: they share their runs."""
    return shared_folder(tmp_path_factory, "studies")


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("planet/figure4", {"PlaNet (RSSM)", "stochastic (SSM)", "deterministic (GRU)"}),
        ("planet/figure5", {"PlaNet", "random collection", "random shooting"}),
        (
            "planet/figure8",
            {"PlaNet (RSSM)", "RSSM, latent overshooting", "DRNN", "DRNN, latent overshooting"},
        ),
        ("planet/figure9", {"RSSM, ReLU", "RSSM, ELU", "SSM, ReLU", "SSM, ELU"}),
        ("planet/table1", {"PlaNet"}),
    ],
)
def test_a_study_of_one_task(study: Study, folder: Path, name: str, variants: set[str]) -> None:
    found = study.numbers(name, "--run", folder, *TASK)
    scores = found["tasks"]["reacher-easy"]
    assert set(scores) >= variants
    assert all(len(scores[variant]["scores"]) == 1 for variant in variants)
    assert study.curves() == variants
    figure = name.partition("/")[2]
    assert imageio.imread(folder / f"{figure}.png").std() > 10
    assert json.loads((folder / f"{figure}.json").read_text()) == found


@pytest.mark.parametrize("name", ["figure6", "figure7"])
def test_one_agent_for_two_tasks(study: Study, folder: Path, name: str) -> None:
    found = study.numbers(f"planet/{name}", "--run", folder)
    whole = {"all tasks"} if name == "figure6" else set()
    assert set(found["tasks"]) == {"reacher-easy", "cartpole-swingup"} | whole
    for scores in found["tasks"].values():
        assert {"an agent for each task", "one agent for all tasks"} <= set(scores)
    assert study.curves() == {"an agent for each task", "one agent for all tasks"}
    assert imageio.imread(folder / f"{name}.png").std() > 10


def test_looking_into_an_agent_of_two_tasks(study: Study, folder: Path, tmp_path: Path) -> None:
    """Figures 10 and 11, of its second task."""
    study("planet/figure6", "--run", folder)
    run = folder / "all" / "planet-seed0"
    options = ("--run", tmp_path, "--runs", run, "--task", "cartpole-swingup", "--episodes", 1)
    study("planet/figure10", *options)
    assert json.loads((tmp_path / "figure10.json").read_text())["task"] == "cartpole-swingup"
    study("planet/figure11", *options)
    found = json.loads((tmp_path / "figure11.json").read_text())
    assert found["task"] == "cartpole-swingup"
    assert any("slider" in quantity for quantity in json.dumps(found).split())


def test_looking_into_the_models_of_figure_4(study: Study, folder: Path) -> None:
    study("planet/figure10", "--run", folder, "--episodes", 1)
    found = json.loads((folder / "figure10.json").read_text())
    assert found["task"] == "reacher-easy"
    assert set(found["models"]) >= {"RSSM", "SSM", "RNN"}
    assert study.curves() >= {"RSSM", "SSM", "RNN"}


def test_killed_in_the_middle_and_started_again(study: Study, folder: Path, tmp_path: Path) -> None:
    """The figure is that of a study that was never stopped, and what was done is not done again."""
    arguments = ("planet/figure4", "--run", tmp_path, *TASK)
    command = [sys.executable, "-m", "armillary", "study", *map(str, arguments)]
    process = subprocess.Popen([*command, "--scale", "smoke"], env=environment())
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
    again = study.numbers(*arguments)
    assert first.stat().st_mtime_ns == done
    assert again == study.numbers("planet/figure4", "--run", folder, *TASK)
    pictures = [imageio.imread(at / "figure4.png") for at in (folder, tmp_path)]
    assert (pictures[0] == pictures[1]).all()


@pytest.fixture(scope="module")
def dreamer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of Dreamer's studies, in all workers."""
    return shared_folder(tmp_path_factory, "dreamer-studies")


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("figure6", {"Dreamer", "PlaNet"}),
        ("figure7", {"Dreamer", "no value", "PlaNet"}),
        ("figure8", {"reconstruction", "contrastive", "reward only"}),
        ("figure9", {"Dreamer", "no value", "PlaNet"}),
        ("figure10", {"reconstruction", "contrastive", "reward only"}),
    ],
)
def test_a_study_of_dreamer(
    study: Study, dreamer_folder: Path, name: str, variants: set[str]
) -> None:
    found = study.numbers(f"dreamer/{name}", "--run", dreamer_folder, *TASK)
    assert found["last_tests"] == 3
    scores = found["tasks"]["reacher-easy"]
    assert set(scores) == variants
    assert all(len(scores[variant]["scores"]) == 1 for variant in variants)
    if name == "figure6":
        (axis,) = study.figures[0].axes
        labels = axis.get_legend_handles_labels()[1]
        assert {label.removesuffix(", 1 seed") for label in labels} == variants
    else:
        assert study.curves() == variants
    assert imageio.imread(dreamer_folder / f"{name}.png").std() > 5
    assert (dreamer_folder / f"{name}.md").exists() == (name in ("figure6", "figure7", "figure9"))


@pytest.mark.parametrize(
    ("figure", "variants", "curves"),
    [
        (
            "figure4",
            {f"{way}, horizon {h}" for way in ("Dreamer", "no value", "PlaNet") for h in (2, 3)},
            {"Dreamer", "no value", "PlaNet"},
        ),
        ("figure11", {"R = 1", "R = 2", "R = 4"}, {"R = 1", "R = 2", "R = 4"}),
    ],
)
def test_a_study_of_dreamer_of_which_one_run_is_missing(
    study: Study, tmp_path: Path, figure: str, variants: set[str], curves: set[str]
) -> None:
    """Its other runs are there already, so that no more than one is trained."""
    comparison, scale = PAPER.at(figure, "smoke")
    members = runs.members(comparison, scale.changed(("reacher-easy",), None, None), tmp_path)
    for member in members[:-1]:
        finish(member, lambda task, i: 5.0, tests=((3, 1.0),))
    found = study.numbers(f"dreamer/{figure}", "--run", tmp_path, *TASK)
    assert set(found["tasks"]["reacher-easy"]) == variants
    assert members[-1].results is not None
    assert study.curves() == curves


def test_looking_into_a_dreamer(study: Study, dreamer_folder: Path) -> None:
    study("dreamer/figure5", "--run", dreamer_folder, "--episodes", 1)
    found = json.loads((dreamer_folder / "figure5.json").read_text())
    assert (found["figure"], found["task"], set(found["models"])) == (5, "reacher-easy", {"RSSM"})
    assert study.curves() >= {"RSSM"}
    (run,) = [model["run"] for model in found["models"].values()]
    assert Path(run) == dreamer_folder / "reacher-easy" / "dreamer-seed0"


@pytest.fixture(scope="module")
def muzero_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_folder(tmp_path_factory, "muzero-studies")


CARTPOLE = "CartPole-v1"


def test_simulations_in_training_and_at_evaluation(study: Study, muzero_folder: Path) -> None:
    """Figure 3, and Figure S3 of its runs, which plays nothing twice."""
    labels = {"1 simulation", "3 simulations"}
    trained = study.numbers("muzero/figure3", "--run", muzero_folder)
    assert set(trained["tasks"][CARTPOLE]) == study.curves() == labels
    played = study.numbers("muzero/figureS3", "--run", muzero_folder)
    numbers = (0, 5)
    assert set(played["tasks"][CARTPOLE]) == {f"{x}, {n} at test" for x in labels for n in numbers}
    assert study.curves() == {f"{label} in training" for label in labels}
    (axis,) = study.figures[0].axes
    assert [tuple(line.get_xdata()) for line in axis.lines[:2]] == [numbers] * 2  # type: ignore[arg-type]
    first, *others = sorted((muzero_folder / "figureS3").rglob("*.json"))
    assert len(others) == 3
    kept, written = first.read_text(), [file.stat().st_mtime_ns for file in others]
    first.unlink()
    assert study.numbers("muzero/figureS3", "--run", muzero_folder) == played
    assert first.read_text() == kept
    assert [file.stat().st_mtime_ns for file in others] == written
    fewer = study.numbers("muzero/figureS3", "--run", muzero_folder, "--simulations", 0)
    assert set(fewer["tasks"][CARTPOLE]) == {f"{label}, 0 at test" for label in labels}


def test_muzero_beside_reanalyze(study: Study, muzero_folder: Path) -> None:
    found = study.numbers("muzero/table1", "--run", muzero_folder)
    labels = {"MuZero, 2 updates a round", "Reanalyze, 2 updates a round"}
    assert set(found["tasks"][CARTPOLE]) == study.curves() == labels
    assert found["steps"][CARTPOLE] > 0
    (axis,) = study.figures[0].axes
    assert axis.get_xlabel() == "environment steps"
    assert max(axis.lines[0].get_xdata()) >= found["steps"][CARTPOLE]  # type: ignore[type-var, operator]
    assert "all alike" in (muzero_folder / "table1.md").read_text()


def test_a_run_is_evaluated_with_another_search(
    study: Study, muzero_folder: Path, armillary: Command
) -> None:
    """As Figure S3 plays it, which loads it with `search=`."""
    played = study.numbers("muzero/figureS3", "--run", muzero_folder)["tasks"][CARTPOLE]
    run = muzero_folder / CARTPOLE / "muzero-seed0"
    for number in (0, 5):
        options = ("--search.simulations", number, "--episodes", 2, "--json")
        done = armillary("evaluate", run, *options)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["search"]["simulations"] == number
        assert [told["scores"]] == played[f"3 simulations, {number} at test"]["scores"]
    refused = armillary("train", "--agent", "muzero", "--search.simulations", 0)
    assert refused.returncode == 2
    assert "search.simulations is 0, but the policy is learned" in refused.stderr
    refused = armillary("study", "muzero/figureS3", "--simulations", 1, 1)
    assert refused.returncode == 2
    assert "give different numbers" in refused.stderr
