"""`armillary train`: train an agent on a task, or continue a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, cast

import tyro

from armillary.advice import command, tool
from armillary.cli.options import is_game_of, parse, value_given
from armillary.cli.seeds import first_folder, run_seeds
from armillary.cli.stdout import say, show
from armillary.config import CONFIGS, Config, flatten, preset, to_dict
from armillary.errors import ArmillaryError, StorageError, UsageError

FIRST = (
    "task",
    "preset",
    "run",
    "episodes",
    "seed",
    "agent",
    "model.dynamics",
    "behavior.horizon",
    "planner.horizon",
    "search.simulations",
    "reanalyze",
    "environment.action-repeat",
    "environment.time-limit",
    "environment.renderer",
    "training.overlap",
)
"""The options that matter most: what `--help` shows."""

SHOWN = 20
"""Scores of single episodes that are listed; `results.json` has all."""

AgentConfig = TypeVar("AgentConfig", bound=Config)


@dataclass(frozen=True)
class Arguments(Generic[AgentConfig]):
    """Train an agent on a task, or continue the run in the same folder.

    Any field of the configuration can be set; the values shown are those of the chosen preset (or
    of the run that is continued).
    """

    config: Annotated[AgentConfig, tyro.conf.arg(name="")]
    run: Path | None = None
    """Run folder. Default: runs/<task>-<agent>-<preset>-seed<N>. A run that is there goes on."""
    seeds: tuple[int, ...] = ()
    """Train several seeds at once, each in a run folder of its own, which `--run` then names
    without its -seed<N>: so many from `--seed` on, or, if several numbers are given, these."""
    hosts: str | None = None
    """Share the updates between several processes, each started with the same command: auto on a
    cluster that JAX knows, or ADDRESS:PORT,N,I, where the first of N listens, and which this is."""
    trust: bool = False
    """Run the Python module that the folder of a continued run names as its task."""


def run(argv: list[str]) -> int:
    """Trains, then writes the report and says what to do with it."""
    default = default_config(argv)
    default.check_trained()
    refuse_options_of_others(argv, default)
    kind = cast(Any, Arguments)[type(default)]  # only the options of the chosen agent
    first = first_options(default)
    arguments = parse(kind, argv, "armillary train", default=Arguments(default), first=first)
    config = arguments.config
    check_task(config)
    if arguments.seeds:
        return run_seeds(config, arguments.seeds, argv)
    from armillary.envs.named import needing_trust
    from armillary.training.run import Run, default_folder

    folder = arguments.run or default_folder(config)
    place = folder.absolute()  # an environment may change the working folder
    goes_on = Run(folder).exists
    if not arguments.trust:
        check_named(argv, config, folder if goes_on else None)
    Run(folder).check(config)
    trust = ("--trust",) if needing_trust(config.tasks, config.environment) else ()
    say(f"{'continuing' if goes_on else 'training'} {config.agent} on {config.task} in {folder}")

    from armillary.studies.report import write_report
    from armillary.training import hosts
    from armillary.training.loop import train
    from armillary.training.signals import Stopped

    if arguments.hosts is not None:
        hosts.connect(arguments.hosts)
    try:
        results = train(config, place)
    except Stopped as stopped:
        raise _with_advice(stopped, folder, trust) from None
    if not hosts.leads():
        say("the run has ended, which the first process trained")
        return 0
    failures: list[tuple[Path, Exception]] = []
    files = write_report(place, lambda path, error: failures.append((path, error)))
    show(f"{_scores(results)}\n{_advice(results, folder, files, trust)}")
    return _told(failures, folder)


def first_options(config: Config) -> list[str]:
    """Returns those of `FIRST` that an agent's configuration has; of several horizons the first."""
    names = {"run", "seeds", *(name.replace("_", "-") for name in flatten(to_dict(config)))}
    horizons = [name for name in FIRST if name.endswith(".horizon") and name in names]
    return [name for name in FIRST if name in names and name not in horizons[1:]]


def _with_advice(stopped: Any, folder: Path, trust: tuple[str, ...]) -> Exception:
    again = command("train", "--run", folder, *trust)
    stopped.args = (f"{stopped}; everything so far is saved, continue with: {again}",)
    return stopped


def _told(failures: list[tuple[Path, Exception]], folder: Path) -> int:
    """Says what is missing in the report. The run is whole; a full disk is an error even so."""
    for path, error in failures:
        expected = isinstance(error, ArmillaryError)
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        say(f"not written: {path}: {reason}")
    if failures:
        say(
            f"the run itself is finished and whole, and files of an older report stay; to write "
            f"what is missing: {command('train', '--run', folder)}"
        )
    return int(any(isinstance(error, StorageError) for _, error in failures))


def default_config(argv: list[str]) -> Config:
    """Returns the configuration that the options edit.

    That of the run in the folder if there is one and no preset is named, else the preset's.
    """
    name, folder = value_given(argv, "--preset"), first_folder(argv)
    agent = value_given(argv, "--agent") or "planet"
    dynamics = value_given(argv, "--dynamics") or value_given(argv, "--model.dynamics") or ""
    if ":" in agent + dynamics:  # code that is named here, and so may be run
        from armillary.agents.registry import know_agent, know_dynamics

        know_agent(agent)
        know_dynamics(dynamics or "rssm")
    if name is None and folder is not None:
        from armillary.training.run import Run

        if Run(folder).exists:
            return Run(folder, trust="--trust" in argv).config
    name, task = name or "small", value_given(argv, "--task")
    source = _source(argv)
    whole = source is not None and source.exists
    if whole and task is None:
        from armillary.envs.named import check_trust

        theirs, task = source.config, source.config.task
        if "--trust" not in argv:
            check_trust(theirs.tasks, theirs.environment, source.folder)
    config = dataclasses.replace(preset(name, agent, task, is_game_of(argv)), preset=name)
    if whole:  # its episodes are of its task
        config = dataclasses.replace(
            config, task=source.config.task, environment=source.config.environment
        )
    named = _source_name(argv)
    if named is not None and named.startswith("minari:"):
        config = _of_data_set(named, argv, config)
    return config


