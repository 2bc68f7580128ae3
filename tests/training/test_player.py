"""A loaded agent: its settings, its scores, and what can be seen inside."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import armillary
from armillary.agents.planet import Planet
from armillary.agents.random import Random
from armillary.cli import evaluate
from armillary.config import PlannerConfig, SearchConfig
from armillary.errors import UsageError
from armillary.training import compilation
from armillary.training.loop import train
from armillary.training.player import Player, load
from settings import TINY


@pytest.fixture(scope="module")
def player(trained: Path) -> Player:
    return load(trained)


def test_the_planner_of_a_trained_agent_can_be_set_when_it_is_loaded(trained: Path) -> None:
    changed = load(trained, planner={"horizon": 7})
    assert changed.config.planner == replace(TINY.planner, horizon=7)
    assert isinstance(changed.agent, Planet)
    assert changed.agent.config.planner.horizon == 7  # who acts knows it
    whole = PlannerConfig(horizon=2, iterations=1, candidates=9, elites=3)
    assert load(trained, planner=whole).config.planner == whole
    assert load(trained).config.planner == TINY.planner
    with pytest.raises(UsageError, match="horison"):
        load(trained, planner={"horison": 7})
    with pytest.raises(UsageError, match="K must not be greater"):
        load(trained, planner={"candidates": 2})


def test_an_agent_without_a_search_takes_no_settings_of_one(
    trained: Path, capsys: pytest.CaptureFixture
) -> None:
    for search in ({"simulations": 5}, SearchConfig()):
        with pytest.raises(UsageError, match=r"'planet' searches no tree.*leave them out"):
            load(trained, search=search)
    with pytest.raises(UsageError, match="'planet' searches no tree"):
        _evaluated(trained, "--search.simulations", "0", capsys=capsys)
    with pytest.raises(UsageError, match="--search is only for a run"):
        evaluate.run(["--agent", "random", "--task", "toys:short", "--search.simulations", "0"])


def test_the_configuration_is_not_changed_in_vain(player: Player) -> None:
    with pytest.raises(AttributeError, match=r"load\(folder, planner="):
        player.config = replace(player.config, planner=PlannerConfig())


def _evaluated(run: Path, *options: str, capsys: pytest.CaptureFixture) -> dict:
    assert evaluate.run([str(run), "--episodes", "2", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_scores_are_those_of_the_command_line(
    player: Player, trained: Path, capsys: pytest.CaptureFixture
) -> None:
    told = _evaluated(trained, capsys=capsys)
    assert list(player.evaluate(2).scores) == told["scores"]
    assert told["planner"]["horizon"] == TINY.planner.horizon
    # One option leaves the others as they are in the run: 6 candidates are enough for its elites.
    changed = _evaluated(trained, "--planner.candidates", "6", capsys=capsys)
    assert changed["planner"] == told["planner"] | {"candidates": 6}
    assert changed["scores"] != told["scores"]
    assert list(load(trained, planner={"candidates": 6}).evaluate(2).scores) == changed["scores"]
    with pytest.raises(UsageError, match="at least 1"):
        player.evaluate(0)
    with pytest.raises(UsageError, match="learned toys:short"):
        player.evaluate(1, task="cheetah-run")


def test_what_it_believes_is_a_state_of_its_world_model(player: Player) -> None:
    env = player.make_env()
    player.reset(seed=0)
    assert player.latent is None
    image, _ = env.reset(seed=0)
    player.act(image)
    latent = player.latent
    assert latent is not None
    assert latent.stochastic.shape == (TINY.model.stochastic,)
    _, rewards = player.world_model.rollout(latent, np.zeros((3, 2)))
    assert rewards.shape == (3,)
    player.reset(seed=0)
    player.act(np.stack([image, image]))
    assert player.latent is not None
    assert player.latent.stochastic.shape == (2, TINY.model.stochastic)
    other = Player(player.config, Random(player.agent.spec), (), {})
    with pytest.raises(UsageError, match="no world model"):
        _ = other.world_model


def test_its_plans_are_those_of_its_planner(player: Player) -> None:
    """The oracle asks the agent itself, in the same states."""
    model, agent = player.world_model, player.agent
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    states = model.encode(frames, np.zeros((3, 2)), every=True)
    plans = model.plan(states, seed=5)
    expected, _ = agent.choose(player.state, states, None, jax.random.key(5), False)
    np.testing.assert_allclose(plans, np.clip(expected, -1, 1), atol=1e-5)
    assert np.abs(plans - model.plan(states, seed=6)).max() > 1e-3
    masked = model.plan(states, mask=np.tile([True, False], (3, 1)), seed=5)
    assert (masked[:, 1] == 0).all()
    assert (masked[:, 0] != 0).all()
    one = jax.tree.map(lambda x: x[0], states)
    assert model.plan(one).shape == (2,)
    model.step(one, model.plan(one))
    with pytest.raises(UsageError, match=r"mask has shape \(2,\), expected \(3, 2\)"):
        model.plan(states, mask=np.array([True, False]))


def test_whoever_waits_for_the_compiler_is_told(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(compilation, "PATIENCE", 0.0)
    player = load(trained, planner={"horizon": 3})
    image = np.zeros((64, 64, 3), np.uint8)
    player.act(image)
    assert "armillary: compiling the agent's planner" in capsys.readouterr().err
    player.act(image)
    player.reset()
    player.act(image)
    assert capsys.readouterr().err == ""


def test_seconds_of_compilation_are_counted() -> None:
    before = compilation.seconds()
    number = float(np.random.default_rng().uniform())  # a program that no cache knows
    jax.jit(lambda x: x * number + x)(1.0)
    compiled = compilation.seconds()
    assert compiled > before
    jax.numpy.ones(3).block_until_ready()
    armillary.preset("small")
    assert compilation.seconds() - compiled < 1


def test_metrics_are_seen_as_they_are_written(trained: Path, tmp_path: Path) -> None:
    rows: list[dict] = []
    written: list[int] = []
    path = tmp_path / "run" / "metrics.jsonl"

    def see(row: dict) -> None:
        rows.append(row)
        written.append(len(path.read_text().splitlines()))

    train(TINY, tmp_path / "run", on_metrics=see)
    assert json.loads(json.dumps(rows)) == [json.loads(x) for x in path.read_text().splitlines()]
    assert written == list(range(1, len(rows) + 1))
    assert "collect/return" in rows[0]
    assert "evaluate/mean" in rows[-1]
