"""Curves show the scores that the runs logged, pooled as the paper pools them."""

import dataclasses
import json
import subprocess
import sys

import imageio.v3 as imageio
import numpy as np
import pytest

from armillary.cli import plot
from armillary.config import (
    Config,
    EvaluationConfig,
    PlannerConfig,
    changed,
    planet_paper,
    planet_small,
    to_dict,
)
from armillary.config.presets import dreamer_small
from armillary.errors import RunError, UsageError
from armillary.studies.plots import learning_curve, read_metrics
from drawing import curves


def write_run(folder, config: Config, rows: list[dict]):
    folder.mkdir()
    content = {"format": 1, "version": "0", "config": to_dict(config)}
    (folder / "config.json").write_text(json.dumps(content))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def row(episode: int, **values) -> dict:
    counters = {"episode": episode, "environment_steps": 1000 * episode, "updates": 0, "seconds": 1}
    return counters | {name.replace("__", "/"): value for name, value in values.items()}


def evaluation(episode: int, scores: list[float]) -> dict:
    return row(episode, evaluate__mean=float(np.mean(scores)), evaluate__scores=scores)


def lines(axis) -> dict[str, list[list[float]]]:
    return {
        line.get_label(): np.transpose(line.get_data()).astype(float).round(6).tolist()
        for line in axis.lines
    }


def band(axis) -> dict[float, tuple[float, float]]:
    """The lowest and highest point of the band at each episode."""
    points = axis.collections[0].get_paths()[0].vertices
    at = {x: [y for other, y in points if other == x] for x in set(points[:, 0])}
    return {x: (min(y), max(y)) for x, y in at.items()}


def test_seeds_and_trajectories_are_pooled(tmp_path, drawn):
    scores = np.random.default_rng(0).normal(100, 30, size=(3, 2, 10)).round(3)
    folders = [
        write_run(
            tmp_path / f"seed{seed}",
            dataclasses.replace(planet_paper(), seed=seed),
            [row(1, collect__return=3.0)]
            + [evaluation(25 * (i + 1), scores[seed, i].tolist()) for i in range(2)]
            + [row(50, random__mean=10.0 + seed)],
        )
        for seed in range(3)
    ]
    path = learning_curve(folders, tmp_path / "curve.png")
    picture = imageio.imread(path)
    assert picture.shape[0] > 400
    assert picture.std() > 10
    assert curves(drawn[0]) == {"planet, 3 seeds × 10 test episodes"}
    (axis,) = drawn[0].axes
    pooled = scores.transpose(1, 0, 2).reshape(2, 30)
    assert lines(axis) == {
        "planet, 3 seeds × 10 test episodes": [
            [25.0, round(float(np.median(pooled[0])), 6)],
            [50.0, round(float(np.median(pooled[1])), 6)],
        ],
        "random agent (11)": [[0.0, 11.0], [1.0, 11.0]],
    }
    for x, values in zip((25.0, 50.0), pooled, strict=True):
        assert band(axis)[x] == pytest.approx(tuple(np.percentile(values, (5, 95))))
    assert axis.get_title() == "cheetah-run"
    assert axis.get_xlabel() == "collected episodes (of 1,000 environment steps)"


def test_one_run_shows_its_training_episodes_too(tmp_path, drawn):
    rows = [
        row(1, collect__return=3.0),
        row(2, collect__return=4.0),
        evaluation(2, [5.0, 7.0, 30.0]),
    ]
    learning_curve([write_run(tmp_path / "run", planet_small(), rows)], tmp_path / "curve.png")
    assert lines(drawn[0].axes[0]) == {
        "planet, training episodes": [[1, 3], [2, 4]],
        "planet, 3 test episodes": [[2, 7]],
    }


