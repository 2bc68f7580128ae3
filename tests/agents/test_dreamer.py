"""Dreamer as the other agents are: it trains, goes on, acts, and shows what it has."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import armillary
from armillary.agents.dreamer import Dreamer
from armillary.agents.planet import Planet
from armillary.cli import evaluate, video
from armillary.config import EnvironmentConfig
from armillary.dynamics.base import LatentState
from armillary.errors import UsageError
from armillary.nets.distributions import Normal
from armillary.nets.policy import Policy
from armillary.objectives.behavior import Starts, imagine
from armillary.replay.episodes import EpisodeStore
from armillary.spec import Continuous, Discrete, Field, Spec, pixels
from armillary.studies.plots import read_metrics
from armillary.studies.report import write_report
from armillary.training.loop import train
from settings import TINY, TINY_DISCRETE, TINY_DREAMER


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its report."""
    folder = tmp_path_factory.mktemp("dreamer") / "run"
    train(TINY_DREAMER, folder)
    write_report(folder)
    return folder


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
    states, rewards = model.rollout(agent.latent, np.zeros((4, model.action_size)))
    assert rewards.shape == (4,)
    expected = agent.state.value(model.model.dynamics.features(states))[:, 0]
    np.testing.assert_allclose(model.value(states), expected, rtol=1e-5)


