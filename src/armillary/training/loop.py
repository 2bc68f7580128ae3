"""What a training run is made of: its collectors, its agent's spec, and who trains it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from armillary.agents.base import Agent
from armillary.agents.registry import know, make_agent
from armillary.config import Config
from armillary.config.schedule import all_rounds, evaluation_due, seed_rounds, updates_due
from armillary.config.settings import require
from armillary.envs.build import agreed
from armillary.errors import UsageError
from armillary.spec import Spec
from armillary.training import hosts, minari
from armillary.training.collecting import Collector, collectors
from armillary.training.counters import Counters, simulator_steps
from armillary.training.devices import follow
from armillary.training.offline import begun, bring, check_records, source_spec
from armillary.training.program_cache import keep
from armillary.training.run import Run
from armillary.training.signals import stop_request
from armillary.training.trainer import Trainer


def train(
    config: Config,
    folder: str | Path,
    *,
    on_progress: Callable[[Counters], None] = lambda counters: None,
    on_metrics: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Trains an agent in a run folder, or continues the run that is there.

    Of several processes that `jax.distributed.initialize` has joined, all are to call it with the
    same configuration: the first one trains, and the others compute their parts of its updates.

    Args:
        config: the run's configuration.
        folder: the run folder. If it holds a run of this configuration, that run goes on from
            its last checkpoint, and ends with the parameters and scores of one never stopped: the
            same bits, on the same device, number of cores and version of JAX.
        on_progress: called with the counters after each update and each collected episode.
        on_metrics: called with each row of `metrics.jsonl` when it has been written: the counters,
            and returns, losses or scores by name. What it raises ends the run, which can go on.

    Returns:
        What `results.json` holds: the scores of the trained agent and of random actions. Nothing,
        where another process trains.

    Raises:
        UsageError: the folder holds a run of another configuration, or the task is unknown.
        RunError: the folder is damaged, or in use.
        NumericalError: a loss became NaN or infinite.
        EnvironmentFailure, RenderingError, StorageError: as named; what was finished is kept.
        Stopped: SIGINT or SIGTERM came; the state was saved.
    """
    config.check_trained()
    know(config)
    keep()
    if hosts.many() and not hosts.leads():
        follow(config)
        return {}
    with hosts.leading():
        return _trained(config, folder, on_progress, on_metrics)


def _trained(
    config: Config,
    folder: str | Path,
    on_progress: Callable[[Counters], None],
    on_metrics: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Trains, and returns what `results.json` holds."""
    place = Path(folder).absolute()  # an environment may change the working folder
    config = Run(place).check(config)
    with ExitStack() as stack:
        sources = _collectors(config, stack)
        spec = _spec(config, Run(place), sources)
        agent = make_agent(config, spec)  # what cannot be fails before anything is written
        assert isinstance(agent, Agent)  # see `Config.check_trained`
        run = Run(place)
        if config.source is not None and not begun(run):
            check_records(config, agent)
        with run.locked() as check_held, stop_request() as stop:
            config = run.check(config)  # environments take long: another run may have begun here
            kind = Trainer if config.source is None else OfflineTrainer
            trainer = kind(config, agent, run, sources, stop, on_progress, on_metrics, check_held)
            try:
                return trainer.train()
            finally:
                trainer.close()


def _collectors(config: Config, stack: ExitStack) -> dict[str, Collector]:
    """Returns who collects the episodes of each task, which `stack` closes."""
    if minari.is_named(config.source):
        minari.check_settings(config)
    require(
        config.source is None or not config.training.overlap,
        "training.overlap is for a run that collects, and one that learns from episodes that are "
        "there (source, --from) does not: leave one of them out",
    )
    if config.source is not None and not config.evaluation.final_episodes:
        return {}
    made = collectors(config)
    for collector in made.values():
        stack.callback(collector.close)
    return made


def _spec(config: Config, run: Run, sources: dict[str, Collector]) -> Spec:
    """Returns what the agent is made from, of the environments and of the episodes.

    Once a run has begun, the episodes are its own: their source need not be there any more.
    """
    specs = {task: source.agent_spec for task, source in sources.items()}
    if config.source is None:
        return agreed(specs)
    spec = source_spec(run.folder if begun(run) else config.source, config.environment)
    if specs and agreed(specs) != spec:
        raise UsageError(
            f"the episodes of {config.source} have {spec}, but {config.task} has {agreed(specs)}: "
            "name the task and the environment's settings that they come from, or give "
            "--evaluation.final-episodes 0 to learn without an environment"
        )
    return spec


class OfflineTrainer(Trainer):
    """A run that learns from episodes that are there already, see `armillary.training.offline`."""

    def _prepare(self) -> None:
        if not self.counters.updates:
            bring(self.config, self.run)

    @property
    def rounds(self) -> int:
        """How many episodes of each task a run would have collected after so many updates."""
        config = self.config
        each = config.training.collect_interval * len(self.tasks)
        return self.counters.updates // each + seed_rounds(config) - 1

    @property
    def reached(self) -> int:
        """The same of all tasks together."""
        return self.rounds * self._of_each_task

    def _loop(self) -> None:
        config, counters, store = self.config, self.counters, self.store
        if not counters.episodes:
            counters.episodes = store.indices[-1] + 1 if store.indices else 0
            for index in store.indices:
                task = self.tasks[store.round_of(index) % len(self.tasks)]
                counters.simulator_steps += simulator_steps(store.load(index), config, task)
        while self.rounds < all_rounds(config):
            self.fit(updates_due(config, self.rounds + 1))
            self.record.write(self._mean_losses())
            self.save_if_due()
            self.progress.episode(self.reached, counters.simulator_steps, None)
            if (
                self.rounds < all_rounds(config)
                and evaluation_due(config, self.rounds)
                and self.collectors
            ):
                self.evaluate()
