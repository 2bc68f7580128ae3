"""The scores of a study's runs: as curves, and as the numbers with which they end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats

from armillary.studies.comparisons import Comparison, Published
from armillary.studies.plots import BAND, Curve, evaluation_curve, read_metrics
from armillary.studies.runs import Member

_STEPS = "environment_steps"

ALL_TASKS = "all tasks"
"""The name of the scores of several tasks together."""


def curve(members: Sequence[Member], tasks: Sequence[str]) -> Curve:
    """Returns the scores of some runs on some tasks, all together, at each episode."""
    found: dict[int, list[float]] = {}
    for member in members:
        if not (member.folder / "metrics.jsonl").exists():
            continue
        rows = read_metrics(member.folder)
        several = len(member.config.tasks) > 1
        for task in member.config.tasks:
            if task in tasks:
                name = f"evaluate/{task}" if several else "evaluate"
                one = evaluation_curve([rows], name)
                for episode, scores in zip(one.episodes, one.scores, strict=True):
                    found.setdefault(episode // len(member.config.tasks), []).extend(scores)
    return Curve(sorted(found), [found[episode] for episode in sorted(found)])


def finals(
    comparison: Comparison, member: Member, tasks: Sequence[str], within: int | None = None
) -> list[float]:
    """Returns the final scores of a run on some tasks; none if it has not ended.

    They are of the test at the end, or of so many of the last tests as the comparison says.

    Args:
        comparison: says of how many tests.
        member: the run.
        tasks: on which tasks.
        within: no test counts that was later than after so many environment steps. None: all do.
    """
    if member.results is not None and within is not None:
        rows = [row for row in _tests(member) if row[_STEPS] <= within]
        tests = evaluation_curve([rows]).scores[-(comparison.last_tests or 1) :]
        return [score for scores in tests for score in scores]
    if member.results is None or comparison.last_tests is None:
        return _ended_with(member, tasks, "agent")
    found = []
    for task in member.config.tasks:
        if task in tasks:
            for scores in curve([member], [task]).scores[-comparison.last_tests :]:
                found += scores
    return found


def _tests(member: Member) -> list[dict[str, Any]]:
    """Returns the rows of a run's metrics that are tests, with the steps made before them."""
    rows = read_metrics(member.folder)
    return [r for r in rows if r.get("evaluate/mean") is not None and r.get(_STEPS) is not None]


def common_steps(comparison: Comparison, members: Sequence[Member], task: str) -> int | None:
    """Returns the environment steps at which the runs of a task are compared.

    The largest number before which each run that has ended had its last test; None: they are
    compared at the end.
    """
    ended = [m for m in members if m.config.task == task and m.results is not None]
    tests = [rows for member in ended if (rows := _tests(member))]
    if comparison.against == "episodes" or not tests:
        return None
    return int(min(rows[-1][_STEPS] for rows in tests))


def random_finals(member: Member, tasks: Sequence[str]) -> list[float]:
    """Returns the scores of random actions beside a run; none if it has not ended."""
    return _ended_with(member, tasks, "random")


def _ended_with(member: Member, tasks: Sequence[str], who: str) -> list[float]:
    results = member.results
    if results is None:
        return []
    return [
        float(score)
        for task in member.config.tasks
        if task in tasks
        for score in results["tasks"][task][who]["scores"]
    ]


def published(comparison: Comparison, members: Sequence[Member]) -> Published:
    """Returns what is published of what the runs play; nothing if their episodes are cut short."""
    whole = all(member.config.environment.time_limit is None for member in members)
    return comparison.published if whole else Published()


def statistics(comparison: Comparison, members: Sequence[Member]) -> dict[str, Any]:
    """Returns what each variant scored in the end on each task, ready for JSON.

    For each: `seeds`; `scores`, the noise-free test episodes of each seed; over all of them
    together `mean`, `std`, `median`, `percentile_5`, `percentile_95` and `interquartile_mean`; and
    `interval`, the 95% bootstrap interval (percentile method, 9,999 resamples) of the mean over
    seeds of a seed's mean score, null with fewer than two seeds. A comparison over tasks has `all
    tasks`, too. `last_tests` says of how many tests the scores are; null: of the one at the end.
    `steps` says for each task after how many environment steps at most; null: at the end.
    """
    tasks = list(dict.fromkeys(task for member in members for task in member.config.tasks))
    table: dict[str, Any] = {}
    steps = {task: common_steps(comparison, members, task) for task in tasks}
    for task in tasks:
        table[task] = {}
        for variant in comparison.variants:
            mine = [member for member in members if member.variant == variant]
            every = [finals(comparison, member, [task], steps[task]) for member in mine]
            scores = [found for found in every if found]
            if scores:
                table[task][comparison.name_of(variant)] = summarize(scores)
    if comparison.over_tasks and len(tasks) > 1:
        together: dict[str, Any] = {}
        for variant in comparison.variants:
            by_seed: dict[int, list[float]] = {}
            for member in members:
                if member.variant == variant:
                    found = finals(comparison, member, tasks)
                    by_seed.setdefault(member.config.seed, []).extend(found)
            scores = [found for found in by_seed.values() if found]
            if scores:
                together[comparison.name_of(variant)] = summarize(scores)
        table[ALL_TASKS] = together
    others = published(comparison, members).scores
    return {
        "title": comparison.title,
        "last_tests": comparison.last_tests,
        "steps": steps,
        "tasks": table,
        "paper": {task: others.get(task) for task in table},
    }


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
    tests = numbers["last_tests"]
    which = "final score" if tests is None else f"score in the last {tests} tests"
    lines = [numbers["title"]]
    for task, variants in numbers["tasks"].items():
        within = numbers["steps"].get(task)
        until = "" if within is None else f" within {within:,} steps"
        lines.append(
            f"{task}: {which}{until}, mean ± std over seeds and episodes [95% of the mean]"
        )
        for label, one in variants.items():
            between = one["interval"]
            span = f" [{between[0]:.0f}, {between[1]:.0f}]" if between else ""
            lines.append(
                f"  {label:<28}{one['mean']:8.1f} ± {one['std']:<7.1f}{span} {one['seeds']} seeds"
            )
        paper = numbers["paper"][task]
        if paper:
            lines.append("  published: " + "; ".join(f"{k} {v:.0f}" for k, v in paper.items()))
    return "\n".join(lines)
