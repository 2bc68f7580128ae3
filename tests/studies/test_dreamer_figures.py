"""Dreamer's figures: which runs they are made of, what they cost, and what is drawn of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from armillary.config import Config, PlanetConfig, PlannerConfig, preset
from armillary.envs.catalogue import DREAMER as TWENTY
from armillary.studies import figures, runs, scores, tables
from armillary.studies.comparisons import Comparison, Scale, Variant, beside
from armillary.studies.dreamer.comparisons import PAPER
from armillary.studies.dreamer.published import PUBLISHED
from armillary.studies.planet.comparisons import PAPER as PLANET
from armillary.studies.planet.comparisons import TABLE_1
from drawing import curves
from folders import finish
from settings import TINY, TINY_DREAMER

SCALE = Scale(TINY_DREAMER, ("toys:short",), seeds=2)
THREE = ((2, 0.0), (3, 1.0), (4, 2.0), (5, 6.0))
"""A test that is too old to count, and three that count."""


def _configs(figure: str, scale: str = "paper", task: str = "walker-walk") -> dict[str, Config]:
    """The configurations of a figure's variants, by what the numbers call them."""
    comparison, found = PAPER.at(figure, scale)
    return {comparison.name_of(v): found.config(v, task, 0) for v in comparison.variants}


def test_planet_beside_dreamer_differs_in_nothing_but_how_it_acts() -> None:
    base = replace(preset("paper", "dreamer"), episodes=77, seed=5, task="walker-run")
    other = beside(base, "planet")
    assert isinstance(other, PlanetConfig)
    assert other.planner == PlannerConfig()
    assert other.environment.action_repeat == 2
    for name in ("preset", "seed", "task", "episodes", "environment", "model", "objective"):
        assert getattr(other, name) == getattr(base, name), name
    for name in ("optimizer", "collection", "training", "evaluation"):
        assert getattr(other, name) == getattr(base, name), name


def test_the_papers_ways_to_act() -> None:
    found = _configs("figure9")
    assert {name: config.agent for name, config in found.items()} == {
        "Dreamer": "dreamer",
        "no value": "dreamer",
        "PlaNet": "planet",
    }
    assert found["Dreamer"] == replace(preset("paper", "dreamer"), task="walker-walk")
    assert found["Dreamer"].behavior.estimate == "lambda"
    assert found["no value"].behavior.estimate == "rewards"
    assert found["Dreamer"].episodes == 2000
    comparison, scale = PAPER.at("figure9", "paper")
    assert (scale.tasks, scale.seeds, comparison.last_tests) == (TWENTY, 3, 3)
    assert PAPER.at("figure11", "paper")[1].seeds == 2


@pytest.mark.parametrize("scale", PAPER.scales)
def test_horizons_representations_and_repeats(scale: str) -> None:
    for name, config in _configs("figure4", scale).items():
        way, _, horizon = name.rpartition(", horizon ")
        section = config.planner if way == "PlaNet" else config.behavior
        assert section.horizon == int(horizon)
        assert (config.agent == "planet") == (way == "PlaNet")
        if way != "PlaNet":
            assert (config.behavior.estimate == "rewards") == (way == "no value")
    kinds = [c.objective.representation for c in _configs("figure10", scale).values()]
    assert kinds == ["reconstruction", "contrastive", "reward"]
    repeats = [c.environment.action_repeat for c in _configs("figure11", scale).values()]
    assert repeats == [1, 2, 4]


def test_a_name_says_the_agent_where_it_is_another_than_the_scales() -> None:
    """PlaNet's folders and names are those that there are already."""
    assert PLANET.place("small") == Path("runs/study-small")
    assert PAPER.place("small") == Path("runs/study-dreamer-small")
    assert Variant("x").name == "planet"
    assert Variant("x", {"model.dynamics": "ssm", "model.activation": "elu"}).name == (
        "dynamics-ssm+activation-elu"
    )
    assert Variant("x", agent="planet").name == "planet"
    assert Variant("x", {"behavior.estimate": "rewards"}, agent="dreamer").name == (
        "dreamer+estimate-rewards"
    )
    assert ":" not in Variant("x", agent="my.module:Agent").name


@pytest.mark.parametrize("scale", ["smoke", "small", "paper"])
def test_the_figures_share_their_runs(scale: str, tmp_path: Path) -> None:
    of = {
        figure: {m.folder: m.config for m in runs.members(*PAPER.at(figure, scale), tmp_path)}
        for figure in PAPER.comparisons
    }
    for one in of.values():
        for other in of.values():
            assert all(one[folder] == other[folder] for folder in one.keys() & other.keys())
    assert set(of["figure6"]) | set(of["figure7"]) <= set(of["figure9"])
    assert set(of["figure8"]) <= set(of["figure10"])
    usual = [f for f in of["figure4"] if f in of["figure9"]]
    assert len(usual) == 2 * len(PAPER.at("figure4", scale)[1].tasks) * (
        1 if scale == "smoke" else 3
    )


