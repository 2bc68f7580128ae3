"""Timing of work that is repeated, and of the environment, in processes without JAX."""

from __future__ import annotations

import dataclasses
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import numpy as np

from armillary.config import Config
from armillary.envs import make, rendering
from armillary.envs.catalogue import names, tasks
from armillary.errors import ArmillaryError, EnvironmentFailure, RenderingError
from armillary.spec import Spec

UNKNOWN = 1000
"""Simulator steps that an episode without a limit is taken to have."""


@dataclass(frozen=True)
class Timing:
    """Times of the same work, repeated."""

    seconds: tuple[float, ...]
    """Of each repetition."""
    flop: int | None = None
    """Floating-point operations of one repetition, as `armillary.machine.flop` counts them."""

    @property
    def best(self) -> float:
        """The shortest time in seconds."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """The median time in seconds."""
        return statistics.median(self.seconds)

    def as_dict(self, matrix_rate: float | None = None) -> dict[str, Any]:
        """Returns plain numbers: `per_second` of the median time, operations of the best.

        `quartile_seconds` are the two between which the middle half of the times lies.

        Args:
            matrix_rate: Operations per second of the machine, to give fractions of it.
        """
        result: dict[str, Any] = {
            "best_seconds": self.best,
            "median_seconds": self.median,
            "quartile_seconds": np.quantile(self.seconds, [0.25, 0.75]).tolist(),
            "repeats": len(self.seconds),
            "per_second": 1 / self.median,
        }
        if self.flop is not None:
            result |= {"gflop": self.flop / 1e9, "gflop_per_second": self.flop / self.best / 1e9}
            if matrix_rate is not None:
                result["fraction_of_matrix_rate"] = self.flop / self.best / matrix_rate
                result["median_fraction_of_matrix_rate"] = self.flop / self.median / matrix_rate
        return result


def timed(
    work: Callable[[], object], repeats: int, at_least: float = 0.0, flop: int | None = None
) -> Timing:
    """Times `work` after one call that compiles; goes on for at least so many seconds."""
    work()
    seconds: list[float] = []
    while len(seconds) < repeats or sum(seconds) < at_least:
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return Timing(tuple(seconds), flop)


def measure_environment(config: Config, repeats: int, every_renderer: bool) -> dict[str, Any]:
    """Returns the times of the environment's steps and of its images, by back end.

    Each is measured in a process of its own: a process can use only one OpenGL library.

    Raises:
        UsageError: The task is unknown.
        RenderingError: No back end works here, or not the one asked for.
        EnvironmentFailure: The environment raised, or its process died.
    """
    chosen = rendering.choose(config.environment.renderer) if config.task in names() else "none"
    count = 100 * repeats
    spec, limit, steps = _elsewhere(step_seconds, config, count)
    frames: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    for backend in _backends(config, chosen, every_renderer):
        environment = dataclasses.replace(config.environment, renderer=backend)  # type: ignore[arg-type]
        try:
            times = _elsewhere(
                frame_seconds, dataclasses.replace(config, environment=environment), count
            )
        except ArmillaryError as error:
            if backend == chosen:
                raise RenderingError(f"the renderer {backend!r} failed: {error}") from error
            reasons[backend] = str(error)
            continue
        frames[backend] = Timing(tuple(times)).as_dict()
    step = Timing(tuple(steps)).as_dict()
    repeat = config.environment.action_repeat or 1
    step["simulator_steps_per_second"] = repeat * step["per_second"]
    step |= {"with_image": bool(Spec.from_dict(spec).images) and not frames, "at_once": 1}
    return {
        "spec": spec,
        "environment_step": step,
        "episode_steps": -(-(limit or UNKNOWN) // repeat),
        "renderer": chosen,
        "rendering": frames,
        "renderers_that_do_not_work": reasons,
    }


def _backends(config: Config, chosen: str, every: bool) -> Iterator[str]:
    if chosen == "none":
        return
    yield chosen
    if every:
        yield from (backend for backend in rendering.BACKENDS if backend != chosen)


def _elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise EnvironmentFailure(
                "the process that measured the environment died: see what it printed, and try "
                "another renderer, warp for instance"
            ) from error


def step_seconds(config: Config, count: int) -> tuple[dict[str, Any], int | None, list[float]]:
    """Returns the environment's spec, its time limit, and the times of `count` steps of R each.

    A task of the control suite is not drawn; of any other the image is part of the step.
    """
    env = make(config.task, config.environment)
    spec = env.get_wrapper_attr("agent_spec").as_dict()
    own = env.spec.max_episode_steps if env.spec else None
    own = next((t.episode_steps for t in tasks() if t.name == config.task), own)
    limit = config.environment.time_limit or own
    env = env if config.task not in names() else _undrawn(env, config)
    env.action_space.seed(0)
    env.reset(seed=0)
    seconds = []
    for _ in range(count + 1):
        action = env.action_space.sample()
        start = time.perf_counter()
        _, _, terminated, truncated, _ = env.step(action)
        seconds.append(time.perf_counter() - start)
        if terminated or truncated:
            env.reset()
    env.close()
    return spec, limit, seconds[1:]


def frame_seconds(config: Config, count: int) -> list[float]:
    """Returns the times of drawing `count` images of a task of the control suite."""
    env = make(config.task, config.environment)
    env.action_space.seed(0)
    env.reset(seed=0)
    seconds = []
    for _ in range(count + 3):  # the first ones compile and fill caches
        env.unwrapped.step(env.action_space.sample())
        start = time.perf_counter()
        env.unwrapped.render()
        seconds.append(time.perf_counter() - start)
    env.close()
    return seconds[3:]


def _undrawn(env: Any, config: Config) -> Any:
    """Closes an environment of the control suite; returns it as one that is never drawn."""
    env.close()
    from gymnasium.wrappers import RepeatAction

    from armillary.envs.suite import ControlSuite

    repeat = config.environment.action_repeat or 1
    return RepeatAction(ControlSuite(config.task, render_mode=None), repeat)
