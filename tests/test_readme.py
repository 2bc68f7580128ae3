"""The Python of the README, docs/planning.md and docs/studies.md, run as it is written there.

(Training with a preset that takes seconds.)
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from armillary.version import __version__
from settings import TINY

ROOT = Path(__file__).parents[1]


def _blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


BLOCKS = _blocks("README.md")
PLANNING = _blocks("docs/planning.md")


def _block(word: str) -> str:
    (block,) = [block for block in BLOCKS if word in block]
    return block


def test_a_trained_agent_acts(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "cheetah-run-planet-small-seed0").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    exec(_block("over = terminated or truncated"), {})
    assert 0 <= float(capsys.readouterr().out) <= 12  # the toy pays at most one for each step


def test_a_trained_agent_is_looked_into(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "cheetah-run-planet-small-seed0").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(_block("agent.world_model"), found)
    scores, shape = capsys.readouterr().out.splitlines()
    assert scores.endswith("(3 episodes)")
    assert shape.startswith("(20, 64, 64, 3) ")
    assert found["agent"].config.planner.horizon == 10
    assert found["rewards"].shape == (20,)
    assert found["state"].stochastic.shape == (TINY.model.stochastic,)


def test_citations_are_of_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"version = {{{__version__}}}" in (ROOT / "README.md").read_text()


def test_training_on_an_environment_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "my_environment.py").write_text(_block("class Lamp"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("armillary.config.presets.PRESETS", {"planet": {"small": lambda: TINY}})
    block = _block("armillary.train").replace("episodes=20", "episodes=3")
    found: dict[str, Any] = {"replace": replace}
    exec(block, found)
    assert [row["episode"] for row in found["rows"] if "collect/return" in row] == [1, 2, 3]
    agent, random = map(float, capsys.readouterr().out.split())
    assert 0 < agent <= 40
    assert 0 < random <= 40
    assert (tmp_path / "runs" / "lamp" / "results.json").exists()


def test_planning_on_a_function_of_ones_own(capsys: pytest.CaptureFixture) -> None:
    exec(_block("armillary.plan"), {})
    (action,) = map(float, capsys.readouterr().out.strip("[] \n").split())
    assert action > 0.5  # towards the place that pays


@pytest.mark.parametrize("block", PLANNING, ids=["jax", "python", "suite", "mjcf", "shooting"])
def test_planning_on_any_model(block: str) -> None:
    found: dict[str, Any] = {}
    exec(block, found)
    if "JaxModel" in block:
        assert found["plan"].mean[0] > 0.5
        assert found["plan"].predicted_return > -12  # it would be -12 for standing still
    elif "PythonModel" in block:
        assert found["plan"].mean[0] > 0.5
        assert found["plan"].predicted_return == pytest.approx(-0.3, abs=0.2)
    elif "XML" in block:
        assert abs(found["data"].joint("hinge").qpos[0]) == pytest.approx(np.pi, abs=0.2)
    elif "ControlSuite" in block:
        assert np.abs(found["plan"].mean).max() <= 1
        assert 0 <= found["plan"].predicted_return <= 48
    else:
        assert found["shooting"].elites == 1


def test_a_comparison_of_ones_own(capsys: pytest.CaptureFixture) -> None:
    normalising, block = _blocks("docs/studies.md")
    exec(normalising, {})
    assert capsys.readouterr().out.split()[-1].startswith("118.15")
    found: dict[str, Any] = {}
    exec(block, found)
    nats = {(m.variant.label, m.config.objective.free_nats) for m in found["members"]}
    assert nats == {("3 nats", 3.0), ("none", 0.0)}
    assert {m.config.episodes for m in found["members"]} == {12}
