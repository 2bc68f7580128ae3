"""Rounds that are played while updates are made: with which parameters, and what a stop leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from armillary.agents.base import trimmed
from armillary.config import Config, changed
from armillary.errors import EnvironmentFailure, UsageError
from armillary.replay.episodes import EpisodeStore
from armillary.training import seeds as seeds_module
from armillary.training.ahead import Ahead
from armillary.training.loop import train
from armillary.training.player import load
from armillary.training.signals import Stopped
from armillary.training.trainer import Trainer
from settings import TINY, TINY_DREAMER, TINY_GAME

ROUNDS = 5
CONFIGS = [TINY_DREAMER, TINY_GAME, replace(TINY, task="toys:short,toys:point")]


def overlapping(config: Config, rounds: int = ROUNDS) -> Config:
    """Returns a run of so many rounds in which updates and collection overlap."""
    config = replace(config, episodes=rounds * config.round_size)
    return changed(config, {"training.overlap": True, "evaluation.every": 2})


def same(one: Path, other: Path) -> None:
    """Asserts that two runs have the same parameters and episodes, to the bit."""
    pairs = zip(*(jax.tree.leaves(load(folder).state) for folder in (one, other)), strict=True)
    for a, b in pairs:
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    stores = [EpisodeStore(folder / "episodes") for folder in (one, other)]
    assert stores[0].indices == stores[1].indices
    for index in stores[0].indices:
        a, b = (store.load(index) for store in stores)
        np.testing.assert_array_equal(a.action, b.action)
        np.testing.assert_array_equal(a.reward, b.reward)


class Lagging(Trainer):
    """Collects after the updates, with the parameters from before them, and in turn."""

    before: Any = None

    def look_ahead(self) -> None:
        self.before = jax.tree.map(jax.numpy.array, trimmed(self.agent, self.state))

    def play(self, *, seeding_model: bool) -> Any:
        if seeding_model:
            return super().play(seeding_model=True)
        return self._play(self.episodes, self.agent, self.before, self.on_step)


@pytest.mark.parametrize("config", CONFIGS, ids=["dreamer", "game", "two tasks"])
def test_the_lag_is_one_round_and_a_stop_changes_nothing(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held against the same lag without threads; then stopped in the midst of updates."""
    config = overlapping(config)
    train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("armillary.training.loop.Trainer", Lagging)
        train(config, tmp_path / "lagging")
    same(tmp_path / "whole", tmp_path / "lagging")

    fit = Trainer.learned
    left = [3, 9, 4]  # updates until the next stop: among the first, in a later one, at once again

    def stopping(self: Trainer, *arguments: Any) -> None:
        fit(self, *arguments)
        if left:
            left[0] -= 1
            if not left[0]:
                left.pop(0)
                self.stop.number = signal.SIGTERM

    monkeypatch.setattr(Trainer, "learned", stopping)
    while left:
        with pytest.raises(Stopped):
            train(config, tmp_path / "stopped")
    train(config, tmp_path / "stopped")
    same(tmp_path / "whole", tmp_path / "stopped")


def test_more_episodes_later_are_those_of_a_longer_run(tmp_path: Path) -> None:
    train(overlapping(TINY_DREAMER), tmp_path / "whole")
    train(overlapping(TINY_DREAMER, ROUNDS - 1), tmp_path / "longer")
    train(overlapping(TINY_DREAMER), tmp_path / "longer")
    same(tmp_path / "whole", tmp_path / "longer")


def test_in_turn_nothing_is_played_ahead_and_it_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    begin = Ahead.begin

    def counting(self: Ahead, first: int, play: Callable[..., Any]) -> None:
        begun.append(first)
        begin(self, first, play)

    monkeypatch.setattr(Ahead, "begin", counting)
    config = overlapping(TINY_DREAMER)
    train(config, tmp_path / "ahead")
    assert begun == [2, 3, 4]
    train(changed(config, {"training.overlap": False}), tmp_path / "in turn")
    assert begun == [2, 3, 4]
    stores = [EpisodeStore(tmp_path / name / "episodes") for name in ("ahead", "in turn")]
    first, later = ([store.load(index).action for store in stores] for index in (1, 4))
    np.testing.assert_array_equal(*first)
    assert (later[0] != later[1]).any()
    with pytest.raises(UsageError, match=r"training\.overlap"):
        train(config, tmp_path / "in turn")


def test_updates_are_made_while_a_round_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for the other: in turn it would never end."""
    playing, learned = threading.Event(), threading.Event()
    play, notice = Trainer._play, Trainer.learned

    def waits(self: Trainer, first: int, *arguments: Any) -> Any:
        if first == 3:
            playing.set()
            assert learned.wait(60)
        return play(self, first, *arguments)

    def noticed(self: Trainer, *arguments: Any) -> None:
        notice(self, *arguments)
        if self.episodes == 3:
            assert playing.wait(60)
            learned.set()

    monkeypatch.setattr(Trainer, "_play", waits)
    monkeypatch.setattr(Trainer, "learned", noticed)
    train(overlapping(TINY_DREAMER, 4), tmp_path / "run")
    assert learned.is_set()


def test_what_breaks_an_environment_ends_the_run_and_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Trainer._play
    broken = [3]

    def breaks(self: Trainer, first: int, *arguments: Any) -> Any:
        if first in broken:
            broken.remove(first)
            raise EnvironmentFailure("it broke")
        return play(self, first, *arguments)

    monkeypatch.setattr(Trainer, "_play", breaks)
    config = overlapping(TINY_DREAMER)
    with pytest.raises(EnvironmentFailure, match="it broke"):
        train(config, tmp_path / "broken")
    assert load(tmp_path / "broken").counters["updates"] == 2 * 6
    train(config, tmp_path / "broken")
    train(config, tmp_path / "whole")
    same(tmp_path / "whole", tmp_path / "broken")


def test_a_stop_does_not_wait_for_the_round(tmp_path: Path) -> None:
    ahead = Ahead(object(), TINY, {})  # type: ignore[arg-type]
    steps = threading.Event()

    def endless(on_step: Callable[[int], None]) -> Any:
        while True:
            on_step(1)
            steps.set()

    ahead.begin(0, endless)
    assert steps.wait(60)

    def stop() -> None:
        raise Stopped(signal.SIGINT)

    with pytest.raises(Stopped):
        ahead.take(0, stop)
    ahead.close()  # returns, though the round would never end


def test_what_cannot_overlap_says_so(tmp_path: Path, trained: Path) -> None:
    config = overlapping(TINY)
    with pytest.raises(UsageError, match=r"collect while they learn \(training\.overlap\)"):
        seeds_module.train_seeds(config, 2, tmp_path / "seeds")
    with pytest.raises(UsageError, match=r"training\.overlap is for a run that collects"):
        train(replace(config, source=str(trained)), tmp_path / "offline")
