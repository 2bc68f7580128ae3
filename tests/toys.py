"""Fast pixel environments for the tests."""

from __future__ import annotations

import atexit
import ctypes
import os
from typing import Any

import gymnasium as gym
import numpy as np


class Point(gym.Env):
    """A soft light that the action moves; it is paid for being near a place off the centre.

    30 steps; uniform random actions earn about 3, the best play about 26. The bounds of the actions
    are not -1 and 1, and the two axes differ.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own convention
    observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = gym.spaces.Box(np.array([-2.0, -3.0]), np.array([2.0, 3.0]), dtype=np.float64)
    target = np.array([0.5, -0.4])

    def __init__(self, steps: int = 30, fail_at: int | None = None, scale: float = 1.0) -> None:
        self.steps, self.fail_at, self.scale = steps, fail_at, scale

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.position = self.np_random.uniform(-0.9, 0.9, 2)
        self.time = 0
        return self._draw(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        if self.time == self.fail_at:
            raise RuntimeError("the toy broke on purpose")
        move = 0.25 * np.asarray(action) / np.array([2.0, 3.0])
        self.position = np.clip(self.position + move, -1, 1)
        distance = np.linalg.norm(self.position - self.target)
        reward = self.scale * float(np.exp(-((distance / 0.3) ** 2)))
        return self._draw(), reward, False, self.time >= self.steps, {}

    def _draw(self) -> np.ndarray:
        x, y = 32 + 24 * self.position
        rows, columns = np.mgrid[:64, :64]
        light = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 9.0**2))
        image = (light[..., None] * (250, 200, 60)).astype(np.uint8)
        return image


def point() -> gym.Env:
    """Makes a `Point`: the task `toys:point`."""
    return Point()


def short() -> gym.Env:
    """Makes one whose episodes are quick."""
    return Point(steps=12)


def failing() -> gym.Env:
    """Makes one that raises in the middle of an episode."""
    return Point(fail_at=5)


class ThirdFails(Point):
    """Breaks in its third episode."""

    def __init__(self) -> None:
        super().__init__(steps=12)
        self.episode = 0

    def reset(self, **arguments: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode."""
        self.episode += 1
        self.fail_at = 5 if self.episode == 3 else None
        return super().reset(**arguments)


class Rich(Point):
    """Pays more than a float can square."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes a step."""
        image, _, terminated, truncated, info = super().step(action)
        return image, 1e30, terminated, truncated, info


class Terminating(Point):
    """Ends after a random number of steps, from 9 to 14."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes a step."""
        if self.time == 0:
            self.end = int(self.np_random.integers(9, 15))
        image, reward, _, truncated, info = super().step(action)
        return image, reward, self.time >= self.end, truncated, info


class Slider(Point):
    """A `Point` that only moves sideways: its action has one entry."""

    action_space = gym.spaces.Box(np.array([-2.0]), np.array([2.0]), dtype=np.float64)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes a step."""
        return super().step(np.array([action[0], 0.0]))


def slider() -> gym.Env:
    """Makes a `Slider` whose episodes are quick."""
    return Slider(steps=12)


def third_fails() -> gym.Env:
    """Makes a `ThirdFails`."""
    return ThirdFails()


def rich() -> gym.Env:
    """Makes a `Rich`."""
    return Rich(steps=12)


def terminating() -> gym.Env:
    """Makes a `Terminating`."""
    return Terminating()


class Loud(Point):
    """Prints whenever it can, also past Python and when the interpreter ends."""

    def __init__(self) -> None:
        super().__init__(steps=12)
        self.shout("made")
        atexit.register(self.shout, "end")

    def reset(self, **arguments: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode."""
        self.shout("reset")
        return super().reset(**arguments)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes a step."""
        self.shout("step")
        return super().step(action)

    def shout(self, what: str) -> None:
        """Writes to standard output by its name, by its number and through the C library."""
        print(f"print {what}")
        os.write(1, f"write {what}\n".encode())
        ctypes.CDLL(None).puts(f"puts {what}".encode())


def loud() -> gym.Env:
    """Makes a `Loud`."""
    return Loud()


class Wanders(Point):
    """Leaves the working folder behind with each episode, and does not let itself be closed."""

    def __init__(self) -> None:
        super().__init__(steps=12)

    def reset(self, **arguments: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode elsewhere."""
        os.makedirs("elsewhere", exist_ok=True)
        os.chdir("elsewhere")
        return super().reset(**arguments)

    def close(self) -> None:
        """Wants to end the program."""
        raise SystemExit(0)


class Lamps(gym.Env):
    """One of three lamps is on; choosing its number is paid. Seen as a picture and as numbers.

    12 steps; uniform random choices earn 4, the best play 12. The choices are counted from 5 on.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own convention
    action_space = gym.spaces.Discrete(3, start=5)
    observation_space = gym.spaces.Dict(
        {
            "cameras": gym.spaces.Dict({"front": gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)}),
            "lamp": gym.spaces.Discrete(3),
            "time": gym.spaces.Box(0, np.inf, (1,), np.float64),
        }
    )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begins an episode."""
        super().reset(seed=seed)
        self.time = 0
        return self._see(), {}

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Takes a choice."""
        assert action in self.action_space
        reward = float(action - 5 == self.lamp)
        self.time += 1
        return self._see(), reward, False, self.time >= 12, {}

    def _see(self) -> dict[str, Any]:
        self.lamp = int(self.np_random.integers(3))
        image = np.zeros((16, 16, 3), np.uint8)
        image[:, 5 * self.lamp : 5 * self.lamp + 5] = 200
        return {
            "cameras": {"front": image},
            "lamp": self.lamp,
            "time": np.array([self.time / 12.0]),
        }


def lamps() -> gym.Env:
    """Makes a `Lamps`."""
    return Lamps()


class Corridor(gym.Env):
    """A corridor that begins at its left end; its last fifth, a room, is paid 1 a step.

    30 steps of at most a twentieth of it. Uniform random actions come a third of the way and earn
    nothing; the best play earns 14.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own convention
    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode."""
        super().reset(seed=seed)
        self.position, self.time = np.zeros(1), 0
        return self.position, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes a step."""
        self.position = np.clip(self.position + 0.05 * np.asarray(action), 0, 1)
        self.time += 1
        return self.position, float(self.position[0] > 0.8), False, self.time >= 30, {}


def corridor() -> gym.Env:
    """Makes a `Corridor`."""
    return Corridor()
