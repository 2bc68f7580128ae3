"""Figures 4 to 9 and Table 1 of PlaNet, from the runs that they compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.stats

from armillary.files import write_atomically
from armillary.studies.comparisons import Comparison
from armillary.studies.plots import (
    BAND,
    Curve,
    dress,
    evaluation_curve,
    read_metrics,
    with_headroom,
)
from armillary.studies.runs import Member
from armillary.studies.trials import Trial, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAPER: dict[str, dict[str, float]] = {
    "cartpole-swingup": {"A3C": 558, "D4PG": 862, "PlaNet": 821, "CEM + true simulator": 850},
    "reacher-easy": {"A3C": 285, "D4PG": 967, "PlaNet": 832, "CEM + true simulator": 964},
    "cheetah-run": {"A3C": 214, "D4PG": 524, "PlaNet": 662, "CEM + true simulator": 656},
    "finger-spin": {"A3C": 129, "D4PG": 985, "PlaNet": 700, "CEM + true simulator": 825},
    "ball_in_cup-catch": {"A3C": 105, "D4PG": 980, "PlaNet": 930, "CEM + true simulator": 993},
    "walker-walk": {"A3C": 311, "D4PG": 968, "PlaNet": 951, "CEM + true simulator": 994},
}
"""The paper's Table 1: mean final performance over 5 seeds and 10 trajectories (A3C and D4PG after
100,000 episodes, PlaNet after 1,000)."""

ALL_TASKS = "all tasks"
"""The name of the scores of several tasks together (Figure 6)."""
_OFF_SCALE = 1.5
"""The scale is widened for a reference of up to so many times the height of the curves."""


def draw(comparison: Comparison, members: Sequence[Member], path: Path) -> Path:
    """Draws test scores against collected episodes, a panel for each task.

    Lines are medians over seeds and trajectories together, areas reach from the 5th to the 95th
    percentile; in Figure 6 lines are means and areas one standard deviation, over tasks, seeds and
    trajectories together. Dotted lines are the paper's final scores (Table 1), dashed ones those
    of random actions.

    Args:
        comparison: what the lines are.
        members: its runs; those without a score yet are left out.
        path: the picture, a PNG.
    """
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(task for member in members for task in member.config.tasks))
    panels = [tasks] if comparison.over_tasks else [[task] for task in tasks]
    columns = min(3, len(panels))
    height = -(-len(panels) // columns)
    size = (7.2, 4.6) if len(panels) == 1 else (4.6 * columns, 3.6 * height)
    figure = Figure(figsize=size, dpi=130, layout="constrained", facecolor="white")
    axes = figure.subplots(height, columns, squeeze=False).ravel()
    for axis, panel in zip(axes, panels, strict=False):
        _panel(axis, comparison, members, panel)
    for axis in axes[len(panels) :]:
        axis.remove()
    figure.suptitle(comparison.title, fontsize=12)
    write_atomically(path, lambda file: figure.savefig(file, format="png"))
    return path


def _panel(axis: Axes, comparison: Comparison, members: Sequence[Member], tasks: list[str]) -> None:
    lines = 0
    for number, variant in enumerate(comparison.variants):
        mine = [member for member in members if member.variant == variant]
        curve = _curve(mine, tasks)
        if not curve.episodes:
            continue
        if comparison.over_tasks:
            middle, spread = curve.of(np.mean), curve.of(np.std)
            low, high = middle - spread, middle + spread
        else:
            middle, low, high = (curve.percentile(percent) for percent in (50, *BAND))
        style = {"color": f"C{number}"}
        seeds = len({m.config.seed for m in mine if _curve([m], tasks).episodes})
        label = f"{variant.label}, {seeds} seed{'s' if seeds > 1 else ''}"
        axis.plot(
            curve.episodes, middle, marker="o", markersize=3, linewidth=2, label=label,
            **style,  # type: ignore[arg-type]
        )  # fmt: skip
        axis.fill_between(curve.episodes, low, high, alpha=0.18, linewidth=0, **style)  # type: ignore[arg-type]
        lines += 1
    chance = [score for member in members for score in _finals(member, tasks, "random")]
    if chance:
        label = f"random actions ({np.mean(chance):.0f})"
        axis.axhline(float(np.mean(chance)), color="0.35", linestyle="--", linewidth=1, label=label)
        lines += 1
    whole = all(member.config.environment.time_limit is None for member in members)
    if len(tasks) == 1 and tasks[0] in PAPER and whole:
        lines += _references(axis, PAPER[tasks[0]], lines)
    axis.set_title(tasks[0] if len(tasks) == 1 else f"{len(tasks)} tasks", fontsize=11)
    axis.set_xlabel("collected episodes of each task")
    spread_label = "mean, one standard deviation" if comparison.over_tasks else "median, 5 to 95%"
    axis.set_ylabel(f"test return ({spread_label})", fontsize=9)
    dress(axis, lines)


def _references(axis: Axes, paper: Mapping[str, float], lines: int) -> int:
    """Draws the paper's scores; those far above the curves would press them together: not drawn.

    Args:
        axis: the panel, with its curves.
        paper: the paper's score of each agent on the task.
        lines: entries that the legend has already.

    Returns:
        How many entries of the legend came to it.
    """
    names = (("A3C", "0.6"), ("D4PG", "0.45"), ("PlaNet", "0.1"))
    low, high = axis.get_ylim()
    high = max([high, *(paper[name] for name, _ in names if paper[name] < _OFF_SCALE * high)])
    axis.set_ylim(low, high)
    top = with_headroom(low, high, lines + len(names))[1]
    for name, color in names:
        value, dotted = paper[name], {"color": color, "linestyle": ":", "linewidth": 1.2}
        label = f"{name} in the paper, final ({value:.0f})"
        if value <= top:
            axis.axhline(value, label=label, **dotted)  # type: ignore[arg-type]
        else:
            axis.plot([], [], label=f"{label}, above this scale", **dotted)  # type: ignore[arg-type]
    return len(names)


def _curve(members: Sequence[Member], tasks: Sequence[str]) -> Curve:
    """Returns the scores of some runs on some tasks, all together, at each episode."""
    found: dict[int, list[float]] = {}
    for member in members:
        if not (member.folder / "metrics.jsonl").exists():
            continue
        rows = read_metrics(member.folder)
        several = len(member.config.tasks) > 1
        for task in member.config.tasks:
            if task in tasks:
                curve = evaluation_curve([rows], f"evaluate/{task}" if several else "evaluate")
                for episode, scores in zip(curve.episodes, curve.scores, strict=True):
                    found.setdefault(episode // len(member.config.tasks), []).extend(scores)
    return Curve(sorted(found), [found[episode] for episode in sorted(found)])


def _finals(member: Member, tasks: Sequence[str], who: str = "agent") -> list[float]:
    """Returns the scores with which a run ended on some tasks; none if it has not ended."""
    results = member.results
    if results is None:
        return []
    return [
        float(score)
        for task in member.config.tasks
        if task in tasks
        for score in results["tasks"][task][who]["scores"]
    ]


def statistics(comparison: Comparison, members: Sequence[Member]) -> dict[str, Any]:
    """Returns what each variant scored in the end on each task, ready for JSON.

    For each: `seeds`; `scores`, the noise-free test episodes of each seed; over all of them
    together `mean`, `std`, `median`, `percentile_5`, `percentile_95` and `interquartile_mean`; and
    `interval`, the 95% bootstrap interval (percentile method, 9,999 resamples) of the mean over
    seeds of a seed's mean score, null with fewer than two seeds. Figure 6 has `all tasks`, too.
    """
    tasks = list(dict.fromkeys(task for member in members for task in member.config.tasks))
    table: dict[str, Any] = {}
    for task in tasks:
        table[task] = {}
        for variant in comparison.variants:
            mine = [member for member in members if member.variant == variant]
            scores = [finals for member in mine if (finals := _finals(member, [task]))]
            if scores:
                table[task][variant.label] = summarize(scores)
    if comparison.over_tasks and len(tasks) > 1:
        together: dict[str, Any] = {}
        for variant in comparison.variants:
            by_seed: dict[int, list[float]] = {}
            for member in members:
                if member.variant == variant:
                    by_seed.setdefault(member.config.seed, []).extend(_finals(member, tasks))
            scores = [finals for finals in by_seed.values() if finals]
            if scores:
                together[variant.label] = summarize(scores)
        table[ALL_TASKS] = together
    whole = all(member.config.environment.time_limit is None for member in members)
    paper = {task: PAPER.get(task) if whole else None for task in table}
    return {"title": comparison.title, "tasks": table, "paper": paper}


def summarize(scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Returns the statistics of the scores of several seeds, as `statistics` describes them.

    Args:
        scores: for each seed the scores of its episodes.
    """
    pooled = np.concatenate([np.asarray(one, float) for one in scores])
    low, median, high = np.percentile(pooled, [BAND[0], 50, BAND[1]])
    return {
        "seeds": len(scores),
        "scores": [list(map(float, one)) for one in scores],
        "mean": float(pooled.mean()),
        "std": float(pooled.std()),
        "median": float(median),
        f"percentile_{BAND[0]}": float(low),
        f"percentile_{BAND[1]}": float(high),
        "interquartile_mean": float(scipy.stats.trim_mean(pooled, 0.25)),
        "interval": interval([float(np.mean(one)) for one in scores]),
    }


