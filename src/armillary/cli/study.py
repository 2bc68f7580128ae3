"""`armillary study`: run what a table or figure of the papers needs, and draw it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from tyro.conf import arg

from armillary.cli.options import parse
from armillary.cli.remote import Spread, cluster_of
from armillary.cli.stdout import own_stdout, say, show
from armillary.errors import UsageError
from armillary.training.signals import Stopped

if TYPE_CHECKING:
    from armillary.studies.comparisons import Paper
    from armillary.studies.registry import Study
    from armillary.studies.runs import Member

Scale = Literal["smoke", "small", "paper"]


@dataclass(frozen=True)
class Runs:
    """Train what a figure of a paper compares, as far as it is missing, and draw it.

    Says at the start what it will cost. A study that is stopped goes on with the same command;
    studies in one folder share their runs, and so may several processes.
    """

    scale: Scale = "small"
    """smoke: seconds for each run, to see that everything works. small: hours on a laptop. paper:
    the paper's tasks, seeds and episodes."""
    run: Path | None = None
    """Folder of the runs and pictures. Default: runs/study-SCALE, of other papers than PlaNet's
    runs/study-dreamer-SCALE and runs/study-muzero-SCALE."""
    tasks: tuple[str, ...] | None = None
    """Tasks in place of the scale's."""
    seeds: int | None = None
    """Seeds of each variant, in place of the scale's number."""
    episodes: int | None = None
    """Episodes of each run, in place of the scale's."""
    workers: int = 1
    """Runs at the same time, each on its part of the cores."""
    plan_only: bool = False
    """Train nothing: say what it would cost."""
    draw_only: bool = False
    """Train nothing: draw what is there."""
    json: bool = False
    """Print the numbers as one JSON object on standard output."""
    spread: Annotated[Spread, arg(name="")] = field(default_factory=Spread)


@dataclass(frozen=True)
class Looks:
    """Look into the models of the paper's own runs, or of runs of yours.

    The paper's own are those of PlaNet's figure 4, or Dreamer's, with seed 0; what is missing of
    them is trained first.
    """

    runs: tuple[Path, ...] = ()
    """Run folders of one task, in place of the paper's own."""
    labels: tuple[str, ...] | None = None
    """What the pictures call them. Default: their dynamics, with the folder where two are equal."""
    scale: Scale = "small"
    """Of the paper's own runs."""
    run: Path | None = None
    """Folder to write into. Default: the first one of `--runs`, or that of the paper's studies,
    runs/study-SCALE, of Dreamer's figures runs/study-dreamer-SCALE."""
    task: str | None = None
    """The task to look at: of the paper's own runs (default: cheetah-run), or one that runs of
    several tasks have learned (default: the first)."""
    episodes: int = 10
    """Held-out episodes that the models are judged by, played by the first run's agent with action
    noise. In planet/figure11 small networks are fitted on these and judged on half as many more."""
    seed: int = 0
    """Seed of these episodes and of all that is drawn from the models."""
    trust: bool = False
    """Run the Python module that a run folder names as its task (docs/trust.md)."""


@dataclass(frozen=True)
class Searches:
    """Let trained runs play with more simulations than in training, with fewer, and with none.

    The runs are those of another figure; what is missing of them is trained first. Scores are kept
    as they are played: the same command continues where it was stopped.
    """

    scale: Scale = "small"
    """Of the runs, and of how much they play: smoke, seconds. small, minutes for each run."""
    run: Path | None = None
    """Folder of the runs and of the pictures. Default: runs/study-muzero-SCALE."""
    tasks: tuple[str, ...] | None = None
    """Tasks in place of the scale's."""
    seeds: int | None = None
    """Seeds of each variant, in place of the scale's number."""
    simulations: tuple[int, ...] | None = None
    """Simulations to play with, in place of the scale's; 0 is the policy alone."""
    test_episodes: int | None = None
    """Episodes that each run plays with each of them, in place of the scale's."""
    workers: int = 1
    """Runs that are trained at the same time, each on its part of the cores."""
    draw_only: bool = False
    """Train and play nothing: draw what is there."""
    json: bool = False
    """Print the numbers as one JSON object on standard output."""
    spread: Annotated[Spread, arg(name="")] = field(default_factory=Spread)


