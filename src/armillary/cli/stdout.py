"""Standard output for a command's own results and for nothing else."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO


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
