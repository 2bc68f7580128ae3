"""Dreamer as the other agents are: it trains, goes on, acts, and shows what it has."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import armillary
from armillary.agents.dreamer import Dreamer
from armillary.cli import evaluate, video
from armillary.errors import UsageError
from armillary.objectives.behavior import Starts
from armillary.spec import pixels
from armillary.studies.plots import read_metrics
from armillary.studies.report import write_report
from armillary.training.loop import train
from settings import TINY_DREAMER


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its report, which was stopped and went on after its third episode."""
    folder = tmp_path_factory.mktemp("dreamer") / "run"
    train(replace(TINY_DREAMER, episodes=3), folder)
    train(TINY_DREAMER, folder)
    write_report(folder)
    return folder


@pytest.mark.slow
def test_a_run_that_went_on_is_the_run_that_was_never_stopped(run: Path, tmp_path: Path) -> None:
    """All parameters, the optimisers', the slow value network and its count are in checkpoints."""
    once = train(TINY_DREAMER, tmp_path / "once")
    assert once["agent"] == json.loads((run / "results.json").read_text())["agent"]
    a, b = armillary.load(tmp_path / "once").state, armillary.load(run).state
    assert jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


def test_it_updates_as_often_as_algorithm_1_says(run: Path) -> None:
    rows = read_metrics(run)
    assert rows[-1]["updates"] == 3 * 6
    losses = {name for row in rows for name in row if name.startswith("loss/")}
    names = ("total", "reward", "divergence", "discount", "policy", "value")
    assert losses == {f"loss/{name}" for name in names}  # the toy may terminate, for all we know
    state = armillary.load(run).state
    assert int(state.updates) == 18


def test_it_acts_within_bounds_and_the_same_again(run: Path) -> None:
    agent = armillary.load(run)
    env = agent.make_env()
    image, _ = env.reset(seed=3)

    def play() -> np.ndarray:
        agent.reset(seed=1)
        return np.stack([agent.act(image) for _ in range(3)])

    actions = play()
    assert np.abs(actions).max() <= 1
    np.testing.assert_array_equal(actions, play())
    model = agent.world_model
    states = model.rollout(agent.latent, np.zeros((4, model.action_size)))
    assert model.reward(states).shape == (4,)


def test_the_commands_know_it(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert evaluate.run([str(run), "--episodes", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["agent"] == "dreamer"
    assert "planner" not in report
    for argv in (["--planner.horizon", "5"], ["--planner.elites", "9"]):
        with pytest.raises(UsageError, match="'dreamer' does not plan"):
            evaluate.run([str(run), *argv])


def test_a_run_without_a_decoder_shows_what_it_has(run: Path) -> None:
    assert (run / "curve.png").exists()
    assert (run / "agent.mp4").exists()
    assert not list(run.glob("prediction*"))
    with pytest.raises(UsageError, match="predicts no frames"):
        video.run([str(run), "--predict"])
    agent = armillary.load(run)
    agent.act(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(UsageError, match="no decoder"):
        agent.world_model.decode(agent.latent)


def test_the_slow_value_network_is_a_copy_now_and_then() -> None:
    """It stays what it was, and is the value network after every fifth update."""
    config = replace(TINY_DREAMER, behavior=replace(TINY_DREAMER.behavior, slow_value_every=5))
    agent = Dreamer(config, pixels(64, 2))
    state = jax.jit(agent.init)(jax.random.key(0))
    learn = jax.jit(agent.learn_behavior)
    start = Starts(state.model.dynamics.initial(4))

    def same(a, b) -> bool:
        return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))

    for update in range(1, 11):
        before = state.slow_value
        state, metrics = learn(state, start, jax.random.key(update))
        assert np.isfinite(list(metrics.values())).all()
        assert same(state.slow_value, state.value) == (update % 5 == 0)
        assert same(state.slow_value, before) == (update % 5 != 0)
