"""The training loop on a toy: what a run leaves, what it refuses, what it survives."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from armillary import seeding
from armillary.agents.base import Agent
from armillary.agents.random import Random
from armillary.agents.registry import make_agent
from armillary.config import Config, PlanetConfig, changed, preset
from armillary.envs import side_by_side
from armillary.envs.build import spec_of
from armillary.errors import EnvironmentFailure, NumericalError, RunError, UsageError
from armillary.machine.agent import example_batch
from armillary.objectives.world_model import world_model_loss
from armillary.replay.episode import Episode
from armillary.replay.episodes import EpisodeStore
from armillary.replay.sampler import WindowSampler
from armillary.spec import pixels
from armillary.studies.plots import read_metrics
from armillary.training.loop import train
from armillary.training.player import load
from armillary.training.record import Record
from armillary.training.rollout import rollout
from armillary.training.run import Run
from settings import ALL, TINY, TINY_DREAMER, TINY_EXPLORER

BOTH = pytest.mark.parametrize("config", [TINY, TINY_DREAMER], ids=["planet", "dreamer"])


def _rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_what_it_promises(trained: Path) -> None:
    results = json.loads((trained / "results.json").read_text())
    assert results["episodes"] == 4
    assert results["updates"] == 3 * 6  # the seed episodes count for one interval
    assert results["simulator_steps"] == 4 * 12
    assert len(results["agent"]["scores"]) == len(results["random"]["scores"]) == 2
    assert len(EpisodeStore(trained / "episodes")) == 4
    for name in ("curve.png", "agent.mp4", "prediction.png", "prediction.mp4"):
        assert (trained / name).stat().st_size > 1000
    assert list((trained / "tensorboard").iterdir())


def test_metrics_follow_algorithm_1(trained: Path) -> None:
    """Seed episodes without updates, then C updates before each episode and after the last."""
    collected = [row for row in _rows(trained) if "collect/return" in row]
    assert [(row["episode"], row["updates"]) for row in collected] == [
        (1, 0),
        (2, 0),
        (3, 6),
        (4, 12),
    ]
    assert "loss/image" not in collected[1]
    assert collected[2]["loss/image"] > 0
    tested = [row for row in _rows(trained) if "evaluate/mean" in row]
    assert [(row["episode"], row["updates"]) for row in tested] == [(3, 12), (4, 18)]


def test_an_episode_is_stored_as_it_was_played(trained: Path) -> None:
    """Each stored action leads from the image before it to its own image."""
    import armillary

    episode = EpisodeStore(trained / "episodes").load(3)
    env = armillary.make("toys:short")
    image, _ = env.reset(seed=seeding.integer(0, "collect", 3))
    np.testing.assert_array_equal(image, episode.image[0])
    assert not episode.action[0].any()
    assert episode.reward[0] == 0
    for t in range(1, 13):
        image, reward, *_ = env.step(episode.action[t])
        np.testing.assert_array_equal(image, episode.image[t])
        assert reward == pytest.approx(episode.reward[t], rel=1e-6)


def _collected(index: int, actor: Any, state: Any) -> Episode:
    """The episode that an actor plays where a run collects its episode of that index."""
    with closing(side_by_side(TINY.task, TINY.environment, 1)) as env:
        key = seeding.key(TINY.seed, "collect", index)
        seeds = [seeding.integer(TINY.seed, "collect", index)]
        (episode,) = rollout(env, actor, state, key, seeds=seeds, explore=True)
    return episode


def test_seed_episodes_are_random_and_all_others_the_agents(trained: Path, tmp_path: Path) -> None:
    """The agent's as it is then: that of a run which ends there; with its exploration noise."""
    store = EpisodeStore(trained / "episodes")
    for index in range(TINY.episodes):
        at_random = _collected(index, Random(pixels(64, 2)), None).action
        if index < TINY.collection.seed_episodes:
            np.testing.assert_array_equal(store.load(index).action, at_random)
            continue
        train(replace(TINY, episodes=index), tmp_path)
        player = load(tmp_path)
        played = _collected(index, player.agent, player.state)
        np.testing.assert_array_equal(store.load(index).action, played.action)
        assert (played.action != at_random).any()


def test_tests_come_every_so_many_episodes_and_at_the_end(tmp_path: Path) -> None:
    evaluation = replace(TINY.evaluation, every=2)
    train(replace(TINY, episodes=7, evaluation=evaluation), tmp_path)
    tested = [row for row in _rows(tmp_path) if "evaluate/mean" in row]
    assert [(row["episode"], row["updates"]) for row in tested] == [(4, 18), (6, 30), (7, 36)]


