"""Several seeds at once: each is the agent that its seed alone gives, and nothing is lost."""

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from armillary.config import Config, MuZeroConfig, changed
from armillary.errors import NumericalError, RunError, UsageError
from armillary.replay.episodes import EpisodeStore
from armillary.training import checkpoint
from armillary.training.counters import Counters
from armillary.training.loop import train
from armillary.training.player import load
from armillary.training.record import Record
from armillary.training.run import Run
from armillary.training.seeds import train_seeds
from armillary.training.signals import Stopped
from conftest import once
from settings import KINDS, TINY, TINY_MUZERO

TOLERANCE = 1e-4
"""Of a parameter after the 18 updates of a tiny run, relative to the largest of its array.

They were seen to differ by 1e-6 to 6e-6; what another batch or another noise gives differs by 1e-2
and more.
"""


def _apart(one: Path, other: Path) -> float:
    """Returns the largest difference of the parameters, relative to the largest of each array."""
    leaves = zip(jax.tree.leaves(load(one).state), jax.tree.leaves(load(other).state), strict=True)
    arrays = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in leaves]
    return max(float(np.abs(a - b).max() / (np.abs(a).max() or 1.0)) for a, b in arrays if a.size)


def _rows(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def _same(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same bits: parameters, episodes, rows and scores."""
    if _apart(one, other) or _rows(one) != _rows(other):
        return False
    stores = [EpisodeStore(folder / "episodes") for folder in (one, other)]
    for index in stores[0].indices:
        a, b = (store.load(index) for store in stores)
        if not np.array_equal(a.action, b.action) or not np.array_equal(a.reward, b.reward):
            return False
    ends = [json.loads((folder / "results.json").read_text()) for folder in (one, other)]
    return stores[0].indices == stores[1].indices and ends[0]["tasks"] == ends[1]["tasks"]


def _is_alone(config: Config, folder: Path, alone: Path) -> None:
    """Asserts that a run is what its seed alone gives."""
    train(config, alone)
    assert _apart(folder, alone) < TOLERANCE
    ours, theirs = (EpisodeStore(place / "episodes") for place in (folder, alone))
    assert ours.indices == theirs.indices == list(range(config.episodes))
    for index in ours.indices:
        a, b = ours.load(index), theirs.load(index)
        np.testing.assert_allclose(a.action, b.action, atol=1e-3)
        np.testing.assert_allclose(a.reward, b.reward, atol=1e-3)
        assert a.records.keys() == b.records.keys()
    for a, b in zip(_rows(folder), _rows(alone), strict=True):
        assert a.keys() == b.keys()
        for name, value in a.items():
            np.testing.assert_allclose(value, b[name], rtol=1e-2, atol=1e-3, err_msg=name)


def _begins_alone(config: Config, folder: Path, alone: Path) -> None:
    """Asserts that a run learns at first what its seed alone does.

    Later a search may turn on a last bit, and its episode is another one from there on.
    """
    train(config, alone)
    ours, theirs = (EpisodeStore(place / "episodes") for place in (folder, alone))
    assert ours.indices == theirs.indices == list(range(config.episodes))
    np.testing.assert_array_equal(ours.load(0).action, theirs.load(0).action)
    first = [
        next(row for row in _rows(place) if any(name.startswith("loss/") for name in row))
        for place in (folder, alone)
    ]
    assert first[0].keys() == first[1].keys()
    for name in first[0]:
        if name.startswith("loss/"):
            np.testing.assert_allclose(first[0][name], first[1][name], rtol=1e-3, err_msg=name)


@KINDS
def test_each_seed_is_the_agent_that_it_is_alone(tmp_path: Path, config: Config) -> None:
    results = train_seeds(config, (3, 1), tmp_path / "run")
    assert [*results] == [3, 1]
    one, other = tmp_path / "run-seed1", tmp_path / "run-seed3"
    assert json.loads((one / "results.json").read_text()) == results[1]
    assert _apart(one, other) > 100 * TOLERANCE
    same = _begins_alone if isinstance(config, MuZeroConfig) else _is_alone
    same(replace(config, seed=1), one, tmp_path / "alone")
    if config is TINY_MUZERO:
        same(replace(config, seed=3), other, tmp_path / "other")


def test_episodes_of_one_seed_may_end_earlier_than_those_of_another(tmp_path: Path) -> None:
    config = replace(TINY, task="toys:terminating", episodes=3, seed=1)
    train_seeds(config, 2, tmp_path / "run")
    stores = [EpisodeStore(tmp_path / f"run-seed{seed}" / "episodes") for seed in (1, 2)]
    lengths = [[store.load(i).steps for i in store.indices] for store in stores]
    assert lengths[0] != lengths[1]
    assert all(store.load(i).terminal for store in stores for i in store.indices)
    _is_alone(config, tmp_path / "run-seed1", tmp_path / "alone")


def test_all_at_once_as_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("armillary.training.several.on_cpu", lambda size: None)
    train_seeds(replace(TINY_MUZERO, seed=7), 2, tmp_path / "run")
    monkeypatch.undo()
    _begins_alone(replace(TINY_MUZERO, seed=8), tmp_path / "run-seed8", tmp_path / "alone")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of two seeds that were never stopped: `run-seed0` and `run-seed1`."""
    return once(
        tmp_path_factory, "seeds", lambda folder: train_seeds(TINY_MUZERO, 2, folder / "run")
    )


class _Killed(BaseException):
    """What nobody expects."""


def _kill_at(monkeypatch: pytest.MonkeyPatch, of: Any, name: str, call: int) -> None:
    """Ends the process, so to speak, right after a call of a function."""
    real, calls = getattr(of, name), [0]

    def counted(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        calls[0] += 1
        if calls[0] == call:
            raise _Killed
        return result

    monkeypatch.setattr(of, name, counted)


OFTEN = changed(TINY_MUZERO, {"training.checkpoint_minutes": 1e-9})


@pytest.mark.parametrize(
    ("of", "name", "call"),
    [
        (checkpoint, "save", 1),  # the first seed has a checkpoint, the other has none
        (checkpoint, "save", 9),  # one update between the two
        (checkpoint, "save", 26),
        (EpisodeStore, "write", 5),  # one has its episode, the other has not
        (Record, "write", 8),
    ],
)
def test_killed_anywhere_and_resumed_together_it_ends_as_if_it_had_not_been(
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    of: Any,
    name: str,
    call: int,
) -> None:
    with monkeypatch.context() as patch:
        _kill_at(patch, of, name, call)
        with pytest.raises(_Killed):
            train_seeds(OFTEN, 2, tmp_path / "run")
    train_seeds(TINY_MUZERO, 2, tmp_path / "run")
    for seed in (0, 1):
        assert _same(tmp_path / f"run-seed{seed}", whole / f"run-seed{seed}")


def test_a_signal_saves_all_seeds(whole: Path, tmp_path: Path) -> None:
    def stop(seed: int, counters: Counters) -> None:
        if seed == 0 and counters.updates == 8:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped):
        train_seeds(TINY_MUZERO, 2, tmp_path / "run", on_progress=stop)
    folders = [tmp_path / f"run-seed{seed}" for seed in (0, 1)]
    assert [checkpoint.read_meta(f / "checkpoints")["updates"] for f in folders] == [8, 8]
    train_seeds(TINY_MUZERO, 2, tmp_path / "run")
    assert all(_same(folder, whole / folder.name) for folder in folders)


def test_one_that_is_ahead_waits_for_the_others(whole: Path, tmp_path: Path) -> None:
    train(replace(TINY_MUZERO, episodes=3), tmp_path / "run-seed0")
    tested = []
    train_seeds(
        TINY_MUZERO, 2, tmp_path / "run", on_metrics=lambda seed, row: tested.append((seed, row))
    )
    for seed in (0, 1):
        assert _apart(tmp_path / f"run-seed{seed}", whole / f"run-seed{seed}") < TOLERANCE
    collected = [(seed, row["episode"]) for seed, row in tested if "collect/return" in row]
    assert collected == [(1, 1), (1, 2), (1, 3), (0, 4), (1, 4)]


def test_what_has_ended_stays_and_the_rest_goes_on(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    before = (tmp_path / "run-seed1" / "metrics.jsonl").read_bytes()
    results = train_seeds(TINY_MUZERO, (1, 4), tmp_path / "run")
    assert (tmp_path / "run-seed1" / "metrics.jsonl").read_bytes() == before
    assert results[1] == json.loads((tmp_path / "run-seed1" / "results.json").read_text())
    assert results[4]["seed"] == 4
    assert results == train_seeds(TINY_MUZERO, (1, 4), tmp_path / "run")


def test_a_nan_of_one_seed_names_it_and_the_others_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Record.update

    def poisoned(self: Record, metrics: dict[str, float]) -> None:
        if self._counters.updates == 7 and self._run.folder.name == "run-seed1":
            metrics["loss/reward"] = float("nan")
        real(self, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(Record, "update", poisoned)
        with pytest.raises(NumericalError, match=r"^seed 1: update 8 gave .*nan.*\(seeds 0 2\)$"):
            train_seeds(TINY_MUZERO, 3, tmp_path / "run")
    updates = {
        seed: checkpoint.read_meta(tmp_path / f"run-seed{seed}" / "checkpoints")["updates"]
        for seed in range(3)
    }
    assert updates[0] == updates[2] == 8
    assert updates[1] < 8
    results = train_seeds(TINY_MUZERO, (0, 2), tmp_path / "run")
    assert {seed: result["updates"] for seed, result in results.items()} == {0: 18, 2: 18}


@pytest.mark.parametrize(
    ("seeds", "changes", "said"),
    [
        (0, {}, "seeds is 0"),
        ((), {}, "each once"),
        ((1, 2, 1), {}, r"\[1, 2, 1\]: give some, each once"),
        ((1, -1), {}, "seed is -1"),
        (2, {"source": "there"}, "learn from episodes that are there"),
        (2, {"wandb": "project"}, "Weights & Biases"),
        (2, {"training.devices": 0}, "divided among devices"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, seeds: Any, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        train_seeds(changed(TINY_MUZERO, changes), seeds, tmp_path / "run")
    assert not [*tmp_path.iterdir()]


def test_folders_that_do_not_fit_are_named(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(whole / "run-seed0", tmp_path / "run-seed2")
    refused: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (
            lambda: train_seeds(TINY_MUZERO, (1, 2), tmp_path / "run"),
            UsageError,
            r"run-seed2'.*another configuration(.|\n)*seed: 0 there, 2 asked for",
        ),
        (
            lambda: train_seeds(TINY_MUZERO, 2, tmp_path / "run-seed2"),
            UsageError,
            r"run-seed2' is the folder of one run.*NAME-seed0",
        ),
    ]
    for call, kind, said in refused:
        with pytest.raises(kind, match=said):
            call()
    with (
        Run(tmp_path / "run-seed5").locked(),
        pytest.raises(RunError, match=r"another process is training in .*run-seed5"),
    ):
        train_seeds(TINY_MUZERO, (4, 5), tmp_path / "run")
    assert {path.name for path in tmp_path.iterdir()} == {"run-seed2", "run-seed4", "run-seed5"}
    assert not [path for path in (tmp_path / "run-seed4").iterdir() if path.name[0] != "."]


def test_runs_that_began_with_other_renderers_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, task="cartpole-swingup")
    for seed, renderer in ((0, "warp"), (1, "egl")):
        own = changed(config, {"seed": seed, "environment.renderer": renderer})
        Run(tmp_path / f"run-seed{seed}").open(own)
    with pytest.raises(UsageError, match=r"run-seed0' and .*'warp' and 'egl'.*each alone"):
        train_seeds(config, 2, tmp_path / "run")
