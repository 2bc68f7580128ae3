"""Tiny environments, each odd in one way."""

from __future__ import annotations

import functools
import operator
import os
import shutil
import signal
import sys
import threading
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space


class Counter(gymnasium.Env):
    """Observes an image filled with the number of its steps; the reward is the step's number."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        shape: tuple[int, ...] = (16, 16, 3),
        dtype: Any = np.uint8,
        high: float = 255,
        actions: Space | None = None,
        end: int = 10,
        truncates: bool = False,
        key: str | None = None,
        render_mode: str | None = None,
    ) -> None:
        box = Box(0, high, shape, dtype)
        self.observation_space = box if key is None else Dict({"speed": Box(0, 1, (2,)), key: box})
        self.action_space = actions if actions is not None else Box(-1, 1, (2,))
        self.render_mode = render_mode
        self.end, self.truncates, self.key, self.box = end, truncates, key, box
        self.steps, self.actions = 0, []

    def observe(self) -> Any:
        image = np.full(self.box.shape, self.steps, self.box.dtype)
        return image if self.key is None else {"speed": np.zeros(2, np.float32), self.key: image}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.actions.append(action)
        self.steps += 1
        over = self.steps >= self.end
        ends = (False, over) if self.truncates else (over, False)
        return self.observe(), float(self.steps), *ends, {}

    def render(self) -> Any:
        return np.full((32, 48, 3), 100 + self.steps, np.uint8)


class Raises(Counter):
    """Raises an error that cannot be pickled at its third step."""

    def step(self, action: Any) -> Any:
        if self.steps == 2:

            class Local(Exception):
                pass

            raise Local("100% broken")
        return super().step(action)


class Dies(Counter):
    """Ends its process at its third step, if its first action is negative."""

    def step(self, action: Any) -> Any:
        if self.steps == 2 and action[0] < 0:
            import os

            os._exit(3)
        return super().step(action)


class Talkative(Counter):
    """Its info differs between environments and steps: arrays' lengths, types, keys."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        observation, _ = super().reset(seed=seed)
        self.seed = seed or 0
        return observation, self.info()

    def step(self, action: Any) -> Any:
        *rest, _ = super().step(action)
        return *rest, self.info()

    def info(self) -> dict[Any, Any]:
        number = self.seed + self.steps
        return {
            "array": np.zeros(number),
            "value": [1, np.zeros(2), "text", None][number % 4],
            "simulator_steps": "mine",
            "terminated": np.zeros(number),
            number: object,
        }


def returning(**results: Any) -> Counter:
    """An environment whose methods return what they should not."""
    env = Counter(render_mode="rgb_array")
    for name, result in results.items():
        setattr(env, name, lambda *_, result=result, **__: result)
    return env


IMAGE = np.zeros((16, 16, 3), np.uint8)


def make_counter(render_mode: str | None = None) -> Counter:
    """A factory, as a user writes one."""
    return Counter(render_mode=render_mode)


def make_long_or_short() -> Counter:
    """Episodes of 4 or 7 steps, as the seed wants it."""
    env = Counter()
    reset = env.reset

    def seeded(*, seed: int | None = None, options: Any = None) -> Any:
        env.end = 4 if seed == 0 else 7
        return reset(seed=seed)

    env.reset = seeded  # type: ignore[method-assign]
    return env


class Named(Counter):
    """Begins to count where it is told to."""

    def __init__(self, start: int, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self.start = start

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = self.start
        return self.observe(), {}


class Hangs(Counter):
    """Waits for ever at its third step, if its first action is negative."""

    def step(self, action: Any) -> Any:
        if self.steps == 2 and action[0] < 0:
            time.sleep(3600)
        return super().step(action)


class HangsInC(Hangs):
    """Waits in a library, where no signal is answered."""

    def step(self, action: Any) -> Any:
        if self.steps == 2 and action[0] < 0:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGTERM])
            time.sleep(3600)
        return super().step(action)


class WillNotClose(Counter):
    """Raises when it is closed."""

    def close(self) -> None:
        sys.exit("not yet")


def exits() -> None:
    """Ends the program, if it is called."""
    raise SystemExit("called")


def plays_elsewhere(results: Any) -> None:
    """In a process of its own: plays in the main thread and in another one, and tells how it went.

    That is whether Control-C is still answered, the images' shapes, what was said of processes.
    """
    from armillary.config import EnvironmentConfig
    from armillary.envs import side_by_side
    from armillary.errors import UsageError

    env = side_by_side(Counter, EnvironmentConfig(), 2)
    env.reset(seed=0)
    rewards = []
    thread = threading.Thread(
        target=lambda: rewards.append(side_by_side(Counter, EnvironmentConfig()).reset()[0].shape)
    )
    thread.start()
    thread.join()
    try:
        side_by_side(Counter, EnvironmentConfig(processes=True), 2).close()
        message = "it works"
    except UsageError as error:
        message = str(error)
    handler = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    results.put((handler, rewards, message))


not_an_environment = dict
abort = os.abort
leave = functools.partial(sys.exit, 3)
remove = shutil.rmtree
calls_exit = operator.methodcaller("exit")
discrete = Discrete(3)
