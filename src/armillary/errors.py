"""The errors that this library raises on purpose.

Each message says what was wrong, what was expected and what to do next. The command line prints
the message alone and ends with `exit_code`; `--debug` adds the traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ArmillaryError(Exception):
    """Base of all: something could not be done."""

    exit_code = 1


class UsageError(ArmillaryError, ValueError):
    """The request itself is wrong: a name, a value or a combination of them."""

    exit_code = 2


class RunError(ArmillaryError):
    """A run folder is missing, damaged, newer than this version or of another configuration."""


class RenderingError(ArmillaryError):
    """No rendering back end works here, or the one asked for does not."""


class EnvironmentFailure(ArmillaryError):
    """An environment raised, or returned something that it did not promise."""


class EncodingError(ArmillaryError):
    """A video could not be encoded: there is no encoder here, or it failed.

    Attributes:
        advice: what to do next, the second half of the message.
    """

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}: {advice}")
        self.what, self.advice = what, advice


class NumericalError(ArmillaryError):
    """A loss became NaN or infinite."""


class StorageError(ArmillaryError):
    """Something could not be written: no space, no permission, a vanished folder."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Returns ` Did you mean …?` naming the known names nearest to `name`, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=count, cutoff=0.4)
    return f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
