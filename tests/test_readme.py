"""The README's Python, run as it is written there (with a preset that takes seconds)."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from settings import TINY

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def _block(word: str) -> str:
    (block,) = [block for block in BLOCKS if word in block]
    return block


def test_a_trained_agent_acts(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "cheetah-run-planet-small-seed0").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    exec(_block("armillary.load"), {})
    assert 0 <= float(capsys.readouterr().out) <= 12  # the toy pays at most one for each step


def test_training_on_an_environment_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "my_environment.py").write_text(_block("class Lamp"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("armillary.config.PRESETS", {"small": lambda: TINY})
    block = _block("armillary.train").replace("episodes=20", "episodes=3")
    exec(block, {"replace": replace})
    agent, random = map(float, capsys.readouterr().out.split())
    assert 0 < agent <= 40
    assert 0 < random <= 40
    assert (tmp_path / "runs" / "lamp" / "results.json").exists()


def test_planning_on_a_function_of_ones_own(capsys: pytest.CaptureFixture) -> None:
    exec(_block("armillary.plan"), {})
    (action,) = map(float, capsys.readouterr().out.strip("[] \n").split())
    assert action > 0.5  # towards the place that pays
