"""Atari games: their defaults, and what is said of what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from armillary.config import EnvironmentConfig
from armillary.envs import atari, make
from armillary.errors import UsageError


def test_pong_as_it_is_played() -> None:
    pytest.importorskip("ale_py")
    env = make("ALE/Pong-v5", EnvironmentConfig(size=96))
    image, _ = env.reset(seed=0)
    assert image.shape == (96, 96, 3)
    assert image.dtype == np.uint8
    game = env.unwrapped
    assert game.ale.getFloat("repeat_action_probability") == 0.25  # type: ignore[attr-defined]
    start = game.ale.getEpisodeFrameNumber()  # type: ignore[attr-defined]
    env.step(0)
    assert game.ale.getEpisodeFrameNumber() - start == 4  # type: ignore[attr-defined]
    steady = make(
        "ALE/Pong-v5", EnvironmentConfig(kwargs={"repeat_action_probability": 0.0, "frameskip": 2})
    )
    assert steady.unwrapped.ale.getFloat("repeat_action_probability") == 0  # type: ignore[attr-defined]


def test_rewards_are_the_games_own() -> None:
    """Ms. Pac-Man pays 10 for a dot, where clipped rewards would be 1."""
    pytest.importorskip("ale_py")
    env = make("ALE/MsPacman-v5")
    env.reset(seed=0)
    rewards = {env.step(number % 9)[1] for number in range(150)}
    assert max(rewards) >= 10


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("ale_py")
    with pytest.raises(UsageError, match="Did you mean 'ALE/Pong-v5'"):
        make("ALE/Pongg-v5")
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    with pytest.raises(UsageError, match=r"needs the ROM pong.bin.*ALE_ROMS_DIR.*unset it"):
        make("ALE/Pong-v5")
    assert atari.ids() == []
    monkeypatch.setattr(atari, "is_installed", lambda: False)
    with pytest.raises(UsageError, match=r"need ale-py.*armillary"):
        make("ALE/Pong-v5")