@dataclass(frozen=True)
class Settings:
    """Compare the planner's settings on the true simulator, and draw the scores.

    Every combination of the values given. What was played before is not played again; several
    processes may share one folder.
    """

    scale: Scale = "small"
    """smoke: seconds, to see that everything works. small: an hour or so. paper: a day."""
    run: Path | None = None
    """Folder of the episodes and the picture. Default: runs/figure12."""
    workers: int | None = None
    """Processes that share the work. Default: one for each core."""
    seed: int = 0
    """Seed of everything."""
    horizons: tuple[int, ...] | None = None
    """H to compare, in place of the scale's."""
    iterations: tuple[int, ...] | None = None
    """I to compare."""
    candidates: tuple[int, ...] | None = None
    """J to compare."""
    fractions: tuple[float, ...] | None = None
    """K / J to compare."""
    episodes: int | None = None
    """Episodes for each combination."""
    task: str | None = None
    """Another task than cheetah-run."""
    draw_only: bool = False
    """Play nothing: draw what is there."""
    json: bool = False
    """Print the scores as one JSON object on standard output."""


def run(argv: list[str]) -> int:
    """Runs the study and says where its picture is."""
    from armillary.studies import registry

    if not argv or argv[0] in ("-h", "--help"):
        wide = max(map(len, registry.STUDIES))
        rows = "\n".join(f"  {s.name:<{wide}}  {s.shows}" for s in registry.STUDIES.values())
        show(
            "usage: armillary study NAME [options]\n\nRun what a table or figure of a paper needs, "
            f"as far as it is missing, and draw it.\n\n{rows}\n\n"
            "Without the paper's name where only one has such a figure (figure12, figure3).\n"
            "`armillary study NAME --help` shows the options of a study."
        )
        return 0 if argv else 2
    name, *rest = argv
    study = registry.find(name)
    if study.kind == "planner":
        return _settings(_parse(Settings, study.name, rest))
    if study.kind == "training":
        return _runs(study, _parse(Runs, study.name, rest))
    if study.kind == "search":
        return _searches(study, _parse(Searches, study.name, rest))
    return _looks(study, _parse(Looks, study.name, rest))


T = TypeVar("T")


def _parse(kind: type[T], name: str, argv: list[str]) -> T:
    arguments = parse(kind, argv, f"armillary study {name}")
    for option in ("workers", "seeds", "episodes", "test_episodes"):
        value = getattr(arguments, option, None)
        if value is not None and value < 1:
            raise UsageError(f"{option} is {value}, but it must be at least 1")
    if getattr(arguments, "seed", 0) < 0:
        raise UsageError(f"seed is {arguments.seed}, but it must not be negative")  # type: ignore[attr-defined]
    return arguments


def _runs(study: Study, arguments: Runs) -> int:
    from armillary.studies import figures, scores
    from armillary.studies import runs as training

    paper = study.declarations()
    comparison, scale = paper.at(study.figure, arguments.scale)
    scale = scale.changed(arguments.tasks, arguments.seeds, arguments.episodes)
    folder = arguments.run or paper.place(arguments.scale)
    members = training.members(comparison, scale, folder)
    with own_stdout() as out:
        if not arguments.draw_only:
            _train(members, arguments)
            if arguments.plan_only:
                return 0
        files = figures.write(comparison, members, folder, study.figure)
        numbers = scores.statistics(comparison, members)
        show(json.dumps(numbers) if arguments.json else scores.text(numbers), out)
        (say if arguments.json else partial(show, out=out))("\n".join(map(str, files)))
    return 0


def _train(members: list[Member], arguments: Runs | Searches) -> None:
    """Trains what is missing, here or on a cluster; or says only what that would cost."""
    from armillary.studies import runs as training

    missing = [member for member in members if member.results is None]
    if not missing:
        return
    workers, plan_only = arguments.workers, getattr(arguments, "plan_only", False)
    with cluster_of(arguments.spread, workers) as cluster:
        say(training.cost(members, missing, workers, announce=say, cluster=cluster))
        if plan_only:
            return
        try:
            training.run(missing, workers=workers, announce=say, cluster=cluster)
        except Stopped as stopped:
            stopped.args = (f"{stopped}; what was done is saved: the same command goes on",)
            raise


