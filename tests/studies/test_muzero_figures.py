"""MuZero's figures: what they compare, the published table, and scores after as many steps."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from armillary.cli import evaluate
from armillary.config import EnvironmentConfig, MuZeroConfig, preset
from armillary.envs import atari
from armillary.errors import RunError, UsageError
from armillary.studies import runs, scores
from armillary.studies.muzero import simulations
from armillary.studies.muzero.comparisons import PAPER
from armillary.studies.muzero.published import (
    OVER_GAMES,
    PUBLISHED,
    SCORES,
    Normalized,
    game_of,
    normalized,
)
from armillary.studies.runs import Member
from armillary.training.evaluation import Scores
from folders import finish

SLIDES = """
10747.5 1670.5 27664.9 12036.4 1452.4 10272.6 171.2 2429.9 2744.9 3423.1 172.2 832.2 2999.2
11655.6 15056.4 1786.6 5291.2 7906.4 1976.3 276.9 345.6 111.6 14786.7 6036.8 204.8 161.8 650.0
14986.9 560.2 25083.4 910.1 0.0 3658.7 2690.5 14725.3 3.4 118.2 22.0 542.6 2041.1 7830.5 1318.7
2381.5 -100.9 -10.6 4878.7 5723.0 120.9 153.1 28486.9 307.4 6407.0 0.0 5556.9 4687.9 1068.7
7940.5
"""
"""The slides' own normalised scores of MuZero in percent, game by game."""

CARTPOLE = "CartPole-v1"


def test_each_game_is_normalised_as_in_the_slides() -> None:
    published = [float(x) for x in SLIDES.split()]
    assert len(published) == len(SCORES) == 57
    for (game, row), percent in zip(SCORES.items(), published, strict=True):
        assert normalized(game, row.muzero) == pytest.approx(percent, abs=0.051), game
        assert normalized(game, row.random) == 0
        assert normalized(game, row.human) == pytest.approx(100)


def test_median_and_mean_are_those_of_the_slides() -> None:
    """All 57 games are in the table, so nothing is missing."""
    found = [normalized(game, row.muzero) for game, row in SCORES.items()]
    median, mean = statistics.median(found), statistics.mean(found)
    assert (round(median, 1), round(mean, 1)) == (2041.1, 4999.2) == OVER_GAMES["MuZero"]
    assert "MuZero median 2041.1%, mean 4999.2%" in PUBLISHED.note


def test_games_are_found_by_their_tasks() -> None:
    assert game_of("ALE/UpNDown-v5") == "up n down"
    assert game_of("ALE/Pong-v5") == "pong"
    assert normalized("ALE/Pong-v5", -3.06) == pytest.approx(50)  # (-20.71 + 14.59) / 2
    assert game_of(CARTPOLE) is None
    assert game_of("ALE/Tetris-v5") is None
    with pytest.raises(UsageError, match=r"no published scores of 'pomg'.*pong"):
        normalized("pomg", 0)
    assert [game_of(task) for task in PUBLISHED.scores] == list(SCORES)
    if atari.is_installed():
        assert set(PUBLISHED.scores) <= set(atari.ids())


def test_whole_episodes_of_atari_are_normalised() -> None:
    whole, played = EnvironmentConfig(), Scores((14.0, 15.18))  # the human's 14.59 on average
    (found,) = evaluate._normalized("ALE/Pong-v5", whole, played).values()
    assert isinstance(found, Normalized)
    assert str(found).startswith("human-normalised: 100.0% (published: random -20.71, human 14.59")
    assert found.as_dict()["percent"] == pytest.approx(100)
    assert evaluate._normalized("ALE/Pong-v5", replace(whole, time_limit=9), played) == {}
    assert evaluate._normalized(CARTPOLE, whole, played) == {}


def _members(figure: str, scale: str, folder: Path) -> list[Member]:
    return runs.members(*PAPER.at(figure, scale), folder)


def test_simulations_in_training(tmp_path: Path) -> None:
    found = [m.config for m in _members("figure3", "small", tmp_path)[:3]]
    usual = preset("small", "muzero", CARTPOLE)
    assert isinstance(usual, MuZeroConfig)
    for config, number in zip(found, (2, 5, 25), strict=True):
        assert config == replace(usual, search=replace(usual.search, simulations=number))
    shared = {m.folder for m in _members("figure3", "small", tmp_path)}
    assert len(shared & {m.folder for m in _members("table1", "small", tmp_path)}) == 3


