"""Learning from episodes that are there: none is collected, and no environment is needed."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from armillary.agents.registry import make_agent
from armillary.cli import train as command
from armillary.config import changed
from armillary.config.muzero import JudgedConfig
from armillary.config.typed import options
from armillary.envs.named import TRUSTED
from armillary.errors import RunError, UsageError
from armillary.replay.episode import Episode
from armillary.replay.episodes import EpisodeStore
from armillary.studies.plots import read_metrics
from armillary.training import offline
from armillary.training.loop import train
from armillary.training.player import load
from settings import TINY, TINY_MUZERO


def test_it_learns_from_the_episodes_of_another_run(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From all of them from the first update on; with as many updates, and resumable."""
    config = replace(TINY, source=str(trained))
    results = train(config, tmp_path / "run")
    assert "begins again" not in caplog.text  # they are not its own
    assert results["updates"] == 3 * 6
    assert results["simulator_steps"] == 4 * 12
    assert results["agent"]["episodes"] == 2
    ours, theirs = EpisodeStore(tmp_path / "run" / "episodes"), EpisodeStore(trained / "episodes")
    assert ours.indices == theirs.indices == [0, 1, 2, 3]
    np.testing.assert_array_equal(ours.load(3).image, theirs.load(3).image)
    rows = read_metrics(tmp_path / "run")
    assert [row["updates"] for row in rows if "loss/total" in row] == [6, 12, 18]
    assert {row["episode"] for row in rows} == {4}
    assert train(config, tmp_path / "run") == results

    def no_links(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    train(replace(config, episodes=3), tmp_path / "twice")
    train(config, tmp_path / "twice")
    pair = [jax.tree.leaves(load(tmp_path / name).state) for name in ("run", "twice")]
    for a, b in zip(*pair, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_a_run_that_has_begun_needs_its_source_no_more(trained: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(trained / "episodes", source)
    config = replace(TINY, source=str(source), episodes=2)
    train(config, tmp_path / "run")
    shutil.rmtree(source)
    assert train(replace(config, episodes=3), tmp_path / "run")["updates"] == 12


def test_damaged_episodes_of_a_source_are_left_out(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is wrong is said of the run's own copy; the source stays as it is."""
    source = tmp_path / "source"
    shutil.copytree(trained / "episodes", source)
    (source / "episode-000000.npz").write_bytes(b"no archive")
    config = changed(TINY, {"source": str(source), "episodes": 2, "evaluation.final_episodes": 0})
    train(config, tmp_path / "run")
    assert EpisodeStore(tmp_path / "run" / "episodes").indices == [1, 2, 3]
    assert "episode-000000.npz is damaged" in caplog.text
    assert (source / "episode-000000.npz").read_bytes() == b"no archive"
    for path in source.iterdir():
        path.write_bytes(b"no archive")
    with pytest.raises(RunError, match=r"every episode in .*source.* is damaged"):
        train(config, tmp_path / "other")


def test_no_environment_is_needed(trained: Path, tmp_path: Path) -> None:
    """The task need not even exist; a bare folder of episodes will do."""
    source = {"source": str(trained / "episodes"), "evaluation.final_episodes": 0}
    config = changed(TINY, {**source, "task": "gone:Gone", "episodes": 2})
    results = train(config, tmp_path)
    assert results["updates"] == 6
    assert results["agent"] == {"mean": None, "std": None, "episodes": 0, "scores": []}
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert load(tmp_path).world_model.action_size == 2
    assert offline.source_spec(trained / "episodes") == load(tmp_path).agent.spec
    assert train(config, tmp_path) == results


def test_the_command_takes_the_task_of_the_run(
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(TRUSTED, raising=False)
    given = options(changed(TINY, {"episodes": 2, "evaluation.final_episodes": 0, "source": "x"}))
    without = [word for i, word in enumerate(given) if not {"--source", "--task"} & {
        word, given[i - 1]}]  # fmt: skip
    argv = [*without, "--from", str(trained), "--run", str(tmp_path / "run")]
    with pytest.raises(UsageError, match="--trust"):
        command.run(argv)
    assert command.run([*argv, "--trust"]) == 0
    assert "no test episodes were played" in capsys.readouterr().out
    assert load(tmp_path / "run").config.task == TINY.task


def test_what_cannot_be_learned_from_is_said(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing to learn from.*does not exist"):
        train(replace(TINY, source=str(tmp_path / "nowhere")), tmp_path / "run")
    with pytest.raises(UsageError, match=r"nothing to learn from.*holds no episodes"):
        train(replace(TINY, source=str(tmp_path)), tmp_path / "run")
    with pytest.raises(UsageError, match=r"have image.*2 entries.*toys:slider has.*1 entries"):
        train(replace(TINY, source=str(trained), task="toys:slider"), tmp_path / "run")
    with pytest.raises(UsageError, match="final_episodes is 0"):
        changed(TINY, {"evaluation.final_episodes": 0})
    assert not (tmp_path / "run").exists()


def test_episodes_without_what_the_agent_notes_are_refused(tmp_path: Path) -> None:
    """Those that others played have no search: said before anything is written."""
    folder, rows = tmp_path / "episodes", np.zeros((4, 3), np.float32)
    rows[1:, 1] = 1
    episode = Episode({"lamp": rows}, rows, np.zeros(4, np.float32))
    noted = {"policy": np.full((4, 3), 1 / 3, np.float32), "value": np.zeros(4, np.float32)}
    store = EpisodeStore(folder)
    store.write(0, replace(episode, records=noted))
    store.write(1, episode)
    config = replace(TINY_MUZERO, source=str(folder), evaluation=JudgedConfig(final_episodes=0))
    with pytest.raises(UsageError, match=r"muzero learns from .*policy, value.*episode-000001"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (folder / "episode-000001.npz").write_bytes(b"damaged")  # is told where it is read
    offline.check_records(config, make_agent(config, offline.source_spec(folder)))
