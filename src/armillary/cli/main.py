"""`armillary`: finds the command, and turns errors into one clear sentence and an exit code."""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from collections.abc import Sequence

from armillary.cli.stdout import discard, prepare, say, show
from armillary.errors import ArmillaryError, UsageError, nearest
from armillary.version import __version__

COMMANDS = {
    "train": "train an agent on a task, or continue a run",
    "evaluate": "score an agent over noise-free episodes",
    "video": "write a video of an agent, or of its model's predictions beside the truth",
    "plot": "draw learning curves of one or several runs",
    "study": "run what a figure of the papers needs, and draw it",
    "tasks": "list the tasks of the control suite",
    "doctor": "say what this machine can do, and what to mend",
    "bench": "measure an update, a plan, rendering and the environment on this machine",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits.

    Exit codes: 0, done; 1, it failed; 2, it was asked for wrongly; 130 and 143, stopped by SIGINT
    and SIGTERM.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in argv
    argv = [argument for argument in argv if argument != "--debug"]
    prepare()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        code = _dispatch(argv)
        show(end="")
        sys.exit(code)
    except ArmillaryError as error:
        _fail(str(error), debug)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", debug)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        discard(sys.stdout)
        sys.exit(0)
    except Exception as error:
        # Not foreseen: say so in one line too, and how to see more.
        _fail(f"unexpected {type(error).__name__}: {error} (--debug shows where)", debug)
        sys.exit(1)


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        show(_help())
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        show(f"armillary {__version__}")
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        raise UsageError(
            f"unknown command {name!r}, expected one of {', '.join(COMMANDS)}."
            + nearest(name, COMMANDS)
        )
    command = importlib.import_module(f"armillary.cli.{name}")
    return command.run(rest) or 0


def _help() -> str:
    rows = "\n".join(f"  {name:<10} {what}" for name, what in COMMANDS.items())
    return (
        f"armillary {__version__}: learned world models for planning and control from pixels\n\n"
        f"usage: armillary COMMAND [options]\n\n{rows}\n\n"
        "`armillary COMMAND --help` shows its options; `--debug` adds tracebacks to errors."
    )


def _fail(message: str, debug: bool) -> None:
    say(f"{traceback.format_exc() if debug else ''}armillary: {message}")
