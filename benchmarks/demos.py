"""No speed: trains the demo agents again, each by its one command, and packs them into the package.

    uv run python benchmarks/demos.py tic_tac_toe cheetah-run --hardware "one core of ..."

A run that is there goes on, and one that has ended is only packed. Where the sources have changes
that are not committed there is no commit to name, and nothing is made.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from armillary.training.demos import FOLDER
from armillary.training.packed import DEMO, SUFFIX
from armillary.training.packing import pack

ROOT = Path(__file__).resolve().parents[1]

COMMANDS = {
    "cheetah-run": "--agent planet --task cheetah-run --episodes 24 --planner.horizon 8",
    "tic_tac_toe": "--agent muzero --task tic_tac_toe --episodes 215040",
    "connect_four": "--agent muzero --task connect_four --episodes 38400",
}
"""The options of `armillary train` for each demo; what is on its card comes from its settings."""

EPISODES = 10
LICENCE = "Apache-2.0"


def main() -> None:
    """Makes the demos that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which; none: all of {', '.join(COMMANDS)}")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "demos")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--hardware", required=True, help="what they are trained on, in words")
    parser.add_argument("--commit", help="of the code that finished runs were trained with")
    arguments = parser.parse_args()
    made = {
        "licence": LICENCE,
        "commit": arguments.commit or _commit(),
        "hardware": arguments.hardware,
    }
    for name in arguments.names or COMMANDS:
        run = arguments.runs / name
        train = [sys.executable, "-m", "armillary", "train", *COMMANDS[name].split()]
        subprocess.run([*train, "--run", str(run)], check=True)
        path = arguments.out / f"{name}{SUFFIX}"
        pack(run, path, episodes=EPISODES, made=made, address=f"{DEMO}{name}")
        print(f"{path}: {path.stat().st_size:,} bytes")


def _commit() -> str:
    if _git("status", "--porcelain", "--", "src", "pyproject.toml"):
        sys.exit("there are changes in src that are not committed: commit them first")
    return _git("rev-parse", "--short=10", "HEAD")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