def _study(*variants: Variant, **rest: Any) -> Comparison:
    return Comparison("A study", variants, **rest)


def test_scores_are_those_of_the_last_tests(tmp_path: Path) -> None:
    study = _study(Variant("one", agent="dreamer"), last_tests=3)
    found = runs.members(study, SCALE, tmp_path)
    for member in found:
        finish(member, lambda task, i, s=member.config.seed: 10.0 + s, tests=THREE)  # type: ignore[misc]
    numbers = scores.statistics(study, found)
    one = numbers["tasks"]["toys:short"]["one"]
    assert one["scores"] == [
        [10.0] * 3 + [20.0] * 3 + [60.0] * 3,
        [11.0] * 3 + [22.0] * 3 + [66.0] * 3,
    ]
    assert one["mean"] == pytest.approx(31.5)
    assert one["interval"] == [30.0, 33.0]
    assert "score in the last 3 tests" in scores.text(numbers)
    at_the_end = scores.statistics(replace(study, last_tests=None), found)
    assert at_the_end["tasks"]["toys:short"]["one"]["mean"] == 10.5
    longer = runs.members(study, SCALE.changed(None, None, 9), tmp_path)  # has not ended
    assert scores.statistics(study, longer)["tasks"]["toys:short"] == {}


def test_points_lie_at_their_horizons(tmp_path: Path) -> None:
    study = _study(
        *(
            Variant(way, {f"{section}.horizon": horizon}, agent=agent, at=horizon)
            for way, section, agent in (("A", "behavior", "dreamer"), ("B", "planner", "planet"))
            for horizon in (4, 2, 9)
        ),
        picture="points",
        axis="horizon",
    )
    found = runs.members(study, SCALE, tmp_path)
    for member in found[:-1]:  # B's last horizon misses a seed
        at = member.variant.at or 0
        base = 100 if member.variant.label == "B" else 0
        finish(member, lambda task, i, x=base + at: x + i)  # type: ignore[misc]
    axis = Figure().subplots()
    figures._points(axis, study, found, ["toys:short"])
    lines = {str(line.get_label()): line for line in axis.lines}
    assert {"A, 2 seeds", "B, 2 seeds", "random actions (2)"} == set(lines)
    for label, base in (("A, 2 seeds", 0), ("B, 2 seeds", 100)):
        np.testing.assert_allclose(lines[label].get_xdata(), [2, 4, 9])
        np.testing.assert_allclose(lines[label].get_ydata(), [base + x + 1 for x in (2, 4, 9)])
    assert axis.get_xlabel() == "horizon"
    assert set(scores.statistics(study, found)["tasks"]["toys:short"]) == {
        f"{way}, horizon {horizon}" for way in "AB" for horizon in (4, 2, 9)
    }


def test_bars_stand_beside_what_is_published(tmp_path: Path, drawn: list[Figure]) -> None:
    tasks = ("cheetah-run", "hopper-hop")
    study = replace(PAPER.comparisons["figure6"], last_tests=None)
    found = runs.members(study, Scale(TINY_DREAMER, tasks, seeds=1), tmp_path)
    for member in found:
        base = 300.0 if member.config.agent == "dreamer" else 100.0
        step = 50.0 if member.config.task == "hopper-hop" else 0.0
        finish(member, lambda task, i, x=base + step: x + i)  # type: ignore[misc]
    files = figures.write(study, found, tmp_path, "figure6")
    (axis,) = drawn[0].axes
    heights = {
        c.get_label(): [bar.get_height() for bar in c]
        for c in axis.containers
        if hasattr(c, "patches")
    }
    assert heights["Dreamer, 1 seed"] == pytest.approx([301, 351, 326])
    assert heights["PlaNet, 1 seed"] == pytest.approx([101, 151, 126])
    assert [t.get_text() for t in axis.get_xticklabels()] == [
        "cheetah\nrun",
        "hopper\nhop",
        "all tasks",
    ]
    strokes = {str(c.get_label()): c for c in axis.collections if c.get_label()}
    (d4pg,) = [c for label, c in strokes.items() if label.startswith("D4PG")]
    assert [segment[0][1] for segment in d4pg.get_segments()] == [523.8, 242]  # type: ignore[attr-defined]
    (planet,) = [c for label, c in strokes.items() if label.startswith("PlaNet, published")]
    assert [segment[0][1] for segment in planet.get_segments()] == [662]  # type: ignore[attr-defined]
    low, high = axis.get_ylim()
    assert low <= 0 < 790 < high
    assert len({to_hex(bar.get_facecolor()) for bar in axis.patches}) == 2  # type: ignore[arg-type]
    assert [file.name for file in files] == ["figure6.png", "figure6.json", "figure6.md"]


