"""What stands between an environment that may do anything and everybody else."""

from __future__ import annotations

import logging
import numbers
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit

from armillary.advice import fitted
from armillary.errors import ArmillaryError, EnvironmentFailure, RenderingError, UsageError
from armillary.waiting import Ended, waiting_for

log = logging.getLogger(__name__)

LARGEST = float(np.finfo(np.float32).max)
"""The largest reward, and sum of rewards, that the 32-bit numbers of episodes and models hold."""
_LONG = 100_000
"""Simulator steps after which an episode that nothing limits is suspected to have no end."""
_CLOSING = 30.0
"""Seconds that an environment may take to close."""


class Guard(gymnasium.Wrapper):
    """Turns whatever goes wrong in an environment into an `EnvironmentFailure` that names it.

    That is what it raises (`SystemExit` too), what it returns against its promise, and what takes
    longer than `seconds` (None: nothing does). Only `close` never fails: nothing depends on it any
    more, so a warning says what went wrong. Also counts its steps: `simulator_steps`, since the
    last reset. Warns once if an episode without a time limit seems to have no end.

    Raises:
        UsageError: the environment has no action space.
    """

    def __init__(self, env: gymnasium.Env, name: str, seconds: float | None = None) -> None:
        super().__init__(env)
        self.name, self._seconds = name, seconds
        self.simulator_steps = 0
        self._closed = False
        metadata = self._attribute("metadata")
        self.metadata = dict(metadata) if isinstance(metadata, Mapping) else {}
        if self._attribute("action_space") is None:
            raise UsageError(
                f"{name} has no action_space: give it one, a bounded gymnasium.spaces.Box, in its "
                "class or in its __init__"
            )

    def _attribute(self, name: str) -> Any:
        with failures(lambda: f"{self.name}: its {name} raised"):
            return getattr(self.env, name, None)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the environment."""
        self.simulator_steps = 0
        with self._calling("raised"):
            result = self.env.reset(seed=seed, options=options)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise EnvironmentFailure(
                f"{self.name}: reset returned {describe(result)}, but Gymnasium's is the pair "
                "(observation, info)"
            )
        self._check_info(result[1])
        return result

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Steps the environment."""
        self.simulator_steps += 1
        if self.simulator_steps == _LONG + 1 and not _has_time_limit(self.env):
            _warn_of_no_end(self.name)
        with self._calling("raised"):
            result: Any = self.env.step(action)
        if not (isinstance(result, tuple) and len(result) == 5):
            raise EnvironmentFailure(
                f"{self.name}: step returned {describe(result)}, but Gymnasium's is "
                "(observation, reward, terminated, truncated, info)"
            )
        observation, reward, terminated, truncated, info = result
        self._check_info(info)
        return (
            observation,
            self._reward(reward),
            self._flag("terminated", terminated),
            self._flag("truncated", truncated),
            info,
        )

    def render(self) -> Any:
        """Draws the environment."""
        with self._calling("could not be drawn:"):
            return self.env.render()

    def close(self) -> None:
        """Closes the environment, once; a failure is told and not raised."""
        if self._closed:
            return
        self._closed = True
        what = f"{self.name} to close"
        try:
            with (
                waiting_for(lambda: what, _CLOSING, lambda: late(what, _CLOSING)),
                failures(lambda: f"{self.name} could not be closed:"),
            ):
                self.env.close()
        except (EnvironmentFailure, RenderingError) as error:
            _warn_of_close(str(error))

    def _reward(self, reward: Any) -> float:
        number = _plain(reward)
        if not isinstance(number, numbers.Real):
            raise EnvironmentFailure(
                f"{self.name}: the reward {self._where} is {describe(reward)}, expected a number"
            )
        try:
            number = float(number)
        except OverflowError:
            number = np.inf
        if not abs(number) <= LARGEST:
            why = "a finite number" if not np.isfinite(number) else "what 32 bits hold (3.4e38)"
            raise EnvironmentFailure(
                f"{self.name}: the reward {self._where} is {number}, expected {why}; "
                "find out in the environment what gives it"
            )
        return number

    def _flag(self, name: str, flag: Any) -> bool:
        value = _plain(flag)
        if not isinstance(value, numbers.Real) or value not in (0, 1):
            raise EnvironmentFailure(
                f"{self.name}: {name} {self._where} is {describe(flag)}, expected True or False"
            )
        return bool(value)

    def _check_info(self, info: Any) -> None:
        if not isinstance(info, dict):
            raise EnvironmentFailure(
                f"{self.name}: the info {self._where} is {describe(info)}, expected a dictionary, "
                "which may be empty"
            )

    @contextmanager
    def _calling(self, what: str) -> Iterator[None]:
        def waited() -> str:
            return f"{self.name} {self._where}"

        with (
            waiting_for(waited, self._seconds, lambda: late(waited(), self._seconds)),
            failures(lambda: f"{self.name} {what}", lambda: f" {self._where}"),
        ):
            yield

    @property
    def _where(self) -> str:
        return f"at step {self.simulator_steps}" if self.simulator_steps else "at reset"


@contextmanager
def failures(what: Callable[[], str], where: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Turns whatever foreign code raises into an `EnvironmentFailure`.

    `SystemExit` too: that an environment has had enough is no reason to end a run in silence. Only
    what the user or a time limit wants goes on its way.

    Args:
        what: returns how the message begins, before the error's type.
        where: returns what follows it.
    """
    try:
        yield
    except (ArmillaryError, KeyboardInterrupt, Ended):
        raise
    except BaseException as error:
        said = fitted(str(error))
        raise EnvironmentFailure(f"{what()} {type(error).__name__}{where()}: {said}") from error


def late(what: str, seconds: float | None) -> EnvironmentFailure:
    """Returns the error for what took longer than it may."""
    return EnvironmentFailure(
        f"waited {seconds:g} seconds for {what}, in vain: find out what the environment waits for; "
        "if it only needs longer, give --environment.step-timeout SECONDS (None: for ever)"
    )


def describe(value: Any) -> str:
    """Returns what a message says of a value that is not what it should be."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    return "None" if value is None else f"of type {type(value).__name__}"


def _plain(value: Any) -> Any:
    """Returns the number in an array of one, of any library; anything else as it is."""
    item = getattr(value, "item", None)
    if callable(item):
        try:
            return item()
        except Exception:  # it has several, or none
            return value
    return value


def _has_time_limit(env: gymnasium.Env) -> bool:
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, TimeLimit):
            return True
        env = env.env
    return False


@cache
def _warn_of_no_end(name: str) -> None:
    """Warns once in this process, however many environments of the name there are."""
    log.warning(
        "an episode of %s has gone on for more than %s simulator steps, and no time limit ends it: "
        "if it never ends, give --environment.time-limit N",
        name,
        f"{_LONG:,}",
    )


@cache
def _warn_of_close(text: str) -> None:
    log.warning("%s; nothing that is finished is lost by that", text)
