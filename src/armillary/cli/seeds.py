"""`armillary train --seeds`: several seeds at once, each in a run folder of its own."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from armillary.advice import command
from armillary.cli.options import value_given
from armillary.cli.stdout import say, show
from armillary.config import Config
from armillary.errors import StorageError, UsageError


def run_seeds(config: Config, seeds: Sequence[int], argv: Sequence[str]) -> int:
    """Trains, then writes the report of each run and says what to do with them.

    Args:
        config: of all of them.
        seeds: what `--seeds` was given: how many, or which.
        argv: all that was given.
    """
    if len(seeds) > 1 and value_given(argv, "--seed") is not None:
        raise UsageError("--seed says where --seeds N begins: leave it out where they are named")
    if value_given(argv, "--hosts") is not None:
        raise UsageError("several seeds are trained by one process: leave --hosts or --seeds out")
    from armillary.envs.named import check_trust, needing_trust
    from armillary.studies.report import write_report
    from armillary.training.run import Run, default_folder
    from armillary.training.seeds import seed_folders, train_seeds
    from armillary.training.signals import Stopped

    which = seeds if len(seeds) > 1 else seeds[0]
    given = value_given(argv, "--run")
    folders = seed_folders(config, which, given)
    there = [folder for folder in folders.values() if Run(folder).exists]
    if there and "--trust" not in argv and value_given(argv, "--task") is None:
        check_trust(config.tasks, config.environment, there[0])
    trust = ("--trust",) if needing_trust(config.tasks, config.environment) else ()
    names = ", ".join(map(str, folders.values()))
    say(f"{'continuing' if there else 'training'} {config.agent} on {config.task} in {names}")
    places = {seed: folder.absolute() for seed, folder in folders.items()}
    stem = given or str(default_folder(config)).removesuffix(f"-seed{config.seed}")
    first = () if len(seeds) > 1 or not config.seed else ("--seed", config.seed)
    again = ("--run", stem, *first, "--seeds", *seeds, *trust)
    try:
        results = train_seeds(config, which, given)
    except Stopped as stopped:
        advice = command("train", *again)
        stopped.args = (f"{stopped}; everything so far is saved, continue with: {advice}",)
        raise
    failures: list[tuple[Path, Exception]] = []
    for place in places.values():
        write_report(place, lambda path, error: failures.append((path, error)))
    show(_table(results))
    more = command("train", *again, "--episodes", 2 * config.episodes)
    show(
        "\n".join(
            [
                "",
                "next:",
                f"  {command('plot', *folders.values())}    # one curve of all seeds",
                f"  {command('evaluate', folders[min(folders)], '--episodes', 10, *trust)}",
                f"  {more}    # goes on learning",
            ]
        )
    )
    for path, error in failures:
        say(f"not written: {path}: {error}")
    return int(any(isinstance(error, StorageError) for _, error in failures))


def first_folder(argv: Sequence[str]) -> str | None:
    """Returns the run folder that `--run` names, before the options are parsed.

    Of several seeds that of the first one.
    """
    folder = value_given(argv, "--run")
    if folder is None or value_given(argv, "--seeds") is None:
        return folder
    words = itertools.dropwhile(lambda word: not word.startswith("--seeds"), argv)
    given = [next(words).partition("=")[2], *itertools.takewhile(lambda w: w[:1] != "-", words)]
    named = [word for word in given if word]
    first = named[0] if len(named) > 1 else value_given(argv, "--seed") or "0"
    return f"{folder}-seed{first}"


def _table(results: Mapping[int, dict[str, Any]]) -> str:
    """Returns the scores of each seed beside those of random actions."""
    from armillary.training.evaluation import Scores

    one = next(iter(results.values()))
    several = len(one["tasks"]) > 1
    lines = [
        "",
        f"{one['task']}: {one['episodes']} episodes{' of each' * several} and "
        f"{one['updates']:,} updates of each of {len(results)} seeds, "
        f"{max(result['seconds'] for result in results.values()) / 60:.1f} minutes",
    ]
    for task in one["tasks"]:
        found = {seed: result["tasks"][task] for seed, result in results.items()}
        lines.append(
            f"{task}: "
            * several
            + f"score over {found[min(found)]['agent']['episodes']} noise-free episodes, mean ± "
            f"standard deviation{'':<10}random actions"
        )
        for seed, of_one in found.items():
            lines.append(f"  seed {seed:<9}{_score(of_one['agent'])}{_score(of_one['random'])}")
        means = {
            name: Scores(tuple(of_one[name]["mean"] for of_one in found.values())).as_dict()
            for name in ("agent", "random")
        }
        lines.append(f"  {'over seeds':<14}{_score(means['agent'])}{_score(means['random'])}")
    return "\n".join(lines)


def _score(scores: Mapping[str, Any]) -> str:
    return f"{scores['mean']:10.1f} ± {scores['std']:<7.1f}"