@pytest.mark.parametrize(
    ("against", "label", "training", "tested"),
    [("steps", "environment steps", 2000, 2000), ("minutes", "minutes", 2, 3)],
)
def test_curves_against_what_they_cost(tmp_path, drawn, against, label, training, tested):
    rows = [
        row(2, collect__return=4.0) | {"seconds": 120.0},
        evaluation(2, [7.0]) | {"seconds": 180.0},
        row(2, random__mean=1.0) | {"seconds": 600.0},
    ]
    run = write_run(tmp_path / "run", planet_small(), rows)
    plot.run([str(run), "--out", str(tmp_path / "curve.png"), "--against", against])
    (axis,) = drawn[0].axes
    assert lines(axis)["planet, training episodes"] == [[training, 4]]
    assert lines(axis)["planet, 1 test episode"] == [[tested, 7]]
    assert axis.get_xlabel() == label


def test_minutes_of_several_seeds_are_their_mean(tmp_path, drawn):
    folders = [
        write_run(
            tmp_path / str(seed),
            dataclasses.replace(planet_small(), seed=seed),
            [evaluation(5, [1.0]) | {"seconds": 60.0 + 120.0 * seed}],
        )
        for seed in range(2)
    ]
    learning_curve(folders, tmp_path / "curve.png", "minutes")
    assert lines(drawn[0].axes[0]) == {"planet, 2 seeds × 1 test episode": [[2, 1]]}


def test_a_run_that_was_not_evaluated_yet(tmp_path, drawn):
    rows = [row(1, collect__return=3.0)]
    folders = [
        write_run(tmp_path / str(seed), dataclasses.replace(planet_small(), seed=seed), rows)
        for seed in range(2)
    ]
    learning_curve(folders, tmp_path / "curve.png")
    assert curves(drawn[0]) == {"planet, training episodes"}
    assert lines(drawn[0].axes[0]) == {"planet, training episodes": [[1, 3]]}


def test_configurations_get_a_line_each_and_tasks_a_panel(tmp_path, drawn):
    base = dataclasses.replace(planet_paper(), evaluation=EvaluationConfig(episodes=1))
    configs = [
        base,
        dataclasses.replace(base, planner=PlannerConfig(horizon=6)),
        dataclasses.replace(base, task="walker-walk"),
        dataclasses.replace(base, task="walker-walk", seed=4, episodes=77),
    ]
    folders = [
        write_run(tmp_path / str(i), config, [evaluation(25, [100.0 * i])])
        for i, config in enumerate(configs)
    ]
    learning_curve(folders, tmp_path / "curve.png")
    assert {axis.get_title(): lines(axis) for axis in drawn[0].axes} == {
        "cheetah-run": {
            "planet (horizon 12), 1 test episode": [[25, 0]],
            "planet (horizon 6), 1 test episode": [[25, 100]],
        },
        "walker-walk": {"planet, 2 seeds × 1 test episode": [[25, 250]]},
    }


def test_a_seed_that_is_behind(tmp_path, drawn):
    rows = [evaluation(25, [1.0, 3.0]), evaluation(50, [5.0, 7.0])]
    folders = [
        write_run(
            tmp_path / str(seed), dataclasses.replace(planet_paper(), seed=seed), rows[: 2 - seed]
        )
        for seed in range(2)
    ]
    learning_curve(folders, tmp_path / "curve.png")
    assert lines(drawn[0].axes[0]) == {"planet, 2 seeds × 2 test episodes": [[25, 2], [50, 6]]}


def test_presets_name_their_lines(tmp_path, drawn):
    folders = [
        write_run(tmp_path / config.preset, config, [evaluation(25, [1.0])])
        for config in (planet_small(), planet_paper())
    ]
    learning_curve(folders, tmp_path / "curve.png")
    assert set(lines(drawn[0].axes[0])) == {
        "planet (small), 1 test episode",
        "planet (paper), 1 test episode",
    }


