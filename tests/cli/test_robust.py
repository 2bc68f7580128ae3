"""What environments print must not come between a command's results and their reader."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import armillary as library

Run = Callable[..., subprocess.CompletedProcess[str]]
RANDOM = ("evaluate", "--agent", "random", "--episodes", 2)
NOISE = [f"{how} {when}" for how in ("print", "write", "puts") for when in ("made", "step", "end")]


def test_evaluate_prints_its_json_and_nothing_else(armillary_process: Run) -> None:
    result = armillary_process(*RANDOM, "--task", "toys:loud", "--json")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    assert len(json.loads(result.stdout)["scores"]) == 2
    for noise in NOISE:
        assert noise in result.stderr


def test_what_is_meant_for_people_is_not_mixed_with_noise(
    armillary: Run, armillary_process: Run
) -> None:
    loud = armillary_process(*RANDOM, "--task", "toys:loud")
    quiet = armillary(*RANDOM, "--task", "toys:short")
    assert loud.stdout == quiet.stdout.replace("toys:short", "toys:loud")
    assert quiet.stdout.startswith("random on toys:short: ")
    assert "\nscores: " in quiet.stdout


@pytest.mark.slow
def test_bench_prints_its_json_and_nothing_else(armillary_process: Run) -> None:
    result = armillary_process("bench", "--quick", "--task", "toys:loud", "--json")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout)["action_size"] == 2
    for noise in NOISE:
        assert noise in result.stderr


def test_evaluate_says_how_the_scores_came_about(armillary: Run) -> None:
    own = json.loads(armillary(*RANDOM, "--task", "toys:short", "--json").stdout)
    assert own["armillary"] == library.__version__
    assert (own["side_by_side"], own["action_repeat"], own["renderer"]) == (2, 1, None)
    arguments = ["--task", "toys:short", "--json", "--side-by-side", 1, "--action-repeat", 3]
    own = json.loads(armillary(*RANDOM, *arguments).stdout)
    assert (own["side_by_side"], own["action_repeat"]) == (1, 3)


@pytest.mark.slow
def test_evaluate_names_the_renderer_that_drew(armillary: Run) -> None:
    arguments = ["--agent", "random", "--task", "cartpole-balance", "--episodes", 1, "--json"]
    suite = json.loads(armillary("evaluate", *arguments, "--renderer", "warp").stdout)
    assert (suite["renderer"], suite["action_repeat"]) == ("warp", 8)
    chosen = json.loads(armillary("evaluate", *arguments).stdout)
    assert chosen["renderer"] in ("egl", "osmesa", "warp")


def test_a_trained_agents_json_says_it_too(armillary: Run, trained: Path) -> None:
    result = json.loads(armillary("evaluate", trained, "--episodes", 1, "--json").stdout)
    assert (result["side_by_side"], result["action_repeat"], result["renderer"]) == (1, 1, None)
