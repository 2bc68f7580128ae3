"""`armillary`: finds the command, and turns errors into one clear sentence and an exit code."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence

from armillary.cli.stdout import discard, prepare, say, show
from armillary.errors import ArmillaryError, UsageError, nearest
from armillary.training.signals import whole_command
from armillary.version import __version__
from armillary.waiting import Ended

COMMANDS = {
    "train": "train an agent on a task, or continue a run",
    "evaluate": "score an agent over noise-free episodes",
    "video": "write a video of an agent, or of its model's predictions beside the truth",
    "explore": "look into runs in the browser: curves, dreams, plans, latent spaces, games",
    "play": "play a board game against an agent, in the terminal or from another program",
    "tree": "draw the tree of one search of an agent, or print it as JSON",
    "arena": "let an agent of a board game play against another one, or stockfish or gnugo",
    "demo": "show one of the small agents that come with the package",
    "pack": "pack a trained agent into one small file, to be given away",
    "push": "put a packed agent onto the Hugging Face Hub",
    "pull": "fetch a packed agent from the Hugging Face Hub",
    "distill": "fit a policy to what a planning agent chooses, to act at a fraction of the cost",
    "export": "write an agent as ONNX, as StableHLO, or as a page that dreams in a browser",
    "plot": "draw learning curves of one or several runs",
    "study": "run what a figure of the papers needs, and draw it",
    "sweep": "try values of some settings, and find those with the best scores",
    "tasks": "list the tasks: the control suite, board games, Atari",
    "doctor": "say what this machine can do, and what to mend",
    "bench": "measure an update, a plan, rendering and the environment on this machine",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits.

    Exit codes: 0, done; 1, it failed; 2, it was asked for wrongly; 130 and 143, stopped by SIGINT
    and SIGTERM.
    """
    with whole_command():
        sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(argv: list[str]) -> int:
    """Runs a command; returns the exit code, after the one sentence that an error is worth."""
    debug = "--debug" in argv
    argv = [argument for argument in argv if argument != "--debug"]
    prepare()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        code = _dispatch(argv)
        show(end="")
        return code
    except ArmillaryError as error:
        _fail(str(error), debug)
        return error.exit_code
    except Ended as ended:
        _fail(str(ended), debug)
        return ended.error.exit_code
    except KeyboardInterrupt:
        _fail("interrupted", debug)
        return 130
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        discard(sys.stdout)
        return 0
    except Exception as error:
        # Not foreseen: say so in one line too, and how to see more.
        _fail(_no_device(error) or _unexpected(error), debug)
        return 1


def _unexpected(error: Exception) -> str:
    text = f": {error}" if str(error) else ""
    return f"unexpected {type(error).__name__}{text} (--debug shows where)"


def _no_device(error: Exception) -> str | None:
    """Returns what to say where JAX does not find the device that it was told to use.

    Its errors differ, and one of them is empty; they come from the same module.
    """
    platforms = os.environ.get("JAX_PLATFORMS")
    frames = [
        frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    ours = "jax._src.xla_bridge" in frames[-3:] or "Unable to initialize backend" in str(error)
    if not platforms or not ours:
        return None
    text = f" ({error})" if str(error) else ""
    return (
        f"JAX cannot use what JAX_PLATFORMS={platforms} asks for{text}: unset it to use what there "
        "is, or install JAX for that device (for an NVIDIA GPU the extra `cuda`)"
    )


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
    _check_working_folder()
    command = importlib.import_module(f"armillary.cli.{name}")
    return command.run(rest) or 0


def _check_working_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError(
            "the folder in which this was started is not there any more (or cannot be read): go to "
            "one that is, `cd ~` for instance, and run the command again"
        ) from error


def _help() -> str:
    rows = "\n".join(f"  {name:<10} {what}" for name, what in COMMANDS.items())
    return (
        f"armillary {__version__}: learned world models for planning and control from pixels\n\n"
        f"usage: armillary COMMAND [options]\n\n{rows}\n\n"
        "`armillary COMMAND --help` shows its options; `--debug` adds tracebacks to errors."
    )


def _fail(message: str, debug: bool) -> None:
    say(f"{traceback.format_exc() if debug else ''}armillary: {message}")
