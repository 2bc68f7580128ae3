"""The page of `armillary explore`: seconds until it dreams, and its memory while it goes on.

    PYTHONPATH=tests uv run --extra explore python benchmarks/explore.py RUN
    PYTHONPATH=tests uv run --extra explore python benchmarks/explore.py RUN --soak 60

Starts the command twice with an empty folder for compiled programs, then tells how long each start
took to the page's address, to a simulator and a dream side by side, and to their next frame. With
`--soak` a tab then goes on dreaming for so many minutes, at a reader's pace, and its socket breaks
without a word at random moments: the server's memory, minute by minute, is to stay where it was.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

import numpy as np

from armillary.machine.bench import matrix_rates
from tabs import Tab

FRAMES = 10.0
"""Frames a second that a reader looks at."""

LASTING = 500
"""Steps after which the dream begins again, with another seed."""


def main() -> None:
    """Measures the starts, and the memory if it is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a run folder, a packed agent, or demo:NAME")
    parser.add_argument("--soak", type=float, default=0.0, help="minutes")
    parser.add_argument("--seed", type=int, default=0, help="of when the socket breaks")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        for start in ("first", "second"):
            server, address, seconds = started(arguments.run, cache)
            print(f"{start} start: {seconds}; {resident(server.pid):,.0f} MB", flush=True)
            if start == "second" and arguments.soak:
                soak(server, address, arguments.soak, random.Random(arguments.seed))
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 0
    rate = matrix_rates(("float32",), (1024, 2048), 5)["float32"]
    print(f"matrix rate afterwards: {rate / 1e9:.0f} GFLOP/s; load {os.getloadavg()[0]:.1f}")


def started(run: str, cache: str) -> tuple[subprocess.Popen[str], str, str]:
    """Starts the page; returns its process and address, and what it took, in words."""
    environment = {
        name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"
    }
    began = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "armillary", "explore", run],
        stdout=subprocess.PIPE,
        text=True,
        env=environment | {"ARMILLARY_CACHE": cache},
    )
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    times = {"address": time.perf_counter() - began}
    tab = Tab(address)
    values, images = tab.ask("dream.open", run=0)
    assert "error" not in values, values
    assert {"truth", "dream"} <= set(images), set(images)
    times["dream"] = time.perf_counter() - began
    tab.ask("dream.step", driver={"by": "agent"})
    times["next frame"] = time.perf_counter() - began
    pace = []
    for _ in range(50):
        before = time.perf_counter()
        tab.ask("dream.step", driver={"by": "agent"})
        pace.append(time.perf_counter() - before)
    tab.close()
    told = ", ".join(f"{name} after {value:.1f} s" for name, value in times.items())
    return server, address, f"{told}; then {1 / float(np.median(pace)):.0f} frames/s"


def soak(
    server: subprocess.Popen[str], address: str, minutes: float, random_: random.Random
) -> None:
    """Dreams, drops the socket now and then, and prints the server's memory each minute."""
    began = last = time.monotonic()
    tab, steps, drops, lost, seed = Tab(address), 0, 0, 0, 0
    tab.ask("dream.open", run=0, seed=seed)
    found = []
    while (now := time.monotonic()) - began < 60 * minutes:
        values, _ = tab.ask("dream.step", driver={"by": "agent"})
        steps += 1
        if "error" in values or steps % LASTING == 0:
            seed += 1
            tab.ask("dream.open", run=0, seed=seed)
        if random_.random() < 0.005:
            drops += 1
            tab.socket.socket.shutdown(socket.SHUT_RDWR)
            again = Tab(address, tab.session if random_.random() < 0.8 else None)
            tab.close()
            tab = again
            if not tab.known:  # a new session, or the old one was not yet told that it was left
                lost += 1
                tab.ask("dream.open", run=0, seed=seed)
        if now - last >= 60:
            last = now
            found.append(resident(server.pid))
            opened = f"{threads(server.pid)} threads, {files(server.pid)} files"
            print(
                f"{(now - began) / 60:5.1f} min: {found[-1]:,.0f} MB, {steps:,} steps, "
                f"{drops} breaks, {lost} times begun anew, {opened}",
                flush=True,
            )
        time.sleep(max(0.0, 1 / FRAMES - (time.monotonic() - now)))
    tab.close()
    if len(found) > 20:
        hours = np.arange(10, len(found)) / 60
        slope = np.polyfit(hours, found[10:], 1)[0]
        print(f"after ten minutes {mean(found[10:]):,.0f} MB, growing by {slope:+.1f} MB an hour")


def resident(pid: int) -> float:
    """Returns the megabytes of memory that a process has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmRSS"))


def threads(pid: int) -> int:
    """Returns how many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))


def files(pid: int) -> int:
    """Returns how many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


if __name__ == "__main__":
    main()
