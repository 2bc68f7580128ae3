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

ROOT = Path(__file__).resolve().parents[1]

COMMANDS = {
    "cheetah-run": "--agent planet --task cheetah-run --model.depth 8 --episodes 24",
    "tic_tac_toe": "--agent muzero --task tic_tac_toe",
    "connect_four": "--agent muzero --task connect_four --episodes 38400",
}
"""The options of `armillary train` for each demo; what is on its card comes from its settings."""

EPISODES = 10
LICENCE = "Apache-2.0"


def main() -> None:
    """Makes the demos that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(COMMANDS), choices=COMMANDS)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "demos")
    parser.add_argument("--out", type=Path, default=ROOT / "src" / "armillary" / "demos")
    parser.add_argument("--hardware", required=True, help="what they are trained on, in words")
    parser.add_argument("--commit", help="of the code that finished runs were trained with")
    arguments = parser.parse_args()
    commit = arguments.commit or _commit()
    for name in arguments.names:
        run = arguments.runs / name
        _armillary("train", *COMMANDS[name].split(), "--run", run)
        _armillary(
            *("pack", run, "--out", arguments.out / f"{name}.armillary"),
            *("--episodes", EPISODES, "--licence", LICENCE),
            *("--commit", commit, "--hardware", arguments.hardware),
        )


def _commit() -> str:
    if _git("status", "--porcelain", "--", "src", "pyproject.toml"):
        sys.exit("there are changes in src that are not committed: commit them first")
    return _git("rev-parse", "--short=10", "HEAD")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _armillary(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "armillary", *map(str, words)], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
