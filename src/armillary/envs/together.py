"""A task of the control suite in several environments that one device simulates and draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float64, UInt8

from armillary.config import EnvironmentConfig
from armillary.envs import catalogue, rewards
from armillary.envs.actions import NormalizedActions
from armillary.envs.build import make
from armillary.envs.guard import LARGEST, failures, late
from armillary.envs.parallel import SideBySide
from armillary.envs.suite import ControlSuite
from armillary.envs.worlds import Worlds, start_of
from armillary.errors import EnvironmentFailure, UsageError, nearest
from armillary.spec import Spec
from armillary.waiting import waiting_for


class Together(SideBySide):
    """Environments of one task, as `armillary.envs.side_by_side` returns them.

    An episode begins in the state in which `make`'s begins with the same seed. What follows is
    computed in 32 bits, and drawn by mujoco-warp.

    Args:
        task: of the control suite, with a reward for whole batches of states.
        config: what is seen, an image alone.
        count: how many.
        device: Warp's name of the device; None: the first graphics card if JAX uses one, else
            the CPU.

    Raises:
        UsageError: the task or the settings are none of these.
        EnvironmentFailure: the device cannot simulate it; later, a simulation became unstable.
    """

    def __init__(
        self, task: Any, config: EnvironmentConfig, count: int, device: str | None = None
    ) -> None:
        reward = rewards.find(task) if isinstance(task, str) else None
        if reward is None:
            known = sorted(rewards.known())
            raise UsageError(
                f"environment.engine is 'warp', which cannot simulate {task}: it can "
                f"{', '.join(known)}; leave the engine out for others.{nearest(str(task), known)}"
            )
        for name, value, only in (
            ("observe", config.observe, "image"),
            ("action_size", config.action_size, None),
        ):
            if value != only:
                raise UsageError(
                    "environment.engine is 'warp', with which a task is learned from images alone "
                    f"and with its own actions, but {name} is {value!r}: leave one of them out"
                )
        self.task, self._reward, self._size = task, reward, config.size
        self._seconds = config.step_timeout
        single = make(task, replace(config, engine="mujoco"))
        self._spec: Spec = single.get_wrapper_attr("agent_spec")
        single.close()
        self._suite = ControlSuite(task, config.size, render_mode=None)
        self._actions = NormalizedActions(self._suite, task)
        self.num_envs, self.metadata = count, {"autoreset_mode": AutoresetMode.DISABLED}
        self.single_observation_space = single.observation_space
        self.single_action_space = single.action_space
        self.observation_space = batch_space(single.observation_space, count)
        self.action_space = batch_space(single.action_space, count)
        self._repeat = config.action_repeat or catalogue.action_repeat(task)
        self._suite.reset()
        own = self._suite.remaining
        self._limit = min(x for x in (own, config.time_limit) if x is not None)
        model, _, substeps = self._suite.simulated()
        with self._calling("could not be made:"):
            self._worlds = Worlds(copy(model), count, substeps, device)
        self._steps = np.full(count, -1)  # no episode has begun
        self._images = np.zeros((count, config.size, config.size, 3), np.uint8)

    @property
    def agent_spec(self) -> Spec:
        """What an agent of these environments is made from."""
        return self._spec

    @property
    def device(self) -> str:
        """What simulates and draws."""
        return self._worlds.device

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[UInt8[np.ndarray, "count size size 3"], dict[str, Any]]:
        """Begins an episode in each environment, or in those of `options["reset_mask"]`."""
        chosen = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        if seed is None or isinstance(seed, int):
            first = seed
            seed = [None if first is None else first + i for i in range(self.num_envs)]
        starts = {}
        for world in np.flatnonzero(chosen).tolist():
            self._suite.reset(seed=seed[world])
            physics = self._suite.physics
            starts[world] = start_of(physics.model.ptr, physics.data.ptr)
        with self._calling("could not begin an episode:"):
            self._worlds.set(starts)
            images = self._worlds.draw(self._suite.camera, self._size)
        self._steps[chosen] = 0
        self._images = np.where(chosen[:, None, None, None], images, self._images)
        return self._images.copy(), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[
        UInt8[np.ndarray, "count size size 3"],
        Float64[np.ndarray, " count"],
        Bool[np.ndarray, " count"],
        Bool[np.ndarray, " count"],
        dict[str, Any],
    ]:
        """Applies an action in each, as often as it is repeated; none of them terminates.

        Raises:
            gymnasium.error.ResetNeeded: no episode has begun.
        """
        if (self._steps < 0).any():
            raise gymnasium.error.ResetNeeded("no episode has begun: call reset()")
        own = np.stack([self._actions.action(action) for action in actions])
        running = began = self._steps < self._limit
        total = np.zeros(self.num_envs)
        with self._calling("could not be simulated:"):
            for _ in range(self._repeat):
                if not running.any():
                    break
                self._worlds.step(own)
                self._steps += running
                paid = np.where(running, self._worlds.paid(self._reward), 0.0)
                self._check(running & (self._worlds.wrong() | ~(np.abs(paid) <= LARGEST)))
                total += paid
                running = self._steps < self._limit
            images = self._worlds.draw(self._suite.camera, self._size)
        self._images = np.where(began[:, None, None, None], images, self._images)
        info = {"simulator_steps": self._steps.copy()}
        return self._images.copy(), total, np.zeros(self.num_envs, bool), ~running, info

    def close_extras(self, **kwargs: Any) -> None:
        """Frees what simulates the starts."""
        self._suite.close()

    def _check(self, wrong: Bool[np.ndarray, " count"]) -> None:
        if wrong.any():
            world = int(np.flatnonzero(wrong)[0])
            raise EnvironmentFailure(
                f"{self.task} on mujoco-warp: environment {world} became unstable at step "
                f"{self._steps[world]}: its state or its reward is no finite number, or it has "
                "more contacts than there is room for; leave the engine out to have it simulated "
                "by MuJoCo"
            )

    @contextmanager
    def _calling(self, what: str) -> Iterator[None]:
        called, seconds = f"{self.task} on mujoco-warp", self._seconds
        with (
            waiting_for(lambda: called, seconds, lambda: late(called, seconds)),
            failures(lambda: f"{called} {what}"),
        ):
            yield
