"""Several environments side by side, one after another or in a process each."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from jaxtyping import Bool, Float32, Float64, UInt8

from armillary.config import EnvironmentConfig
from armillary.envs import catalogue, rendering
from armillary.envs.build import TaskLike, make
from armillary.errors import EnvironmentFailure, UsageError

_NEVER = AutoresetMode.DISABLED
_DEATHS = (EOFError, BrokenPipeError, ConnectionResetError)
"""What is raised where the other end of a pipe is gone."""
_DIED = (
    "the process of an environment died; set processes to False to see why (and a script that uses "
    "processes needs `if __name__ == '__main__':`)"
)


def side_by_side(
    task: TaskLike, config: EnvironmentConfig | None = None, count: int = 1
) -> VectorEnv:
    """Returns `count` environments as `make` returns them, stepped together.

    Nothing is reset by itself. An episode that is over holds: its observation stays, its rewards
    are 0 and its flag stays set, until `reset` (of all, or of those in `options["reset_mask"]`).
    So episodes of different lengths can be collected side by side. Of the environments' own `info`
    nothing is passed on but `simulator_steps`, at each step: arrays of many environments' entries
    cannot be made where they differ in shape or type.

    Args:
        task: As `make` takes it; an environment itself only for a `count` of 1.
        config: As for `make`; `processes` gives each environment a process of its own.
        count: Number of environments.

    Raises:
        UsageError: As `make`; or several are asked for of one environment.
        RenderingError: As `make`.
        EnvironmentFailure: An environment raised, or its process died.
    """
    config = config or EnvironmentConfig()
    if count < 1:
        raise UsageError(f"count is {count}, expected at least 1")
    if isinstance(task, gymnasium.Env) and (count > 1 or config.processes):
        raise UsageError(
            "one environment cannot run several times side by side or in another process: give "
            "its name or a callable that returns it"
        )
    if isinstance(task, str) and task in catalogue.names():
        rendering.choose(config.renderer)  # once, here: the processes inherit it
    create = partial(_holding, task, config)
    with _quiet_gymnasium():
        if not config.processes:
            envs: VectorEnv = SyncVectorEnv([create] * count, autoreset_mode=_NEVER)
        else:
            # Not forked: after an image has been drawn, a forked process hangs.
            try:
                envs = AsyncVectorEnv([create] * count, context="spawn", autoreset_mode=_NEVER)
            except _DEATHS as error:
                raise EnvironmentFailure(_DIED) from error
    return _SideBySide(envs)


def _holding(task: TaskLike, config: EnvironmentConfig) -> gymnasium.Env:
    if multiprocessing.parent_process() is not None:
        # Control-C reaches every process of the terminal; the first of them decides.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return _Hold(make(task, config))


class _Hold(gymnasium.Wrapper):
    """Goes on after the end of an episode, with its last observation and no reward.

    The flags travel in `info`, because Gymnasium's vector environments refuse to step an
    environment whose episode is over. The environment's own entries are left out.
    """

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        observation, _ = self.env.reset(seed=seed, options=options)
        self._last = observation, False, False, 0
        return observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, terminated, truncated, steps = self._last
        reward: Any = 0.0
        if not (terminated or truncated):
            observation, reward, terminated, truncated, info = self.env.step(action)
            steps = info["simulator_steps"]
            self._last = observation, terminated, truncated, steps
        info = {"simulator_steps": steps, "terminated": terminated, "truncated": truncated}
        return observation, float(reward), False, False, info


class _SideBySide(VectorWrapper):
    """Gives the flags their place again, and failures their name."""

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[UInt8[np.ndarray, "count size size 3"], dict[str, Any]]:
        with self._failures():
            return self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]

    def step(
        self, actions: Float32[np.ndarray, "count n"]
    ) -> tuple[
        UInt8[np.ndarray, "count size size 3"],
        Float64[np.ndarray, " count"],
        Bool[np.ndarray, " count"],
        Bool[np.ndarray, " count"],
        dict[str, Any],
    ]:
        with self._failures():
            observations, rewards, _, _, info = self.env.step(actions)
        terminated, truncated = (info.pop(name) for name in ("terminated", "truncated"))
        for name in ("_terminated", "_truncated"):
            info.pop(name)
        return observations, rewards, terminated, truncated, info

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            with _quiet_gymnasium():
                yield
        except _DEATHS as error:
            for process in cast(AsyncVectorEnv, self.env).processes:
                process.terminate()
            self.env.closed = True
            raise EnvironmentFailure(_DIED) from error


@contextmanager
def _quiet_gymnasium() -> Iterator[None]:
    """Silences Gymnasium's print of a worker's traceback: the error itself is raised anyway."""
    level, gymnasium.logger.min_level = gymnasium.logger.min_level, gymnasium.logger.ERROR + 1
    try:
        yield
    finally:
        gymnasium.logger.min_level = level
