"""A policy distilled from a planner: its labels, its fit, and the run that comes of it."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import armillary
from armillary import seeding
from armillary.agents.distilled import Distilled
from armillary.agents.planet import Planet
from armillary.cli import distill as command
from armillary.cli import evaluate, video
from armillary.cli import train as train_command
from armillary.config import DistillationConfig, DistilledConfig, preset
from armillary.errors import RunError, UsageError
from armillary.machine import bench
from armillary.replay.episode import Episode
from armillary.replay.episodes import EpisodeStore
from armillary.spec import Discrete, Spec
from armillary.training.distillation import ROWS, Labeller, Labels, distill, fit_policy
from armillary.training.loop import train
from armillary.training.player import Player
from settings import TINY, TINY_DISCRETE

SETTINGS = DistillationConfig(layers=1, hidden=16, batch_size=16, epochs=20)


@dataclass(frozen=True)
class Known(Planet):
    """Chooses what can be told from the features, and is paid no heed when it explores."""

    def choose(self, state: Any, latent: Any, mask: Any, key: Any, explore: bool) -> Any:
        features = state.model.dynamics.features(latent)
        return (jnp.zeros_like if explore else jnp.tanh)(features[:, :2]), {}


@pytest.fixture(scope="module")
def player(trained: Path) -> Player:
    return armillary.load(trained)


def _episode(rows: int) -> Episode:
    draw = np.random.default_rng(rows)
    return Episode(
        {"image": draw.integers(0, 256, (rows, 64, 64, 3), np.uint8)},
        draw.uniform(-1, 1, (rows, 2)).astype(np.float32),
        np.zeros(rows, np.float32),
    )


def test_labels_are_the_planners_choices_in_the_beliefs_of_an_episode(player: Player) -> None:
    """In those before an action, of short episodes and of some that need several programs' runs."""
    agent = Known(TINY, player.agent.spec)
    label = Labeller(agent, player.state, ROWS + 9)
    for rows in (13, ROWS + 9):
        episode = _episode(rows)
        found = label(episode, jax.random.key(1))
        assert found.features.shape[0] == found.action.shape[0] == rows - 1
        np.testing.assert_allclose(found.action, np.tanh(found.features[:, :2]), atol=1e-6)
        # The belief is filtered in time: rows that come later change nothing before.
        late = replace(episode, action=episode.action.copy())
        late.action[8:] *= -1
        changed = label(late, jax.random.key(1))
        np.testing.assert_array_equal(changed.features[:8], found.features[:8])
        assert np.any(changed.features[8:] != found.features[8:])
    means = player.world_model.encode(_episode(13).image, _episode(13).action, every=True)
    # h follows the samples, but it is the model's own: near what the means give.
    ours = label(_episode(13), jax.random.key(2)).features
    theirs = np.asarray(player.state.model.dynamics.features(means))[:-1]
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.5


def _labels(episodes: int, shift: float = 0.0) -> list[Labels]:
    draw = np.random.default_rng(0)
    found = []
    for _ in range(episodes):
        features = draw.standard_normal((40, 3)).astype(np.float32)
        action = np.tanh(features[:, :2] - 0.5 * features[:, 2:] + shift).astype(np.float32)
        found.append(Labels(features, action, np.ones((40, 2), np.float32)))
    return found


def test_the_fit_finds_a_policy_that_can_be_found() -> None:
    settings = replace(SETTINGS, epochs=150, learning_rate=1e-2, held_out=0.25)
    fit = fit_policy(_labels(8), settings, seed=0)
    assert (fit.beliefs, fit.held_out) == (240, 80)
    assert fit.error < 0.05
    assert fit.constant == pytest.approx(np.std(np.tanh(np.random.default_rng(1).normal(
        0, np.sqrt(1.25), 100_000))), rel=0.1)  # fmt: skip
    untrained = fit_policy(_labels(8), replace(settings, epochs=1), seed=0)
    assert untrained.error > 3 * fit.error


def test_the_error_is_of_episodes_that_were_not_fitted() -> None:
    """Each in its turn is held out, and only the one whose labels are others has a large error."""
    labels = _labels(3)
    labels[1] = labels[1]._replace(action=-labels[1].action)
    settings = replace(SETTINGS, epochs=30, learning_rate=1e-2, held_out=0.3)
    orders = [seeding.generator(seed, "held out").permutation(3) for seed in range(9)]
    held = {int(order[0]): seed for seed, order in enumerate(orders)}
    errors = [fit_policy(labels, settings, held[i]).error for i in range(3)]
    assert errors[1] > 0.5
    # What does not count is not fitted, and is no error.
    nothing = [x._replace(counts=x.counts * [1, 0], action=x.action * [1, 0]) for x in _labels(3)]
    assert fit_policy(nothing, settings, 0).error < 0.5


