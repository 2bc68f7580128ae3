"""Configurations as dictionaries, and what differs between two of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from armillary.config.settings import Config
from armillary.errors import UsageError, nearest


def to_dict(config: Config) -> dict[str, Any]:
    """Returns the configuration as nested dictionaries of plain values, ready for JSON."""
    return dataclasses.asdict(config)


T = TypeVar("T")


def from_dict(values: Mapping[str, Any], cls: type[T] = Config) -> T:  # type: ignore[assignment]
    """Returns the configuration that `to_dict` was given.

    Raises:
        UsageError: a field is unknown, or a value is not allowed.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = [name for name in values if name not in fields]
    if unknown:
        raise UsageError(
            f"unknown field {unknown[0]!r} of {cls.__name__}." + nearest(unknown[0], fields)
        )
    arguments = {}
    for name, value in values.items():
        factory = fields[name].default_factory
        nested = isinstance(value, Mapping) and dataclasses.is_dataclass(factory)
        arguments[name] = from_dict(value, factory) if nested else value  # type: ignore[arg-type]
    return cls(**arguments)


def changed(config: T, changes: Mapping[str, Any]) -> T:
    """Returns the configuration with some fields replaced.

    Args:
        config: a configuration, or a part of one.
        changes: new values by dotted name, `{"model.dynamics": "ssm"}` for instance.

    Raises:
        UsageError: there is no such field, or a value is not allowed.
    """
    names = {f.name for f in dataclasses.fields(config)}  # type: ignore[arg-type]
    parts: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        first, _, rest = name.partition(".")
        if first not in names:
            raise UsageError(
                f"unknown field {first!r} of {type(config).__name__}." + nearest(first, names)
            )
        if rest:
            inner.setdefault(first, {})[rest] = value
        else:
            parts[first] = value
    parts |= {name: changed(getattr(config, name), part) for name, part in inner.items()}
    return dataclasses.replace(config, **parts)  # type: ignore[type-var]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested dictionaries as one, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Returns the fields in which two configurations differ, as `{dotted name: (old, new)}`."""
    a, b = flatten(to_dict(old)), flatten(to_dict(new))
    return {name: (a.get(name), b.get(name)) for name in a | b if a.get(name) != b.get(name)}
