"""All agents on this machine, kept as one JSON file, and beside an earlier one.

    uv run python benchmarks/suite.py --out bench.json
    uv run python benchmarks/suite.py --out new.json --against bench.json

Each case is `armillary bench` in a process of its own: what it measures, in how many repetitions,
and the machine's matrix rate from the same minutes. Cases that the earlier file lacks are measured
and not compared. Nothing is asserted: a ratio of times stands beside the range that the noise
allows, and is called slower or faster only where the middle halves of the times do not overlap.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from armillary.errors import ArmillaryError
from armillary.files import write_atomically
from armillary.machine.comparison import compare, lines

CASES = {
    "planet": ["--agent", "planet", "--preset", "paper"],
    "planet-small": ["--agent", "planet", "--preset", "small"],
    "dreamer": ["--agent", "dreamer", "--preset", "paper"],
    "dreamer-small": ["--agent", "dreamer", "--preset", "small"],
    "tic-tac-toe": ["--agent", "muzero", "--preset", "small", "--task", "tic_tac_toe"],
    "connect-four": ["--agent", "muzero", "--preset", "small", "--task", "connect_four"],
    "cartpole": ["--agent", "muzero", "--preset", "small", "--task", "CartPole-v1"],
}


def measured(case: str, options: list[str]) -> dict[str, Any]:
    """Returns the report of one case, from a process of its own."""
    command = [sys.executable, "-m", "armillary", "bench", "--json", *CASES[case], *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{case}: `{' '.join(command[1:])}` ended with {done.returncode}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def read(file: Path) -> dict[str, Any]:
    """Returns the cases of a file that this command has written."""
    try:
        cases = json.loads(file.read_text())["cases"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{file} is no file of this command: {error}") from error
    return dict(cases)


def main() -> None:
    """Measures what is asked for, keeps it, and compares it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--against", type=Path, help="an earlier one")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--repeats", type=int, default=5, help="of an update")
    parser.add_argument("--quick", action="store_true", help="tiny agents: numbers mean nothing")
    arguments = parser.parse_args()
    earlier = read(arguments.against) if arguments.against else {}
    options = ["--repeats", str(arguments.repeats)] + ["--quick"] * arguments.quick
    cases = {}
    for case in arguments.only:
        print(f"== {case}, load average {os.getloadavg()[0]:.1f}", flush=True)
        cases[case] = report = measured(case, options)
        content = {"repeats": arguments.repeats, "quick": arguments.quick, "cases": cases}
        text = json.dumps(content, indent=1) + "\n"
        write_atomically(arguments.out, lambda file, text=text: file.write(text.encode()))
        if case not in earlier:
            continue
        try:
            changes = compare(report, earlier[case])
        except ArmillaryError as error:
            print(f"not compared: {error}")
        else:
            print("\n".join(lines(changes, report, earlier[case])), flush=True)
    print(f"kept in {arguments.out}")


if __name__ == "__main__":
    main()
