"""The options of a command: dataclasses whose fields are read by tyro and explained here.

A field that is itself a dataclass is a section: its options carry its name, and stand together. So
what is shown follows from what is there: an agent with other settings brings another section.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import shutil
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from armillary.cli import elsewhere
from armillary.cli.stdout import show
from armillary.config import keywords
from armillary.config.presets import known_game
from armillary.errors import UsageError

T = TypeVar("T")


def parse(
    kind: type[T],
    argv: Sequence[str],
    command: str,
    *,
    default: T | None = None,
    first: Sequence[str] = (),
) -> T:
    """Returns the options that a command was given, or shows them all and exits.

    Args:
        kind: a dataclass with a docstring for itself and for each field.
        argv: what was given.
        command: as it is typed, `armillary train`.
        default: what the options edit; None: the dataclass's own defaults.
        first: the options that `--help` shows, `planner.horizon` say; `--help-all` shows all.
            Empty: `--help` shows all.

    Raises:
        UsageError: an option has another name here.
    """
    if not {"-h", "--help", "--help-all"} & set(argv):
        known = _options(typing.get_origin(kind) or kind, default)
        elsewhere.refuse(argv, {option.name for option in known}, command)
        given: Any = {} if default is None else {"default": default}
        arguments: T = tyro.cli(kind, args=argv, prog=command, **given)
        return arguments
    kind = typing.get_origin(kind) or kind  # of a generic dataclass
    options = list(_options(kind, default))
    short = bool(first) and "--help-all" not in argv
    width = max(40, min(100, shutil.get_terminal_size().columns))
    body = _first(options, command, first, width) if short else _every(options, width)
    show("\n".join([*_head(kind, options, command, width), *body]))
    sys.exit(0)


def value_given(argv: Sequence[str], option: str) -> str | None:
    """Returns what was given for an option, before the options are parsed."""
    for i, argument in enumerate(argv):
        if argument == option and i + 1 < len(argv):
            return argv[i + 1]
        if argument.startswith(option + "="):
            return argument.partition("=")[2]
    return None


@dataclass(frozen=True)
class Option:
    """One option, ready to be shown."""

    name: str
    """Dotted, with hyphens: `planner.horizon`."""
    aliases: tuple[str, ...]
    value: str
    """What it takes: `INT`, `relu|elu`, or nothing for a switch."""
    default: str
    """What holds if it is not given; empty: its text says it."""
    text: str
    section: str
    """What its section is about; empty for options without one."""
    positional: bool = False

    @property
    def call(self) -> str:
        """How it is written on the command line."""
        if self.positional:
            return self.value
        names = ", ".join([*self.aliases, f"--{self.name}"])
        return f"{names} {self.value}".rstrip()

    def lines(self, width: int) -> list[str]:
        """Returns its call and its text in whole sentences, wrapped."""
        default = f" (default:\xa0{self.default})" if self.default else ""  # on one line
        text = textwrap.wrap(self.text + default, width - 6, break_on_hyphens=False)
        return [f"  {self.call}", *(" " * 6 + line.replace("\xa0", " ") for line in text)]


def is_game_of(argv: Sequence[str]) -> Callable[[str], bool]:
    """Returns what says whether a task that is named on the command line is a board game.

    A game of the user's own is imported and made, with the keyword arguments in `argv`.
    """

    def is_game(task: str) -> bool:
        if ":" not in task or "," in task:
            return known_game(task)
        from armillary.envs.games import is_game as of_any

        words = itertools.dropwhile(lambda word: word != "--environment.kwargs", argv)
        given = itertools.takewhile(lambda word: not word.startswith("--"), [*words][1:])
        try:
            kwargs = keywords.parse([*given])
        except ValueError as error:
            raise UsageError(f"--environment.kwargs: {error}") from error
        return of_any(task, kwargs)

    return is_game


def _first(options: list[Option], command: str, first: Sequence[str], width: int) -> Iterator[str]:
    """Yields the options that matter most, and how to see the others."""
    by_name = {option.name: option for option in options}
    yield "the options that matter most:"
    for name in first:
        if name in by_name:
            yield from ("", *by_name[name].lines(width))
    sections = dict.fromkeys(o.name.rpartition(".")[0] for o in options if "." in o.name)
    rest = f"`{command} --help-all` shows all {len(options)} options (of {', '.join(sections)})."
    yield from ("", *textwrap.wrap(rest, width))


def _every(options: list[Option], width: int) -> Iterator[str]:
    """Yields all options, each section below what it is about."""
    for name, section in itertools.groupby(options, lambda o: o.name.rpartition(".")[0]):
        members = list(section)
        about = f"{name}: {members[0].section}" if name else "options:"
        yield from (*([""] if name else []), *textwrap.wrap(about, width))
        for option in members:
            yield from ("", *option.lines(width))


def _head(kind: type, options: list[Option], command: str, width: int) -> list[str]:
    positional = "".join(f" {o.value}" for o in options if o.positional)
    lines = [f"usage: {command}{positional} [options]", ""]
    for paragraph in inspect.cleandoc(kind.__doc__ or "").split("\n\n"):
        lines += [*textwrap.wrap(" ".join(paragraph.split()), width), ""]
    return lines


def _options(
    kind: type, default: Any = None, prefix: str = "", section: str = ""
) -> Iterator[Option]:
    """Yields the options of a dataclass, those of its sections last."""
    hints, texts = typing.get_type_hints(kind, include_extras=True), _texts(kind)
    sections = []
    for field in dataclasses.fields(kind):
        value = _default(field) if default is None else getattr(default, field.name)
        marks: list[Any] = []
        hint = hints[field.name]
        if typing.get_origin(hint) is Annotated:
            hint, *marks = typing.get_args(hint)
        arg = next((mark for mark in marks if hasattr(mark, "aliases")), None)
        name = prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(value):
            about = inspect.cleandoc(type(value).__doc__ or "").split("\n\n")[0]
            inner = prefix if arg is not None and arg.name == "" else f"{name}."
            sections.append((type(value), value, inner, " ".join(about.split())))
            continue
        text = texts.get(field.name, "")
        positional = tyro.conf.Positional[int].__metadata__[0] in marks  # type: ignore[attr-defined]
        optional = positional and field.default is None
        yield Option(
            name,
            tuple(arg.aliases or ()) if arg is not None else (),
            f"[{field.name.upper()}]" if optional else _value(hint, field.name, positional, marks),
            "" if positional or "Default:" in text else _shown(value),
            text,
            section,
            positional,
        )
    for one in sections:
        yield from _options(*one)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _shown(value: Any) -> str:
    """Returns a default as it would be typed."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return str(value)


def _value(hint: Any, name: str, positional: bool = False, marks: Sequence[Any] = ()) -> str:
    """Returns what an option of this type takes, or what one of its marks says that it takes."""
    said = [mark.metavar for mark in marks if getattr(mark, "metavar", None)]
    if said:
        return str(said[0])
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if positional:
        many = any(typing.get_origin(h) is tuple for h in (hint, *arguments))
        return f"{name.rstrip('s').upper()}{' ...' if many else ''}"
    if origin in (typing.Union, types.UnionType):
        return "|".join(_value(h, name) for h in arguments if h is not type(None))
    if origin is Literal:
        return "|".join(map(str, arguments))
    if origin is tuple:
        return f"{_value(arguments[0], name)} ..."
    if hint is bool:
        return ""
    return {str: "TEXT", int: "INT", float: "FLOAT", Path: "PATH"}.get(hint, "VALUE")


def _texts(kind: type) -> dict[str, str]:
    """Returns the docstring below each field of a dataclass, in one line."""
    texts: dict[str, str] = {}
    for cls in reversed(kind.__mro__[:-1]):
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(body, ast.ClassDef)
        for statement, after in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                texts[statement.target.id] = " ".join(after.value.value.split())
    return texts
