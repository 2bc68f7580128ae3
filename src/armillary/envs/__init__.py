"""Environments: every one a Gymnasium environment that an agent sees as images.

`make` builds one from a task's name, `side_by_side` several; `tasks` lists the control suite's,
and `rendering` says what can draw them here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from armillary.envs.catalogue import DREAMER, PLANET, Task, action_repeat, tasks

if TYPE_CHECKING:
    from armillary.envs.build import make
    from armillary.envs.parallel import side_by_side
    from armillary.envs.suite import ControlSuite

__all__ = [
    "DREAMER",
    "PLANET",
    "ControlSuite",
    "Task",
    "action_repeat",
    "make",
    "side_by_side",
    "tasks",
]

_LAZY = {"make": "build", "side_by_side": "parallel", "ControlSuite": "suite"}


def __getattr__(name: str) -> Any:
    """Imports what is heavy only when it is used."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
