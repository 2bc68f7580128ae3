"""Rounds that are played while updates are made, with the parameters from before these.

The lag is fixed: whoever is faster waits, so that what is learned does not depend on times.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from armillary import seeding
from armillary.agents.base import Actor, trimmed
from armillary.config import Config
from armillary.errors import UsageError
from armillary.replay.episode import Episode
from armillary.training.collecting import OnStep
from armillary.training.sources import leaves

_PREFIX = "ahead/"
"""Of the names of the arrays in a checkpoint."""

_PAUSE = 0.1
"""Seconds between two checks while a round is waited for."""


class Ahead:
    """Plays rounds in a thread of its own, one after the other.

    Args:
        agent: who plays.
        config: of its run.
        arrays: of the checkpoint with which the run goes on.

    Attributes:
        acting: the parameters with which the next round of each task is played; None: those that
            the agent has then.
    """

    def __init__(self, agent: Actor, config: Config, arrays: Mapping[str, np.ndarray]) -> None:
        self._agent = agent
        self._rounds: dict[int, Future[list[Episode]]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._ended = threading.Event()
        self.acting: Any = None
        if any(name.startswith(_PREFIX) for name in arrays):
            key = seeding.key(config.seed, "init")
            like = jax.eval_shape(lambda: trimmed(agent, agent.init(key)))
            found = [  # a number comes back with an axis
                jnp.asarray(arrays[f"{_PREFIX}{name}"]).reshape(leaf.shape)
                for name, leaf in leaves(like).items()
            ]
            self.acting = jax.tree.unflatten(jax.tree.structure(like), found)

    def saved(self) -> dict[str, np.ndarray]:
        """Returns the parameters that play as arrays of a checkpoint, if they are others."""
        found = jax.device_get(leaves(self.acting))
        return {f"{_PREFIX}{name}": np.asarray(array) for name, array in found.items()}

    def hold(self, state: Any) -> None:
        """Keeps a copy of what acting takes, unless there is one; updates do not change it."""
        if self.acting is None:
            self.acting = jax.tree.map(jnp.array, trimmed(self._agent, state))

    def __contains__(self, first: int) -> bool:
        return first in self._rounds

    def begin(self, first: int, play: Callable[[OnStep], list[Episode]]) -> None:
        """Plays a round as soon as those before it are over.

        Args:
            first: the number of its first episode.
            play: plays it, and calls what it is given after each step.
        """
        self._pool = self._pool or ThreadPoolExecutor(1, "collect")
        self._rounds[first] = self._pool.submit(play, self._check)

    def take(self, first: int, check: Callable[[], None]) -> list[Episode]:
        """Returns a round that was begun, when it is over; raises what it raised.

        Args:
            first: the number of its first episode.
            check: is called while it is waited for; what it raises ends the wait.
        """
        future = self._rounds[first]
        while not wait([future], _PAUSE).done:
            check()
        return self._rounds.pop(first).result()

    def _check(self, count: int) -> None:
        if self._ended.is_set():
            raise UsageError("the run has ended meanwhile")  # which nobody sees

    def close(self) -> None:
        """Ends what is still played; nothing of it is kept."""
        self._ended.set()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
