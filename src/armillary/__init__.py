"""Learned world models for planning and control from pixels.

The names below are imported when they are used, so that `import armillary` is quick:

- `train(config, folder)`: trains an agent, or continues a run;
- `load(folder)`: a trained agent, ready to act;
- `plan(step, state, key, ...)`: the cross-entropy method on a dynamics function of one's own;
- `make(task)`: an environment as an agent sees it;
- `preset(name)`, `Config`: all settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from armillary.version import __version__

if TYPE_CHECKING:
    from armillary.config import Config, EnvironmentConfig, PlannerConfig, preset
    from armillary.envs.build import make
    from armillary.planners.rollout import plan
    from armillary.training.loop import train
    from armillary.training.player import load

_HOMES = {
    "Config": "config",
    "EnvironmentConfig": "config",
    "PlannerConfig": "config",
    "preset": "config",
    "make": "envs.build",
    "plan": "planners.rollout",
    "train": "training.loop",
    "load": "training.player",
}

__all__ = [
    "Config",
    "EnvironmentConfig",
    "PlannerConfig",
    "__version__",
    "load",
    "make",
    "plan",
    "preset",
    "train",
]


def __getattr__(name: str) -> Any:
    """Imports a public name from its home when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'armillary' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"armillary.{_HOMES[name]}"), name)
