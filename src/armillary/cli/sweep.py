"""`armillary sweep`: find the settings with the best scores."""

from __future__ import annotations

import json
import operator
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, cast

import tyro

from armillary.advice import command
from armillary.cli.options import is_game_of, parse
from armillary.cli.remote import Spread, cluster_of
from armillary.cli.stdout import own_stdout, say, show
from armillary.cli.train import (
    AgentConfig,
    check_named,
    check_task,
    default_config,
    first_options,
    refuse_options_of_others,
)
from armillary.config import Config, keywords
from armillary.config.typed import options
from armillary.errors import ArmillaryError, UsageError

if TYPE_CHECKING:
    from armillary.studies.proposals import Trial
    from armillary.studies.space import Setting
    from armillary.studies.sweep import Sweep

FIRST = ("over", "trials", "seeds-per-trial", "score", "sampler", "prune", "ray", "ray-cpus")

Over = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=VALUES")]


@dataclass(frozen=True)
class Arguments(Generic[AgentConfig]):
    """Try values of some settings, and find those with the best scores.

    Each trial is a training run with values that Optuna proposes (needs the extra `sweep`). A sweep
    that is stopped goes on with the same command. All other options are those of `armillary train`,
    and hold for every trial.
    """

    config: Annotated[AgentConfig, tyro.conf.arg(name="")]
    over: Over = ()
    """A setting to try, once for each: optimizer.learning-rate=1e-4:1e-2:log is a range, its
    logarithm spread evenly (without :log the number itself); model.depth=16,32 are values. An
    option of the same name has then no effect."""
    trials: int = 20
    """How many; the same command with more of them goes on."""
    seeds_per_trial: int = 1
    """Runs of each trial, with seeds from --seed on; their mean score counts."""
    score: Literal["final", "tests"] = "final"
    """final: of the noise-free episodes at the end. tests: the mean over all tests of a run, so
    that learning sooner counts."""
    sampler: Literal["tpe", "random"] = "tpe"
    """Who proposes. tpe: Optuna's tree-structured Parzen estimator, after ten random trials."""
    prune: bool = False
    """End a trial early if it is worse than the median of the others at the same test."""
    run: Path | None = None
    """Folder of the sweep. Default: runs/<task>-<agent>-<preset>-sweep."""
    json: bool = False
    """Print the trials as one JSON object on standard output."""
    trust: bool = False
    """Run the Python module that the folder of `--from` names as its task (docs/trust.md)."""
    spread: Annotated[Spread, tyro.conf.arg(name="")] = field(default_factory=Spread)


def run(argv: list[str]) -> int:
    """Runs what is missing of the sweep, and says which values are the best."""
    default = default_config(argv)
    default.check_trained()
    refuse_options_of_others(argv, default)
    kind = cast(Any, Arguments)[type(default)]
    first = [*FIRST, *(name for name in first_options(default) if name not in ("run", "seed"))]

    def parsed(words: list[str]) -> Arguments[Config]:
        given: Arguments[Config] = parse(
            kind, words, "armillary sweep", default=Arguments(default), first=first
        )
        return given

    arguments = parsed(argv)
    check_task(arguments.config)
    if not arguments.trust:
        check_named(argv, arguments.config, None)
    for option, value in (("trials", arguments.trials), ("seeds", arguments.seeds_per_trial)):
        if value < 1:
            raise UsageError(f"{option} is {value}, but it must be at least 1")

    def read(name: str, text: str) -> Any:
        """Returns the value of a setting, read as `armillary train` reads it."""
        option = "--" + name.replace("_", "-")
        refuse_options_of_others([option], default)
        try:
            before = operator.attrgetter(name)(arguments.config)
        except AttributeError:
            parsed([*argv, option, *shlex.split(text)])  # says what is wrong
            raise UsageError(
                f"--over {name}: give the setting's whole name, as `armillary train --help-all` "
                "shows it"
            ) from None
        words = _words(option, _switched(name, text) if isinstance(before, bool) else text)
        return operator.attrgetter(name)(parsed([*argv, *words]).config)

    return _run(arguments, _sweep(arguments, read))


def _switched(name: str, text: str) -> bool:
    if text not in ("on", "off"):
        raise UsageError(f"--over {name}: it is on or off, not {text!r}")
    return text == "on"


def _words(option: str, value: Any) -> list[str]:
    """Returns how a value is given on the command line; a text is what would be typed."""
    if isinstance(value, bool):
        section, dot, last = option.removeprefix("--").rpartition(".")
        return [option if value else f"--{section}{dot}no-{last}"]
    if isinstance(value, str):
        return [option, *shlex.split(value)]
    if isinstance(value, Mapping):
        return [option, *keywords.shown(value)]
    return [option, *map(str, value if isinstance(value, tuple) else [value])]


def _sweep(arguments: Arguments[Config], read: Any) -> Sweep:
    from armillary.studies.space import setting
    from armillary.studies.sweep import Sweep
    from armillary.training.run import default_folder

    config = arguments.config
    over: tuple[Setting, ...] = tuple(setting(text, read) for text in arguments.over)
    place = default_folder(config)
    folder = arguments.run or place.with_name(f"{place.name.rpartition('-seed')[0]}-sweep")
    return Sweep(
        config, over, folder, arguments.trials, arguments.seeds_per_trial, arguments.score,
        arguments.sampler, arguments.prune,
    )  # fmt: skip


def _run(arguments: Arguments[Config], sweep: Sweep) -> int:
    from armillary.studies import sweeping, swept
    from armillary.studies.sweep import check

    with own_stdout() as out:
        check(sweep)

        def on_end(trials: list[Trial]) -> None:
            swept.write_numbers(sweep, trials)

        with cluster_of(arguments.spread) as cluster:
            trials = sweeping.run(sweep, cluster=cluster, announce=say, on_end=on_end)
        files = [swept.write_numbers(sweep, trials), swept.draw(sweep, trials)]
        if arguments.json:
            show(json.dumps(swept.numbers(sweep, trials)), out)
        else:
            show(f"\n{swept.table(sweep, trials)}\n", out)
            show("\n".join(map(str, files)), out)
        found = swept.best(trials)
        if found is None:
            raise ArmillaryError(
                f"no trial has a score: {trials[0].why or trials[0].state}"
                if trials
                else "there is no trial"
            )
        if not arguments.json:
            show(_advice(sweep, found), out)
    return 0


def _advice(sweep: Sweep, best: Trial) -> str:
    """Returns what to do with the best trial."""
    from armillary.envs.named import needing_trust

    folder, config = sweep.run_folder(best, 0), sweep.run_config(best, 0)
    trust = ["--trust"] * bool(needing_trust(config.tasks, config.environment))
    again = command("train", *typed(config), "--run", sweep.folder / "best")
    which = f"    # the first of its {sweep.seeds} runs" * (sweep.seeds > 1)
    return "\n".join(
        [
            "",
            f"next, with the best trial ({best.number}):",
            f"  {command('evaluate', folder, *trust)}{which}",
            f"  {again}    # the same once more",
        ]
    )


def typed(config: Config) -> list[str]:
    """Returns the options of `armillary train` that make a configuration."""
    kwargs = keywords.shown(config.environment.kwargs)
    return options(config, is_game_of(["--environment.kwargs", *kwargs]))
