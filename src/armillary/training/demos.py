"""Small trained agents that come with the package, each packed in a file."""

from __future__ import annotations

from pathlib import Path

import armillary
from armillary.errors import UsageError, nearest
from armillary.training.packed import DEMO, SUFFIX

FOLDER = Path(armillary.__file__).parent / "demos"


def names() -> list[str]:
    """Returns the names of the demos, those of the control suite first."""
    found = sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))
    return sorted(found, key=lambda name: "_" in name)


def path(name: str) -> Path:
    """Returns the file of a demo.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in names():
        raise UsageError(
            f"there is no demo {name!r}, expected one of "
            f"{', '.join(DEMO + known for known in names())}.{nearest(name, names())}"
        )
    return FOLDER / f"{name}{SUFFIX}"
