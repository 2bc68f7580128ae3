"""Keyword arguments of an environment: as plain values, and as the command line gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

from armillary.errors import UsageError


def parse(texts: list[str]) -> dict[str, Any]:
    """Returns the keywords in `name=value` texts or in one JSON object.

    Raises:
        ValueError: they are neither.
    """
    if len(texts) == 1 and texts[0].lstrip().startswith("{"):
        try:
            found = json.loads(texts[0])
        except ValueError as error:
            raise ValueError(f"{texts[0]} is not a JSON object: {error}") from error
        return found
    pairs = [text.partition("=") for text in texts]
    wrong = [name for name, sign, _ in pairs if not sign or not name.isidentifier()]
    if wrong:
        raise ValueError(f"{wrong[0]!r}: expected name=value, or one JSON object")
    return {name: _value(text) for name, _, text in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def shown(keywords: Mapping[str, Any]) -> list[str]:
    """Returns what `parse` makes the keywords of."""
    return [json.dumps(dict(keywords))] if keywords else []


def checked(keywords: Any) -> dict[str, Any]:
    """Returns the keywords as plain values that JSON keeps as they are.

    Raises:
        UsageError: they are not, so a run could not be made again from its folder.
    """
    if not isinstance(keywords, Mapping) or not all(
        isinstance(name, str) and name.isidentifier() for name in keywords
    ):
        raise UsageError(f"kwargs is {keywords!r}, expected a dictionary of keyword arguments")
    try:
        kept = json.loads(json.dumps(dict(keywords), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"kwargs is {keywords!r}, which JSON cannot hold ({error}): give numbers, texts, "
            "lists and dictionaries of them, or write a function that makes the environment"
        ) from error
    return kept


Keywords = Annotated[
    Mapping[str, Any],
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="NAME=VALUE|JSON",
        instance_from_str=parse,
        is_instance=lambda value: isinstance(value, Mapping),
        str_from_instance=shown,
    ),
]
