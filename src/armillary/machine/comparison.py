"""What has become slower or faster: a report of `armillary bench` beside an earlier one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armillary.errors import UsageError
from armillary.files import read_json

SAME = ("agent", "preset", "task", "batch", "acting")
"""What two reports must have in common, or they are of different work."""


@dataclass(frozen=True)
class Change:
    """The time of one piece of work, before and now.

    Attributes:
        name: of the work.
        before: its median time in seconds.
        now: the same of the new report.
        least: the smallest ratio of now to before that the middle halves of the times allow: the
            first quartile now over the third one before.
        most: the greatest one, likewise.
    """

    name: str
    before: float
    now: float
    least: float
    most: float

    @property
    def ratio(self) -> float:
        """Of the median times, now to before: 2 is twice as slow."""
        return self.now / self.before

    @property
    def verdict(self) -> str:
        """`slower` or `faster` where the middle halves of the times do not overlap, else `same`."""
        if self.least > 1:
            return "slower"
        return "faster" if self.most < 1 else "same"

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, ready for JSON."""
        return {
            "before_seconds": self.before,
            "now_seconds": self.now,
            "ratio": self.ratio,
            "range": [self.least, self.most],
            "verdict": self.verdict,
        }


def timings(report: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields name and times of all that a report has measured."""
    acting = report["acting"]["name"]
    for name in ("update", acting, "environment_step", "batch_to_device"):
        if report.get(name):
            yield name.replace("_", " "), report[name]
    yield from report["parts"].items()
    yield from ((f"image, {name}", timing) for name, timing in report["rendering"].items())
    if report["simulator"]:
        yield "plan on the true simulator", report["simulator"]["plan"]


def compare(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[Change]:
    """Returns how the times of a report differ from those of an earlier one.

    Args:
        now: the new report.
        before: the earlier one.

    Raises:
        UsageError: they are not of the same work, or the earlier one has no quartiles yet.
    """
    check_same(before, {name: now.get(name) for name in SAME})
    earlier = dict(timings(before))
    changes = []
    for name, timing in timings(now):
        if name not in earlier:
            continue
        old = earlier[name]
        if "quartile_seconds" not in old:
            raise UsageError("the earlier report has no quartiles of its times: measure it again")
        (first, third), (old_first, old_third) = timing["quartile_seconds"], old["quartile_seconds"]
        medians = old["median_seconds"], timing["median_seconds"]
        changes.append(Change(name, *medians, first / old_third, third / old_first))
    return changes


def check_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises `UsageError` if an earlier report is not of the work that is measured now."""
    for name, value in now.items():
        if before.get(name) != value:
            raise UsageError(
                f"the earlier report is of {name} {before.get(name)!r}, this one of {value!r}: "
                "compare reports of the same command"
            )


def read_report(file: Path) -> dict[str, Any]:
    """Returns a report that was kept.

    Raises:
        UsageError: it is not there, or is no report.
    """
    try:
        report = read_json(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the earlier report {str(file)!r}: {error}") from error
    if not isinstance(report, dict) or not {"machine", "matrix_gflop_per_second"} <= report.keys():
        raise UsageError(
            f"{str(file)!r} is no report of a benchmark: give what `--json` has printed"
        )
    return report


def lines(
    changes: list[Change], now: Mapping[str, Any], before: Mapping[str, Any]
) -> Iterator[str]:
    """Yields the comparison for people; at first whether the machine is the same, and as fast."""
    machines = now["machine"], before["machine"]
    for name in sorted(machines[0].keys() | machines[1].keys()):
        new, old = (machine.get(name) for machine in machines)
        if new != old:
            yield f"{name}: {old} before, {new} now"
    for name, rate in now["matrix_gflop_per_second"].items():
        old = before["matrix_gflop_per_second"].get(name)
        if old:
            yield f"matrix rate, {name}: {rate / old:.2f} of what it was ({old:,.0f} GFLOP/s)"
    yield f"{'':<48}{'before':>11}{'now':>11}{'now/before':>12}   middle halves"
    for change in changes:
        times = "".join(f"{1e3 * seconds:>8,.3f} ms" for seconds in (change.before, change.now))
        yield (
            f"{change.name:<48}{times}{change.ratio:>12.2f}   "
            f"{change.least:.2f} to {change.most:.2f}, {change.verdict}"
        )