def test_the_commands_know_it(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert evaluate.run([str(run), "--episodes", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["agent"] == "dreamer"
    assert "planner" not in report
    for argv in (["--planner.horizon", "5"], ["--planner.elites", "9"]):
        with pytest.raises(UsageError, match=r"'dreamer' does not plan.*let it plan"):
            evaluate.run([str(run), *argv])


def test_the_same_run_plans_when_it_is_told_to(run: Path, capsys: pytest.CaptureFixture) -> None:
    """One name on the command line and in Python, and only what is given differs from the run."""
    given = ["--planner.horizon", "2", "--planner.candidates", "9", "--planner.elites", "3"]
    argv = [str(run), "--episodes", "2", "--json", "--act", "plan", *given]
    assert evaluate.run(argv) == 0
    told = json.loads(capsys.readouterr().out)
    planner = replace(TINY_DREAMER.planner, horizon=2, candidates=9, elites=3)
    assert told["planner"] == asdict(planner)
    agent = armillary.load(run, act="plan", planner={"horizon": 2, "candidates": 9, "elites": 3})
    assert agent.config.planner == agent.agent.config.planner == planner
    assert list(agent.evaluate(2).scores) == told["scores"]
    assert told["scores"] != list(armillary.load(run).evaluate(2).scores)


def test_only_who_has_the_choice_takes_it(trained: Path) -> None:
    with pytest.raises(UsageError, match="'planet' has no choice"):
        armillary.load(trained, act="policy")
    with pytest.raises(UsageError, match="--act is only for a run"):
        evaluate.run(["--agent", "random", "--task", "cheetah-run", "--act", "plan"])
    discrete = replace(TINY_DISCRETE, act="plan")
    with pytest.raises(UsageError, match="discrete: leave --act plan out"):
        train(discrete, trained.parent / "nowhere")
    assert not (trained.parent / "nowhere").exists()


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


def test_planet_refuses_discrete_actions_and_says_who_does_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"PlaNet plans continuous actions.*--agent dreamer"):
        train(replace(TINY, task="toys:lamps"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nobody_here_plays_games_of_two(tmp_path: Path) -> None:
    spec = replace(pixels(64, 2), players=2)
    for agent, config in ((Dreamer, TINY_DREAMER), (Planet, TINY)):
        with pytest.raises(UsageError, match="a game of 2 players"):
            agent(config, spec)


@pytest.fixture(scope="module")
def discrete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with discrete actions, that observes an image and a vector."""
    folder = tmp_path_factory.mktemp("discrete") / "run"
    train(TINY_DISCRETE, folder)
    return folder


def test_discrete_actions_are_numbers_outside_and_one_hot_inside(discrete: Path) -> None:
    agent = armillary.load(discrete)
    env = agent.make_env()
    agent.reset()
    observation, _ = env.reset(seed=0)
    for explore in (False, True, True):
        action = agent.act(observation, explore=explore)
        assert env.action_space.contains(action)
        observation, *_ = env.step(action)
    stack = {name: np.stack([x, x]) for name, x in observation.items()}
    agent.reset()
    assert agent.act(stack).shape == (2,)
    for index in EpisodeStore(discrete / "episodes").indices:
        episode = EpisodeStore(discrete / "episodes").load(index)
        np.testing.assert_array_equal(episode.action[1:].sum(axis=1), 1)
        assert set(np.unique(episode.action)) == {0, 1}
        lamp = episode.observation["lamp"].argmax(axis=1)
        paid = episode.action[1:].argmax(axis=1) == lamp[:-1]
        np.testing.assert_array_equal(episode.reward[1:], paid)


def test_all_that_is_observed_is_looked_into(discrete: Path) -> None:
    agent = armillary.load(discrete)
    episode = EpisodeStore(discrete / "episodes").load(0)
    model = agent.world_model
    states = model.encode(episode.observation, episode.action, every=True)
    expected = model.observation(states)
    assert {name: x.shape for name, x in expected.items()} == {
        "cameras/front": (13, 64, 64, 3),
        "lamp": (13, 3),
    }
    np.testing.assert_array_equal(model.decode(states), expected["cameras/front"])
    with pytest.raises(UsageError, match="not 'lamp'"):
        model.encode({"cameras/front": episode.image}, episode.action)
    files = write_report(discrete)
    assert {"agent", "prediction", "curve"} <= set(files)


def test_what_is_not_drawn_is_not_shown(tmp_path: Path) -> None:
    """A run of numbers alone has a curve; a video is drawn when it is asked for."""
    config = replace(TINY_DISCRETE, environment=EnvironmentConfig(observe="vector"), episodes=2)
    train(config, tmp_path)
    assert set(write_report(tmp_path)) == {"curve"}
    assert video.run([str(tmp_path)]) == 0
    assert (tmp_path / "agent-0.mp4").stat().st_size > 500
    with pytest.raises(UsageError, match="predicts no frames"):
        video.run([str(tmp_path), "--predict"])
    with pytest.raises(UsageError, match="no frames"):
        armillary.load(tmp_path).world_model.decode(
            armillary.load(tmp_path).state.model.dynamics.initial(1)
        )


def test_a_mask_holds_in_imagination(discrete: Path) -> None:
    """Choices that are masked are never imagined, and entries that do not count are 0."""
    spec = Spec.of({"vector": Field((3,)), "mask": Field((4,), "bool")}, Discrete(4))
    seen: list[Any] = []
    for action in (Discrete(4), Continuous(4)):
        seen.clear()
        agent = Dreamer(replace(TINY_DREAMER), replace(spec, action=action))
        policy = Policy(5, action, TINY_DREAMER.behavior, key=jax.random.key(0))

        class Watched:
            stochastic_size = 0

            def features(self, state):
                return state.deterministic

            def predict(self, state, action, noise):
                seen.append(action)
                return state

        mask = np.array([[True, False, True, False]] * 6)
        parts = {"dynamics": Watched(), "reward": len, "goes_on": len}
        model = type("Model", (), parts)()
        empty = jax.numpy.zeros((6, 0))
        latent = LatentState(Normal(empty, empty), empty, jax.numpy.ones((6, 5)))
        with jax.disable_jit():
            imagine(model, policy, Starts(latent, jax.numpy.asarray(mask)), 5, jax.random.key(1))
        taken = np.stack(seen)
        assert taken.shape == (5, 6, 4)
        assert not taken[:, ~mask].any()
        assert taken[:, mask].any()
        assert agent.spec.masked


def test_discrete_exploration_is_a_random_choice_now_and_then(discrete: Path) -> None:
    agent = armillary.load(discrete)
    seen, _ = agent.make_env().reset(seed=0)
    many = {
        name: np.broadcast_to(x, (2000, *x.shape)) for name, x in seen.items() if name == "lamp"
    }
    spec = replace(agent.agent.spec, observation=(("lamp", Field((3,))),))
    choices = jax.nn.one_hot(np.zeros(2000, int), 3)
    for share in (0.0, 0.3, 1.0):
        collection = replace(TINY_DISCRETE.collection, random_actions=share)
        explorer = Dreamer(replace(TINY_DISCRETE, collection=collection), spec)
        taken = explorer._explored(choices, many, jax.random.key(3))
        np.testing.assert_array_equal(np.asarray(taken).sum(axis=1), 1)
        np.testing.assert_allclose(np.mean(taken[:, 0] == 0), share * 2 / 3, atol=0.04)
