"""`make`: the environment that an agent sees, from whatever names it."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
from gymnasium.wrappers import RepeatAction, TimeLimit

from armillary.advice import fitted
from armillary.config import EnvironmentConfig
from armillary.envs import catalogue, rendering
from armillary.envs.pixels import Guard, NormalizedActions, PaddedActions, Pixels
from armillary.errors import EnvironmentFailure, RenderingError, UsageError, nearest

TaskLike = str | gymnasium.Env | Callable[[], gymnasium.Env]


def make(task: TaskLike, config: EnvironmentConfig | None = None) -> gymnasium.Env:
    """Returns the environment that an agent sees.

    Observations are `Box(0, 255, (size, size, 3), uint8)`, actions `Box(-1, 1, (n,), float32)`;
    with `config.action_size` the bounds of the entries that the environment has no use for are 0.
    Each action is repeated `config.action_repeat` times or until the episode ends, its rewards
    summed. `info["simulator_steps"]` counts the steps of the wrapped environment since the reset.

    Args:
        task: A task of the control suite (`cheetah-run`), an id of `gymnasium.make`
            (`CarRacing-v3`), `module:callable` that returns a Gymnasium environment, such a
            callable, or an environment.
        config: What the agent sees, and how it is rendered.

    Raises:
        UsageError: The task is unknown, its actions are not a bounded Box, or it gives no images.
        RenderingError: No rendering back end works here, or not the one asked for.
        EnvironmentFailure: The environment could not be made; later, when it raises or returns
            what it did not promise.
    """
    config = config or EnvironmentConfig()
    return Pixels(control(task, config), _called(task), config.size, config.pixels)


def control(
    task: TaskLike, config: EnvironmentConfig | None = None, *, draw: bool = True
) -> gymnasium.Env:
    """Returns the environment as an agent acts in it, with the task's own observations.

    Everything `make` does but the pixels. Arguments and errors as there.

    Args:
        task: likewise.
        config: likewise.
        draw: whether the control suite's environment must be able to draw itself.
    """
    config = config or EnvironmentConfig()
    name = _called(task)
    env = _raw(task, name, config, draw)
    if config.time_limit is not None:
        env = TimeLimit(env, config.time_limit)
    env = NormalizedActions(Guard(env, name), name)
    if config.action_size is not None:
        env = PaddedActions(env, name, config.action_size)
    repeat = config.action_repeat or catalogue.action_repeat(task)
    return RepeatAction(env, repeat) if repeat > 1 else env


def common_action_size(tasks: Sequence[str], config: EnvironmentConfig) -> int:
    """Returns the most entries that an action of one of the tasks has.

    Raises:
        UsageError: a task is unknown.
    """
    sizes = []
    for task in tasks:
        env = control(task, config, draw=False)
        sizes.append(int(env.action_space.shape[0]))  # type: ignore[index]
        env.close()
    return max(sizes)


def _raw(task: TaskLike, name: str, config: EnvironmentConfig, draw: bool) -> gymnasium.Env:
    if isinstance(task, gymnasium.Env):
        return task
    if callable(task):
        return _call(task, name)
    if not isinstance(task, str):
        raise UsageError(
            f"the task is of type {type(task).__name__}, expected a name, a Gymnasium environment "
            "or a callable that returns one"
        )
    if task in catalogue.names():
        from armillary.envs.suite import ControlSuite

        mode = "rgb_array" if draw else None
        return ControlSuite(task, config.size, config.renderer, mode)
    if ":" in task and not re.search(r"-v\d+$", task):
        return _call(_load(task), name)
    return _registered(task)


def _registered(task: str) -> gymnasium.Env:
    """Returns an environment of Gymnasium's registry, drawing itself if it can."""
    try:
        spec = gymnasium.spec(task)
        if ".mujoco" in str(spec.entry_point):
            rendering.choose_opengl()
        arguments: dict[str, Any] = {"render_mode": "rgb_array"} if _draws(spec) else {}
        return gymnasium.make(task, **arguments)
    except RenderingError:
        raise
    except gymnasium.error.DependencyNotInstalled as error:
        raise UsageError(
            f"{task} needs a package that is not installed: {fitted(str(error))}"
        ) from error
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        known = [*catalogue.names(), *gymnasium.registry]
        raise UsageError(
            f"unknown task {task!r}: it is not in the control suite and Gymnasium says: {error} "
            f"`armillary tasks` lists the suite's.{nearest(task, known)}"
        ) from error
    except Exception as error:
        raise EnvironmentFailure(
            f"{task} could not be made: {type(error).__name__}: {error}"
        ) from error


def _draws(spec: gymnasium.envs.registration.EnvSpec) -> bool:
    entry: Any = spec.entry_point
    if isinstance(entry, str):
        entry = gymnasium.envs.registration.load_env_creator(entry)
    return _accepts_render_mode(entry)


def _accepts_render_mode(create: Any) -> bool:
    metadata = getattr(create, "metadata", None)
    if metadata is not None and "rgb_array" not in metadata.get("render_modes", ()):
        return False
    try:
        parameters = inspect.signature(create).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "render_mode" or p.kind is p.VAR_KEYWORD for p in parameters)


def _load(task: str) -> Callable[[], gymnasium.Env]:
    """Returns the callable that `module:callable` names; the working folder is searched too."""
    module, _, attribute = task.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the task {task!r} names the module {module!r}, but {error}; start in the folder that "
            "holds it, or install it"
        ) from error
    except Exception as error:
        raise EnvironmentFailure(
            f"importing {module!r} for the task {task!r} raised {type(error).__name__}: {error}"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(
                f"the task {task!r}: there is no {part!r} in {module!r}."
                + nearest(part, [n for n in dir(found) if not n.startswith("_")])
            )
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"the task {task!r} is not callable, expected a function or a class")
    return found


def _call(create: Callable[..., gymnasium.Env], name: str) -> gymnasium.Env:
    arguments = {"render_mode": "rgb_array"} if _accepts_render_mode(create) else {}
    try:
        env = create(**arguments)
    except Exception as error:
        raise EnvironmentFailure(
            f"{name} could not be made: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(env, gymnasium.Env):
        raise UsageError(
            f"{name} returned {type(env).__module__}.{type(env).__name__}, expected a gymnasium.Env"
        )
    return env


def _called(task: Any) -> str:
    """Returns what messages call the task."""
    if isinstance(task, str):
        return task
    if isinstance(task, gymnasium.Env):
        return task.spec.id if task.spec else type(task.unwrapped).__name__
    return getattr(task, "__qualname__", type(task).__name__)
