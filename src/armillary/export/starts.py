"""States in which a dream can begin: what was believed somewhere in recorded episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from armillary.dynamics.base import LatentState
from armillary.replay.entry import Entry, verified
from armillary.replay.episodes import numbered
from armillary.spec import MASK
from armillary.training.player import Player
from armillary.training.run import Run

WINDOW = 20
"""Rows of an episode that are seen before a dream begins, at most."""


@dataclass(frozen=True)
class Start:
    """A state without leading axes.

    Attributes:
        state: what the model believes.
        label: where that was.
        mask: which entries of an action count there; None: all.
    """

    state: LatentState
    label: str
    mask: np.ndarray | None = None


def starts_of(player: Player, folder: Path, count: int) -> list[Start]:
    """Returns states from recorded episodes, spread over the run; the run may be training.

    Where there are no episodes it is the state that the model imagines from nothing.

    Args:
        player: the agent.
        folder: of its run, of which nothing is changed.
        count: how many at most.
    """
    model: Any = player.world_model
    windows = _windows(Run(folder).episodes, count)
    if not windows:
        nothing = np.zeros((1, model.action_size), np.float32)
        states, _ = model.rollout(model.model.dynamics.initial(), nothing)
        return [Start(jax.tree.map(lambda x: x[0], states), "imagined from nothing")]
    rows = min(len(window.action) for window in windows)
    seen = {
        name: np.stack([window.observation[name][-rows:] for window in windows], axis=1)
        for name in model.spec.fields
        if name != MASK
    }
    actions = np.stack([window.action[-rows:] for window in windows], axis=1)
    states = model.encode(seen, actions)
    return [
        Start(jax.tree.map(lambda x, i=i: x[i], states), window.label, window.mask)
        for i, window in enumerate(windows)
    ]


@dataclass(frozen=True)
class _Window:
    """Some rows of an episode."""

    observation: dict[str, np.ndarray]
    action: np.ndarray
    label: str
    mask: np.ndarray | None


def _windows(folder: Path, count: int) -> list[_Window]:
    """Returns rows of so many episodes, each from a later part of its own than the one before."""
    files = numbered(folder) if folder.is_dir() else {}
    numbers = _evenly(list(files), count)
    windows = []
    for place, number in enumerate(numbers):
        entries = verified(files[number])
        if isinstance(entries, Exception) or not entries:
            continue  # damaged, or gone since: the others will do
        entry, share = entries[0], (place + 0.5) / len(numbers)
        end = min(len(entry.reward), max(5, int(share * len(entry.reward))))
        windows.append(_cut(entry, max(0, end - WINDOW), end, number))
    return windows


def _cut(entry: Entry, start: int, end: int, number: int) -> _Window:
    episode = entry.episode()
    observation = {name: array[start:end] for name, array in episode.observation.items()}
    mask = observation.pop(MASK, None)
    label = f"episode {number + 1:,}, step {end - 1:,}"
    return _Window(observation, entry.action[start:end], label, None if mask is None else mask[-1])


def _evenly(numbers: Sequence[int], count: int) -> list[int]:
    """Returns so many of them, the first and the last among them."""
    if len(numbers) <= count:
        return list(numbers)
    return [numbers[i] for i in np.linspace(0, len(numbers) - 1, count).round().astype(int)]
