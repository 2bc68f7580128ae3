"""Wrappers between an environment's own actions and those that an agent gives.

Vectors in [-1, 1], or the numbers 0, 1, ... of discrete ones.
"""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from jaxtyping import Bool, Float32

from armillary.envs.guard import describe
from armillary.errors import UsageError


class NormalizedActions(gymnasium.ActionWrapper):
    """Box actions of any shape and finite bounds, as a vector in [-1, 1].

    Raises:
        UsageError: The actions are no Box, unbounded or of no dimension.
    """

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, Box):
            raise UsageError(
                f"{name} has {type(space).__name__} actions, expected a Box or Discrete: wrap it "
                "in gymnasium.wrappers.TransformAction"
            )
        if not space.is_bounded("both") or not space.shape or not np.prod(space.shape):
            raise UsageError(
                f"{name} has the action space {space}, but its actions must have finite bounds "
                "and at least one dimension: wrap it in gymnasium.wrappers.TransformAction"
            )
        self._space = space
        self._center = (space.low.astype(np.float64) + space.high) / 2
        self._scale = (space.high.astype(np.float64) - space.low) / 2
        self.action_space = Box(-1.0, 1.0, (int(np.prod(space.shape)),), np.float32)

    def action(self, action: Float32[np.ndarray, " n"]) -> np.ndarray:
        """Returns the environment's own action."""
        action = np.asarray(action, np.float64)
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise UsageError(
                f"the action is {describe(action)}, expected {self.action_space.shape} finite "
                "numbers in [-1, 1]"
            )
        own = self._center + self._scale * action.clip(-1, 1).reshape(self._space.shape)
        if np.issubdtype(self._space.dtype, np.integer):
            own = np.rint(own)
        return own.astype(self._space.dtype).clip(self._space.low, self._space.high)

    def inverse(self, own: np.ndarray) -> Float32[np.ndarray, " n"]:
        """Returns the action in [-1, 1] that an own action is that of: 0 where there is no choice.

        Args:
            own: within the bounds; what rounding has moved past them is moved back.
        """
        scale = np.where(self._scale > 0, self._scale, 1.0)
        action = (np.asarray(own, np.float64) - self._center) / scale
        return action.reshape(-1).clip(-1, 1).astype(np.float32)


class DiscreteActions(gymnasium.ActionWrapper):
    """The numbers 0, 1, ..., n - 1 for discrete actions, from wherever they are counted."""

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        super().__init__(env)
        self.name = name
        self._own: Discrete = env.action_space  # type: ignore[assignment]
        self.action_space = Discrete(int(self._own.n))

    def action(self, action: int) -> np.integer:
        """Returns the environment's own action."""
        number = np.asarray(action)
        whole = number.shape == () and np.issubdtype(number.dtype, np.integer)
        if not whole or not 0 <= number < self._own.n:
            raise UsageError(
                f"the action is {action!r:.50}, but {self.name} has the discrete actions 0 to "
                f"{self._own.n - 1}: give one of these numbers"
            )
        return self._own.dtype.type(number + self._own.start)

    def inverse(self, own: int) -> np.integer:
        """Returns the number from 0 of one of the environment's own actions."""
        return np.int64(own) - np.int64(self._own.start)


def own_actions(env: gymnasium.Env, name: str) -> NormalizedActions | DiscreteActions:
    """Returns an environment with actions as agents give them.

    Raises:
        UsageError: its actions are neither a bounded Box nor discrete.
    """
    if isinstance(env.action_space, Discrete):
        return DiscreteActions(env, name)
    return NormalizedActions(env, name)


class PaddedActions(gymnasium.ActionWrapper):
    """Actions with more entries, or more choices, than the environment has.

    So one agent can play environments whose actions differ in size (PlaNet, Appendix C). Of a
    vector the environment takes the first entries, and what the others are changes nothing; their
    bounds are 0 in the action space. Choices that it does not have are refused.

    Attributes:
        action_mask: which entries or choices the environment has.

    Raises:
        UsageError: the environment has more than that.
    """

    def __init__(self, env: gymnasium.Env, name: str, size: int) -> None:
        super().__init__(env)
        self._discrete = isinstance(env.action_space, Discrete)
        self._own = action_size(env)
        if size < self._own:
            has = "{} discrete actions" if self._discrete else "actions of {} entries"
            raise UsageError(
                f"{name} has {has.format(self._own)}, but action_size is {size}: give at least as "
                "many"
            )
        self.action_mask: Bool[np.ndarray, " size"] = np.arange(size) < self._own
        bound = self.action_mask.astype(np.float32)
        if self._discrete:
            self.action_space = Discrete(size)
        else:
            self.action_space = Box(-bound, bound, dtype=np.float32)

    def action(self, action: np.ndarray) -> np.ndarray:
        """Returns the entries that the environment has, or a choice, which it checks itself."""
        if self._discrete:
            return action
        if np.shape(action) != self.action_space.shape:
            raise UsageError(
                f"the action is {describe(action)}, expected {self.action_space.shape} finite "
                "numbers in [-1, 1]"
            )
        return action[: self._own]


def action_size(env: gymnasium.Env) -> int:
    """Returns the entries of an action, or the number of discrete ones."""
    space = env.action_space
    return int(space.n) if isinstance(space, Discrete) else int(space.shape[0])  # type: ignore[index]
