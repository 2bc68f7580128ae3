"""Four small problems, each of which is chosen wrongly by a MuZero of which one part is broken.

There are two actions. What is observed is which problem it is, and how many steps were taken: one
agent learns all of them. The tasks are `choices:Stay` and so on.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from armillary.spec import MASK, Discrete, Field, Spec

PROBLEMS, STEPS = 4, 6


class Choice(gym.Env):
    """A problem; a subclass says what is paid, and which actions are legal."""

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own convention
    agent_spec = Spec.of(
        {"seen": Field((PROBLEMS + STEPS + 1,)), MASK: Field((2,), "bool")}, Discrete(2)
    )
    observation_space = gym.spaces.Dict(
        {
            "seen": gym.spaces.Box(0, 1, (PROBLEMS + STEPS + 1,), np.float32),
            MASK: gym.spaces.Box(0, 1, (2,), np.bool_),
        }
    )
    action_space = gym.spaces.Discrete(2)
    number: ClassVar[int]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode."""
        super().reset(seed=seed)
        self.time = 0
        self.legal = self.allow()
        return self._see(), {}

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Takes a choice."""
        reward, over = self.choose(int(action))
        self.time += 1
        return self._see(), float(reward), over, False, {}

    def allow(self) -> np.ndarray:
        """Returns which actions are legal in this episode."""
        return np.ones(2, bool)

    def choose(self, action: int) -> tuple[float, bool]:
        """Returns what an action pays, and whether it is the last."""
        raise NotImplementedError

    def _see(self) -> dict[str, np.ndarray]:
        problem, time = np.eye(PROBLEMS)[self.number], np.eye(STEPS + 1)[self.time]
        return {"seen": np.concatenate([problem, time]).astype(np.float32), MASK: self.legal}


class Stay(Choice):
    """Leaving at once pays 4, and is the end; staying pays 1 in each of 6 steps, which is more.

    Leaving looks better if the state that it leads to is worth anything.
    """

    number = 0
    left, stayed = 4, 1

    def choose(self, action: int) -> tuple[float, bool]:
        """After the first step there is nothing left to choose."""
        if action == 0 and self.time == 0:
            return self.left, True
        return self.stayed, self.time == STEPS - 1


class Leave(Stay):
    """Leaving at once pays 60, and is the end; staying pays 6 in each of 6 steps, which is less.

    With numbers as they are scaled for the categories it is more: h(60) = 6.9, and 6 h(6) = 9.9.
    """

    number = 1
    left, stayed = 60, 6


class Legal(Choice):
    """The actions pay 1 and 2, but illegal ones cost 3; nothing but the mask says which those are.

    One of them or neither, each as often.
    """

    number = 2

    def allow(self) -> np.ndarray:
        """Both, or only one."""
        return np.array([[True, True], [True, False], [False, True]])[self.np_random.integers(3)]

    def choose(self, action: int) -> tuple[float, bool]:
        """There is one step."""
        return action + 1 if self.legal[action] else -3, True


class Safe(Choice):
    """One action pays 1; the other pays 9 with a probability of a tenth, which is less.

    It is more if the steps that were paid 9, which surprise, are learned from as often as they are
    drawn by priority.
    """

    number = 3

    def choose(self, action: int) -> tuple[float, bool]:
        """There is one step."""
        lucky = self.np_random.random() < 0.1
        return 9 * lucky if action else 1, True
