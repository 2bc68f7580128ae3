"""What is in a run folder is counted rightly, checked before it is believed, and made again."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from armillary.config import EnvironmentConfig, PlanetConfig, from_dict, preset, to_dict
from armillary.errors import RunError, UsageError
from armillary.replay.episodes import EpisodeStore
from armillary.studies.plots import read_metrics
from armillary.training import checkpoint, counters, loop, trainer
from armillary.training.loop import train
from armillary.training.player import load
from armillary.training.run import InUse, Run, default_folder
from armillary.training.saved_config import FORMAT
from settings import TINY

FORMAT_1 = Path(__file__).parents[1] / "data" / "run-format-1.tar.gz"
"""A run of 3 episodes as armillary 0.1.0 left it."""


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def _flip(path: Path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


def _rows(folder: Path) -> list[dict]:
    return [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in read_metrics(folder)
    ]


def _same_parameters(a: Path, b: Path) -> bool:
    pairs = zip(jax.tree.leaves(load(a).state), jax.tree.leaves(load(b).state), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


def test_a_step_of_the_environment_is_counted_once(tmp_path: Path) -> None:
    """30 steps in repeats of 4: the last repeat has 2. A resumed run counts the same."""
    environment = EnvironmentConfig(action_repeat=4)
    config = replace(TINY, task="toys:point", episodes=2, environment=environment)
    folder = tmp_path / "run"
    assert train(config, folder)["simulator_steps"] == 60
    assert [row["environment_steps"] for row in _rows(folder)][:2] == [30, 60]
    shutil.rmtree(folder / "checkpoints")
    with np.load(folder / "episodes" / "episode-000001.npz") as arrays:
        older = {name: arrays[name] for name in arrays.files if name != "simulator_steps"}
    with open(folder / "episodes" / "episode-000001.npz", "wb") as file:
        np.savez(file, **older)
    results = train(config, folder)
    assert results["simulator_steps"] == 30 + 8 * 4  # not counted in older files: at most so many


def test_a_damaged_last_checkpoint_costs_a_finished_run_nothing(run: Path, trained: Path) -> None:
    damaged = checkpoint.newest(run / "checkpoints")
    assert damaged is not None
    _flip(damaged)
    results = train(TINY, run)
    expected = json.loads((trained / "results.json").read_text())
    assert (results["agent"], results["random"]) == (expected["agent"], expected["random"])
    assert _rows(run) == _rows(trained)
    assert all(checkpoint.sound(path) for path in (run / "checkpoints").iterdir())
    assert _same_parameters(run, trained)


def test_what_a_finished_run_can_make_again_is_made_again(
    run: Path, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.truncate(run / "metrics.jsonl", 0)
    _flip(run / "test" / "episode-000000.npz")
    text = (run / "results.json").read_text()
    mean = json.loads(text)["agent"]["mean"]
    (run / "results.json").write_text(text.replace(str(mean), str(mean + 100)))
    results = train(TINY, run)
    for name in ("metrics.jsonl", "test/episode-000000.npz", "results.json"):
        assert str(run / name) in caplog.text
    assert results["agent"]["mean"] == mean
    assert json.loads((run / "results.json").read_text()) == results
    assert _rows(run) == _rows(trained)
    stores = [EpisodeStore(folder / "test").load(0) for folder in (run, trained)]
    np.testing.assert_array_equal(stores[0].image, stores[1].image)
    caplog.clear()
    assert train(TINY, run) == results
    assert not caplog.records
    newest = checkpoint.newest(run / "checkpoints")  # the one before it is of the end, too
    assert newest is not None
    _flip(newest)
    assert train(TINY, run) == results
    assert all(checkpoint.sound(path) for path in (run / "checkpoints").iterdir())


def test_an_unfinished_run_says_what_it_has_lost(
    run: Path, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "episodes" / "episode-000001.npz").unlink()
    results = train(replace(TINY, episodes=5), run)
    assert "its 6 rows until the last checkpoint are written again" in caplog.text
    assert "1 of the 4 episodes collected so far are not in" in caplog.text
    assert (results["episodes"], results["lost_episodes"]) == (5, 1)
    assert _rows(run)[:6] == _rows(trained)
    assert (_rows(run)[-1]["episode"], len(_rows(run))) == (5, 8)


def test_folders_that_cannot_be_listed_do_not_count_as_empty(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a user who may not read them; the superuser, who runs tests in CI, always may."""
    real = os.listdir

    def refuse(path: str | os.PathLike[str]) -> list[str]:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", refuse)
    before = (run / "metrics.jsonl").read_bytes()
    for name in ("checkpoints", "episodes"):
        with pytest.raises(RunError, match=rf"{name}.* read.*Permission denied"):
            train(replace(TINY, episodes=5), run)
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_changed_configuration_is_refused_by_its_fields(run: Path) -> None:
    path = run / "config.json"
    content = json.loads(path.read_text())
    content["config"]["optimizer"]["learning_rate"] = 0.5
    content["config"]["episodes"] = 7  # may change
    path.write_text(json.dumps(content))
    changed = Run(run).config
    message = (
        r"config\.json was changed(.|\n)*"
        r"optimizer\.learning_rate: 0\.001 in the checkpoint, 0\.5 in config\.json$"
    )
    for use in (lambda: train(changed, run), lambda: load(run)):
        with pytest.raises(UsageError, match=message):
            use()


