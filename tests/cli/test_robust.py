"""What environments print must not come between a command's results and their reader."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import armillary as library
from conftest import environment
from settings import TINY

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


@pytest.fixture
def finished(trained: Path, tmp_path: Path) -> Path:
    """A copy of a finished run without its report, in a folder whose name needs quotes."""
    folder = tmp_path / "my runs" / "it's one"
    shutil.copytree(trained, folder)
    for file in (*folder.glob("*.png"), *folder.glob("*.mp4")):
        file.unlink()
    return folder


REPORT = {"curve.png", "agent.mp4", "prediction.png", "prediction.mp4"}


def _report(folder: Path) -> set[str]:
    return {path.name for path in (*folder.glob("*.png"), *folder.glob("*.mp4"))}


def _main(*arguments: object) -> int:
    from armillary.cli.main import main

    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


def test_without_ffmpeg_a_finished_run_keeps_its_exit_code_and_pictures(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/no/such/ffmpeg")
    (finished / "agent.mp4").write_bytes(b"the older one")
    assert _main("train", "--run", finished) == 0
    out, err = capsys.readouterr()
    assert "this agent" in out
    assert f"armillary plot {shlex.quote(str(finished))}\n" in out
    assert f"armillary.load({str(finished)!r})" in out
    assert str(finished / "agent.mp4") not in out
    for name in ("agent.mp4", "prediction.mp4"):
        assert f"not written: {finished / name}: no MP4 can be written here" in err
    assert "unset IMAGEIO_FFMPEG_EXE" in err
    assert "make room" not in err
    assert _report(finished) == REPORT - {"prediction.mp4"}
    assert (finished / "agent.mp4").read_bytes() == b"the older one"
    again = shlex.split(err.splitlines()[-1].partition("missing: ")[2])
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    assert _main(*again[again.index("armillary") + 1 :]) == 0
    assert _report(finished) == REPORT


@pytest.mark.parametrize("name", sorted(REPORT))
def test_a_file_of_the_report_that_has_no_room_costs_no_other(
    finished: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from armillary import video
    from armillary.files import storage_error, write_atomically
    from armillary.studies import plots

    def full(path: Path, write: Callable[..., object]) -> None:
        if Path(path).name == name:
            raise storage_error(path, OSError(28, "No space left on device"))
        write_atomically(path, write)

    for module in (video, plots):
        monkeypatch.setattr(module, "write_atomically", full)
    assert _main("train", "--run", finished) == 1
    out, err = capsys.readouterr()
    assert "this agent" in out
    assert f"not written: {finished / name}: could not write" in err
    assert _report(finished) == REPORT - {name}


def test_output_that_cannot_be_written_costs_no_file(finished: Path) -> None:
    """Files come first; then one sentence, if it can be said."""
    command = [sys.executable, "-m", "armillary", "train", "--run", str(finished)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment()
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("armillary: the results could not be written")
    assert "No space left on device" in done.stderr
    assert _report(finished) == REPORT


def test_a_run_goes_on_when_nothing_can_be_said_of_it(finished: Path) -> None:
    """Standard error on a full disk, and a terminal that has no ±."""
    plain = environment() | {"PYTHONIOENCODING": "ascii"}
    more = ["--episodes", str(TINY.episodes + 1)]
    command = [sys.executable, "-m", "armillary", "train", "--run", str(finished), *more]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=full, text=True, env=plain, encoding="ascii"
        )
    assert done.returncode == 0
    assert " +/- " in done.stdout
    assert json.loads((finished / "results.json").read_text())["episodes"] == TINY.episodes + 1
    assert _report(finished) == REPORT


@pytest.mark.parametrize("arguments", [["tasks"], ["--help"], ["train", "--help"], ["--version"]])
def test_each_command_says_that_its_output_was_lost(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "armillary", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
    assert done.returncode == 1
    assert done.stderr.startswith("armillary: the results could not be written")
    assert done.stderr.count("\n") == 1
