"""Several environments side by side, one after another or in a process each."""

from __future__ import annotations

import abc
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import (
    AsyncVectorEnv,
    AutoresetMode,
    SyncVectorEnv,
    VectorEnv,
    VectorWrapper,
)
from jaxtyping import Bool, Float64

from armillary.config import EnvironmentConfig
from armillary.envs import catalogue, pixels, rendering
from armillary.envs.build import TaskLike, make
from armillary.envs.guard import late
from armillary.envs.observations import draws
from armillary.errors import EnvironmentFailure, UsageError
from armillary.spec import Spec
from armillary.waiting import waiting_for

_NEVER = AutoresetMode.DISABLED
_DEATHS = (EOFError, BrokenPipeError, ConnectionResetError)
"""What is raised where the other end of a pipe is gone."""
_DIED = (
    "the process of an environment died; set processes to False to see why (and a script that uses "
    "processes needs `if __name__ == '__main__':`)"
)
_PATIENCE = 10.0
"""Seconds that a process may be late: its environment has a time limit of its own, which tells more
but cannot end everything."""
_CLOSING = 40.0
"""Seconds for all environments to close, each of which has a time limit, too."""


def side_by_side(
    task: TaskLike, config: EnvironmentConfig | None = None, count: int = 1
) -> SideBySide:
    """Returns `count` environments as `make` returns them, stepped together.

    Nothing is reset by itself. An episode that is over holds: its observation stays, its rewards
    are 0 and its flag stays set, until `reset` (of all, or of those in `options["reset_mask"]`).
    So episodes of different lengths can be collected side by side. Of the environments' own `info`
    nothing is passed on but `simulator_steps`, at each step: arrays of many environments' entries
    cannot be made where they differ in shape or type.

    Args:
        task: As `make` takes it; an environment itself only for a `count` of 1.
        config: As for `make`; `processes` gives each environment a process of its own, and the
            `engine` warp has all of them simulated together.
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
    if config.processes and multiprocessing.current_process().daemon:
        raise UsageError(
            "this process is a daemon (a worker of multiprocessing.Pool, for instance), which may "
            "start no processes: set processes to False"
        )
    if isinstance(task, str) and task in catalogue.names() and draws(config):
        rendering.choose(config.renderer)  # once, here: the processes inherit it
    if config.engine == "warp":
        from armillary.envs.together import Together

        return Together(task, config, count)
    create = _Create(task, config, os.getpid())
    if not config.processes:
        with _quiet_gymnasium():
            return _OneByOne(SyncVectorEnv([create] * count, autoreset_mode=_NEVER))
    patience = None
    if config.step_timeout is not None:  # for the steps of an action, and the drawing
        patience = (1 + (config.action_repeat or catalogue.action_repeat(task))) * (
            config.step_timeout
        ) + _PATIENCE
    # Not forked: after an image has been drawn, a forked process hangs.
    with _quiet_gymnasium(), waiting_for(lambda: "the processes of the environments"):
        try:
            envs = AsyncVectorEnv([create] * count, context="spawn", autoreset_mode=_NEVER)
        except _DEATHS as error:
            raise EnvironmentFailure(_DIED) from error
    return _InProcesses(envs, patience)


@dataclass(frozen=True)
class _Create:
    """Makes an environment, in this process or in one that was started for it alone."""

    task: TaskLike
    config: EnvironmentConfig
    parent: int
    """The process that has made this."""

    def __call__(self) -> gymnasium.Env:
        if os.getpid() != self.parent:
            _begin_worker()
        return _Hold(make(self.task, self.config))


def _begin_worker() -> None:
    """Makes this process one that lives for its parent alone, whatever its environment does."""
    # Control-C reaches every process of the terminal; the first of them decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.getLogger(pixels.__name__).setLevel(logging.ERROR)  # the parent has said it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


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


class SideBySide(VectorEnv):
    """Several environments, stepped together: what `side_by_side` returns."""

    @property
    @abc.abstractmethod
    def agent_spec(self) -> Spec:
        """What an agent of these environments is made from."""


class _OneByOne(VectorWrapper, SideBySide):
    """Environments of their own: gives the flags their place again."""

    @cached_property
    def agent_spec(self) -> Spec:
        """What an agent of these environments is made from."""
        with _quiet_gymnasium():
            return self.env.call("agent_spec")[0]  # type: ignore[attr-defined]

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        with _quiet_gymnasium():
            return self._reset(seed, options)

    def step(
        self, actions: np.ndarray
    ) -> tuple[
        Any,
        Float64[np.ndarray, " count"],
        Bool[np.ndarray, " count"],
        Bool[np.ndarray, " count"],
        dict[str, Any],
    ]:
        with _quiet_gymnasium():
            observations, rewards, _, _, info = self._step(actions)
        terminated, truncated = (info.pop(name) for name in ("terminated", "truncated"))
        for name in ("_terminated", "_truncated"):
            info.pop(name)
        return observations, rewards, terminated, truncated, info

    def _reset(self, seed: Any, options: dict[str, Any] | None) -> Any:
        return self.env.reset(seed=seed, options=options)

    def _step(self, actions: np.ndarray) -> Any:
        return self.env.step(actions)


class _InProcesses(_OneByOne):
    """Gives failures their name, waits for no process for ever, and leaves none behind.

    Args:
        env: the environments.
        patience: seconds after which their processes are given up; None: never.
    """

    env: AsyncVectorEnv

    def __init__(self, env: AsyncVectorEnv, patience: float | None) -> None:
        super().__init__(env)
        self._patience = patience

    def _reset(self, seed: Any, options: dict[str, Any] | None) -> Any:
        with self._failures():
            self.env.reset_async(seed=seed, options=options)
            return self.env.reset_wait(timeout=self._patience)

    def _step(self, actions: np.ndarray) -> Any:
        with self._failures():
            self.env.step_async(actions)
            return self.env.step_wait(timeout=self._patience)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            with waiting_for(lambda: "the process of an environment"):
                yield
        except EnvironmentFailure:  # of one environment: the others can still be closed
            raise
        except BaseException as error:
            self._end()
            if isinstance(error, _DEATHS):
                raise EnvironmentFailure(_DIED) from error
            if isinstance(error, multiprocessing.TimeoutError):
                raise late("the process of an environment", self._patience) from error
            raise

    def close(self, **kwargs: Any) -> None:
        """Closes the environments and ends their processes."""
        if self.closed:
            return
        with _quiet_gymnasium(), suppress(*_DEATHS, OSError):
            end = time.monotonic() + _CLOSING
            pipes = [pipe for pipe in self.env.parent_pipes if pipe and not pipe.closed]
            for pipe in pipes:
                pipe.send(("close", None))
            for process in self.env.processes:
                process.join(max(0.0, end - time.monotonic()))
        self._end()

    def _end(self) -> None:
        """Ends what is left of the processes."""
        self.closed = True
        for process in self.env.processes:
            process.terminate()
        for process in self.env.processes:
            process.join(1.0)
            if process.is_alive():
                process.kill()
        for pipe in self.env.parent_pipes:
            if pipe is not None:
                pipe.close()


@contextmanager
def _quiet_gymnasium() -> Iterator[None]:
    """Silences Gymnasium's print of a worker's traceback: the error itself is raised anyway."""
    level, gymnasium.logger.min_level = gymnasium.logger.min_level, gymnasium.logger.ERROR + 1
    try:
        yield
    finally:
        gymnasium.logger.min_level = level