def interval(means: Sequence[float]) -> list[float] | None:
    """Returns the 95% bootstrap interval of the mean over seeds; None with fewer than two."""
    if len(means) < 2:
        return None
    if np.ptp(means) == 0:
        return [means[0], means[0]]
    found = scipy.stats.bootstrap(
        (means,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return [float(found.low), float(found.high)]


def text(numbers: dict[str, Any]) -> str:
    """Returns the statistics for people."""
    lines = [numbers["title"]]
    for task, variants in numbers["tasks"].items():
        lines.append(f"{task}: final score, mean ± std over seeds and episodes [95% of the mean]")
        for label, one in variants.items():
            between = one["interval"]
            span = f" [{between[0]:.0f}, {between[1]:.0f}]" if between else ""
            lines.append(
                f"  {label:<28}{one['mean']:8.1f} ± {one['std']:<7.1f}{span} {one['seeds']} seeds"
            )
        paper = numbers["paper"][task]
        if paper:
            lines.append("  paper: " + ", ".join(f"{k} {v:.0f}" for k, v in paper.items()))
    return "\n".join(lines)


def write_table(
    numbers: dict[str, Any], folder: Path, simulator: Path = Path("runs/simulator")
) -> Path:
    """Writes Table 1 in Markdown: the paper's rows, and ours below them.

    Args:
        numbers: of `statistics`.
        folder: where to write.
        simulator: where `armillary evaluate --agent simulator` keeps its episodes; those with the
            paper's settings make a row.
    """
    text = table(numbers, {task: upper_bound(task, simulator) for task in numbers["tasks"]})
    path = folder / "table1.md"
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def upper_bound(task: str, folder: Path) -> list[float]:
    """Returns the scores of the finished episodes of planning with the true simulator."""
    found = []
    for path in sorted(Trial(task).path(folder).parent.glob("*.npz")):
        record = read(path)
        if record is not None and record.finished:
            found.append(record.score)
    return found


def table(numbers: dict[str, Any], simulator: Mapping[str, Sequence[float]]) -> str:
    """Returns Table 1 in Markdown.

    Args:
        numbers: of `statistics`.
        simulator: for each task the scores of the planner with the true simulator, if any.
    """
    tasks = list(numbers["tasks"])
    rows: list[list[str]] = [["method", *tasks], ["---"] * (len(tasks) + 1)]
    for name in ("A3C", "D4PG", "PlaNet", "CEM + true simulator"):
        cells = [PAPER.get(task, {}).get(name) for task in tasks]
        rows.append([f"{name} (paper)", *("" if c is None else f"{c:.0f}" for c in cells)])
    for task in tasks:
        for label in numbers["tasks"][task]:
            if not any(row[0] == label for row in rows):
                ours = [numbers["tasks"][t].get(label) for t in tasks]
                rows.append([label, *(_cell(c["mean"], c["std"]) if c else "" for c in ours)])
    found = [simulator.get(task, ()) for task in tasks]
    if any(found):
        rows.append(
            ["CEM + true simulator", *(_cell(np.mean(f), np.std(f)) if f else "" for f in found)]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _cell(mean: Any, std: Any) -> str:
    return f"{mean:.0f} ± {std:.0f}"


def write(comparison: Comparison, members: Sequence[Member], folder: Path, name: str) -> list[Path]:
    """Writes the picture and the numbers of a study; returns their paths."""
    numbers = statistics(comparison, members)
    text = json.dumps(numbers, indent=2).encode()
    write_atomically(folder / f"{name}.json", lambda file: file.write(text))
    return [draw(comparison, members, folder / f"{name}.png"), folder / f"{name}.json"]