def test_agents_of_several_kinds_name_their_lines(tmp_path, drawn):
    """Which have settings that the others do not have; told apart are only those of one agent."""
    near = changed(dreamer_small(), {"behavior.discount": 0.9})
    for order in (1, -1):
        configs = [planet_small(), dreamer_small(), near][::order]
        folders = [
            write_run(tmp_path / f"{order}-{i}", config, [evaluation(25, [1.0])])
            for i, config in enumerate(configs)
        ]
        learning_curve(folders, tmp_path / "curve.png")
        assert set(lines(drawn[-1].axes[0])) == {
            "planet, 1 test episode",
            "dreamer (discount 0.99), 1 test episode",
            "dreamer (discount 0.9), 1 test episode",
        }


def test_missing_values_and_half_a_line(tmp_path, drawn):
    rows = [row(1, collect__return=3.0), row(2, collect__return=None), evaluation(2, [1.0])]
    folder = write_run(tmp_path / "run", planet_small(), rows)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"episode": 3, "coll')
    assert read_metrics(folder) == rows
    learning_curve([folder], tmp_path / "curve.png")
    assert lines(drawn[0].axes[0])["planet, training episodes"] == [[1, 3]]


def test_bad_inputs(tmp_path):
    path = tmp_path / "curve.png"
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(RunError, match="is not a run folder"):
            learning_curve([folder], path)
    started = write_run(tmp_path / "started", planet_small(), [])
    with pytest.raises(RunError, match="no score yet"):
        learning_curve([started], path)
    (started / "metrics.jsonl").write_text('{"episode": 1}\nnonsense\n')
    with pytest.raises(RunError, match=r"line 2 of .* is damaged"):
        learning_curve([started], path)
    (started / "metrics.jsonl").unlink()
    with pytest.raises(RunError, match=r"no metrics\.jsonl"):
        learning_curve([started], path)
    with pytest.raises(UsageError, match="no run to plot"):
        learning_curve([], path)
    with pytest.raises(UsageError, match=r"must end in \.png"):
        learning_curve([started], tmp_path / "curve.txt")
    assert not path.exists()


@pytest.mark.parametrize(
    "line",
    [
        "5",
        "[[1, 2]]",
        "{}",
        '{"episode": "one", "collect/return": 1}',
        '{"episode": 1, "collect/return": [1]}',
        '{"episode": 1, "collect/return": NaN}',
        '{"episode": 1, "collect/return": 1e308}',
        '{"episode": 1, "evaluate/mean": "high", "evaluate/scores": [1]}',
        '{"episode": 1, "evaluate/mean": 1, "evaluate/scores": 5}',
        '{"episode": 1, "evaluate/mean": 1, "evaluate/scores": [{}]}',
        '{"episode": 1, "environment_steps": true}',
        "[" * 100_000,
        '{"episode": 1' + "0" * 200 + "}",
    ],
)
def test_json_of_another_content_is_named_by_its_line(tmp_path, line):
    folder = write_run(tmp_path / "run", planet_small(), [row(1, collect__return=1.0)])
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(line + "\n")
    with pytest.raises(RunError, match=r"line 2 of .* is damaged"):
        learning_curve([folder], tmp_path / "curve.png")


def test_a_score_that_is_no_number_is_left_out(tmp_path, drawn):
    rows = [row(2, evaluate__mean=2.0, evaluate__scores=[1.0, None, 3.0])]
    learning_curve([write_run(tmp_path / "run", planet_small(), rows)], tmp_path / "curve.png")
    assert lines(drawn[0].axes[0])["planet, 2 test episodes"] == [[2, 2]]


def test_no_display_is_needed(tmp_path):
    folder = write_run(tmp_path / "run", planet_small(), [evaluation(2, [1.0])])
    program = "import sys; from armillary.studies.plots import learning_curve as c; "
    program += "c(sys.argv[1:2], sys.argv[2]); assert 'matplotlib.pyplot' not in sys.modules"
    command = [sys.executable, "-c", program, str(folder), str(tmp_path / "curve.png")]
    subprocess.run(command, check=True, env={"MPLBACKEND": "tkagg", "HOME": str(tmp_path)})
    assert (tmp_path / "curve.png").stat().st_size > 5000
