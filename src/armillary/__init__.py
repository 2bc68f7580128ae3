"""Learned world models for planning and control: PlaNet, Dreamer and MuZero.

The names below are imported when they are used, so that `import armillary` is quick:

- `train(config, folder)`: trains an agent, or continues a run;
- `train_seeds(config, seeds)`: several seeds of it at once;
- `load(folder)`: a trained agent, ready to act; `load("demo:cheetah-run")`: one that comes with the
  package;
- `pack(folder, file)`: a trained agent in one small file, to be given away;
- `plan(model, belief, key, ...)`: the cross-entropy method on any model: `JaxModel(step, n)` and
  `PythonModel(step, n)` of a function of one's own, `Simulator` of a MuJoCo model;
- `make(task)`: an environment as an agent sees it; `ControlSuite(task)`: the bare task;
- `preset(name, agent, task)`, `Config`, `PlanetConfig`, `DreamerConfig`, `MuZeroConfig`: all
  settings;
- `register_agent(kind)`, `register_dynamics(kind)`: those of one's own, by a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from armillary.version import __version__

if TYPE_CHECKING:
    from armillary.agents.registry import register_agent, register_dynamics
    from armillary.config import (
        Config,
        DreamerConfig,
        EnvironmentConfig,
        MuZeroConfig,
        PlanetConfig,
        PlannerConfig,
        preset,
    )
    from armillary.envs.build import make
    from armillary.envs.suite import ControlSuite
    from armillary.planners.rollout import JaxModel, PythonModel, plan
    from armillary.planners.simulator import Simulator
    from armillary.training.loop import train
    from armillary.training.packing import pack
    from armillary.training.player import load
    from armillary.training.seeds import train_seeds

_HOMES = {
    "Config": "config",
    "ControlSuite": "envs.suite",
    "DreamerConfig": "config",
    "EnvironmentConfig": "config",
    "JaxModel": "planners.rollout",
    "MuZeroConfig": "config",
    "PlanetConfig": "config",
    "PlannerConfig": "config",
    "PythonModel": "planners.rollout",
    "Simulator": "planners.simulator",
    "preset": "config",
    "make": "envs.build",
    "pack": "training.packing",
    "plan": "planners.rollout",
    "train": "training.loop",
    "train_seeds": "training.seeds",
    "load": "training.player",
    "register_agent": "agents.registry",
    "register_dynamics": "agents.registry",
}

__all__ = [
    "Config",
    "ControlSuite",
    "DreamerConfig",
    "EnvironmentConfig",
    "JaxModel",
    "MuZeroConfig",
    "PlanetConfig",
    "PlannerConfig",
    "PythonModel",
    "Simulator",
    "__version__",
    "load",
    "make",
    "pack",
    "plan",
    "preset",
    "register_agent",
    "register_dynamics",
    "train",
    "train_seeds",
]


def __getattr__(name: str) -> Any:
    """Imports a public name from its home when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'armillary' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"armillary.{_HOMES[name]}"), name)