def test_a_configuration_of_the_wrong_types_is_refused(tmp_path: Path) -> None:
    objective = replace(TINY.objective, free_nats_per="stez")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'stez', expected 'step' or 'batch'"):
        train(replace(TINY, objective=objective), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_began_while_environments_were_made_is_not_continued(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = tmp_path / "new", loop._collectors

    def slow(*arguments: object) -> object:
        envs = real(*arguments)  # type: ignore[arg-type]
        shutil.copytree(run, folder)  # another process, with another seed
        return envs

    monkeypatch.setattr(loop, "_collectors", slow)
    with pytest.raises(UsageError, match="seed: 0 there, 1 asked for"):
        train(replace(TINY, seed=1), folder)


def test_a_folder_is_locked_as_long_as_it_is_there(run: Path) -> None:
    with Run(run).locked() as check:
        for path in run.glob(".*"):
            path.unlink()
        with pytest.raises(InUse, match="another process is training"), Run(run).locked():
            pass
        check()
        run.rename(run.with_name("moved"))
        with pytest.raises(InUse, match="deleted, moved or replaced"):
            check()
        run.mkdir()
        with pytest.raises(InUse, match="deleted, moved or replaced"):
            check()


@pytest.mark.parametrize(
    "name",
    ["metrics.jsonl", "results.json", "episodes", "checkpoints", "episodes/episode-000001.npz"],
)
def test_links_are_refused_and_not_followed(run: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "elsewhere"
    (run / name).rename(target)
    (run / name).symlink_to(target)
    files = [target] if target.is_file() else sorted(target.iterdir())
    before = [path.read_bytes() for path in files]
    with pytest.raises(RunError, match=rf"{name} is a symbolic link"):
        train(replace(TINY, episodes=5), run)
    assert [path.read_bytes() for path in files] == before


def test_a_run_folder_itself_may_be_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run)
    assert train(TINY, tmp_path / "link")["episodes"] == 4


def test_a_run_of_format_1_is_loaded_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tarfile.open(FORMAT_1) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "run"
    agent, rows = load(folder), _rows(folder)
    assert agent.counters["episodes"] == 3
    assert agent.act(np.zeros((64, 64, 3), np.uint8)).shape == (2,)
    results = train(replace(Run(folder).config, episodes=4), folder)
    assert (results["simulator_steps"], results["updates"]) == (48, 18)
    assert _rows(folder)[: len(rows)] == rows
    assert json.loads((folder / "config.json").read_text())["format"] == FORMAT
    assert load(folder).counters["config"]["episodes"] == 4
    assert not caplog.records


@pytest.mark.parametrize(
    ("agent", "task", "opened"),
    [("planet", "toys:short", True), ("dreamer", "cheetah-run", True),
     ("dreamer", "toys:short", False)],
)  # fmt: skip
def test_no_discount_head_is_what_is_now_left_open(
    tmp_path: Path, agent: str, task: str, opened: bool
) -> None:
    """A run of format 2 goes on with today's presets; a Dreamer that had none keeps none."""
    config = replace(preset("small", agent), task=task)
    values = to_dict(config)
    values["model"]["discount_head"] = False
    content = {"format": 2, "version": "0.1.0", "config": values}
    (tmp_path / "config.json").write_text(json.dumps(content))
    run = Run(tmp_path)
    assert run.config.model.discount_head is (None if opened else False)
    run.check_made_with(values, run.config)
    if opened:
        run.check_same(config)
    none = from_dict(values)  # of a run of today, in which it was asked for
    run.open(none)
    assert Run(tmp_path).config.model.discount_head is False
    run.check_made_with(to_dict(none), Run(tmp_path).config)


def test_another_number_of_cores_is_said(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = {**counters.machine(), "cores": 77}
    monkeypatch.setattr(trainer, "machine", lambda *_: now)
    train(TINY, run)
    (record,) = caplog.records
    assert "and 77 now" in record.getMessage()
    assert record.levelno == logging.WARNING


def test_what_a_kill_left_half_written_is_removed(run: Path) -> None:
    left = [
        run / ".results.json.0a1b2c3d.tmp",
        run / "episodes" / ".episode-000003.npz.0a1b2c3d.tmp",
        run / "checkpoints" / ".checkpoint-000002.armillary.0a1b2c3d.tmp",
    ]
    for path in left:
        path.write_bytes(b"half")
        os.utime(path, (path.stat().st_mtime - 5,) * 2)
    train(TINY, run)
    assert not [path for path in left if path.exists()]


def test_names_are_as_long_as_file_systems_allow(tmp_path: Path) -> None:
    many = PlanetConfig(task=",".join(f"module{i}:environment" for i in range(20)))
    other = replace(many, task=many.task[:-1])
    names = {default_folder(config).name for config in (many, other)}
    assert len(names) == 2
    assert max(len(name.encode()) for name in names) < 200
    assert default_folder(PlanetConfig()).name == "cheetah-run-planet-paper-seed0"
    for folder in (tmp_path / ("n" * 300), tmp_path / "a\0b"):
        with pytest.raises(RunError, match="cannot be used as a run folder"):
            train(TINY, folder)
        with pytest.raises(RunError, match="cannot be used as a run folder"):
            load(folder)


def test_a_run_that_lost_its_checkpoints_says_so(
    run: Path, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(run / "checkpoints")
    train(TINY, run)
    assert "there are 4 episodes in" in caplog.text
    assert _same_parameters(run, trained)
    assert _rows(run) == _rows(trained)


def test_episodes_of_another_environment_are_named(run: Path) -> None:
    for path in (run / "episodes").iterdir():
        with np.load(path) as arrays:
            changed = {name: arrays[name] for name in arrays.files}
        changed["image"] = np.ascontiguousarray(changed["image"][:, :32, :32])
        with open(path, "wb") as file:
            np.savez(file, **changed)
    with pytest.raises(RunError, match=r"have image of \(32, 32, 3\).*2 entries of an action"):
        train(replace(TINY, episodes=5), run)