def _searches(study: Study, arguments: Searches) -> int:
    from armillary.studies import runs as training
    from armillary.studies import scores
    from armillary.studies.muzero import simulations

    numbers, episodes = simulations.SCALES[arguments.scale]
    numbers = numbers if arguments.simulations is None else arguments.simulations
    episodes = arguments.test_episodes or episodes
    simulations.check(numbers)
    paper = study.declarations()
    comparison, scale = paper.at(study.of, arguments.scale)
    scale = scale.changed(arguments.tasks, arguments.seeds, None)
    folder = arguments.run or paper.place(arguments.scale)
    members = training.members(comparison, scale, folder)
    with own_stdout() as out:
        if not arguments.draw_only:
            _train(members, arguments)
        points = simulations.points(members, numbers, episodes, folder)
        if not arguments.draw_only:
            simulations.play([point for point in points if point.scores is None], announce=say)
        found, files = simulations.write(points, members, folder)
        show(json.dumps(found) if arguments.json else scores.text(found), out)
        (say if arguments.json else partial(show, out=out))("\n".join(map(str, files)))
    return 0


def _looks(study: Study, arguments: Looks) -> int:
    from armillary.studies import foresight
    from armillary.studies.planet import figure11
    from armillary.training.packed import is_packed
    from armillary.training.run import Run

    paper, runs = study.declarations(), list(arguments.runs)
    folder = arguments.run or (runs[0] if runs else paper.place(arguments.scale))
    if arguments.run is None and is_packed(folder):
        raise UsageError(
            f"{str(folder)!r} is a packed agent, beside which nothing is written: give the folder "
            "for what is drawn with --run"
        )
    if not runs and Run(folder).exists:
        raise UsageError(
            f"{str(folder)!r} is a run: give it as --runs to look into it; --run is the folder to "
            "write into"
        )
    with own_stdout() as out:
        runs = runs or _own_runs(study, paper, folder, arguments)
        given: dict[str, Any] = {
            name: getattr(arguments, name) for name in ("labels", "task", "seed", "trust")
        }
        if study.kind == "prediction":
            number = int(study.figure.removeprefix("figure"))
            given |= {"figure": number, "episodes": arguments.episodes}
            files = foresight.run(runs, folder, announce=say, **given)
        else:
            tested = max(1, arguments.episodes // 2)
            given |= {"train_episodes": arguments.episodes, "test_episodes": tested}
            files = figure11.run(runs, folder, announce=say, **given)
        show("\n".join(map(str, files.values())), out)
    return 0


def _own_runs(study: Study, paper: Paper, folder: Path, arguments: Looks) -> list[Path]:
    """Returns the paper's own runs that are looked into; trains those that are missing."""
    from armillary.studies import runs as training

    comparison, scale = paper.at(study.of, arguments.scale)
    shown = "cheetah-run" if "cheetah-run" in scale.tasks else scale.tasks[0]
    scale = scale.changed((arguments.task or shown,), 1, None)
    members = training.members(comparison, scale, folder)
    if arguments.labels is not None and len(arguments.labels) != len(members):
        raise UsageError(
            f"{len(arguments.labels)} labels are given for the {len(members)} runs of "
            f"{study.paper}/{study.of}: give as many, or none"
        )
    missing = [member for member in members if member.results is None]
    if missing:
        say(training.cost(members, missing, 1, announce=say))
        training.run(missing, announce=say)
    return [member.folder for member in members]


def _settings(arguments: Settings) -> int:
    from armillary.studies.planet import figure12

    given = ("horizons", "iterations", "candidates", "fractions", "episodes", "task", "seed")
    changed = {name: getattr(arguments, name) for name in given}
    grid = dataclasses.replace(
        figure12.SCALES[arguments.scale],
        **{name: value for name, value in changed.items() if value is not None},
    )
    folder = arguments.run or Path("runs") / "figure12"
    with own_stdout() as out:
        if not arguments.draw_only:
            figure12.run(grid, folder, workers=arguments.workers, announce=say)
        table = figure12.scores(grid, folder)
        picture = figure12.draw(grid, folder, folder / "figure12.png")
        if arguments.json:
            show(json.dumps(figure12.as_dict(grid, table)), out)
        else:
            show(f"{figure12.summary(grid, table)}\npicture: {picture}", out)
    return 0
