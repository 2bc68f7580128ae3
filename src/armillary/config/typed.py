"""A configuration as it would be typed: the command line that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from armillary.config import keywords
from armillary.config.fields import differences
from armillary.config.presets import IsGame, known_game, preset
from armillary.config.settings import Config

_KWARGS = "environment.kwargs"


def options(config: Config, is_game: IsGame = known_game) -> list[str]:
    """Returns the options of `armillary train` that make this configuration.

    Args:
        config: any, of an agent that is known.
        is_game: as in `preset`.

    Raises:
        UsageError: its agent has no preset of that name.
    """
    base = replace(preset(config.preset, config.agent, config.task, is_game), preset=config.preset)
    bare = replace(base, environment=replace(base.environment, kwargs={}))
    changed = differences(bare, replace(config, environment=replace(config.environment, kwargs={})))
    typed: dict[str, Any] = {"agent": config.agent, "task": config.task}
    if config.preset != "small":  # what `train` takes where none is named
        typed["preset"] = config.preset
    typed |= {name: new for name, (_, new) in changed.items() if name not in typed}
    if config.environment.kwargs != base.environment.kwargs:
        typed[_KWARGS] = config.environment.kwargs
    return [text for name, value in typed.items() for text in _option(name, value)]


def _option(name: str, value: Any) -> list[str]:
    """Returns what is typed for a value; on and off are said by the option's name alone."""
    section, _, last = name.replace("_", "-").rpartition(".")
    prefix = f"--{section}." if section else "--"
    if isinstance(value, bool):
        return [f"{prefix}{'' if value else 'no-'}{last}"]
    if isinstance(value, Mapping):
        return [prefix + last, *keywords.shown(value)]
    return [prefix + last, *map(str, value if isinstance(value, tuple | list) else [value])]
