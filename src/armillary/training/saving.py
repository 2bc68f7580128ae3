"""When a run is saved, and how it goes on from what was saved."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from armillary import seeding
from armillary.agents.base import Actor, Agent
from armillary.config import Config
from armillary.errors import UsageError
from armillary.training import checkpoint, compilation
from armillary.training.counters import Counters, warn_of_another_machine
from armillary.training.run import Run


def restore(
    run: Run, config: Config, agent: Agent, now: Counters
) -> tuple[Any, Counters, dict[str, np.ndarray]]:
    """Returns the parameters, counters and further arrays of the last checkpoint, or new ones.

    Args:
        run: the folder.
        config: as it was asked for.
        agent: of this configuration.
        now: counters of a run that begins here.

    Raises:
        UsageError: the run has more episodes than are asked for.
        RunError: the checkpoints are damaged, or of another configuration.
    """
    key = seeding.key(config.seed, "init")
    if not checkpoint.exists(run.checkpoints):
        return init(agent, key), now, {}
    state, meta, arrays = checkpoint.load_all(run.checkpoints, jax.eval_shape(agent.init, key))
    counters = Counters.of(meta, run.checkpoints)
    run.check_made_with(counters.config, config)
    warn_of_another_machine(counters.machine, now.machine, run.folder)
    counters.config, counters.machine = now.config, now.machine
    rounds = counters.episodes // len(config.tasks)
    if rounds > config.episodes and config.source is None:
        raise UsageError(
            f"the run in {str(run.folder)!r} already has {rounds} episodes: ask for that many or "
            f"more instead of {config.episodes}"
        )
    return state, counters, arrays


def init(agent: Agent | Actor, key: PRNGKeyArray) -> Any:
    """Returns the agent's parameters before training.

    It runs once, so on a CPU the compiler optimises it little: that takes less than half of the
    time, and gives the same bits (tests/training/test_kept.py; level 0 gives MuZero others).
    """
    cpu = jax.default_backend() == "cpu"
    options = {"xla_backend_optimization_level": 1} if cpu else None
    telling = compilation.tell("the first parameters")
    try:
        return jax.jit(agent.init, compiler_options=options)(key)
    finally:
        telling.cancel()


class Saver:
    """Writes the checkpoints of one training run.

    Args:
        run: its folder.
        minutes: between two checkpoints.
        counters: how far it is, which are saved, too.
        before: is called before each; it may change the counters, and what it raises is raised.
        arrays: gives what else is saved, see `checkpoint.save`.
    """

    def __init__(
        self,
        run: Run,
        minutes: float,
        counters: Counters,
        before: Callable[[], None],
        arrays: Callable[[], dict[str, np.ndarray]],
    ) -> None:
        self._run, self._minutes, self._counters = run, minutes, counters
        self._before, self._arrays = before, arrays
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether there is no checkpoint yet, or the last one is old."""
        minutes = (time.monotonic() - self._last) / 60
        return not checkpoint.exists(self._run.checkpoints) or minutes > self._minutes

    def save(self, state: Any) -> None:
        """Saves the parameters and the counters."""
        self._before()
        meta, arrays = asdict(self._counters), self._arrays()
        checkpoint.save(self._run.checkpoints, state, meta, arrays)
        self._last = time.monotonic()

    def replace_damaged(self, state: Any) -> None:
        """Saves if the newest checkpoint is not sound."""
        newest = checkpoint.newest(self._run.checkpoints)
        if newest is None or not checkpoint.sound(newest):
            self.save(state)
