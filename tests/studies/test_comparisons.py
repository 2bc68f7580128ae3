"""Studies as lists of runs: what is trained, what is not trained twice, what is drawn of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from armillary.config import Config, changed
from armillary.errors import UsageError
from armillary.studies import figures, registry, runs, scores, tables
from armillary.studies.comparisons import Comparison, Paper, Scale, Variant
from armillary.studies.dreamer.comparisons import PAPER as DREAMER
from armillary.studies.planet.comparisons import COMPARISONS, TABLE_1
from armillary.studies.planet.comparisons import PAPER as PLANET
from armillary.studies.trials import Record, Trial
from armillary.training.run import InUse, Run
from drawing import curves
from folders import finish
from settings import TINY

SCALE = Scale(replace(TINY, episodes=3), ("toys:short", "toys:slider"), seeds=2)
PAIR = Comparison(
    "A pair",
    (Variant("one"), Variant("two", {"model.dynamics": "ssm"})),
    published=TABLE_1,
)


def test_a_study_is_every_variant_task_and_seed(tmp_path: Path) -> None:
    found = runs.members(PAIR, SCALE, tmp_path)
    assert len(found) == 8
    assert len({member.folder for member in found}) == 8
    keys = {(m.variant.label, m.config.task, m.config.seed) for m in found}
    assert ("two", "toys:slider", 1) in keys
    for member in found:
        kind = "ssm" if member.variant.label == "two" else "rssm"
        assert member.config.model.dynamics == kind
        plain = changed(member.config, {"model.dynamics": "rssm", "task": "toys:x", "seed": 0})
        assert plain == replace(SCALE.base, task="toys:x")


def test_one_agent_for_all_is_one_run_for_each_seed(tmp_path: Path) -> None:
    found = runs.members(COMPARISONS["figure6"], SCALE, tmp_path)
    together = [member for member in found if member.variant.together]
    assert len(found) == 6
    assert [member.config.tasks for member in together] == [SCALE.tasks] * 2


def test_studies_share_their_runs(tmp_path: Path) -> None:
    folders = {
        name: {m.folder: m.config for m in runs.members(one, SCALE, tmp_path)}
        for name, one in COMPARISONS.items()
    }
    for one in folders.values():
        for other in folders.values():
            for folder in one.keys() & other.keys():
                assert one[folder] == other[folder]
    assert set(folders["table1"]) < set(folders["figure4"])
    assert folders["figure6"] == folders["figure7"]


def test_the_papers_comparisons(tmp_path: Path) -> None:
    """Figure 5: random collection and the best of 1000; Figure 8: D = 12 on RSSM and DRNN."""
    _, scale = PLANET.at("figure5", "paper")
    assert len(scale.tasks) == 6
    assert scale.seeds == 5
    assert scale.base.episodes == 1000
    assert scale.base.evaluation.episodes == 10
    by_label = {
        m.variant.label: m.config for m in runs.members(COMPARISONS["figure5"], scale, tmp_path)
    }
    shooting = by_label["random shooting"].planner
    assert (shooting.iterations, shooting.elites, shooting.candidates) == (1, 1, 1000)
    assert by_label["random collection"].collection.policy == "random"
    by_label = {
        m.variant.label: m.config for m in runs.members(COMPARISONS["figure8"], scale, tmp_path)
    }
    assert {(c.model.dynamics, c.objective.overshooting) for c in by_label.values()} == {
        ("rssm", 1), ("rssm", 12), ("drnn", 1), ("drnn", 12)
    }  # fmt: skip
    assert len(PLANET.at("figure7", "small")[1].tasks) > 1


@pytest.mark.parametrize(
    ("paper", "figure"),
    [(paper, name) for paper in (PLANET, DREAMER) for name in paper.comparisons],
)
def test_every_scale_makes_valid_configurations(paper: Paper, figure: str, tmp_path: Path) -> None:
    for scale in paper.scales:
        found = runs.members(*paper.at(figure, scale), tmp_path)
        assert len({member.folder for member in found}) == len(found) > 0


def test_a_run_that_has_ended_is_not_missing(tmp_path: Path) -> None:
    found = runs.members(PAIR, SCALE, tmp_path)
    finish(found[0], lambda task, i: 1.0)
    assert found[0].results is not None
    assert found[1].results is None
    longer = runs.members(PAIR, SCALE.changed(None, None, 9), tmp_path)
    assert longer[0].results is None


def test_a_finished_run_of_other_settings_is_no_run_of_the_study(tmp_path: Path) -> None:
    """Else a study begun with an earlier version would be mixed with its runs."""
    found = runs.members(PAIR, SCALE, tmp_path)
    finish(found[0], lambda task, i: 1.0)
    base = changed(SCALE.base, {"planner.horizon": 5})
    with pytest.raises(UsageError, match=r"planner\.horizon: 4 there, 5 asked for"):
        runs.members(PAIR, replace(SCALE, base=base), tmp_path)
    with pytest.raises(UsageError, match="a run of 3 episodes, more than the 2 asked for"):
        runs.members(PAIR, SCALE.changed(None, None, 2), tmp_path)


@pytest.mark.parametrize("task", ["toys:short,toys:slider", "planet"])
def test_tasks_are_given_one_by_one(task: str) -> None:
    with pytest.raises(UsageError, match="given one by one"):
        SCALE.changed((task,), None, None)


def test_a_run_is_no_place_to_look_from(armillary: Callable[..., Any], tmp_path: Path) -> None:
    Run(tmp_path / "run").folder.mkdir()
    Run(tmp_path / "run").open(SCALE.base)
    found = armillary("study", "planet/figure10", "--run", "run")
    assert found.returncode == 2
    assert "give it as --runs to look into it" in found.stderr


def test_the_cost_counts_what_is_missing(tmp_path: Path) -> None:
    found = runs.members(PAIR, SCALE, tmp_path)
    finish(found[0], lambda task, i: 1.0)  # 10 s for 2 rounds of 6 updates
    text = runs.cost(found, found[1:], workers=2)
    assert "7 of 8 runs are missing: 21 episodes and 84 updates" in text
    assert "about 35 s (by the runs that have ended)" in text


def test_what_is_missing_is_trained_and_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Path] = []

    def train(config: Config, folder: Path, **rest: Any) -> None:
        trained.append(folder)
        member = next(m for m in found if m.folder == folder)
        if len(trained) == 3:
            raise InUse("another process is training there")
        finish(member, lambda task, i: 1.0)

    monkeypatch.setattr("armillary.training.loop.train", train)
    found = runs.members(PAIR, SCALE, tmp_path)
    finish(found[1], lambda task, i: 1.0)
    with pytest.raises(InUse, match="1 runs are being trained by another process"):
        runs.run(found)
    assert trained == [m.folder for m in found if m is not found[1]]
    trained.append(tmp_path)  # so that the next is not the third
    runs.run([m for m in found if m.results is None])
    assert all(member.results for member in found)


@pytest.mark.slow
def test_processes_share_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers, two real runs, and each is trained once."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    scale = Scale(replace(TINY, episodes=2), ("toys:short",), seeds=2)
    found = runs.members(Comparison("One", (Variant("one"),)), scale, tmp_path)
    runs.run(found, workers=2)
    assert all(member.results for member in found)
    lines = [
        line for path in tmp_path.glob("worker-*.log") for line in path.read_text().split("\n")
    ]
    begun = [line for line in lines if line.startswith("run ")]
    left = [line for line in lines if line.endswith("left to it")]
    assert len(begun) - len(left) == 2


def test_the_statistics_are_those_of_the_scores(tmp_path: Path) -> None:
    found = runs.members(PAIR, SCALE, tmp_path)
    for member in found:
        base = 100 * member.config.seed + (7 if member.variant.label == "two" else 0)
        finish(member, lambda task, i, base=base: float(base + i))  # type: ignore[misc]
    numbers = scores.statistics(PAIR, found)
    one = numbers["tasks"]["toys:short"]["one"]
    assert one["scores"] == [[0, 1, 2], [100, 101, 102]]
    assert one["seeds"] == 2
    assert one["mean"] == 51
    assert one["median"] == 51
    assert one["percentile_5"] == pytest.approx(np.percentile([0, 1, 2, 100, 101, 102], 5))
    assert one["interquartile_mean"] == pytest.approx(np.mean([1, 2, 100, 101]))
    low, high = one["interval"]
    assert low == 1  # both resampled seeds the lower one: a quarter of all resamples
    assert high == 101
    assert numbers["tasks"]["toys:slider"]["two"]["mean"] == 58
    text = scores.text(numbers)
    assert "one" in text
    assert "51.0 ± 50.0" in text
    assert json.loads(json.dumps(numbers)) == numbers


def test_one_seed_has_no_interval() -> None:
    assert scores.summarize([[1.0, 3.0]])["interval"] is None
    assert scores.interval([5.0, 5.0]) == [5.0, 5.0]
    low, high = scores.interval([1.0, 2.0, 3.0, 4.0, 5.0])  # type: ignore[misc]
    assert 1.5 < low < 2.3
    assert 3.7 < high < 4.5


def test_lines_are_medians_over_seeds_and_trajectories(tmp_path: Path) -> None:
    found = runs.members(PAIR, SCALE, tmp_path)
    for member in found:
        finish(member, lambda task, i, s=member.config.seed: float(10 * s + i))  # type: ignore[misc]
    mine = [m for m in found if m.variant.label == "one"]
    curve = scores.curve(mine, ["toys:short"])
    assert curve.episodes == [2, 3]
    assert sorted(curve.scores[1]) == [0, 1, 2, 10, 11, 12]
    assert curve.percentile(50).tolist() == [3, 6]


def test_one_agent_for_all_is_drawn_by_episodes_of_each_task(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    study = COMPARISONS["figure7"]
    found = runs.members(study, SCALE, tmp_path)
    for member in found:
        finish(member, lambda task, i: 50.0 if task == "toys:short" else 20.0)
    for member in found:
        curve = scores.curve([member], ["toys:slider"])
        if "toys:slider" in member.config.tasks:
            assert curve.episodes == [2, 3]
            assert curve.scores[1] == [20.0] * 3
        else:
            assert curve.episodes == []
    numbers = scores.statistics(COMPARISONS["figure6"], found)["tasks"]
    of_all = numbers[scores.ALL_TASKS]["one agent for all tasks"]
    assert (of_all["mean"], of_all["std"], of_all["seeds"]) == (35.0, 15.0, 2)
    assert scores.ALL_TASKS not in scores.statistics(study, found)["tasks"]
    picture = figures.draw(study, found, tmp_path / "figure7.png")
    assert matplotlib.image.imread(picture).std() > 0.05
    mean = figures.draw(COMPARISONS["figure6"], found, tmp_path / "figure6.png")
    assert matplotlib.image.imread(mean).shape != matplotlib.image.imread(picture).shape
    both = {"one agent for all tasks, 2 seeds", "an agent for each task, 2 seeds"}
    assert [curves(figure) for figure in drawn] == [both, both]


def test_a_study_that_is_half_done_is_drawn_as_it_is(tmp_path: Path) -> None:
    found = runs.members(PAIR, SCALE, tmp_path)
    finish(found[0], lambda task, i: 5.0)
    files = figures.write(PAIR, found, tmp_path, "pair")
    assert all(file.exists() for file in files)
    assert scores.statistics(PAIR, found)["tasks"]["toys:slider"] == {}


@pytest.mark.parametrize(
    ("score", "drawn"), [(60.0, []), (150.0, ["A3C"]), (600.0, ["A3C", "D4PG", "PlaNet"])]
)
def test_the_papers_scores_do_not_press_the_curves_together(
    tmp_path: Path, score: float, drawn: list[str]
) -> None:
    found = runs.members(PAIR, Scale(SCALE.base, ("cheetah-run",), seeds=2), tmp_path)
    for member in found:
        finish(member, lambda task, i: score)
    axis = Figure().subplots()
    figures._panel(axis, PAIR, found, ["cheetah-run"])
    dotted = [line for line in axis.get_lines() if "published" in str(line.get_label())]
    assert len(dotted) == 3
    assert [str(d.get_label()).split(",")[0] for d in dotted if len(d.get_xdata())] == drawn  # type: ignore[arg-type]
    top = axis.get_ylim()[1]
    for line, value in zip(dotted, (214, 524, 662), strict=True):
        assert ("above this scale" in str(line.get_label())) == (value > top)
    assert score > 0.3 * top
    labels = [str(line.get_label()) for line in axis.get_lines()]
    assert labels[:2] == ["one, 2 seeds", "two, 2 seeds"]


def test_table_1_has_the_papers_rows_and_ours(tmp_path: Path) -> None:
    scale = Scale(TINY, ("cheetah-run", "walker-walk"), seeds=1)
    study = COMPARISONS["table1"]
    found = runs.members(study, scale, tmp_path)
    for member in found:
        finish(member, lambda task, i: 600.0 + i)
    for index, (score, finished) in enumerate(((700.0, True), (720.0, True), (9.0, False))):
        trial = Trial("cheetah-run", index)
        record = Record(np.zeros((1, 6)), np.array([score]), np.zeros(1), finished=finished)
        record.save(trial.path(tmp_path / "simulator"), trial)
    numbers = scores.statistics(study, found)
    path = tables.write("table1", numbers, TABLE_1, tmp_path, tmp_path / "simulator")
    lines = path.read_text().splitlines()
    assert lines[0] == "| method | cheetah-run | walker-walk |"
    assert "| D4PG (published) | 524 | 968 |" in lines
    assert "| CEM + true simulator (published) | 656 | 994 |" in lines
    assert "| PlaNet | 601 ± 1 | 601 ± 1 |" in lines
    assert "| CEM + true simulator | 710 ± 10 |  |" in lines


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["figure99"], "figure99"),
        (["dreamer/figure12"], "Did you mean 'dreamer/figure"),
        (["figure4"], "several papers have a figure4: say planet/figure4 or dreamer/figure4"),
        (["planet/figure4", "--seeds", "0"], "seeds is 0"),
        (["dreamer/figure4", "--workers", "0"], "workers is 0"),
        (["planet/figure10", "--episodes", "0"], "episodes is 0"),
        (["dreamer/figure5", "--runs", "nowhere"], "not a run folder"),
    ],
)
def test_a_wrong_study_is_refused(
    armillary: Callable[..., Any], arguments: list[str], word: str
) -> None:
    result = armillary("study", *arguments)
    assert result.returncode in (1, 2)
    assert "Traceback" not in result.stderr
    assert word in " ".join(result.stderr.split())


def test_the_list_of_studies(armillary: Callable[..., Any]) -> None:
    text = armillary("study", "--help").stdout
    for name in registry.STUDIES:
        assert f"  {name} " in text


@pytest.mark.parametrize("study", registry.STUDIES.values(), ids=lambda study: study.name)
def test_every_study_is_declared(study: registry.Study) -> None:
    """And every declaration is a study."""
    figures = study.declarations().comparisons
    assert study.kind != "training" or study.figure in figures
    assert not study.of or study.of in figures
    assert {f"{study.paper}/{figure}" for figure in figures} <= set(registry.STUDIES)


def test_a_figure_of_one_paper_alone_needs_no_paper() -> None:
    assert registry.find("figure12").name == "planet/figure12"
    assert registry.find("figureS3").name == "muzero/figureS3"
    with pytest.raises(UsageError, match="say planet/table1 or muzero/table1"):
        registry.find("table1")
    assert registry.find("dreamer/figure11").name == "dreamer/figure11"


def test_no_task_is_refused() -> None:
    with pytest.raises(UsageError):
        Scale(TINY, (), 1)


def test_changed_replaces_nested_fields() -> None:
    config = changed(TINY, {"model.dynamics": "ssm", "seed": 3, "model.hidden": 9})
    assert (config.model.dynamics, config.model.hidden, config.seed) == ("ssm", 9, 3)
    assert replace(config, model=TINY.model, seed=TINY.seed) == TINY
    for wrong in ("modle.hidden", "model.hiden"):
        with pytest.raises(UsageError, match="unknown field"):
            changed(TINY, {wrong: 1})