def test_curves_of_dreamer_beside_what_is_published(tmp_path: Path) -> None:
    scale = Scale(TINY_DREAMER, ("hopper-hop", "cheetah-run"), seeds=1)
    study = PAPER.comparisons["figure9"]
    found = runs.members(study, scale, tmp_path)
    for member in found:
        finish(member, lambda task, i: 300.0)
    figure = Figure()
    axes = figure.subplots(1, 2)
    for axis, task in zip(axes, scale.tasks, strict=True):
        figures._panel(axis, study, found, [task])
    labels = [[str(line.get_label()) for line in axis.get_lines()] for axis in axes]
    assert not any("PlaNet, published" in label for label in labels[0])
    assert "Dreamer, 2M steps, published (348)" in labels[0]
    assert any(label.startswith("PlaNet, published (662)") for label in labels[1])
    assert curves(figure) >= {"Dreamer, 1 seed", "no value, 1 seed", "PlaNet, 1 seed"}
    short = replace(TINY_DREAMER, environment=replace(TINY_DREAMER.environment, time_limit=80))
    cut = runs.members(study, replace(scale, base=short), tmp_path / "cut")
    assert scores.published(study, cut).scores == {}


def test_many_tasks_stand_below_each_other(tmp_path: Path) -> None:
    study = replace(PAPER.comparisons["figure9"], last_tests=None)
    found = runs.members(study, Scale(TINY_DREAMER, TWENTY, seeds=1), tmp_path)
    finish(found[0], lambda task, i: 50.0 + i)
    text = tables.table(scores.statistics(study, found), PUBLISHED, {})
    lines = text.splitlines()
    assert lines[0].startswith("| task | A3C (published) | D4PG (published) | ")
    assert lines[0].endswith(" | Dreamer |")
    (acrobot,) = [line for line in lines if line.startswith("| acrobot-swingup |")]
    assert acrobot == "| acrobot-swingup | 42 | 92 | 410 | 483 |  | 51 ± 1 |"
    assert sum(line.startswith("| ") for line in lines) == 22
    assert "- D4PG: Tassa et al. (2018), from images, after 100 million steps" in text


def test_the_published_numbers_are_those_of_the_papers() -> None:
    """What other places of the papers say about the same numbers."""
    assert tuple(PUBLISHED.scores) == TWENTY
    of = {
        name: [s[name] for s in PUBLISHED.scores.values() if name in s]
        for name in PUBLISHED.sources
    }
    assert round(float(np.mean(of["D4PG"]))) == 786  # the text of Dreamer
    assert len(of["D4PG"]) == len(of["A3C"]) == 18
    assert len(of["Dreamer, 2M steps"]) == 20
    assert 780 < float(np.mean(of["Dreamer, 2M steps"])) < 802  # of slightly other settings
    for task, found in TABLE_1.scores.items():
        assert PUBLISHED.scores[task]["PlaNet"] == found["PlaNet"]
        assert abs(PUBLISHED.scores[task]["D4PG"] - found["D4PG"]) < 1


def _members(tmp_path: Path) -> Sequence[runs.Member]:
    """Two seeds of Dreamer, two of PlaNet; each run has 18 updates."""
    study = _study(Variant("A", agent="dreamer"), Variant("B", agent="planet"))
    return runs.members(study, SCALE, tmp_path)


def test_the_cost_is_that_of_each_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _members(tmp_path)
    said: list[str] = []
    monkeypatch.setattr(
        runs, "_seconds_per_update", lambda config: 2.0 if config.agent == "planet" else 1.0
    )
    assert TINY.training.collect_interval * 3 == 18
    text = runs.cost(found, found, 1, said.append)
    assert "about 2 min (by one update and one action, timed here)" in text  # 2 x 18 x (1 + 2)
    assert [line.split(",")[0] for line in said] == [
        "timing an update and an action of dreamer",
        "timing an update and an action of planet",
    ]
    finish(found[0], lambda task, i: 1.0, seconds=9.0)  # Dreamer's
    text = runs.cost(found, found[1:], 1)
    assert "3 of 4 runs are missing: 12 episodes and 54 updates" in text
    assert "about 81 s (by the runs that have ended; of planet by one update" in text
    finish(found[1], lambda task, i: 1.0, seconds=18.0)  # PlaNet's
    monkeypatch.setattr(runs, "_seconds_per_update", None)
    assert "about 27 s (by the runs that have ended)" in runs.cost(found, found[2:], 1)
    assert "about 18 s (by the runs" in runs.cost(found, [found[3]], 1)