def _of_data_set(source: str, argv: list[str], config: Config) -> Config:
    """Returns a configuration of the task that a Minari data set was recorded in."""
    from armillary.training.minari import task_of

    given = value_given(argv, "--task")
    found = (given, {}) if given is not None else task_of(source)
    if found is None:
        raise UsageError(
            f"{source} does not say of which environment its episodes are: give --task (with "
            "--evaluation.final-episodes 0 any name will do)"
        )
    task, kwargs = found
    environment = dataclasses.replace(config.environment, kwargs=kwargs)
    return dataclasses.replace(config, task=task, environment=environment)


def _source_name(argv: list[str]) -> str | None:
    return value_given(argv, "--from") or value_given(argv, "--source")


def _source(argv: list[str]) -> Any:
    """Returns the run whose episodes are learned from, if `--from` names a folder."""
    source = _source_name(argv)
    if source is None or source.startswith("minari:"):
        return None
    from armillary.training.run import Run

    return Run(source, trust="--trust" in argv)


def refuse_options_of_others(argv: list[str], config: Config) -> None:
    """Raises UsageError for an option that only another agent has."""
    sections = {name.partition(".")[0] for name in flatten(to_dict(config))}
    for argument in argv:
        name = argument.removeprefix("--").partition("=")[0].partition(".")[0]
        if not argument.startswith("--") or name in sections:
            continue
        owners = [agent for agent, kind in CONFIGS.items() if name in kind.__dataclass_fields__]
        if owners:
            own = sorted(sections - {field.name for field in dataclasses.fields(Config)})
            raise UsageError(
                f"{argument.partition('=')[0]} is an option of {' and '.join(owners)}, but the "
                f"agent here is {config.agent}, whose own sections are {', '.join(own)}: "
                f"`{command('train', '--agent', config.agent, '--help-all')}` shows them"
            )


def check_named(argv: list[str], config: Config, folder: Path | None) -> None:
    """Raises UsageError if a task that the command line does not name itself runs code.

    Args:
        argv: the command line.
        config: what it makes.
        folder: of the run that it continues, which names the task; None: it begins one.
    """
    from armillary.envs.named import check_trust

    if value_given(argv, "--task") is not None:
        return
    source = _source(argv)
    if folder is not None:
        check_trust(config.tasks, config.environment, folder)
    elif source is not None and source.exists:
        check_trust(config.tasks, config.environment, source.folder)
    elif config.source is not None and config.source.startswith("minari:"):
        check_trust(config.tasks, config.environment, config.source)


def check_task(config: Config) -> None:
    """Raises UsageError if there is no such preset, or the task is empty."""
    preset(config.preset, config.agent)  # raises if there is none
    if not config.task:
        raise UsageError("the task is empty: give a task, `armillary tasks` lists them")


def _scores(results: dict[str, Any]) -> str:
    """Returns the agent's scores beside those of random actions."""

    def row(name: str, scores: dict[str, Any]) -> str:
        values = ", ".join(f"{score:.0f}" for score in scores["scores"][:SHOWN])
        values += ", ..." * (len(scores["scores"]) > SHOWN)
        return f"  {name:<14}{scores['mean']:8.1f} ± {scores['std']:<7.1f} ({values})"

    several = len(results["tasks"]) > 1
    lines = [
        "",
        f"{results['task']}: {results['episodes']} episodes{' of each' * several}, "
        f"{results['simulator_steps']:,} environment steps, {results['updates']:,} updates, "
        f"{results['seconds'] / 60:.1f} minutes",
    ]
    for task, scores in results["tasks"].items():
        agent, random = scores["agent"], scores["random"]
        if not agent["episodes"]:
            lines.append("no test episodes were played (evaluation.final_episodes is 0)")
            continue
        lines += [
            f"{task}: " * several
            + f"score over {agent['episodes']} noise-free episodes, mean ± standard deviation:",
            row("this agent", agent),
            row("random actions", random),
        ]
        if random["mean"] > 0:
            lines.append(f"  {'ratio':<14}{agent['mean'] / random['mean']:8.1f}")
    return "\n".join(lines)


def _advice(
    results: dict[str, Any], folder: Path, files: dict[str, Path], trust: tuple[str, ...]
) -> str:
    """Returns where everything is, and what to do with it (with the option `--trust`)."""
    names = {"curve": "learning curve", "agent": "video", "prediction": "predictions"}
    pictures = [
        f"{'' if name.endswith('_video') else names[name.partition('-')[0]]:<17}{path}"
        for name, path in files.items()
    ]
    more = command("train", "--run", folder, "--episodes", 2 * results["episodes"], *trust)
    return "\n".join(
        [
            "",
            *pictures,
            f"checkpoint       {folder / 'checkpoints'}",
            "",
            "next:",
            f"  {command('evaluate', folder, '--episodes', 10, *trust)}",
            f"  {command('video', folder, *trust)}",
            f"  {command('plot', folder)}",
            f"  {more}    # goes on learning",
            f"  {tool('tensorboard', '--logdir', folder)}",
            f"  python: agent = armillary.load({str(folder)!r}); agent.act(observation)",
        ]
    )
