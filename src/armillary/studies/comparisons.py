"""What a figure compares: its lines, on which tasks, at which size.

The figures of a paper are declared in a folder of its own (`armillary.studies.planet.comparisons`,
`armillary.studies.dreamer.comparisons`); this file says what a declaration is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from armillary.config import Config, changed, preset
from armillary.errors import UsageError
from armillary.studies.plots import Against


@dataclass(frozen=True)
class Variant:
    """One line of a figure, or a point of one: an agent that differs in some fields from another.

    Attributes:
        label: what the figure calls it; in a figure of points, variants of one label make a line.
        changes: the fields, by dotted name.
        together: one agent learns all tasks.
        agent: another agent than the scale's, beside it: with its world model, data and tests.
            None: the scale's own.
        at: where it lies on the x-axis of a figure of points.
    """

    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    together: bool = False
    agent: str | None = None
    at: float | None = None

    @property
    def name(self) -> str:
        """A name for folders, made of the changes: the same agent has the same one everywhere."""
        agent = [] if self.agent is None else [self.agent.replace(":", "-")]
        parts = [f"{key.rpartition('.')[2]}-{value}" for key, value in self.changes.items()]
        return "+".join([*agent, *parts]).replace("_", "-") or "planet"


@dataclass(frozen=True)
class Published:
    """Mean final scores that papers and their authors give, to compare with.

    Attributes:
        scores: for each task those of each agent, as far as they are given.
        sources: for each agent where its scores are from, and after how much experience.
        drawn: those that are drawn beside curves, each in a shade of grey.
        note: what else is published, in a sentence.
    """

    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    drawn: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """What a figure compares."""

    title: str
    variants: tuple[Variant, ...]
    over_tasks: bool = False
    """Also all tasks together; curves are then their mean, in one panel."""
    picture: Literal["curves", "points", "bars"] = "curves"
    """curves: test scores against collected episodes, or steps, a panel for each task. points:
    final scores against `Variant.at`. bars: final scores on each task, beside the published ones.
    """
    against: Against = "episodes"
    """What curves are drawn against. `steps`: environment steps, of runs of one task each; final
    scores are then those at the largest number of steps that all of a task's runs have made."""
    axis: str = ""
    """Of points: what `Variant.at` is."""
    last_tests: int | None = None
    """Final scores are those of so many tests, the last ones. None: of the one at the end."""
    published: Published = Published()
    """What is drawn and written beside it."""
    table: bool = False
    """Whether a table of the final scores is written, the published ones beside them."""
    tasks: tuple[str, ...] = ()
    """On which tasks; none given: those of the scale."""
    seeds: int | None = None
    """How many seeds; None: as many as the scale has."""
    scales: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What is different at a scale: fields of this class, by the scale's name."""

    def name_of(self, variant: Variant) -> str:
        """Returns what the numbers call a variant."""
        at = variant.at
        return variant.label if at is None else f"{variant.label}, {self.axis} {at:g}"

    def at(self, scale: str) -> Comparison:
        """Returns the comparison as it is at a scale."""
        return replace(self, **self.scales.get(scale, {}), scales={})


@dataclass(frozen=True)
class Scale:
    """How large the runs of a study are.

    Attributes:
        base: the configuration from which variants differ; a run sets its task and its seed.
        tasks: on which tasks.
        seeds: how many seeds.
    """

    base: Config
    tasks: tuple[str, ...]
    seeds: int

    def __post_init__(self) -> None:
        if not self.tasks or self.seeds < 1:
            raise UsageError(
                f"{len(self.tasks)} tasks and {self.seeds} seeds: give at least one of each"
            )
        several = [task for task in self.tasks if "," in task or task == "planet"]
        if several:
            raise UsageError(
                f"the tasks of a study are given one by one, not as {several[0]!r}: with spaces "
                "between them; planet/figure6 and planet/figure7 make one agent for all of them"
            )

    def changed(
        self, tasks: tuple[str, ...] | None, seeds: int | None, episodes: int | None
    ) -> Scale:
        """Returns the scale with other tasks, seeds or episodes, where they are given."""
        base = self.base if episodes is None else changed(self.base, {"episodes": episodes})
        return Scale(base, tasks or self.tasks, seeds or self.seeds)

    def config(self, variant: Variant, task: str, seed: int) -> Config:
        """Returns the configuration of a run."""
        own = variant.agent is None or variant.agent == self.base.agent
        base = self.base if own else beside(self.base, str(variant.agent))
        return changed(base, {**variant.changes, "task": task, "seed": seed})


def beside(base: Config, agent: str) -> Config:
    """Returns another agent's configuration that has all it shares with this one from it.

    So PlaNet beside Dreamer has the same world model, environment, batches and tests, and plans as
    its own preset of the same name does.

    Args:
        base: of the first agent.
        agent: the other one's name.
    """
    other = preset(base.preset, agent)
    shared = {
        one.name: getattr(base, one.name)
        for one in fields(other)
        if one.name != "agent"
        and type(getattr(base, one.name, None)) is type(getattr(other, one.name))
    }
    return replace(other, **shared)


@dataclass(frozen=True)
class Paper:
    """The figures of a paper that are made of training runs.

    Attributes:
        folder: where its runs are kept, below `runs`; the scale's name is added.
        comparisons: what each figure compares.
        scales: the sizes in which its runs are made, smoke, small and paper.
    """

    folder: str
    comparisons: Mapping[str, Comparison]
    scales: Mapping[str, Callable[[], Scale]]

    def at(self, figure: str, scale: str) -> tuple[Comparison, Scale]:
        """Returns what a figure compares at a scale, and how large its runs are."""
        comparison, found = self.comparisons[figure].at(scale), self.scales[scale]()
        return comparison, found.changed(comparison.tasks, comparison.seeds, None)

    def place(self, scale: str) -> Path:
        """Returns the folder of its runs at a scale."""
        return Path("runs") / f"{self.folder}-{scale}"
