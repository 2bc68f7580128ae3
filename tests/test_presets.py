"""Presets that depend on the task: a board game, whatever names it, Atari, or anything else."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from armillary.cli import train
from armillary.cli.options import parse
from armillary.config import changed, flatten, preset, to_dict
from armillary.config.settings import GAMES
from armillary.envs import games
from armillary.envs.named import TRUSTED
from armillary.errors import UsageError
from armillary.studies.comparisons import beside
from armillary.training import loop
from settings import TINY_GAME


def _is_of_a_game(config: object) -> bool:
    return (config.replay.priority, config.target.discount) == (0.0, 1.0)  # type: ignore[attr-defined]


def test_the_games_that_have_presets_are_those_that_are_here() -> None:
    assert set(GAMES) == set(games.GAMES)


@pytest.mark.parametrize("name", ["small", "paper"])
def test_a_game_has_a_preset_of_games(name: str) -> None:
    for task in ("othello", "go_9x9"):
        assert _is_of_a_game(preset(name, "muzero", task))
    assert not _is_of_a_game(preset(name, "muzero", "CartPole-v1"))
    assert not _is_of_a_game(preset(name, "muzero", "pgx.go:Go"))  # it is not imported
    assert _is_of_a_game(preset(name, "muzero", "pgx.go:Go", games.is_game))


def test_the_preset_of_an_hour_is_that_of_the_runs_in_the_results() -> None:
    """Which typed it as options; and both agents learn the same model from equally much."""
    typed = shlex.split(
        "--task cartpole-swingup --episodes 250 --training.collect-interval 40 "
        "--optimizer.learning-rate 1e-3 --objective.free-nats 1 --objective.bits 8 "
        "--objective.no-dequantize --evaluation.every 10 --evaluation.episodes 2 --seed 2"
    )
    own = {"dreamer": ["--behavior.discount", "0.97"], "planet": ["--model.depth", "16"]}
    for agent, options in own.items():
        words = ["--agent", agent, *typed, *options]
        default = train.default_config(words)
        given = parse(train.Arguments[type(default)], words, "x", default=train.Arguments(default))
        assert replace(given.config, preset="medium", seed=0) == preset("medium", agent)
    assert beside(preset("medium", "dreamer"), "planet") == preset("medium", "planet")
    with pytest.raises(UsageError, match="'medium' of muzero, expected one of small, paper"):
        preset("medium", "muzero")


def test_what_is_observed_is_there() -> None:
    assert preset("small", "muzero", "ALE/Pong-v5").environment.observe == "image"
    assert preset("small", "muzero", "CartPole-v1").environment.observe == "vector"


def test_the_command_line_asks_whether_a_task_is_a_game() -> None:
    """With the keyword arguments that it is made with."""
    options = ["--agent", "muzero", "--task", "pgx.go:Go"]
    assert _is_of_a_game(train.default_config(options))
    assert _is_of_a_game(
        train.default_config([*options, "--environment.kwargs", "size=5", "komi=0.5"])
    )
    with pytest.raises(UsageError, match=r"keyword arguments \{'sise': 5\}"):
        train.default_config([*options, "--environment.kwargs", "sise=5", "--seed", "1"])
    assert not _is_of_a_game(train.default_config([*options[:3], "toys:lamps"]))


def test_of_a_source_it_is_that_of_its_task(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose module is not imported on the folder's word."""
    options = ["--agent", "muzero", "--from", str(trained)]
    config = train.default_config([*options, "--trust"])
    assert config.task == "toys:short"
    assert not _is_of_a_game(config)
    monkeypatch.setenv(TRUSTED, "")
    with pytest.raises(UsageError, match="--trust"):
        train.default_config(options)


def test_many_scores_are_not_all_listed() -> None:
    scores = {"mean": 1.0, "std": 0.0, "episodes": 200, "scores": [1.0] * 200}
    counts = dict.fromkeys(("episodes", "simulator_steps", "updates", "seconds"), 1)
    tasks = {"tic_tac_toe": {"agent": scores, "random": scores}}
    results = {"task": "tic_tac_toe", "tasks": tasks} | counts
    assert max(map(len, train._scores(results).splitlines())) < 110


def test_what_is_wrong_with_a_game_is_said_as_it_is(tmp_path: Path) -> None:
    """Not as if keyword arguments were at fault; and no setting that it cannot use is ignored."""
    with pytest.raises(UsageError, match=r"^pgx.backgammon:Backgammon draws at random"):
        train.default_config(["--agent", "muzero", "--task", "pgx.backgammon:Backgammon"])
    with pytest.raises(UsageError, match=r"--environment.kwargs: 'size': expected name=value"):
        train.default_config(
            [*("--agent", "muzero", "--task", "pgx.go:Go"), "--environment.kwargs", "size"]
        )
    for name in ("time_limit", "action_repeat"):
        config = changed(TINY_GAME, {f"environment.{name}": 2})
        with pytest.raises(
            UsageError, match=f"environment.{name} is 2, but tic_tac_toe is a board"
        ):
            loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("page", ["muzero.md", "games.md"])
def test_a_page_names_what_is_there(page: str) -> None:
    """Fields of the configuration, functions of the code, files."""
    docs = Path(__file__).parents[1] / "docs"
    text = (docs / page).read_text()
    fields = flatten(to_dict(preset("paper", "muzero")))
    sections = {name.partition(".")[0] for name in fields if "." in name}
    named = re.findall(r"`(?:--)?([a-z]+)\.([a-z_-]+)", text)
    assert {f"{a}.{b.replace('-', '_')}" for a, b in named if a in sections} <= {
        *fields,
        "environment.kwargs",
    }
    code = "".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    code += "".join(path.read_text() for path in (docs.parent / "src").rglob("*.py"))
    for name in re.findall(r"`(?:MuZero\.|MuZeroNetwork\.)?(_?[A-Za-z_]+)`", text):
        assert re.search(rf"\b{name}\b", code), name
    for link in re.findall(r"\]\(([^)#:]+)(?:#[a-z-]+)?\)", text):
        assert (docs / link).exists(), link
