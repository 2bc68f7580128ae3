"""Memory of a command and of all processes that it starts, minute by minute: is it flat?

    uv run python benchmarks/memory.py --minutes 60 armillary train --agent dreamer --episodes 250

Prints a line a minute and, at the end, by how much the memory grew in an hour: a straight line
through all minutes from the eleventh on, when everything has been compiled. After so many minutes
(without `--minutes`: when it is done) the command is interrupted, which a run outlives.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import time

import numpy as np
import psutil

BEGINNING = 10
"""Minutes that are left out of the line."""

PATIENCE = 120
"""Seconds that the command may take to end."""


def main() -> None:
    """Watches one command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what is watched")
    arguments = parser.parse_args()
    if not arguments.command:
        parser.error("no command: give the one that is to be watched, behind the options")
    command = subprocess.Popen(arguments.command, stdout=subprocess.DEVNULL)
    began = time.monotonic()
    memory: list[float] = []
    while len(memory) < arguments.minutes:
        try:
            command.wait(began + 60 * (len(memory) + 1) - time.monotonic())
            break
        except subprocess.TimeoutExpired:
            memory.append(resident(command.pid))
            print(f"minute {len(memory)}: {memory[-1]:,.0f} MB", flush=True)
    if command.poll() is None:
        command.send_signal(signal.SIGINT)
        command.wait(PATIENCE)
    print(f"ended with {command.returncode} after {(time.monotonic() - began) / 60:.1f} minutes")
    later = np.array(memory[BEGINNING:])
    if len(later) > 1:
        slope, _ = np.polyfit(np.arange(len(later)), later, 1)
        print(
            f"from minute {BEGINNING + 1} on: {later.mean():,.0f} MB on average, at most "
            f"{later.max():,.0f}, {60 * slope:+,.0f} MB an hour"
        )


def resident(pid: int) -> float:
    """Returns the resident memory of a process and of its children in MB."""
    total = 0
    parent = psutil.Process(pid)
    for process in (parent, *parent.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:  # it ended meanwhile
            continue
    return total / 1e6


if __name__ == "__main__":
    main()
