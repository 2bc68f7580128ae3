"""All that one graphics card is to show, by one command, kept as JSON and told as it goes.

    uv run --extra cuda python benchmarks/card.py --out card.json
    uv run python benchmarks/card.py --out card.json --quick     # does it all run? On any machine

- an update and an action of PlaNet and Dreamer at paper size, in float32 and in bfloat16, with the
  card's own matrix rates (`armillary bench`);
- the first episodes of a run of each, strictly in turn, overlapping, and with environments on the
  card: seconds for an episode once everything is compiled, what the whole run would take so, and
  how busy the card was meanwhile (`nvidia-smi`);
- environments side by side, one after another and together on the card (`benchmarks/worlds.py`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from armillary import preset
from armillary.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
ARMILLARY = [sys.executable, "-m", "armillary"]
UNCOUNTED = 2
"""Rounds after the seed episodes in which programs are still compiled."""


@dataclass(frozen=True)
class Run:
    """The beginning of a run.

    Attributes:
        agent: who learns, at paper size.
        task: what.
        options: of `armillary train`.
        round_size: episodes of a round.
    """

    agent: str
    task: str
    options: tuple[str, ...] = ()
    round_size: int = 1


OVERLAP = ("--training.overlap",)
BFLOAT16 = ("--model.precision", "bfloat16")
TOGETHER = (
    "--environment.engine", "warp", "--collection.side-by-side", "5",
    "--training.collect-interval", "500",
)  # fmt: skip
"""As many updates for each episode, and as many seed episodes, as the preset has."""

RUNS = {
    "planet, in turn": Run("planet", "cartpole-swingup"),
    "planet, overlapping": Run("planet", "cartpole-swingup", OVERLAP),
    "planet, bfloat16, overlapping": Run("planet", "cartpole-swingup", (*BFLOAT16, *OVERLAP)),
    "planet, bfloat16, together": Run(
        "planet", "cartpole-swingup", (*BFLOAT16, *OVERLAP, *TOGETHER), 5
    ),
    "dreamer, in turn": Run("dreamer", "walker-walk"),
    "dreamer, overlapping": Run("dreamer", "walker-walk", OVERLAP),
    "dreamer, bfloat16, together": Run(
        "dreamer", "walker-walk", (*BFLOAT16, *OVERLAP, *TOGETHER), 5
    ),
}


def main() -> None:
    """Measures everything; what is measured is kept at once."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--rounds", type=int, default=8, help="of each run, that are timed")
    parser.add_argument("--quick", action="store_true", help="tiny agents: numbers mean nothing")
    arguments = parser.parse_args()
    quick, rounds = arguments.quick, 2 if arguments.quick else arguments.rounds
    parts: dict[str, Callable[[], Any]] = {
        f"{agent}, {precision}": partial(bench, agent, precision, quick)
        for agent in ("planet", "dreamer")
        for precision in ("float32", "bfloat16")
    }
    parts |= {name: partial(timed, name, run, rounds, quick) for name, run in RUNS.items()}
    parts["environments"] = partial(environments, quick)
    found: dict[str, Any] = {}
    for name, measure in parts.items():
        try:
            found[name] = measure()
        except Failed as error:  # the other parts are measured all the same
            found[name] = {"failed": str(error)}
            print(f"{name}: {error}", flush=True)
        text = json.dumps(found, indent=1) + "\n"
        write_atomically(arguments.out, lambda file, text=text: file.write(text.encode()))
    if failed := [name for name, value in found.items() if "failed" in value]:
        sys.exit(f"failed: {'; '.join(failed)}")


def bench(agent: str, precision: str, quick: bool) -> dict[str, Any]:
    """Returns what an update and an action cost, and shows it."""
    options = ["--agent", agent, "--preset", "paper", "--precision", precision, "--json"]
    report: dict[str, Any] = json.loads(ran([*ARMILLARY, "bench", *options, *["--quick"] * quick]))
    rates = ", ".join(f"{k} {x / 1e3:.2f}" for k, x in report["matrix_gflop_per_second"].items())
    parts = ", ".join(
        f"{name} {1000 * report[name]['best_seconds']:.2f} ms"
        for name in ("update", report["acting"]["name"])
    )
    print(f"{agent}, {precision}: {parts}; matrix rates in TFLOP/s: {rates}", flush=True)
    return report


def environments(quick: bool) -> str:
    """Returns the table of environments side by side, and shows it."""
    options = ["--counts", "1", "2", "--steps", "2"] if quick else ["--counts", "1", "64", "1024"]
    table = ran([sys.executable, str(ROOT / "benchmarks" / "worlds.py"), *options])
    print(table, flush=True)
    return table


def timed(name: str, run: Run, rounds: int, quick: bool) -> dict[str, Any]:
    """Returns the pace of a run after its compilations, and shows it."""
    config = preset("paper", run.agent, run.task)
    first = config.collection.seed_episodes // run.round_size + UNCOUNTED
    last = first + rounds
    options = [
        "--agent", run.agent, "--preset", "paper", "--task", run.task, *run.options,
        "--episodes", str(last * run.round_size), "--evaluation.every", "100000",
        "--evaluation.final-episodes", "1",
    ]  # fmt: skip
    if quick:
        options += [
            "--training.collect-interval", "2", "--training.batch-size", "2",
            "--training.chunk-length", "8", "--model.depth", "2", "--environment.time-limit", "32",
        ]  # fmt: skip
        if run.agent == "planet":
            options += ["--planner.candidates", "20", "--planner.elites", "5"]
    with tempfile.TemporaryDirectory() as folder, Busy(Path(folder)) as busy:
        ran([*ARMILLARY, "train", *options, "--run", folder])
        ends = {row["episode"]: row["seconds"] for row in collected(Path(folder))}
    start, end = first * run.round_size, last * run.round_size
    pace = (ends[end] - ends[start]) / (end - start)
    load = busy.between(start, end)
    whole = pace * config.episodes / 60
    print(
        f"{name}: {pace:.2f} s an episode, {config.episodes} episodes in {whole:.0f} minutes; "
        + ("no graphics card was seen" if load is None else f"the card busy for {load:.0%}"),
        flush=True,
    )
    return {"options": options, "episode": pace, "minutes": whole, "busy": load}


class Busy:
    """Asks once a second how busy the first card is, if there is one.

    Args:
        folder: of the run that goes on meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: list[tuple[int, float]] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Busy:
        if shutil.which("nvidia-smi"):
            command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
            self._process = subprocess.Popen(
                [*command, "--loop=1", "--id=0"], stdout=subprocess.PIPE, text=True
            )
            threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            rows = collected(self._folder)
            with suppress(ValueError):  # a card that does not say
                self._found.append((rows[-1]["episode"] if rows else 0, float(line) / 100))

    def between(self, first: int, last: int) -> float | None:
        """Returns the mean while the run went from an episode to another; None: no card."""
        found = [load for episode, load in self._found if first <= episode < last]
        return mean(found) if found else None

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.terminate()


def collected(folder: Path) -> list[dict[str, Any]]:
    """Returns what a run has logged of its episodes."""
    log = folder / "metrics.jsonl"
    lines = log.read_text().split("\n")[:-1] if log.exists() else []  # the last may be half
    return [row for row in map(json.loads, lines) if "collect/return" in row]


class Failed(Exception):
    """A command ended with an error."""


def ran(command: list[str]) -> str:
    """Returns what a command printed to its standard output."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Failed(f"`{' '.join(command[1:])}` ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