@pytest.mark.parametrize(
    ("scale", "ratios", "n"), [("small", [4, 1], [50, 5]), ("paper", [0.05], [5])]
)
def test_reanalyze_is_compared_with_muzero(
    scale: str, ratios: list[float], n: list[int], tmp_path: Path
) -> None:
    """MuZero makes so many times its updates; but for them and n all else is the same."""
    found = [m.config for m in _members("table1", scale, tmp_path)[: len(ratios) + len(n)]]
    plain, fresh = found[: len(ratios)], found[len(ratios) :]
    assert [(c.reanalyze, c.steps, c.value_scale) for c in fresh] == [(True, x, 0.25) for x in n]
    assert [runs._updates(config) / runs._updates(fresh[0]) for config in plain] == ratios
    for one in fresh:
        for other in plain:
            same = {"reanalyze": False, "training": other.training, "target": other.target}
            assert replace(one, **same) == other


def test_updates_are_counted_by_rounds(tmp_path: Path) -> None:
    """Six episodes are three rounds; from the first on, of seed episodes, each has two updates."""
    assert runs._updates(_members("figure3", "smoke", tmp_path)[0].config) == 6


def test_reanalyze_is_timed_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It searches in its updates: 6 of half a second, and 6 of ten seconds each."""
    found, said = _members("table1", "smoke", tmp_path), []
    monkeypatch.setattr(
        runs, "_seconds_per_update", lambda config: 10.0 if config.reanalyze else 0.5
    )
    assert "about 63 s" in runs.cost(found, found, 1, said.append)
    assert ["Reanalyze" in line for line in said] == [False, True]
    finish(found[0], lambda task, i: 1.0, seconds=6.0)
    assert "about 60 s" in runs.cost(found, found[1:], 1)


def _tested(member: Member, rows: list[tuple[int, int, float]]) -> None:
    """Writes a run with tests: of each the episode, the steps and the score."""
    finish(member, lambda task, i: 99.0)
    lines = [
        {
            "episode": episode,
            "environment_steps": steps,
            "evaluate/mean": score,
            "evaluate/scores": [score, score],
        }
        for episode, steps, score in rows
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (member.folder / "metrics.jsonl").write_text(text)


def test_scores_are_compared_after_as_many_steps(tmp_path: Path) -> None:
    """Of the second run, which made more steps, only the tests until the first one's end count."""
    comparison = PAPER.at("table1", "smoke")[0]
    first, second = _members("table1", "smoke", tmp_path)
    assert scores.statistics(comparison, [first, second])["steps"] == {CARTPOLE: None}
    _tested(first, [(4, 30, 1.0), (6, 50, 3.0)])
    _tested(second, [(2, 20, 10.0), (4, 50, 20.0), (6, 51, 60.0)])
    numbers = scores.statistics(comparison, [first, second])
    assert numbers["steps"] == {CARTPOLE: 50}
    assert [one["mean"] for one in numbers["tasks"][CARTPOLE].values()] == [2.0, 15.0]
    assert "in the last 3 tests within 50 steps" in scores.text(numbers)
    at_the_end = scores.statistics(replace(comparison, against="episodes"), [first, second])
    assert [one["mean"] for one in at_the_end["tasks"][CARTPOLE].values()] == [2.0, 30.0]


def test_kept_scores_are_those_of_the_run_as_it_is(tmp_path: Path) -> None:
    member = _members("figure3", "smoke", tmp_path)[0]
    assert simulations.points([member], (0, 5), 2, tmp_path) == []  # it has not ended
    finish(member, lambda task, i: 1.0)
    none, five = simulations.points([member], (0, 5), 2, tmp_path)
    assert none.path != five.path
    assert five.scores is None
    five.path.parent.mkdir(parents=True)
    kept = {"scores": [3.0, 4.0], "episodes": 2, "updates": 1}
    five.path.write_text(json.dumps(kept))
    assert five.scores == [3.0, 4.0]
    assert replace(five, episodes=3).scores is None
    five.path.write_text(json.dumps(kept | {"updates": 2}))
    assert five.scores is None
    five.path.write_text(json.dumps({"updates": 1}))
    with pytest.raises(RunError, match=r"simulations-5.json' does not hold .*remove it"):
        _ = five.scores


@pytest.mark.parametrize("given", [(), (-1,), (5, 5)])
def test_numbers_of_simulations_that_make_no_sense(given: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="give different numbers, 0"):
        simulations.check(given)
