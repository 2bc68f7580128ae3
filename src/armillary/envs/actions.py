"""Wrappers between an environment's own actions and the vectors in [-1, 1] that an agent gives."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from jaxtyping import Float32

from armillary.envs.guard import describe
from armillary.errors import UsageError


class NormalizedActions(gymnasium.ActionWrapper):
    """Box actions of any shape and finite bounds, as a vector in [-1, 1].

    Raises:
        UsageError: The actions are discrete, unbounded or of no dimension.
    """

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, Box):
            raise UsageError(
                f"{name} has {type(space).__name__} actions, but PlaNet plans continuous actions: "
                "use an environment whose action space is a Box"
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


class PaddedActions(gymnasium.ActionWrapper):
    """Actions with more entries than the environment has; it takes the first ones.

    So one agent can play environments whose actions differ in size (PlaNet, Appendix C). In the
    action space the bounds of all others are 0; what they are changes nothing.

    Raises:
        UsageError: the environment has more entries than that.
    """

    def __init__(self, env: gymnasium.Env, name: str, size: int) -> None:
        super().__init__(env)
        (self._own,) = env.action_space.shape  # type: ignore[misc]
        if size < self._own:
            raise UsageError(
                f"{name} has actions of {self._own} entries, but action_size is {size}: give at "
                "least as many"
            )
        bound = np.where(np.arange(size) < self._own, 1, 0).astype(np.float32)
        self.action_space = Box(-bound, bound, dtype=np.float32)

    def action(self, action: Float32[np.ndarray, " n"]) -> np.ndarray:
        """Returns the entries that the environment has."""
        if np.shape(action) != self.action_space.shape:
            raise UsageError(
                f"the action is {describe(action)}, expected {self.action_space.shape} finite "
                "numbers in [-1, 1]"
            )
        return action[: self._own]
