"""Final scores in Markdown, the published ones above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from armillary.files import write_atomically
from armillary.studies.comparisons import Published
from armillary.studies.trials import Trial, read

_WIDEST = 7
"""Tasks that stand beside each other; more of them stand below each other."""


def write(
    name: str,
    numbers: dict[str, Any],
    published: Published,
    folder: Path,
    simulator: Path = Path("runs/simulator"),
) -> Path:
    """Writes the table of a study; returns its path.

    Args:
        name: of the study's figure.
        numbers: of `scores.statistics`.
        published: what stands above ours.
        folder: where to write.
        simulator: where `armillary evaluate --agent simulator` keeps its episodes; those with the
            paper's settings make a row.
    """
    bounds = {task: upper_bound(task, simulator) for task in numbers["tasks"]}
    path = folder / f"{name}.md"
    content = table(numbers, published, bounds).encode()
    write_atomically(path, lambda file: file.write(content))
    return path


def upper_bound(task: str, folder: Path) -> list[float]:
    """Returns the scores of the finished episodes of planning with the true simulator."""
    found = []
    for path in sorted(Trial(task).path(folder).parent.glob("*.npz")):
        record = read(path)
        if record is not None and record.finished:
            found.append(record.score)
    return found


def table(
    numbers: dict[str, Any], published: Published, simulator: Mapping[str, Sequence[float]]
) -> str:
    """Returns the table in Markdown, and below it where the published scores are from.

    Args:
        numbers: of `scores.statistics`.
        published: scores of other agents.
        simulator: for each task the scores of the planner with the true simulator, if any.
    """
    tasks = list(numbers["tasks"])
    rows: list[list[str]] = [["method", *tasks]]
    names = dict.fromkeys(name for scores in published.scores.values() for name in scores)
    for name in names:
        cells = [published.scores.get(task, {}).get(name) for task in tasks]
        rows.append([f"{name} (published)", *("" if c is None else f"{c:.0f}" for c in cells)])
    for label in dict.fromkeys(label for task in tasks for label in numbers["tasks"][task]):
        ours = [numbers["tasks"][task].get(label) for task in tasks]
        rows.append([label, *(_cell(c["mean"], c["std"]) if c else "" for c in ours)])
    found = [simulator.get(task, ()) for task in tasks]
    if any(found):
        rows.append(
            ["CEM + true simulator", *(_cell(np.mean(f), np.std(f)) if f else "" for f in found)]
        )
    if len(tasks) > _WIDEST:
        rows = [["task", *rows[0][1:]], *rows[1:]]
        rows = [list(column) for column in zip(*rows, strict=True)]
    rows.insert(1, ["---"] * len(rows[0]))
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    notes = [f"- {name}: {source}." for name, source in published.sources.items()]
    notes += [f"- {published.note}"] if published.note else []
    if numbers["last_tests"] is not None:
        tests = f"of the last {numbers['last_tests']} tests"
        notes.append(f"- Ours: mean ± std over seeds and episodes {tests}.")
    for task, steps in numbers["steps"].items():
        if steps is not None:
            notes.append(f"- {task}: ours after at most {steps:,} environment steps, all alike.")
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _cell(mean: Any, std: Any) -> str:
    return f"{mean:.0f} ± {std:.0f}"
