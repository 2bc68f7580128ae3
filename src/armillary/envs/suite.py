"""The control suite as Gymnasium environments.

Shimmy has an adapter too, but it draws only through dm_control's own OpenGL contexts (so not with
mujoco-warp, and with an `EGLError` at the interpreter's exit), replaces `np_random` by a legacy
generator, and sets `render_fps` on the class; hence these lines.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import gymnasium
import numpy as np
from jaxtyping import Float64, UInt8

from armillary.envs import rendering
from armillary.envs.catalogue import names
from armillary.errors import UsageError, nearest

if TYPE_CHECKING:
    import mujoco
    from dm_control.mujoco import Physics

    from armillary.envs.rewards import Reward

_UNBOUNDED = 1e10
"""dm_control's bound of an actuator that has none."""


class ControlSuite(gymnasium.Env):
    """A task of the control suite, one control step at a time.

    Observations are the suite's own, flattened into one vector: `Box((d,), float64)`. `render()`
    draws the papers' camera: 2 for the quadruped, 0 for all others. The episode's end by time is a
    truncation; an end with discount 0 is a termination. `reset(seed=)` determines the whole
    episode. `physics` reads and sets the simulator's state; `camera` is the number of the papers'.

    Args:
        task: `domain-task` by the suite's own names, `cheetah-run` for instance.
        size: Height and width of the rendered image, in pixels.
        renderer: The rendering back end; `rendering.choose` explains.
        render_mode: `rgb_array`, or None for an environment that is never drawn.

    Raises:
        UsageError: There is no such task.
        RenderingError: No back end works here, or not the one asked for.
    """

    def __init__(
        self,
        task: str,
        size: int = 64,
        renderer: str = "auto",
        render_mode: str | None = "rgb_array",
    ) -> None:
        if task not in names():
            raise UsageError(
                f"unknown task {task!r}: it is not in the control suite." + nearest(task, names())
            )
        if render_mode not in (None, "rgb_array"):
            raise UsageError(f"render_mode is {render_mode!r}, expected 'rgb_array' or None")
        self.task, self.render_mode, self._size = task, render_mode, size
        self._backend = rendering.choose(renderer) if render_mode else "none"
        domain, name = task.split("-")
        with rendering.importing_mujoco(self._backend), _quiet():
            from dm_control import suite

            # The seed here only matters to lqr, which draws its system once; episodes are seeded
            # by `reset`.
            self._env = suite.load(domain, name, task_kwargs={"random": 0})
        self.camera = 2 if domain == "quadruped" else 0
        self._renderer: rendering.Renderer | None = None
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": round(1 / self._env.control_timestep()),
        }
        action = self._env.action_spec()
        low, high = (np.broadcast_to(b, action.shape) for b in (action.minimum, action.maximum))
        self.action_space = gymnasium.spaces.Box(
            np.where(low <= -_UNBOUNDED, -np.inf, low).astype(np.float32),
            np.where(high >= _UNBOUNDED, np.inf, high).astype(np.float32),
        )
        dimensions = sum(int(np.prod(s.shape)) for s in self._env.observation_spec().values())
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (dimensions,), np.float64)

    @property
    def physics(self) -> Physics:
        """dm_control's `Physics`: the simulator's model and state."""
        return self._env.physics

    @property
    def remaining(self) -> int | None:
        """Control steps until the episode's end by its time; None: it has none.

        0 where no episode is going on.
        """
        if self._env._reset_next_step:
            return 0
        limit = self._env._step_limit
        return None if np.isinf(limit) else math.ceil(limit - self._env._step_count)

    def simulated(self) -> tuple[mujoco.MjModel, Reward, int]:
        """Returns what is simulated: the model, the task's reward, simulator steps in a step.

        A reward that is not written for whole batches of states calls the task's own function
        for each state, and a warning says so.
        """
        from armillary.envs import rewards

        reward = rewards.find(self.task)
        if reward is None:
            warnings.warn(
                f"{self.task} has no reward for whole batches of states here: its own function is "
                "called for each state, which takes many times longer",
                stacklevel=3,
            )
            reward = rewards.of_task(type(self.physics), self._env.task)
        return self.physics.model.ptr, reward, self._env._n_sub_steps

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float64[np.ndarray, " d"], dict[str, Any]]:
        """Starts an episode that depends on nothing but the random generator's state."""
        super().reset(seed=seed)
        self._env.task.random.seed(int(self.np_random.integers(2**32)))
        with _without_contexts(self.physics):
            observation = _flat(self._env.reset().observation)
        if self._renderer is not None:
            self._renderer.upload()
        return observation, {}

    def step(
        self, action: np.ndarray
    ) -> tuple[Float64[np.ndarray, " d"], float, bool, bool, dict[str, Any]]:
        """Applies an action for one control step.

        Raises:
            gymnasium.error.ResetNeeded: No episode is going on.
        """
        step = self._env.step(action)
        if step.first():  # dm_control starts another episode of itself
            raise gymnasium.error.ResetNeeded("the episode is over, or none began: call reset()")
        over = step.last()
        terminated = bool(over and step.discount == 0)
        return (
            _flat(step.observation),
            float(step.reward),
            terminated,
            bool(over and not terminated),
            {},
        )

    def render(self) -> UInt8[np.ndarray, "size size 3"] | None:
        """Returns the image of the current state."""
        if self.render_mode is None:
            return None
        if self._renderer is None:
            self._renderer = rendering.create(
                self._backend, self.physics.model.ptr, camera=self.camera, size=self._size
            )
        return self._renderer.render(self.physics.data.ptr)

    def close(self) -> None:
        """Frees the rendering context."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _flat(observation: dict[str, Any]) -> Float64[np.ndarray, " d"]:
    return np.concatenate([np.ravel(v).astype(np.float64) for v in observation.values()])


@contextmanager
def _without_contexts(physics: Physics) -> Iterator[None]:
    """Keeps a task that changes a height field from making an OpenGL context of its own."""
    if not physics.model.nhfield:
        yield
        return
    with mock.patch.object(type(physics), "contexts", None):
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences MuJoCo's notes on deprecated attributes in the suite's own models."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