def test_the_last_updates_are_logged_with_the_last_scores(trained: Path) -> None:
    """Each update's losses are in one row: the means over those before it."""
    rows = read_metrics(trained)
    assert "evaluate/mean" in rows[-1]
    logged = [row["updates"] for row in rows if "loss/total" in row]
    rounds = TINY.episodes - TINY.collection.seed_episodes + 1
    assert logged == [TINY.training.collect_interval * (i + 1) for i in range(rounds)]
    assert rows[-1]["updates"] == logged[-1]


def test_a_finished_run_trained_again_changes_nothing(trained: Path) -> None:
    before = (trained / "metrics.jsonl").read_text()
    results = train(TINY, trained)
    assert results == json.loads((trained / "results.json").read_text())
    assert (trained / "metrics.jsonl").read_text() == before


def test_another_configuration_is_refused_by_naming_the_fields(trained: Path) -> None:
    model = replace(TINY.model, hidden=17)
    with pytest.raises(UsageError, match=r"model\.hidden: 16 there, 17 asked for"):
        train(replace(TINY, model=model), trained)
    with pytest.raises(UsageError, match="seed: 0 there, 5 asked for"):
        train(replace(TINY, seed=5), trained)


def test_fewer_episodes_than_there_are_is_refused(trained: Path) -> None:
    with pytest.raises(UsageError, match="already has 4 episodes"):
        train(replace(TINY, episodes=3), trained)


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(RunError, match="not a run folder"):
        train(TINY, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_of_a_newer_version_is_refused(trained: Path, tmp_path: Path) -> None:
    content = json.loads((trained / "config.json").read_text())
    content |= {"format": 99, "version": "7.0.0"}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"armillary 7\.0\.0.*upgrade"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 1, "config": {"x": 1}}'])
def test_a_damaged_configuration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunError, match="damaged"):
        _ = Run(tmp_path).config


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path) -> None:
    with Run(tmp_path / "run").locked(), pytest.raises(RunError, match="another process"):
        train(TINY, tmp_path / "run")


@ALL
def test_a_nan_stops_the_run_and_names_step_term_and_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Config
) -> None:
    real = Record.update

    def poisoned(self: Record, metrics: dict[str, float]) -> None:
        if self._counters.updates == 7:
            metrics["loss/reward"] = float("nan")
        real(self, metrics)

    monkeypatch.setattr(Record, "update", poisoned)
    with pytest.raises(NumericalError, match=r"update 8 gave loss/reward = nan.*checkpoint-\d+"):
        train(config, tmp_path / "run")
    monkeypatch.undo()
    size = config.round_size
    assert len(EpisodeStore(tmp_path / "run" / "episodes")) == 3 * size
    results = train(config, tmp_path / "run")  # and it can go on
    assert results["episodes"] == 4 * size


@BOTH
def test_an_infinite_reward_is_found_in_the_loss(tmp_path: Path, config: Config) -> None:
    """The real thing, no patch: a huge reward makes the squared error overflow."""
    folder = tmp_path / "run"
    with pytest.raises(NumericalError, match="loss/reward = inf"):
        train(replace(config, task="toys:rich"), folder)


@BOTH
@pytest.mark.parametrize("scale", [1e6, 1e-6])
def test_losses_stay_finite_over_the_range_of_real_rewards(
    tmp_path: Path, config: Config, scale: float
) -> None:
    kwargs = {"steps": 12, "scale": scale}
    config = changed(config, {"task": "toys:Point", "environment.kwargs": kwargs})
    results = train(config, tmp_path)
    assert np.isfinite(results["agent"]["mean"])
    rows = [row for row in _rows(tmp_path) if "loss/reward" in row]
    losses = np.array([[row[name] for name in row if name.startswith("loss/")] for row in rows])
    assert losses.size
    assert np.isfinite(losses).all()
    stored = EpisodeStore(tmp_path / "episodes").load(0).reward.max() / scale
    assert 0 < stored < 1.01


