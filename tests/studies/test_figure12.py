"""The study of the planner's settings: what it plays, that it goes on, what it draws."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.studies.planet import figure12
from armillary.studies.planet.figure12 import SCALES, Grid
from armillary.studies.trials import Record, read

Run = Callable[..., subprocess.CompletedProcess[str]]
GRID = Grid((6, 8), (3, 10), (100, 300), (0.1, 0.3))


def _write(grid: Grid, folder: Path, score: Callable[..., float]) -> None:
    for trial in grid.all():
        p = trial.planner
        value = score(p.horizon, p.iterations, p.candidates, p.elites)
        Record(np.zeros((1, 6)), np.array([value]), np.zeros(1), finished=True).save(
            trial.path(folder), trial
        )


def test_a_grid_is_every_combination_once_the_longest_first() -> None:
    trials = GRID.all()
    settings = {
        (p.horizon, p.iterations, p.candidates, p.elites) for p in (t.planner for t in trials)
    }
    assert len(trials) == len(settings) == 16
    assert (6, 3, 300, 90) in settings
    assert trials[0].planner.candidates * trials[0].planner.iterations == 3000
    costs = [t.planner.horizon * t.planner.iterations * t.planner.candidates for t in trials]
    assert costs == sorted(costs, reverse=True)
    assert len(replace(GRID, episodes=3).all()) == 48


def test_the_papers_scale_holds_the_papers_settings_and_horizons() -> None:
    settings = {(t.planner.horizon, t.planner.elites) for t in SCALES["paper"].all()}
    assert {(horizon, 100) for horizon in (6, 8, 10, 12, 14)} <= settings
    assert {6, 8, 10, 12, 14} <= set(SCALES["small"].horizons)
    (trial,) = SCALES["paper"].trials(12, 10, 1000, 0.1)
    assert trial.planner == type(trial.planner)()  # the defaults are the paper's
    assert trial.action_repeat == 4
    assert trial.time_limit is None


def test_scores_lie_where_their_settings_say(tmp_path: Path) -> None:
    _write(GRID, tmp_path, lambda h, i, j, k: h + 100 * i + j / 1000 + k / 1e6)
    table = figure12.scores(GRID, tmp_path)
    assert table.shape == (2, 2, 2, 2)
    assert table[1, 0, 1, 0] == pytest.approx(8 + 300 + 0.3 + 30e-6)
    text = figure12.summary(GRID, table)
    assert "best 1008 (horizons 8, iterations 10, candidates 300, fractions 0.3)" in text
    (file,) = {GRID.trials(6, 3, 100, 0.1)[0].path(tmp_path)}
    file.unlink()
    table = figure12.scores(GRID, tmp_path)
    assert np.isnan(table[0, 0, 0, 0])
    assert np.isfinite(table).sum() == 15
    assert json.loads(json.dumps(figure12.as_dict(GRID, table)))["scores"][0][0][0][0] is None


def test_an_unfinished_episode_has_no_score(tmp_path: Path) -> None:
    trial = GRID.all()[0]
    Record(np.zeros((1, 6)), np.ones(1), np.zeros(1)).save(trial.path(tmp_path), trial)
    assert np.isnan(figure12.scores(GRID, tmp_path)).all()
    assert figure12.summary(GRID, figure12.scores(GRID, tmp_path)) == (
        "no combination is finished yet"
    )


def test_the_picture_shows_every_score(tmp_path: Path) -> None:
    import matplotlib.image

    _write(GRID, tmp_path, lambda h, i, j, k: 132.0 if h == 6 else 837.0)
    picture = figure12.draw(GRID, tmp_path, tmp_path / "a" / "picture.png")
    pixels = matplotlib.image.imread(picture)[..., :3]
    dark, bright = (0.267, 0.005, 0.329), (0.993, 0.906, 0.144)  # the ends of viridis
    width = pixels.shape[1]
    left, right = pixels[:, : int(0.4 * width)], pixels[:, int(0.5 * width) : int(0.8 * width)]
    for half, colour, other in ((left, dark, bright), (right, bright, dark)):
        near = (np.abs(half - colour) < 0.02).all(-1).mean()
        assert near > 0.3
        assert (np.abs(half - other) < 0.02).all(-1).mean() < 0.05


@pytest.mark.parametrize(
    "changes",
    [{"horizons": ()}, {"fractions": (0.0,)}, {"fractions": (1.5,)}, {"episodes": 0}],
)
def test_a_grid_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(GRID, **changes)  # type: ignore[arg-type]


SMOKE = ("study", "figure12", "--scale", "smoke", "--workers", 2)


@pytest.mark.slow
def test_a_study_that_was_killed_goes_on_and_plays_nothing_twice(
    armillary: Run, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "armillary", *map(str, SMOKE)]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not any(tmp_path.rglob("*.npz")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    finished = {
        path: path.stat().st_mtime_ns
        for path in tmp_path.rglob("*.npz")
        if (record := read(path)) and record.finished
    }
    result = armillary(*SMOKE, "--json")
    assert result.returncode == 0, result.stderr
    table = np.array(json.loads(result.stdout)["scores"], float)
    assert table.shape == (2, 2, 1, 1)
    assert np.isfinite(table).all()
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert (tmp_path / "runs" / "figure12" / "figure12.png").stat().st_size > 5000
    again = armillary(*SMOKE, "--json")
    assert again.stdout == result.stdout
    assert again.stderr == ""


def test_a_wrong_study_is_refused(armillary: Run) -> None:
    for arguments in (["figure99"], ["figure12", "--workers", "0"], ["figure12", "--task", "x"]):
        result = armillary("study", *arguments)
        assert result.returncode == 2, result.stderr
        assert "Traceback" not in result.stderr
