"""`armillary explore`: a page that looks into runs, in the browser."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from armillary.cli.options import parse
from armillary.cli.stdout import say, show
from armillary.errors import UsageError


@dataclass(frozen=True)
class Arguments:
    """Look into one run or several in the browser: curves, dreams, plans, latent spaces, games.

    The page is served on this machine alone, to whoever knows its address, until it is stopped
    with Ctrl-C. Runs are only read; they may be training.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Run folders, or packed agents (files, demo:NAME, hf:OWNER/NAME), which have no log and no
    episodes to show. Default: the run folders in `runs`, the newest first."""
    port: int | None = None
    """Port of the page. Default: a free one."""
    open: bool = False
    """Open the page in the browser of this machine."""
    trust: bool = False
    """Run the Python modules that the run folders name (docs/trust.md)."""


def run(argv: list[str]) -> int:
    """Serves the page until it is stopped."""
    arguments = parse(Arguments, argv, "armillary explore")
    if arguments.port is not None and not 0 < arguments.port < 65536:
        raise UsageError(f"port is {arguments.port}, but it must be from 1 to 65535")

    from armillary.explore.runs import shown

    runs = shown(arguments.runs, arguments.trust)

    from armillary.explore import warm
    from armillary.explore.library import Library
    from armillary.explore.server import serving
    from armillary.training.signals import Stopped, stop_request

    library = Library(runs)
    with stop_request() as stop, serving(library, arguments.port) as page:
        show(page.address)
        warm.begin(library)
        say(f"{len(runs)} run{'s' * (len(runs) != 1)}; open the address, stop with Ctrl-C")
        if arguments.open:
            import webbrowser

            webbrowser.open(page.address)
        try:
            while page.alive:
                stop.check()
                time.sleep(0.2)
        except Stopped:
            return 0
    raise UsageError("the server has ended by itself: start it again")