def _files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def distilled(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a policy, distilled by the command line without an environment; its planner."""
    folder = tmp_path_factory.mktemp("distilled") / "policy"
    before = _files(trained)
    options = ["--distillation.epochs", "5", "--distillation.hidden", "8", "--episodes", "0"]
    assert command.run([str(trained), "--run", str(folder), *options, "--json"]) == 0
    assert _files(trained) == before
    return folder, trained


def test_the_policy_is_a_run_like_any_other(
    distilled: tuple[Path, Path], capsys: pytest.CaptureFixture
) -> None:
    folder, teacher = distilled
    assert evaluate.run([str(folder), "--episodes", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["agent"] == "distilled"
    assert "planner" not in told
    player = armillary.load(folder)
    assert isinstance(player.agent, Distilled)
    assert list(player.evaluate(2).scores) == told["scores"]
    of_teacher = armillary.load(teacher).state.model
    for ours, theirs in zip(*map(jax.tree.leaves, (player.state.model, of_teacher)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    image, _ = player.make_env().reset(seed=0)
    action = player.act(image)
    assert player.latent is not None
    features = player.state.model.dynamics.features(player.latent)
    np.testing.assert_allclose(action, np.tanh(player.state.policy(features)), rtol=1e-5)
    assert video.run([str(folder), "--out", str(folder / "agent.gif")]) == 0
    assert (folder / "agent.gif").exists()


def test_it_is_told_how_the_policy_compares(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "REPEATS", 1)
    options = ["--distillation.epochs", "1", "--episodes", "1", "--planner.horizon", "2"]
    assert command.run([str(trained), "--run", str(tmp_path / "policy"), *options]) == 0
    text = capsys.readouterr().out
    for words in ("held out", "a constant action", "toys:short", "ms for an action", "evaluate"):
        assert words in text
    planned = armillary.load(trained, planner={"horizon": 2}).evaluate(1).mean
    assert f"{'toys:short':<24}{planned:12.1f}" in text  # the settings are those that were given


def test_what_cannot_be_distilled_is_refused(
    distilled: tuple[Path, Path], tmp_path: Path, player: Player
) -> None:
    folder, teacher = distilled
    for argv, words in (
        ([str(folder)], "'distilled' does not plan, so there is nothing to distill"),
        ([str(teacher), "--run", str(folder)], "is there already"),
        ([str(tmp_path)], "not a run folder"),
        ([str(teacher), "--act", "policy"], "has no choice"),
    ):
        with pytest.raises((UsageError, RunError), match=words):
            command.run(argv)
    with pytest.raises(UsageError, match=r"held_out is 1\.0"):
        DistillationConfig(held_out=1.0)
    with pytest.raises(UsageError, match="not trained on a task"):
        train_command.run(["--run", str(folder)])
    with pytest.raises(UsageError, match="not trained on a task"):
        train(DistilledConfig(), tmp_path / "other")
    discrete = Player(TINY_DISCRETE, player.agent, (), {})
    lamps = Spec.of(player.agent.spec.fields, Discrete(3))
    discrete.agent = Distilled(DistilledConfig(), lamps)  # type: ignore[assignment]
    with pytest.raises(UsageError, match="are discrete"):
        distill(discrete, teacher, tmp_path / "other", SETTINGS)
    assert not list(tmp_path.iterdir())


def test_what_ends_it_leaves_nothing_and_damages_nothing(
    player: Player, trained: Path, tmp_path: Path
) -> None:
    """Not even a damaged episode of the planner's run, which is skipped, is moved there."""
    damaged = trained / "episodes" / "episode-000001.npz"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1000])
    before = _files(trained)

    def stop(done: int, count: int) -> None:
        assert count == TINY.episodes - 1
        if done == 1:
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            distill(player, trained, tmp_path / "policy", SETTINGS, stop)
        assert not list(tmp_path.iterdir())
        assert _files(trained) == before
    finally:
        damaged.write_bytes(whole)
    assert len(EpisodeStore(trained / "episodes")) == TINY.episodes


def test_the_bench_knows_what_only_acts() -> None:
    from armillary.cli import bench as bench_command

    config = bench_command._config(
        bench_command.Arguments(agent="distilled", task="toys:point", quick=True)
    )
    report = bench.measure(config, repeats=1, sizes=(64,))
    assert report["update"] is None
    assert report["act"]["gflop"] > 0
    text = bench_command.table(report, config)
    assert "update" not in text
    assert "actions" in text
    assert preset("paper", "distilled").made_by == "distill RUN"
