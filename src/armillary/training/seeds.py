"""Several seeds of one configuration, trained in step: a run folder for each, of any other run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from armillary.agents.base import Agent
from armillary.agents.registry import know, make_agent
from armillary.config import Config, differences
from armillary.config.settings import require
from armillary.envs.build import agreed
from armillary.errors import UsageError
from armillary.training import hosts
from armillary.training.collecting import collectors
from armillary.training.counters import Counters
from armillary.training.loop import train
from armillary.training.program_cache import keep
from armillary.training.results import earlier_results
from armillary.training.run import Run, default_folder
from armillary.training.signals import stop_request
from armillary.training.testing import Stage
from armillary.training.together import Together
from armillary.training.trainer import Trainer


def train_seeds(
    config: Config,
    seeds: int | Sequence[int],
    folder: str | Path | None = None,
    *,
    on_progress: Callable[[int, Counters], None] = lambda seed, counters: None,
    on_metrics: Callable[[int, dict[str, Any]], None] = lambda seed, row: None,
) -> dict[int, dict[str, Any]]:
    """Trains agents that differ in their seed alone, each in a run folder, or continues their runs.

    Each becomes the agent that `train` makes of its seed: on a CPU bit for bit (so the tests say of
    every agent here), elsewhere up to the last bits of each update. A folder is that of any other
    run. Runs that are not equally far are brought there first; those that have ended stay as they
    are.

    Args:
        config: the configuration of all of them.
        seeds: so many, from `config.seed` on; or which.
        folder: seed N's run is in `<folder>-seedN`. None: in `runs`, as the command line has it.
        on_progress: called with a seed and its counters, as in `train`.
        on_metrics: called with a seed and each row of its `metrics.jsonl`, as in `train`.

    Returns:
        What `train` returns, for each seed.

    Raises:
        UsageError: as `train`; a seed twice, or none; episodes from elsewhere, Weights & Biases,
            several devices or hosts.
        NumericalError: a loss of one seed, which is named, became NaN or infinite; the runs of the
            others are saved.
        RunError, EnvironmentFailure, RenderingError, StorageError, Stopped: as `train`, of all.
    """
    folders = {  # an environment may change the working folder
        seed: place.absolute() for seed, place in seed_folders(config, seeds, folder).items()
    }
    config.check_trained()
    _check(config)
    know(config)
    keep()
    configs = {
        seed: Run(place).check(replace(config, seed=seed)) for seed, place in folders.items()
    }
    _check_same(configs, folders)
    done = {seed: earlier_results(Run(folders[seed]).results, configs[seed]) for seed in folders}
    going = [seed for seed in folders if done[seed] is None] or [*folders]
    if len(going) == 1:
        seed = going[0]
        one = train(
            configs[seed],
            folders[seed],
            on_progress=partial(on_progress, seed),
            on_metrics=partial(on_metrics, seed),
        )
        return {s: one if s == seed else done[s] or {} for s in folders}
    with ExitStack() as stack:
        sources = collectors(configs[going[0]], len(going))
        for source in sources.values():
            stack.callback(source.close)
        spec = agreed({task: source.agent_spec for task, source in sources.items()})
        agent = make_agent(config, spec)  # what cannot be fails before anything is written
        assert isinstance(agent, Agent)  # see `Config.check_trained`
        runs = {seed: Run(folders[seed]) for seed in going}
        held = {seed: stack.enter_context(run.locked()) for seed, run in runs.items()}
        stop = stack.enter_context(stop_request())
        stage = Stage(configs[going[0]], spec)
        trainers = []
        for seed, run in runs.items():
            trainer = Trainer(
                run.check(configs[seed]),  # environments take long: another may have begun here
                agent,
                run,
                sources,
                stop,
                partial(on_progress, seed),
                partial(on_metrics, seed),
                held[seed],
                stage,
            )
            stack.callback(trainer.close)
            trainers.append(trainer)
        found = Together(trainers, stop).train()
    return {seed: found.get(seed) or done[seed] or {} for seed in folders}


def seed_folders(
    config: Config, seeds: int | Sequence[int], folder: str | Path | None = None
) -> dict[int, Path]:
    """Returns the run folder of each seed, see `train_seeds`.

    Raises:
        UsageError: there are no seeds, or one is there twice; the folder is that of one run.
    """
    if isinstance(seeds, int):
        if seeds < 1:
            raise UsageError(f"seeds is {seeds}: give how many there are to be, at least 1")
        seeds = range(config.seed, config.seed + seeds)
    if not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"the seeds are {list(seeds)}: give some, each once")
    configs = {seed: replace(config, seed=seed) for seed in seeds}
    if folder is None:
        return {seed: default_folder(own) for seed, own in configs.items()}
    place = Path(folder)
    if Run(place).exists:
        raise UsageError(
            f"{str(folder)!r} is the folder of one run, but each of several seeds has its own, "
            f"named after it: give another name, and that of seed {seeds[0]} is "
            f"NAME-seed{seeds[0]}"
        )
    return {seed: place.with_name(f"{place.name}-seed{seed}") for seed in seeds}


def _check(config: Config) -> None:
    """Makes sure that several seeds can be trained in step.

    Raises:
        UsageError: they cannot.
    """
    for wrong, what in (
        (config.source is not None, "learn from episodes that are there (source, --from)"),
        (config.wandb is not None, "be sent to Weights & Biases (wandb)"),
        (config.training.overlap, "collect while they learn (training.overlap)"),
        (
            config.training.devices != 1 or hosts.many(),
            "be divided among devices or hosts (training.devices, --hosts)",
        ),
    ):
        require(
            not wrong, f"several seeds at once cannot {what}: leave it out, or train each alone"
        )


def _check_same(configs: Mapping[int, Config], folders: Mapping[int, Path]) -> None:
    """Makes sure that runs differ in nothing but their seed: not in the renderer they began with.

    Raises:
        UsageError: they do.
    """
    first, *others = configs.items()
    for seed, config in others:
        changed = differences(first[1], replace(config, seed=first[0]))
        if changed:
            fields = ", ".join(f"{name}: {a!r} and {b!r}" for name, (a, b) in changed.items())
            raise UsageError(
                f"{str(folders[first[0]])!r} and {str(folders[seed])!r} cannot be trained together "
                f"({fields}): continue each alone"
            )
