"""Several processes that share the work of a study."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from typing import Any

from armillary.errors import ArmillaryError
from armillary.training.signals import Stopped, stop_request

Check = Callable[[], None]


class WorkerError(ArmillaryError):
    """A worker failed; the message is its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def share(
    work: Callable[..., None],
    arguments: tuple[Any, ...],
    count: int,
    *,
    watch: Callable[[], None],
    seconds: float = 1.0,
) -> None:
    """Runs the same work in several new processes until all of them are done.

    The processes divide the work between them by locks on what they do; so may two calls of this.
    At SIGINT or SIGTERM, or when one fails, the others are asked to stop, and waited for.

    Args:
        work: `work(*arguments, number, check)`, at the top level of a module; `number` counts the
            processes from 0; it calls `check()` often, which raises when it should stop.
        arguments: what it gets; they are pickled.
        count: how many processes.
        watch: is called about once in `seconds` meanwhile.
        seconds: as said.

    Raises:
        Stopped: by a signal; what was done is kept.
        WorkerError: a process failed or was killed; what was done is kept.
    """
    context = multiprocessing.get_context("spawn")
    failures: SimpleQueue[tuple[str, int]] = context.SimpleQueue()
    processes = [
        context.Process(target=_work, args=(work, (*arguments, number), os.getpid(), failures))
        for number in range(count)
    ]
    try:
        with stop_request() as stop:
            for process in processes:
                process.start()
            while any(process.is_alive() for process in processes):
                next(p for p in processes if p.is_alive()).join(seconds)
                watch()
                stop.check()
                if any(process.exitcode for process in processes):
                    break
    finally:
        codes = [process.exitcode for process in processes if process.exitcode]  # before ours
        for process in processes:
            if process.pid is not None and process.is_alive():
                process.terminate()
        for process in processes:
            if process.pid is not None:
                process.join()
    if not failures.empty():
        raise WorkerError(*failures.get())
    if codes:
        why = {
            -9: "it was killed, for want of memory perhaps",
            1: "in a script of your own, start the work below `if __name__ == '__main__':`",
        }.get(codes[0], "see what it printed above")
        raise WorkerError(
            f"a worker died with exit code {codes[0]} ({why}); what was done is kept: run the same "
            "command again to continue",
            1,
        )


def _work(
    work: Callable[..., None],
    arguments: tuple[Any, ...],
    parent: int,
    failures: SimpleQueue[tuple[str, int]],
) -> None:
    """The body of a worker: stops at a signal, or when its parent is gone."""
    with stop_request() as stop:

        def check() -> None:
            stop.check()
            if os.getppid() != parent:
                raise Stopped(15)

        try:
            work(*arguments, check)
        except Stopped as stopped:
            os._exit(stopped.exit_code)
        except Exception as error:
            code = error.exit_code if isinstance(error, ArmillaryError) else 1
            what = "" if isinstance(error, ArmillaryError) else f"{type(error).__name__}: "
            failures.put((f"{what}{error}", code))
            raise SystemExit(code) from error
