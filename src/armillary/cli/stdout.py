"""Standard output for a command's own results, standard error for what is said on the way.

What cannot be written is an error there and nothing here: a command writes its files first, then
shows its results, and what it says on the way ends nothing.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from armillary.errors import StorageError

_PLAIN = {"±": "+/-", "·": "-", "…": "...", "→": "->", "×": "x", "²": "^2"}
"""What stands for a character that a terminal cannot show; for any other a question mark."""


def prepare() -> None:
    """Lets the standard streams write any text: in an ASCII terminal with `_PLAIN` characters."""
    codecs.register_error("armillary", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="armillary")


def show(text: str = "", out: TextIO | None = None, end: str = "\n") -> None:
    """Writes a line of results, at once, with all that was held back before it.

    Args:
        text: one line or several.
        out: what `own_stdout` gave; None: standard output.
        end: what follows it.

    Raises:
        StorageError: it cannot be written.
        BrokenPipeError: its reader has gone, which is no fault.
    """
    try:
        print(text, file=out, end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        discard(out or sys.stdout)
        raise StorageError(
            f"the results could not be written to standard output ({error.strerror}); what was to "
            "be done is done, and its files are written: give the output another place"
        ) from error


def say(text: str) -> None:
    """Writes a line to standard error, at once; where that is impossible nobody is told."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO | None) -> None:
    """Lets a stream that cannot be written lead nowhere, so that nothing fails on it again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[union-attr]


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replaces characters that an encoding lacks; bytes of a file's name stay as they are."""
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    if 0xDC80 <= ord(character) <= 0xDCFF:
        return bytes([ord(character) - 0xDC00]), error.start + 1
    return _PLAIN.get(character, "?"), error.start + 1


@contextlib.contextmanager
def own_stdout() -> Iterator[TextIO]:
    """Gives the file for a command's results; what anything else prints goes to standard error.

    That is what environments, their libraries (of any language) and processes write to
    `sys.stdout` or to file descriptor 1. Some write when the interpreter ends, so descriptor 1 is
    not given back. Where `sys.stdout` is not the process's own, as in a test that captures it, only
    Python's prints are kept away, and only in the block.
    """
    out = sys.stdout
    if sys.__stdout__ is None or out is not sys.__stdout__:
        with contextlib.redirect_stdout(sys.stderr):
            yield out
        return
    out.flush()
    with open(os.dup(1), "w", encoding=out.encoding, errors=out.errors) as file:
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        yield file
