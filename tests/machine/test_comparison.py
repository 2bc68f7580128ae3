"""A report beside an earlier one: what is slower, what only looks so, and what is no comparison."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from armillary.cli import bench as command
from armillary.errors import UsageError
from armillary.machine import bench
from armillary.machine.comparison import compare, lines, read_report
from armillary.machine.timing import Timing


def report(update: tuple[float, ...], plan: tuple[float, ...], rate: float = 100.0) -> Any:
    """Returns what a comparison reads of a report."""
    step = Timing((0.001,)).as_dict()
    return {
        "agent": "planet",
        "preset": "paper",
        "task": "cheetah-run",
        "batch": [50, 50],
        "acting": {"name": "plan", "plural": "plans", "size": "J=1000"},
        "machine": {"jax": "1", "processor": "fast"},
        "matrix_gflop_per_second": {"float32": rate},
        "update": Timing(update).as_dict(),
        "plan": Timing(plan).as_dict(),
        "parts": {"half": Timing(update).as_dict()},
        "environment_step": step,
        "rendering": {"warp": step},
        "simulator": {"plan": Timing(plan).as_dict()},
    }


BEFORE = report((1.0, 1.1, 1.2, 1.3, 1.4), (0.5, 0.5, 0.5))


def test_quartiles_are_those_of_the_times() -> None:
    assert Timing((1.0, 2.0, 3.0, 4.0, 5.0)).as_dict()["quartile_seconds"] == [2.0, 4.0]
    assert Timing((3.0,)).as_dict()["quartile_seconds"] == [3.0, 3.0]


def test_what_is_twice_as_slow_is_said_and_what_is_noise_is_not() -> None:
    now = report((1.1, 1.2, 1.3, 1.4, 1.5), (1.0, 1.0, 1.1))
    changes = {change.name: change for change in compare(now, BEFORE)}
    names = ("update", "plan", "environment step", "half", "image, warp")
    assert set(changes) == {*names, "plan on the true simulator"}
    update = changes["update"]
    # The middle halves are 1.1 to 1.3 before, 1.2 to 1.4 now.
    assert (update.least, update.most) == (pytest.approx(1.2 / 1.3), pytest.approx(1.4 / 1.1))
    assert update.ratio == pytest.approx(1.3 / 1.2)
    assert update.verdict == "same"
    assert changes["plan"].ratio == pytest.approx(2)
    assert changes["plan"].verdict == "slower"
    back = {change.name: change for change in compare(BEFORE, now)}
    assert back["plan"].verdict == "faster"
    assert changes["plan"].as_dict()["range"] == [2.0, pytest.approx(2.1)]


def test_another_machine_is_seen() -> None:
    now = report((1.0,), (0.5,), rate=150.0)
    now["machine"]["processor"] = "faster"
    text = "\n".join(lines(compare(now, BEFORE), now, BEFORE))
    assert "processor: fast before, faster now" in text
    assert "float32: 1.50 of what it was (100 GFLOP/s)" in text
    assert "jax" not in text


def test_other_work_is_not_compared(tmp_path: Path) -> None:
    for name, value in (("agent", "dreamer"), ("batch", [4, 4])):
        other = copy.deepcopy(BEFORE) | {name: value}
        with pytest.raises(UsageError, match=f"the earlier report is of {name}"):
            compare(BEFORE, other)
    old = copy.deepcopy(BEFORE)
    del old["update"]["quartile_seconds"]
    with pytest.raises(UsageError, match="no quartiles"):
        compare(BEFORE, old)
    file = tmp_path / "report.json"
    for text, words in (("{", "cannot read"), ("[1]", "no report"), ('{"machine": {}}', "no rep")):
        file.write_text(text)
        with pytest.raises(UsageError, match=words):
            read_report(file)
    with pytest.raises(UsageError, match="No such file"):
        read_report(tmp_path / "nowhere.json")


def test_the_command_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The other agent is refused before anything is measured."""
    now = report((2.0,), (0.5,))
    monkeypatch.setattr(bench, "measure", lambda *_, **__: now)
    monkeypatch.setattr(command, "table", lambda *_: "the table")
    file = tmp_path / "before.json"
    file.write_text(json.dumps(BEFORE))
    assert command.run(["--against", str(file)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("the table\n")
    assert "1.67" in text
    assert "slower" in text
    assert command.run(["--against", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["against"]["update"]["verdict"] == "slower"
    assert told["against"]["plan"]["verdict"] == "same"
    monkeypatch.setattr(bench, "measure", lambda *_, **__: pytest.fail("it was measured"))
    for argv, words in (
        (["--agent", "dreamer"], "'planet', this one of 'dreamer'"),
        (["--simulators", "all"], "leave --simulators out"),
    ):
        with pytest.raises(UsageError, match=words):
            command.run([*argv, "--against", str(file)])


def test_the_suite_keeps_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import suite

    reports = iter([BEFORE, report((2.0,), (0.5,))])
    monkeypatch.setattr(suite, "measured", lambda case, options: next(reports))
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    monkeypatch.setattr(sys, "argv", ["suite", "--out", str(first), "--only", "planet"])
    suite.main()
    kept = json.loads(first.read_text())
    assert kept["cases"]["planet"] == BEFORE
    argv = ["suite", "--out", str(second), "--only", "planet", "--against", str(first)]
    monkeypatch.setattr(sys, "argv", argv)
    capsys.readouterr()
    suite.main()
    assert "1.67" in capsys.readouterr().out
    second.write_text("{}")
    monkeypatch.setattr(sys, "argv", [*argv[:3], "--against", str(second)])
    with pytest.raises(SystemExit, match="no file of this command"):
        suite.main()
