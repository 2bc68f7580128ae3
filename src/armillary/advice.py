"""The commands that messages advise, as they fit the way in which this process was started."""

from __future__ import annotations

import importlib.util
import os
import shlex


def command(*words: object) -> str:
    """Returns a command line of `armillary`, for a shell: `uv run armillary plot 'my run'`."""
    prefix = ["uv", "run"] if _under_uv() else []
    return shlex.join([*prefix, "armillary", *map(str, words)])


def install(*arguments: str) -> str:
    """Returns the command that installs packages here, where there may be no pip.

    Args:
        arguments: packages with their versions, and pip's options, which uv has too.
    """
    without_pip = _under_uv() or importlib.util.find_spec("pip") is None
    quoted = " ".join(f'"{a}"' if set(a) & set("<>[]!;* ") else a for a in arguments)
    return f"{'uv pip' if without_pip else 'pip'} install {quoted}"


def fitted(advice: str) -> str:
    """Returns what another package advises, with its `pip install` as it fits here."""
    return advice.replace("pip install", install().rstrip())


def tool(name: str, *words: object) -> str:
    """Returns the command line of another package's program, which may be missing here."""
    line = shlex.join([name, *map(str, words)])
    return f"uv run --with {name} {line}" if _under_uv() else f"{line}    # {install(name)}"


def extra(name: str) -> str:
    """Returns the command that adds one of this package's own extras, `cuda` or `wandb`."""
    if _under_uv():
        return f"uv run --extra {name} armillary ..."
    return install(f"armillary[{name}]")


def _under_uv() -> bool:
    """Whether `uv run` started this process."""
    return "UV" in os.environ
