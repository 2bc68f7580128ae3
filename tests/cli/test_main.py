"""The command line's contract: names, exit codes, one clear sentence, nothing lost."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from armillary.config import CONFIGS, flatten, preset, to_dict
from armillary.config.typed import options
from drawing import curves
from settings import TINY

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_a_wrong_task_leaves_no_folder_behind(armillary: Run, tmp_path: Path) -> None:
    armillary("train", "--task", "cheeta-run", "--run", "here")
    assert not list(tmp_path.iterdir())


def _refused(result: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    flat = " ".join(result.stderr.replace("│", " ").split())
    for word in words:
        assert word in flat
    assert result.stdout == ""


def test_help_answers_in_under_a_second(armillary_process: Run) -> None:
    armillary_process("--help")
    start = time.monotonic()
    result = armillary_process("--help")
    assert time.monotonic() - start < 1
    assert result.returncode == 0
    for command in (
        "train",
        "evaluate",
        "video",
        "play",
        "arena",
        "plot",
        "tasks",
        "doctor",
        "bench",
        "study",
    ):
        assert f"  {command}" in result.stdout


@pytest.mark.parametrize(
    "command",
    [
        *("train", "evaluate", "video", "play", "arena", "plot", "tasks", "study"),
        *("demo", "pack", "push", "pull"),
    ],
)
def test_each_command_has_help_without_heavy_imports(command: str) -> None:
    code = (
        "import sys; from armillary.cli.main import main\n"
        f"try: main(['{command}', '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'jax', 'mujoco', 'dm_control', 'matplotlib', 'gymnasium', 'pgx'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "usage" in result.stdout


def test_train_help_documents_every_hyperparameter(armillary: Run) -> None:
    """All fields of the configuration of each agent, each with its text."""
    for agent in (name for name, config in CONFIGS.items() if config.made_by == "train"):
        text = armillary("train", "--agent", agent, "--help-all").stdout
        fields = {
            f"--{name.replace('_', '-')}" for name in flatten(to_dict(preset("small", agent)))
        }
        assert len(fields) > 50
        assert fields - set(re.findall(r"--[\w.-]+", text)) == set()
        assert {"--run", "--trust"} <= set(re.findall(r"--[\w.-]+", text))


def test_version(armillary: Run) -> None:
    assert armillary("--version").stdout.startswith("armillary ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["unknown command 'trian'", "Did you mean 'train'"]),
        (["train", "--task", "cheeta-run"], ["cheeta-run", "cheetah-run"]),
        (["train", "--task", "no_such_module:make"], ["no_such_module"]),
        (["train", "--preset", "smal"], ["unknown preset 'smal'", "'small'"]),
        (["train", "--planer.horizon", "3"], ["Unrecognized options", "--planner.horizon"]),
        (["train", "--logdir", "x"], ["Unrecognized options: --logdir", "Here it is --run."]),
        (["train", "--algo=dreamer"], ["--algo of `armillary train`", "Here it is --agent."]),
        (["evaluate", "x", "--eval_episodes", "3"], ["--eval-episodes", "it is --episodes."]),
        (["train", "--total-timesteps", "9"], ["Here it is --episodes. An episode", "1,000"]),
        (["train", "--gamma", "0.9"], ["Unrecognized options"]),  # PlaNet has none
        (["train", "--agent", "dreamer", "--gamma", "0.9"], ["it is --behavior.discount."]),
        (["train", "--device", "cuda"], ["JAX chooses the device", "JAX_PLATFORMS=cpu"]),
        (["train", "--planner.elites", "300"], ["K must not be greater than J"]),
        (["train", "--planner.horizon", "-1"], ["horizon is -1", "greater than zero"]),
        (["train", "--seed", "-1"], ["seed is -1"]),
        (["train", "--episodes", "2"], ["fewer than the 5 seed episodes"]),
        (["train", "--environment.action-repeat", "0"], ["action_repeat is 0"]),
        (["train", "--environment.size", "32"], ["64"]),
        (["train", "--model.hidden", "many"], ["many"]),
        (["evaluate"], ["run folder", "--agent random"]),
        (["evaluate", "--agent", "random"], ["--task"]),
        (["evaluate", "--agent", "random", "--task", "cheetah-run", "--episodes", "0"], ["0"]),
        (["evaluate", "--agent", "random", "--task", "nonsense"], ["nonsense"]),
        (["plot"], ["give one or several run folders"]),
        (["video", "x", "--out", "film.txt"], [".mp4 or .gif"]),
    ],
)
def test_a_wrong_request_exits_with_2(armillary: Run, arguments: list[str], words: list) -> None:
    _refused(armillary(*arguments), 2, *words)


@pytest.mark.parametrize("command", ["evaluate", "video", "plot"])
def test_a_folder_that_is_no_run_exits_with_1(armillary: Run, command: str) -> None:
    _refused(armillary(command, "nowhere"), 1, "'nowhere' is not a run folder", "does not exist")


def test_debug_shows_the_traceback(armillary: Run) -> None:
    result = armillary("evaluate", "nowhere", "--debug")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_a_folder_that_cannot_be_made_exits_with_1(armillary: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    arguments = options(TINY)
    _refused(armillary("train", *arguments, "--run", "file/run"), 1, "file/run")


def test_evaluate_prints_one_json_object(armillary: Run, trained: Path) -> None:
    result = armillary("evaluate", trained, "--episodes", 3, "--seed", 4, "--json")
    assert result.returncode == 0, result.stderr
    scores = json.loads(result.stdout)
    assert len(scores["scores"]) == 3
    assert scores["mean"] == pytest.approx(np.mean(scores["scores"]))
    assert scores["std"] == pytest.approx(np.std(scores["scores"]))
    assert scores["trained_episodes"] == 4
    again = armillary("evaluate", trained, "--episodes", 3, "--seed", 4, "--json")
    assert json.loads(again.stdout)["scores"] == scores["scores"]
    other = armillary("evaluate", trained, "--episodes", 3, "--seed", 5, "--json")
    assert json.loads(other.stdout)["scores"] != scores["scores"]


def test_evaluate_random_needs_no_run(armillary: Run) -> None:
    arguments = ["--agent", "random", "--task", "toys:short", "--episodes", "4", "--json"]
    result = armillary("evaluate", *arguments)
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)["scores"]) == 4


def test_video_and_prediction(armillary: Run, trained: Path, tmp_path: Path) -> None:
    assert armillary("video", trained, "--out", "agent.gif").returncode == 0
    assert (tmp_path / "agent.gif").stat().st_size > 1000
    assert armillary("video", trained, "--predict", "--out", "model.mp4").returncode == 0
    assert (tmp_path / "model.mp4").stat().st_size > 1000
    assert (tmp_path / "model.png").stat().st_size > 1000


def test_plot(armillary: Run, drawn: list[Figure], trained: Path, tmp_path: Path) -> None:
    assert armillary("plot", trained, "--out", "curve.png").returncode == 0
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert {label.split(", ")[-1] for label in curves(drawn[-1])} == {
        "training episodes",
        "2 test episodes",
    }


def test_tasks_lists_the_suite(armillary: Run) -> None:
    text = armillary("tasks").stdout
    for task in ("cheetah-run", "ball_in_cup-catch", "cartpole-balance"):
        assert task in text
    assert len(json.loads(armillary("tasks", "--json").stdout)) > 30


def test_train_on_the_command_line(armillary: Run, armillary_process: Run, tmp_path: Path) -> None:
    """A whole tiny run; then the same command says it is done, and another one is refused."""
    arguments = [*options(TINY), "--run", "run"]
    first = armillary_process("train", *arguments)
    assert first.returncode == 0, first.stderr
    assert "this agent" in first.stdout
    assert "random actions" in first.stdout
    assert "±" in first.stdout
    for name in ("curve.png", "agent.mp4", "prediction.png", "checkpoints", "metrics.jsonl"):
        assert (tmp_path / "run" / name).exists()
    again = armillary("train", "--run", "run")  # the settings are in the folder
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout
    refused = armillary("train", *arguments, "--model.hidden", "17")
    _refused(refused, 2, "another configuration", "model.hidden: 16 there, 17 asked for")


def test_jax_without_the_device_it_was_told_to_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from armillary.cli import main

    def fails(argv: list[str]) -> None:
        exec("raise AssertionError", {"__name__": "jax._src.xla_bridge"})  # without a word

    monkeypatch.setattr(main, "_dispatch", fails)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert main._run(["bench"]) == 1
    error = capsys.readouterr().err
    assert "JAX cannot use what JAX_PLATFORMS=cuda asks for: unset it" in error
    assert "unexpected" not in error


def test_a_working_folder_that_was_deleted(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    code = "import os; os.rmdir(os.getcwd())\nfrom armillary.cli.main import main; main(['tasks'])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path / "gone"
    )
    _refused(result, 2, "the folder in which this was started is not there any more")
