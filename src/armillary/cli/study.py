"""`armillary study`: run what a table or figure of the papers needs, and draw it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from armillary.cli.options import parse
from armillary.cli.stdout import own_stdout, say, show
from armillary.errors import UsageError, nearest

Scale = Literal["smoke", "small", "paper"]

STUDIES = {
    "figure4": "model designs: RSSM, SSM, RNN",
    "figure5": "agent designs: PlaNet, random collection, random shooting",
    "figure6": "one agent for all tasks, mean over the tasks",
    "figure7": "one agent for all tasks, each task",
    "figure8": "latent overshooting, on the RSSM and the DRNN",
    "figure9": "activation functions, ReLU and ELU",
    "figure10": "open-loop video prediction of the models",
    "figure11": "the simulator's state, told from the models' latent state",
    "figure12": "the planner's settings on the true simulator",
    "table1": "final performance beside the paper's",
}


@dataclass(frozen=True)
class Runs:
    """Train what a figure of PlaNet compares, as far as it is missing, and draw it.

    Says at the start what it will cost. A study that is stopped goes on with the same command;
    studies in one folder share their runs, and so may several processes.
    """

    scale: Scale = "small"
    """smoke: seconds for each run, to see that everything works. small: hours on a laptop. paper:
    the paper's tasks, seeds and episodes."""
    run: Path | None = None
    """Folder of the runs and pictures. Default: runs/study-SCALE."""
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


@dataclass(frozen=True)
class Looks:
    """Look into the models of figure 4's runs, or of runs of your own.

    The runs of figure 4 (seed 0) that are missing are trained first.
    """

    runs: tuple[Path, ...] = ()
    """Run folders of one task, in place of figure 4's."""
    labels: tuple[str, ...] | None = None
    """What the pictures call them. Default: their dynamics, with the folder where two are equal."""
    scale: Scale = "small"
    """Of figure 4's runs."""
    run: Path | None = None
    """Folder to write into. Default: the first one of `--runs`, or figure 4's, runs/study-SCALE."""
    task: str | None = None
    """The task to look at: of figure 4's runs (default: cheetah-run), or one that runs of several
    tasks have learned (default: the first)."""
    episodes: int = 10
    """Held-out episodes that the models are judged by, played by the first run's agent with action
    noise. In figure 11 small networks are fitted on these, and judged on half as many more."""
    seed: int = 0
    """Seed of these episodes and of all that is drawn from the models."""
    trust: bool = False
    """Run the Python module that a run folder names as its task (docs/trust.md)."""


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
    if not argv or argv[0] in ("-h", "--help"):
        rows = "\n".join(f"  {name:<10} {what}" for name, what in STUDIES.items())
        show(
            "usage: armillary study NAME [options]\n\nRun what a table or figure of PlaNet needs, "
            f"as far as it is missing, and draw it.\n\n{rows}\n\n"
            "`armillary study NAME --help` shows the options of a study."
        )
        return 0 if argv else 2
    name, *rest = argv
    if name not in STUDIES:
        raise UsageError(
            f"unknown study {name!r}, expected one of {', '.join(STUDIES)}."
            + nearest(name, STUDIES)
        )
    if name == "figure12":
        return _settings(_parse(Settings, name, rest))
    if name in ("figure10", "figure11"):
        return _looks(name, _parse(Looks, name, rest))
    return _runs(name, _parse(Runs, name, rest))


T = TypeVar("T")


def _parse(kind: type[T], name: str, argv: list[str]) -> T:
    arguments = parse(kind, argv, f"armillary study {name}")
    for option in ("workers", "seeds", "episodes"):
        value = getattr(arguments, option, None)
        if value is not None and value < 1:
            raise UsageError(f"{option} is {value}, but it must be at least 1")
    if getattr(arguments, "seed", 0) < 0:
        raise UsageError(f"seed is {arguments.seed}, but it must not be negative")  # type: ignore[attr-defined]
    return arguments


def _runs(name: str, arguments: Runs) -> int:
    from armillary.studies import comparisons, figures
    from armillary.studies import runs as training

    comparison = comparisons.COMPARISONS[name]
    scale = comparisons.scale(arguments.scale, comparison)
    scale = scale.changed(arguments.tasks, arguments.seeds, arguments.episodes)
    folder = arguments.run or Path("runs") / f"study-{arguments.scale}"
    members = training.members(comparison, scale, folder)
    with own_stdout() as out:
        if not arguments.draw_only:
            missing = [member for member in members if member.results is None]
            if missing:
                if all(member.results is None for member in members):
                    say("timing an update and a plan, to say what the study will cost")
                say(training.cost(members, missing, arguments.workers))
            if arguments.plan_only:
                return 0
            if missing:
                training.run(missing, workers=arguments.workers, announce=say)
        files = figures.write(comparison, members, folder, name)
        numbers = figures.statistics(comparison, members)
        if name == "table1":
            files.append(figures.write_table(numbers, folder))
        text = json.dumps(numbers) if arguments.json else figures.text(numbers)
        show(text, out)
        (say if arguments.json else partial(show, out=out))("\n".join(map(str, files)))
    return 0


def _looks(name: str, arguments: Looks) -> int:
    from armillary.studies import comparisons, foresight
    from armillary.studies import runs as training
    from armillary.studies.planet import figure11
    from armillary.training.run import Run

    runs = list(arguments.runs)
    folder = arguments.run or (runs[0] if runs else Path("runs") / f"study-{arguments.scale}")
    if not runs and Run(folder).exists:
        raise UsageError(
            f"{str(folder)!r} is a run: give it as --runs to look into it; --run is the folder to "
            "write into"
        )
    with own_stdout() as out:
        if not runs:
            comparison = comparisons.COMPARISONS["figure4"]
            scale = comparisons.scale(arguments.scale, comparison)
            shown = "cheetah-run" if "cheetah-run" in scale.tasks else scale.tasks[0]
            scale = scale.changed((arguments.task or shown,), 1, None)
            members = training.members(comparison, scale, folder)
            if arguments.labels is not None and len(arguments.labels) != len(members):
                raise UsageError(
                    f"{len(arguments.labels)} labels are given for figure 4's {len(members)} runs"
                )
            missing = [member for member in members if member.results is None]
            if missing:
                say(training.cost(members, missing, 1))
                training.run(missing, announce=say)
            runs = [member.folder for member in members]
        files = (
            foresight.run(
                runs,
                folder,
                labels=arguments.labels,
                task=arguments.task,
                episodes=arguments.episodes,
                seed=arguments.seed,
                trust=arguments.trust,
                announce=say,
            )
            if name == "figure10"
            else figure11.run(
                runs,
                folder,
                labels=arguments.labels,
                task=arguments.task,
                train_episodes=arguments.episodes,
                test_episodes=max(1, arguments.episodes // 2),
                seed=arguments.seed,
                trust=arguments.trust,
                announce=say,
            )
        )
        show("\n".join(map(str, files.values())), out)
    return 0


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
