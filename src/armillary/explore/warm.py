"""A first look before anybody asks: while the browser opens, the programs are compiled."""

from __future__ import annotations

import threading

from armillary.errors import ArmillaryError
from armillary.explore.dream import Dream
from armillary.explore.library import Library
from armillary.explore.table import Table


def begin(library: Library, number: int = 0) -> None:
    """Loads the agent of a run and compiles what its first view needs, on a thread of its own.

    Who opens that view meanwhile waits for it instead of compiling the same again. So does Python
    when it ends: a thread in the compiler cannot be left there.

    Args:
        library: the runs.
        number: of the run.
    """
    thread = threading.Thread(target=_look, args=(library, number), name="warm")
    library.warming = thread
    thread.start()


def _look(library: Library, number: int) -> None:
    try:
        loaded = library.load(number)
        if loaded.player.agent.spec.players > 1:
            Table(loaded).hint()
            return
        dream = Dream(loaded)
        try:
            dream.view()
            dream.step({"by": "agent"}, None)
        finally:
            dream.close()
    except ArmillaryError:
        return  # the view says so when it is opened
