"""A configuration as a run folder keeps it: the format, and what a run that goes on may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armillary.envs.catalogue import names
from armillary.errors import RunError
from armillary.version import __version__

FORMAT = 3
"""2: checkpoints keep the configuration, episodes their simulator steps. 3: whether there is a
discount head may be left open. The older ones are read, too."""
MAY_CHANGE = {
    "episodes",
    "preset",
    "wandb",
    "training.checkpoint_minutes",
    "training.devices",
    "environment.processes",
    "environment.step_timeout",
}
"""Fields that a continued run may change: they do not alter what is learned from what."""


def plain(content: Any, where: str) -> dict[str, Any]:
    """Returns the configuration that a `config.json` holds, as plain values of today.

    Args:
        content: of the file.
        where: it is, for messages.

    Raises:
        RunError: a newer version wrote it.
        KeyError, TypeError, AttributeError: it holds none.
    """
    version, values = content["format"], content["config"]
    if version > FORMAT:
        raise RunError(
            f"{where!r} was written by armillary {content.get('version')} (format {version}), "
            f"newer than this one ({__version__}, format {FORMAT}): upgrade armillary to use it"
        )
    if not isinstance(values, dict):
        raise TypeError("config is no dictionary")
    return values if version > 2 else of_today(values)


def of_today(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration of an older version as it is written today.

    No discount head was the default, and what is now left open comes to the same where it is not
    Dreamer's, or the tasks are the control suite's.
    """
    model, tasks = values.get("model"), str(values.get("task")).split(",")
    if not isinstance(model, Mapping) or model.get("discount_head") is not False:
        return dict(values)
    if values.get("agent") == "dreamer" and not set(tasks) <= set(names()):
        return dict(values)
    return {**values, "model": {**model, "discount_head": None}}


def fixed(changed: dict[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """Returns those of the differences that a run does not survive."""
    return {name: pair for name, pair in changed.items() if name not in MAY_CHANGE}


def lines(fields: dict[str, tuple[Any, Any]], old: str, new: str) -> str:
    """Returns a line for each field that differs: its name, and both values."""
    return "".join(f"\n  {name}: {a!r} {old}, {b!r} {new}" for name, (a, b) in fields.items())
