"""What a task's name stands for: the code it names, what is checked of it, and whose it may be.

`docs/trust.md` says what this protects from, and what it cannot.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium

from armillary.config import EnvironmentConfig
from armillary.envs.guard import failures
from armillary.errors import UsageError, nearest

TRUSTED = "ARMILLARY_TRUST"
"""Environment variable with the modules, commas between them, that may be run for any folder."""

_CYTHON = "cython_function_or_method"
_RUN = re.compile(rb'"(format|config)"\s*:')


def needing_trust(tasks: Iterable[str], config: EnvironmentConfig) -> list[str]:
    """Returns which tasks of a run folder run more than the code of installed environments.

    Those of the modules in the user's `ARMILLARY_TRUST` are left out.
    """
    asked = [task for task in tasks if ":" in task or config.kwargs]
    return [task for task in asked if not is_trusted(task.partition(":")[0])]


def is_trusted(module: str) -> bool:
    """Whether the user's `ARMILLARY_TRUST` names the module, or a package that it is in."""
    known = [name.strip() for name in os.environ.get(TRUSTED, "").split(",") if name.strip()]
    return any(module == name or module.startswith(f"{name}.") for name in known)


def check_trust(tasks: Iterable[str], config: EnvironmentConfig, folder: str | Path) -> None:
    """Makes sure that the tasks of a run folder run no code but that of installed environments.

    Raises:
        UsageError: they would.
    """
    for task in needing_trust(tasks, config):
        module, colon, _ = task.partition(":")
        what = f"imports the Python module {module!r}" if colon else "uses keyword arguments"
        raise UsageError(
            f"the run in {str(folder)!r} is of the task {task!r}: to play it {what} that the "
            "folder names, which may do anything on this machine. If you trust the folder, add "
            f"--trust, or name the task yourself, --task {task} (in Python load(folder, "
            f"trust=True)); {TRUSTED}={module} in the environment trusts a module of yours for good"
        )


def is_id(task: str) -> bool:
    """Whether the name is written as an id of `gymnasium.make`, `module:id` included."""
    _, colon, name = task.rpartition(":")
    return not colon or "/" in name or re.search(r"-v\d+$", name) is not None


def is_rules(kind: Any) -> bool:
    """Whether a class is one of pgx: the rules of a board game. Imports nothing."""
    pgx = sys.modules.get("pgx")
    return pgx is not None and inspect.isclass(kind) and issubclass(kind, pgx.Env)


def load(task: str, module: ModuleType) -> Callable[..., Any] | None:
    """Returns the callable that `module:callable` names; None: the module registered such an id.

    Raises:
        UsageError: there is none, or it cannot be one that makes an environment.
    """
    name, _, attribute = task.partition(":")
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            if attribute in gymnasium.registry:
                return None
            raise UsageError(
                f"the task {task!r}: there is no {part!r} in {name!r}."
                + nearest(part, [n for n in dir(found) if not n.startswith("_")])
            )
        found = getattr(found, part)
    check_makes(found, task)
    return found


def check_makes(found: Any, task: str) -> None:
    """Makes sure, as far as it can be seen from outside, that a call would make an environment.

    Raises:
        UsageError: it is not callable, a class of something else, or a function that is not
            written in Python or belongs to the standard library.
    """
    if not callable(found):
        raise UsageError(f"the task {task!r} is not callable, expected a function or a class")
    inner = found
    while isinstance(inner, functools.partial):
        inner = inner.func
    if inspect.isclass(inner):
        if not (issubclass(inner, gymnasium.Env) or is_rules(inner)):
            raise UsageError(
                f"the task {task!r} is the class {inner.__module__}.{inner.__qualname__}, expected "
                "one that derives from gymnasium.Env (or pgx.Env: the rules of a board game), or a "
                "function that returns an environment"
            )
        return
    inner = inspect.unwrap(inner)
    if not inspect.isroutine(inner):  # an object with a `__call__`
        inner = type(inner).__call__
    function = getattr(inner, "__func__", inner)
    home = str(getattr(function, "__module__", None))
    python = inspect.isfunction(function) or type(function).__name__ == _CYTHON
    if not python or _is_standard(home):
        raise UsageError(
            f"the task {task!r} is {home}.{getattr(function, '__qualname__', function)}, which "
            "makes no environment: expected a function written in Python that returns one, or a "
            "class that derives from gymnasium.Env"
        )


def call(create: Callable[..., Any], name: str, arguments: Mapping[str, Any]) -> Any:
    """Returns what a task's callable makes.

    Raises:
        UsageError: it does not take these keyword arguments.
    """
    try:
        inspect.signature(create).bind(**arguments)
    except ValueError:  # it does not tell what it takes
        pass
    except TypeError as error:
        raise UsageError(
            f"{name} cannot be made with the keyword arguments {dict(arguments)}: {error}; "
            "--environment.kwargs gives them"
        ) from error
    return create(**arguments)


def import_module(task: str, what: str = "task") -> ModuleType:
    """Imports the module that a task names; the working folder is searched too.

    Args:
        task: `module:name`.
        what: what it is called in messages: the same holds for other code that is named so.

    Raises:
        UsageError: there is none, it lies in a run folder, or is the standard library's.
        EnvironmentFailure: it raised.
    """
    module = task.partition(":")[0]
    if not all(module.split(".")):
        expected = "module:callable, or an id" if what == "task" else "module:Class"
        raise UsageError(f"the {what} {task!r} names no module: expected {expected}")
    if _is_standard(module):
        raise UsageError(
            f"the {what} {task!r} names {module!r} of Python's standard library, which has no "
            + ("environments" if what == "task" else f"{what}")
        )
    with suppress(OSError):  # a working folder that was deleted
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
    for place in _places(module):
        run = next((p for p in (place, *place.parents) if _is_run(p)), None)
        if run is not None:
            raise UsageError(
                f"the {what} {task!r} names a module that lies in the run folder {str(run)!r}: a "
                "folder of results is no place for code, so it is not run; if it is yours, move it "
                "elsewhere"
            )
    with failures(lambda: f"importing {module!r} for the {what} {task!r} raised"):
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise UsageError(
                f"the {what} {task!r} names the module {module!r}, but {error}; start in the "
                "folder that holds it, or install it"
            ) from error


def _places(module: str) -> Iterator[Path]:
    """Yields the files and folders that importing a module would use; imports nothing."""
    path = None
    parts = module.split(".")
    for i in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: i + 1]), path)
        if spec is None:
            return
        locations = list(spec.submodule_search_locations or ())
        for place in (spec.origin, *locations):
            if place and os.path.exists(place):
                yield Path(place).absolute()
                yield Path(place).resolve()
        path = locations


def _is_run(folder: Path) -> bool:
    """Whether this is a run folder; `config.json` need not be sound."""
    try:
        with open(folder / "config.json", "rb") as file:
            return len(set(_RUN.findall(file.read(1 << 20)))) == 2
    except OSError:
        return (folder / "config.json").exists()


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names
