"""Configurations as dictionaries, and what differs between two of them."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from armillary.config.presets import CONFIGS
from armillary.config.settings import Config
from armillary.errors import UsageError, nearest


def to_dict(config: Config) -> dict[str, Any]:
    """Returns the configuration as nested dictionaries of plain values, ready for JSON."""
    return dataclasses.asdict(config)


T = TypeVar("T")


def from_dict(values: Mapping[str, Any]) -> Config:
    """Returns the configuration that `to_dict` was given, of the class of its agent.

    Raises:
        UsageError: the agent or a field is unknown, or a value is not allowed.
    """
    agent = values.get("agent", "planet")
    if not isinstance(agent, str) or agent not in CONFIGS:
        raise UsageError(
            f"agent is {agent!r}, expected one of {', '.join(CONFIGS)}."
            + nearest(str(agent), CONFIGS)
        )
    return _from_dict(values, CONFIGS[agent])


def _from_dict(values: Mapping[str, Any], cls: type[T]) -> T:
    """Returns a section of the configuration.

    Raises:
        UsageError: a field is unknown, or a value is of another type or not allowed.
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
        arguments[name] = _from_dict(value, factory) if nested else value  # type: ignore[arg-type]
    check_types(cls, arguments)
    return cls(**arguments)


def check_types(cls: type, values: Mapping[str, Any]) -> None:
    """Makes sure that values are such as the fields of a dataclass are declared to hold.

    Raises:
        UsageError: one is not; says which, and what is expected.
    """
    for name, hint in _hints(cls).items():
        if name in values and not _fits(values[name], hint):
            raise UsageError(
                f"{name} of {cls.__name__} is {values[name]!r}, expected {_describe(hint)}"
            )


def check_config(config: Any) -> None:
    """Makes sure, of a configuration made in Python, that every value is of its field's type.

    Raises:
        UsageError: one is not.
    """
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    check_types(type(config), values)
    for value in values.values():
        if dataclasses.is_dataclass(value):
            check_config(value)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _fits(value: Any, hint: Any) -> bool:
    """Says whether a value is of a type, as far as settings and JSON use types."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return isinstance(value, str | int) and value in parts
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple:  # of any length; JSON has lists instead
        return isinstance(value, tuple | list) and all(_fits(item, parts[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, parts[1]) for item in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return hint is Any or not isinstance(hint, type) or isinstance(value, hint)


def _describe(hint: Any) -> str:
    """Returns a type as it is said: `int or None`, `'step' or 'batch'`."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_describe, parts))
    if hint is types.NoneType:
        return "None"
    if origin is None and dataclasses.is_dataclass(hint):
        return "a dictionary of its fields"
    return hint.__name__ if isinstance(hint, type) and not parts else str(hint)


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
    check_types(type(config), parts)
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
