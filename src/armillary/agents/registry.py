"""Agents and dynamics by name: those that are here, and `module:Class` of anybody's own.

An agent of one's own is a class with the functions of `armillary.agents.base.Agent`, made from its
configuration and the `armillary.spec.Spec` of its environment. It names its configuration, a
subclass of `armillary.Config` that is a frozen dataclass, and may name presets:

    class MyAgent(Planet):
        config_class = PlanetConfig
        presets = {"small": ..., "paper": ...}

docs/extending.md has one from beginning to end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from armillary.agents.base import Actor
from armillary.agents.distilled import Distilled
from armillary.agents.dreamer import Dreamer
from armillary.agents.explorer import Explorer
from armillary.agents.muzero import MuZero
from armillary.agents.planet import Planet
from armillary.config import CONFIGS, PRESETS, Config
from armillary.dynamics.base import Dynamics
from armillary.dynamics.world_model import DYNAMICS
from armillary.envs import named
from armillary.errors import UsageError, nearest
from armillary.spec import Spec

AGENTS: dict[str, Callable[..., Any]] = {
    "planet": Planet,
    "dreamer": Dreamer,
    "explorer": Explorer,
    "muzero": MuZero,
    "distilled": Distilled,
}


def make_agent(config: Config, spec: Spec) -> Actor:
    """Returns the agent that the configuration names, `module:Class` too: one that learns, an
    `Agent`, where training makes it.

    Args:
        config: of the run.
        spec: what its environment gives and takes.

    Raises:
        UsageError: there is no such agent, or no such dynamics; or it cannot do what the spec asks.
    """
    know(config)
    agent: Actor = AGENTS[config.agent](config, spec)
    return agent


def know(config: Config) -> None:
    """Makes the agent and the dynamics known that a configuration of the user's names.

    Raises:
        UsageError: there is no such agent, or no such dynamics.
    """
    know_agent(config.agent)
    know_dynamics(getattr(getattr(config, "model", None), "dynamics", "rssm"))


def register_agent(agent: Any, name: str | None = None) -> str:
    """Makes an agent of one's own known by a name, in this process.

    Args:
        agent: the class, see above.
        name: None: its `module:Class`, by which other processes find it, too.

    Returns:
        The name: that of `Config.agent` and of `--agent`.

    Raises:
        UsageError: it is no class of an agent, or the name is taken.
    """
    name = name or f"{agent.__module__}:{agent.__qualname__}"
    kind = getattr(agent, "config_class", None)
    wanted = ("init", "update", "act", "initial_belief")
    missing = [part for part in wanted if not callable(getattr(agent, part, None))]
    if not isinstance(agent, type) or missing:
        raise UsageError(
            f"the agent {name!r} has no {' and no '.join(missing) or 'class'}: expected a class "
            "with the functions of armillary.agents.base.Agent (docs/extending.md)"
        )
    if not (isinstance(kind, type) and issubclass(kind, Config) and dataclasses.is_dataclass(kind)):
        raise UsageError(
            f"the agent {name!r} names no configuration: give the class an attribute "
            "config_class, a dataclass that derives from armillary.Config"
        )
    if AGENTS.get(name, agent) is not agent:
        raise UsageError(f"the name {name!r} is taken by {AGENTS[name]!r}: give another one")
    presets: Mapping[str, Callable[[], Config]] = getattr(agent, "presets", {}) or {"small": kind}
    AGENTS[name], CONFIGS[name] = agent, kind
    PRESETS[name] = {label: partial(_named, make, name) for label, make in presets.items()}
    return name


def register_dynamics(dynamics: Any, name: str | None = None) -> str:
    """Makes a dynamics model of one's own known by a name, in this process.

    Args:
        dynamics: a class of `armillary.dynamics.base.Dynamics` that is made with `(embedding_size,
            action_size, config, key=key)`.
        name: None: its `module:Class`, by which other processes find it, too.

    Returns:
        The name: that of `ModelConfig.dynamics` and of `--dynamics`.

    Raises:
        UsageError: it is no such class, or the name is taken.
    """
    name = name or f"{dynamics.__module__}:{dynamics.__qualname__}"
    if not (isinstance(dynamics, type) and issubclass(dynamics, Dynamics)):
        raise UsageError(
            f"the dynamics {name!r} are {dynamics!r}, expected a class that derives from "
            "armillary.dynamics.base.Dynamics"
        )
    if DYNAMICS.get(name, dynamics) is not dynamics:
        raise UsageError(f"the name {name!r} is taken by {DYNAMICS[name]!r}: give another one")
    DYNAMICS[name] = dynamics
    return name


def know_agent(name: str) -> Callable[..., Any]:
    """Returns an agent by its name; imports the module that `module:Class` names.

    Raises:
        UsageError: there is no such agent.
        EnvironmentFailure: importing the module raised.
    """
    if name not in AGENTS:
        if ":" not in name:
            raise UsageError(
                f"unknown agent {name!r}, expected one of {', '.join(AGENTS)}, or module:Class."
                + nearest(name, AGENTS)
            )
        register_agent(_find(name, "agent"), name)
    return AGENTS[name]


def know_dynamics(name: str) -> Callable[..., Dynamics]:
    """Returns dynamics by their name; imports the module that `module:Class` names.

    Raises:
        UsageError: there are none of that name.
        EnvironmentFailure: importing the module raised.
    """
    if name not in DYNAMICS:
        register_dynamics(_find(name, "dynamics"), name)
    return DYNAMICS[name]


def admit(values: Mapping[str, Any], folder: Path, *, trust: bool) -> None:
    """Makes the agent and the dynamics known that the configuration in a run folder names.

    Args:
        values: the configuration as plain values, not checked yet.
        folder: the run folder.
        trust: whether code that the folder names may be imported, see docs/trust.md.

    Raises:
        UsageError: they are code that nobody but the folder has named.
    """
    model = values.get("model")
    for what, name, known, know in (
        ("agent", values.get("agent"), AGENTS, know_agent),
        ("dynamics", model.get("dynamics") if isinstance(model, Mapping) else None, DYNAMICS,
         know_dynamics),
    ):  # fmt: skip
        if not isinstance(name, str) or ":" not in name or name in known:
            continue
        module = name.partition(":")[0]
        if not trust and not named.is_trusted(module):
            raise UsageError(
                f"the run in {str(folder)!r} is of the {what} {name!r}: to use it imports the "
                f"Python module {module!r} that the folder names, which may do anything on this "
                f"machine. If you trust the folder, add --trust, or name the {what} yourself, "
                f"--{what} {name} (in Python load(folder, trust=True)); "
                f"{named.TRUSTED}={module} in the environment trusts a module of yours for good"
            )
        know(name)


def _named(make: Callable[[], Config], name: str) -> Config:
    return dataclasses.replace(make(), agent=name)


def _find(name: str, what: str) -> Any:
    found: Any = named.import_module(name, what)
    module, _, attribute = name.partition(":")
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(
                f"the {what} {name!r}: there is no {part!r} in {module!r}."
                + nearest(part, [n for n in dir(found) if not n.startswith("_")])
            )
        found = getattr(found, part)
    return found