@BOTH
def test_an_environment_that_raises_loses_only_its_episode(tmp_path: Path, config: Config) -> None:
    with pytest.raises(EnvironmentFailure, match=r"broke on purpose"):
        train(replace(config, task="toys:third_fails"), tmp_path / "run")
    assert len(EpisodeStore(tmp_path / "run" / "episodes")) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"objective.overshooting": 3, "objective.overshooting_image_scale": 1.0},
        {"objective.representation": "contrastive"},
    ],
    ids=str,
)
def test_windows_longer_than_an_episode_are_filled_up(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """What fills them changes no loss, whatever it holds, and gets no gradient."""
    config = changed(TINY, {"training.chunk_length": 20, "episodes": 2, **changes})
    train(config, tmp_path)
    agent = load(tmp_path)
    sampler = WindowSampler(EpisodeStore(tmp_path / "episodes"), 4, 20)
    batch = sampler.sample(np.random.default_rng(0))
    assert batch.valid is not None
    assert batch.valid.sum() == 4 * 13
    gradient = jax.jit(
        jax.grad(
            lambda rewards, action, image: world_model_loss(
                agent.state.model,
                batch._replace(reward=rewards, action=action, observation={"image": image}),
                jax.random.key(0),
                config.objective,
            )[0],
            argnums=(0, 1),
        )
    )
    image = batch.observation["image"]
    plain = gradient(batch.reward, batch.action, image)
    noise = np.random.default_rng(1)
    filled = (
        np.where(batch.valid, batch.reward, 7.0).astype(np.float32),
        np.where(batch.valid[..., None], batch.action, 0.5).astype(np.float32),
        np.where(
            batch.valid[..., None, None, None], image, noise.integers(0, 256, image.shape)
        ).astype(np.uint8),
    )
    other = gradient(*filled)
    for one, two in zip(plain, other, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
        assert np.any(one[batch.valid])
        assert not np.any(one[~batch.valid])


def test_episodes_that_terminate_early_are_kept_as_they_are(tmp_path: Path) -> None:
    config = replace(TINY, task="toys:terminating", episodes=3, seed=1)
    train(config, tmp_path / "run")
    store = EpisodeStore(tmp_path / "run" / "episodes")
    lengths = {store.load(i).steps for i in store.indices}
    assert len(lengths) > 1
    assert all(store.load(i).terminal for i in store.indices)


@ALL
def test_more_episodes_continue_as_if_asked_for_at_once(tmp_path: Path, config: Config) -> None:
    size = config.round_size
    once = train(replace(config, episodes=4 * size), tmp_path / "once")
    train(replace(config, episodes=3 * size), tmp_path / "twice")
    twice = train(replace(config, episodes=4 * size), tmp_path / "twice")
    assert once["agent"] == twice["agent"]
    a, b = load(tmp_path / "once").state, load(tmp_path / "twice").state
    assert jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


@pytest.mark.parametrize("config", [*ALL.args[1], TINY_EXPLORER], ids=lambda config: config.agent)
def test_an_update_is_compiled_once(config: Config) -> None:
    """What it returns is of the types that `init` gives: of others it would be compiled again.

    Weak types count: `jnp.full(1, 2.0)` has one, and what Adam makes of it has none.
    """
    agent = make_agent(config, spec_of(config.tasks, config.environment))
    assert isinstance(agent, Agent)
    key = seeding.key(0, "init")
    before = jax.eval_shape(agent.init, key)
    after, *_ = jax.eval_shape(agent.update, before, example_batch(config, agent), key)
    for (path, old), (_, new) in zip(*map(jax.tree.leaves_with_path, (before, after)), strict=True):
        assert (old.shape, old.dtype, old.weak_type) == (new.shape, new.dtype, new.weak_type), path


def test_the_presets_hold_the_paper() -> None:
    paper = preset("paper")
    assert paper == replace(PlanetConfig(), preset="paper")
    assert (paper.model.stochastic, paper.model.deterministic, paper.model.depth) == (30, 200, 32)
    planner = paper.planner
    assert (planner.horizon, planner.iterations) == (12, 10)
    assert (planner.candidates, planner.elites, planner.refit) == (1000, 100, "std")
    training = paper.training
    assert (training.collect_interval, training.batch_size, training.chunk_length) == (100, 50, 50)
    assert (paper.collection.seed_episodes, paper.collection.action_noise) == (5, 0.3)
    assert (paper.objective.free_nats, paper.objective.bits) == (3.0, 5)
    optimizer = paper.optimizer
    assert (optimizer.learning_rate, optimizer.epsilon, optimizer.clip_norm) == (1e-3, 1e-4, 1000)


def test_an_environment_that_changes_folders_and_fails_to_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A relative run folder stays where it is, and the run keeps its scores."""
    monkeypatch.chdir(tmp_path)
    results = train(replace(TINY, task="toys:Wanders", episodes=2), "run")
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    assert len(EpisodeStore(tmp_path / "run" / "episodes")) == 2
    assert "toys:Wanders could not be closed: SystemExit" in caplog.text


def test_a_run_is_the_run_that_it_was(trained: Path) -> None:
    """What is drawn and computed is what it was before there was a second agent.

    Compilers and machines move the last bits; a draw that moved would move far more.
    """
    state = load(trained).state
    total = sum(float(np.abs(np.asarray(x, np.float64)).sum()) for x in jax.tree.leaves(state))
    assert total == pytest.approx(21675.093077035413, rel=1e-5)
    scores = json.loads((trained / "results.json").read_text())["agent"]["scores"]
    assert scores[0] == pytest.approx(1.060550837777555, rel=1e-2)
