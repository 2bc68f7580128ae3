"""`make`: the environment that an agent sees, from whatever names it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import gymnasium
from gymnasium.wrappers import RepeatAction, TimeLimit

from armillary.advice import fitted
from armillary.config import EnvironmentConfig
from armillary.envs import atari, catalogue, games, named, rendering
from armillary.envs.actions import PaddedActions, action_size, own_actions
from armillary.envs.boards import BoardGame
from armillary.envs.guard import Guard, failures, late
from armillary.envs.observations import Observed, draws, fields_named
from armillary.errors import UsageError, nearest
from armillary.spec import IMAGE, Spec
from armillary.waiting import waiting_for

TaskLike = str | gymnasium.Env | Callable[..., gymnasium.Env]


def make(task: TaskLike, config: EnvironmentConfig | None = None) -> gymnasium.Env:
    """Returns the environment that an agent sees.

    Observations are `Box(0, 255, (size, size, 3), uint8)`, or what else `config.observe` asks for:
    a vector, or a dictionary of several. Actions are `Box(-1, 1, (n,), float32)` or `Discrete(n)`;
    with `config.action_size` they have that size, and an observation is a dictionary with the
    `mask` of the entries that the environment has. Each action is repeated `config.action_repeat`
    times or until the episode ends, its rewards summed. `info["simulator_steps"]` counts the steps
    of the wrapped environment since the reset.

    Args:
        task: A task of the control suite (`cheetah-run`), an id of `gymnasium.make`
            (`CarRacing-v3`) or `module:id` of one that importing the module registers,
            `module:callable` that returns a Gymnasium environment, such a callable, or an
            environment. `config.kwargs` are its keyword arguments.
        config: What the agent sees, and how it is rendered.

    Raises:
        UsageError: The task is unknown, its actions are neither a bounded Box nor discrete, or it
            does not give what is to be observed.
        RenderingError: No rendering back end works here, or not the one asked for.
        EnvironmentFailure: The environment could not be made; later, when it raises or returns
            what it did not promise.
    """
    config = config or EnvironmentConfig()
    return Observed(control(task, config, draw=draws(config)), _called(task), config)


def control(
    task: TaskLike, config: EnvironmentConfig | None = None, *, draw: bool = True
) -> gymnasium.Env:
    """Returns the environment as an agent acts in it, with the task's own observations.

    Everything `make` does but what is observed. Arguments and errors as there.

    Args:
        task: likewise.
        config: likewise.
        draw: whether the control suite's environment must be able to draw itself.
    """
    config = config or EnvironmentConfig()
    name = _called(task)
    with _making(name, config.step_timeout):
        env = _raw(task, name, config, draw)
    if config.time_limit is not None:
        env = TimeLimit(env, config.time_limit)
    env = own_actions(Guard(env, name, config.step_timeout), name)
    if config.action_size is not None:
        env = PaddedActions(env, name, config.action_size)
    repeat = config.action_repeat or catalogue.action_repeat(task)
    if repeat > 1 and isinstance(env.unwrapped, BoardGame):
        raise UsageError(
            f"action_repeat is {repeat}, but a move of {name} is made once: leave it out"
        )
    return RepeatAction(env, repeat) if repeat > 1 else env


def spec_of(tasks: Sequence[str], config: EnvironmentConfig) -> Spec:
    """Returns what an agent of these tasks is made from.

    Raises:
        UsageError: as `make`; or the tasks are not for one agent.
    """
    config = common(tasks, config)
    specs = []
    for task in tasks:
        env = make(task, config)
        specs.append(env.get_wrapper_attr("agent_spec"))
        env.close()
    return agreed(dict(zip(tasks, specs, strict=True)))


def common(tasks: Sequence[str], config: EnvironmentConfig) -> EnvironmentConfig:
    """Returns the settings for several tasks together: the size of their actions is the largest.

    Raises:
        UsageError: a task is unknown.
    """
    if len(tasks) == 1 or config.action_size is not None:
        return config
    sizes = []
    for task in tasks:
        env = control(task, config, draw=False)
        sizes.append(action_size(env))
        env.close()
    return replace(config, action_size=max(sizes))


def fitting(config: EnvironmentConfig, spec: Spec) -> EnvironmentConfig:
    """Returns the settings with which an environment is one of an agent's spec.

    Those of a run say nothing of a size that several tasks have in common: it was found out.
    """
    return replace(config, action_size=spec.action.size) if spec.masked else config


def drawn(config: EnvironmentConfig, spec: Spec) -> EnvironmentConfig:
    """Returns the settings with which there are images to show, also if the agent sees none."""
    if spec.images:
        return config
    seen = [name for name in fields_named(config.observe) if name != IMAGE] or [*spec.vectors]
    return replace(config, observe=",".join([*seen, IMAGE]))


def agreed(specs: Mapping[str, Spec]) -> Spec:
    """Returns the spec of one agent for several tasks, from those of each.

    Raises:
        UsageError: they differ.
    """
    first, *others = specs
    for task in others:
        if specs[task] != specs[first]:
            raise UsageError(
                f"one agent cannot learn {first} ({specs[first]}) and {task} ({specs[task]}): they "
                "differ in what is observed or in the kind of their actions"
            )
    return specs[first]


@contextmanager
def _making(name: str, seconds: float | None) -> Iterator[None]:
    what = f"{name} to be made"
    with (
        waiting_for(lambda: what, seconds, lambda: late(what, seconds)),
        failures(lambda: f"{name} could not be made:"),
    ):
        yield


def _raw(task: TaskLike, name: str, config: EnvironmentConfig, draw: bool) -> gymnasium.Env:
    is_made = isinstance(task, gymnasium.Env)
    if config.kwargs and (is_made or (isinstance(task, str) and task in catalogue.names())):
        raise UsageError(
            f"kwargs are {dict(config.kwargs)}, but {name} takes none: leave them out"
            if not is_made
            else f"kwargs are {dict(config.kwargs)}, but {name} is made already: leave them out"
        )
    if isinstance(task, gymnasium.Env):
        return task
    if isinstance(task, str) and task in catalogue.names():
        from armillary.envs.suite import ControlSuite

        mode = "rgb_array" if draw else None
        return ControlSuite(task, config.size, config.renderer, mode)
    if isinstance(task, str) and task in games.GAMES:
        return BoardGame(games.game(task, config.kwargs))
    _silence_pygame()
    if isinstance(task, str):
        module = named.import_module(task) if ":" in task else None
        create = None if module is None or named.is_id(task) else named.load(task, module)
        if create is None:
            return _registered(task, config.kwargs)
        return _call(create, name, config.kwargs)
    if callable(task):
        return _call(task, name, config.kwargs)
    raise UsageError(
        f"the task is of type {type(task).__name__}, expected a name, a Gymnasium environment "
        "or a callable that returns one"
    )


def _silence_pygame() -> None:
    """Keeps SDL, with which many environments draw, from looking for a screen where there is none.

    It would print `error: XDG_RUNTIME_DIR not set in the environment`.
    """
    if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("SDL_AUDIODRIVER", "dummy")


def _registered(task: str, kwargs: Mapping[str, Any]) -> gymnasium.Env:
    """Returns an environment of Gymnasium's registry, drawing itself if it can."""
    name = task.rpartition(":")[2]
    is_atari = name.startswith(atari.PREFIX)
    if is_atari:
        atari.check(name)
    try:
        spec = gymnasium.spec(name)
        if ".mujoco" in str(spec.entry_point):
            rendering.choose_opengl()
        arguments: dict[str, Any] = {"render_mode": "rgb_array"} if _draws(spec) else {}
        arguments |= atari.DEFAULTS if is_atari else {}
        return gymnasium.make(name, **(arguments | dict(kwargs)))
    except gymnasium.error.DependencyNotInstalled as error:
        raise UsageError(
            f"{task} needs a package that is not installed: {fitted(str(error))}"
        ) from error
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        atari.register()
        known = [*catalogue.names(), *games.GAMES, *gymnasium.registry]
        raise UsageError(
            f"unknown task {task!r}: it is not in the control suite, no board game, and Gymnasium "
            f"says: {error} `armillary tasks` lists them.{nearest(name, known)}"
        ) from error


def _draws(spec: gymnasium.envs.registration.EnvSpec) -> bool:
    entry: Any = spec.entry_point
    if isinstance(entry, str):
        entry = gymnasium.envs.registration.load_env_creator(entry)
    return _accepts_render_mode(entry)


def _accepts_render_mode(create: Any) -> bool:
    metadata = getattr(create, "metadata", None)
    if isinstance(metadata, Mapping) and "rgb_array" not in metadata.get("render_modes", ()):
        return False
    try:
        parameters = inspect.signature(create).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "render_mode" or p.kind is p.VAR_KEYWORD for p in parameters)


def _call(create: Callable[..., Any], name: str, kwargs: Mapping[str, Any]) -> gymnasium.Env:
    arguments = {"render_mode": "rgb_array"} if _accepts_render_mode(create) else {}
    arguments |= dict(kwargs)
    env = named.call(create, name, arguments)
    if named.is_rules(type(env)):
        rules = games.game(name, kwargs) if ":" in name else games.checked(env, name)
        return BoardGame(rules)
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
