"""One training run: what each line of Algorithm 1 does, and what is written down of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from statistics import mean
from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from armillary import seeding
from armillary.agents.base import Actor, Agent, Records
from armillary.agents.random import Random
from armillary.config import Config, to_dict
from armillary.config.schedule import all_rounds, updates_due
from armillary.errors import EnvironmentFailure
from armillary.replay.episode import Episode
from armillary.replay.episodes import EpisodeStore
from armillary.replay.sampler import Batch, prefetch
from armillary.training import compilation
from armillary.training.ahead import Ahead
from armillary.training.algorithm import Algorithm
from armillary.training.collecting import Collector, OnStep
from armillary.training.counters import Counters, machine, simulator_steps
from armillary.training.devices import Devices, updated
from armillary.training.evaluation import Scores
from armillary.training.judges import Verdict
from armillary.training.logger import Logger
from armillary.training.progress import Progress, Share
from armillary.training.record import Record, shown
from armillary.training.results import earlier_results, results, write_results
from armillary.training.rollout import returns
from armillary.training.run import Run
from armillary.training.sampling import make_sampler
from armillary.training.saving import Saver, restore
from armillary.training.signals import Stopped, StopRequest
from armillary.training.stored import check_episodes
from armillary.training.testing import Stage, Tester, scalars


class Trainer(Algorithm):
    """One training run in this process: Algorithm 1 of PlaNet and of Dreamer."""

    def __init__(
        self,
        config: Config,
        agent: Agent,
        run: Run,
        collectors: dict[str, Collector],
        stop: StopRequest,
        on_progress: Callable[[Counters], None],
        on_metrics: Callable[[dict[str, Any]], None],
        check_held: Callable[[], None],
        stage: Stage | None = None,
    ) -> None:
        self.config, self.run, self.tasks = config, run, config.tasks
        self.collectors = collectors
        self.stop, self.on_progress, self.check_held = stop, on_progress, check_held
        self.agent = agent
        self.devices = Devices(config.training.devices, config.training.batch_size)
        self.update = jax.jit(partial(updated, agent, self.devices), donate_argnums=0)
        self.key = seeding.purpose_key(config.seed, "update")
        facts = machine(self.devices.count)
        now = Counters(agent.spec.as_dict(), config=to_dict(config), machine=facts)
        self.state, self.counters, saved = restore(run, config, self.agent, now)
        run.open(config)  # all that can be wrong with the request has been seen by now
        self._prepare()
        self.store = EpisodeStore(run.episodes)
        check_episodes(
            self.store,
            self.counters,
            agent.spec,
            brought=config.source is not None,
            round_size=config.round_size,
        )
        self.sampler = make_sampler(self.store, self.agent, config)
        self.sampler.episodes = self.counters.episodes
        self.sampler.restore(saved)
        self.ahead = Ahead(agent, config, saved)
        self.logger = Logger(
            run.folder, self.counters.position, wandb=config.wandb, config=to_dict(config)
        )
        self.record = Record(run, self.counters, self.logger, on_metrics, check_held)
        self.saver = Saver(
            run,
            config.training.checkpoint_minutes,
            self.counters,
            self._before_saving,
            lambda: self.sampler.saved() | self.ahead.saved(),
        )
        self.stage = stage or Stage(config, agent.spec)
        self.tester = Tester(config, run, agent, self.logger, self.stage, self.on_step)
        self.progress: Progress | Share = Progress(
            config.episodes * len(self.tasks),
            updates_due(config, all_rounds(config)),
            episodes=self.reached,
            updates=self.counters.updates,
            environment_steps=self.counters.simulator_steps,
            compiling=compilation.seconds,
        )

    def train(self) -> dict[str, Any]:
        """Trains from where the counters are; what is finished outlives whatever ends it."""
        assert isinstance(self.progress, Progress)  # of this run alone
        with self.progress:
            try:
                self._loop()
                return self.finish()
            except (Stopped, EnvironmentFailure):
                self.saver.save(self.state)
                raise

    @property
    def episodes(self) -> int:
        """How many episodes have been collected."""
        return self.counters.episodes

    @property
    def reached(self) -> int:
        """How far the run is, in episodes: what is tested once is tested once of these."""
        return self.counters.episodes

    def _prepare(self) -> None:
        """Called when a folder is open, before its episodes are read."""

    def fit(self, due: int) -> None:
        """Takes the updates that are due (Algorithm 1, lines 4 to 7)."""
        self.state = self.devices.everywhere(self.state, self.agent.spec)
        with self.batches(due) as batches:
            for batch in batches:
                self.stop.check()
                number = self.counters.updates
                with self.progress.compiling("the update"):
                    shared = self.devices.share(batch, number)
                    self.state, metrics, *of_steps = self.update(
                        self.state, shared, self.key, number
                    )
                self.learned(batch, metrics, *of_steps)
                self.save_if_due()
        self.state = self.devices.on_first(self.state)

    def batches(self, due: int) -> AbstractContextManager[Iterator[Batch]]:
        """Returns what reads a batch for each update until so many have been made."""
        self.sampler.episodes = self.episodes
        numbers = range(self.counters.updates, due)
        generators = (seeding.generator(self.config.seed, "batch", number) for number in numbers)
        return prefetch(self.sampler, generators, transfer=self.devices.divide)

    def learned(self, batch: Batch, metrics: Any, *of_steps: Any) -> None:
        """Takes notice of an update: of its metrics, and of what it says of the batch's steps.

        Raises:
            NumericalError: a loss is NaN or infinite.
        """
        counters = self.counters
        values = {name: float(x) for name, x in jax.device_get(metrics).items()}
        self.record.update(values)
        self.sampler.learned(batch, *of_steps)
        counters.updates += 1
        self.progress.update(updates=counters.updates, losses=shown(values))
        self.on_progress(counters)

    def collect(self, *, seeding_model: bool = False) -> None:
        """Collects a round of the task whose turn it is (Algorithm 1, lines 1 and 8 to 16)."""
        self.add(None if self.has_round else self.play(seeding_model=seeding_model))
        if self.episodes % self._of_each_task == 0:
            self.ahead.acting = None
        self.save_if_due()

    def look_ahead(self) -> None:
        """Lets the next round of each task begin, if updates and collection are to overlap."""
        if not self.config.training.overlap:
            return
        self.ahead.hold(self.state)
        if self.rounds >= all_rounds(self.config):
            return
        after = (self.rounds + 1) * self._of_each_task
        for first in range(self.episodes, after, self.config.round_size):
            if first not in self.store.indices:
                self.ahead.begin(first, partial(self._play, first, self.agent, self.ahead.acting))

    @property
    def task(self) -> str:
        """The task whose turn it is."""
        return self._task(self.episodes)

    def _task(self, first: int) -> str:
        return self.tasks[first // self.config.round_size % len(self.tasks)]

    @property
    def has_round(self) -> bool:
        """Whether the next round was collected before a stop, and is not yet in a checkpoint."""
        return self.episodes in self.store.indices

    def add(self, episodes: list[Episode] | None) -> None:
        """Adds the next round to the run.

        Args:
            episodes: what was played; None: the round that is on the disk.
        """
        counters, size, task = self.counters, self.config.round_size, self.task
        index = counters.episodes
        if episodes is None:
            episodes = [self.store.load(i) for i in range(index, index + size)]
        else:
            self.check_held()
            self.store.write(index, *episodes)
        counters.episodes += size
        counters.simulator_steps += sum(simulator_steps(e, self.config, task) for e in episodes)
        values = {
            "collect/return": mean(returns(episodes)),
            "collect/length": mean(episode.steps for episode in episodes),
        }
        if len(self.tasks) > 1:
            values[f"collect/{task}/return"] = values["collect/return"]
        self.record.write(values | self._mean_losses())
        self.progress.episode(counters.episodes, counters.simulator_steps, values["collect/return"])
        self.on_progress(counters)

    def _mean_losses(self) -> dict[str, float]:
        """Returns the mean losses of the updates since the last episode, if there were any."""
        return self.record.mean_losses(self.config.training.collect_interval * len(self.tasks))

    def play(self, *, seeding_model: bool) -> list[Episode]:
        """Plays the next round."""
        if self.episodes in self.ahead:
            return self.ahead.take(self.episodes, self.stop.check)
        actor = self.actor(seeding_model)
        state = None if isinstance(actor, Random) else self.state
        return self._play(self.episodes, actor, state, self.on_step)

    def _play(self, first: int, actor: Actor, state: Any, on_step: OnStep) -> list[Episode]:
        return self.collectors[self._task(first)].play(actor, state, *self.draws(first), on_step)

    def actor(self, seeding_model: bool) -> Actor:
        """Returns who plays; who keeps records plays also the first rounds, so as to have some."""
        random = seeding_model and not isinstance(self.agent, Records)
        return Random(self.agent.spec) if random else self.agent

    def draws(self, first: int) -> tuple[PRNGKeyArray, list[int]]:
        """Returns the key of the round that begins with an episode, and the seed of each of it."""
        seed = self.config.seed
        seeds = range(first, first + self.config.round_size)
        return seeding.key(seed, "collect", first), [
            seeding.integer(seed, "collect", index) for index in seeds
        ]

    def on_step(self, count: int) -> None:
        self.stop.check()
        self.progress.frame(count)

    def evaluate(self) -> None:
        """Tests the agent while training goes on, once."""
        counters, config = self.counters, self.config
        if counters.evaluated // self._of_each_task == self.rounds:
            return
        episodes = self.config.evaluation.episodes
        scores = self.tester.agent(self.state, counters.simulator_steps, episodes, "evaluate")
        counters.evaluated = self.reached
        plain = {task: of_task.as_dict() for task, of_task in scores.items()}
        verdict = self.tester.judge(self.state)
        self.record.write(scalars("evaluate", plain, self.config) | _scalars(verdict))
        for task, of_task in scores.items():
            which = f" of {task}" if len(scores) > 1 else ""
            self.progress.message(
                f"test score after {self.rounds * config.round_size} episodes{which}: {of_task}"
            )
        if verdict is not None:
            self.progress.message(str(verdict))

    def finish(self) -> dict[str, Any]:
        """Tests the trained agent and random actions, and at last writes `results.json`, once."""
        counters, config = self.counters, self.config
        tested = counters.evaluated == self.reached
        earlier = earlier_results(self.run.results, config)
        whole = self.tester.has_episodes or not config.evaluation.final_episodes
        if earlier is not None and (tested or not config.evaluation.final_episodes) and whole:
            self.saver.replace_damaged(self.state)
            return earlier
        self.saver.save(self.state)
        episodes = config.evaluation.final_episodes
        agent = random = {task: Scores(()) for task in self.tasks}
        if episodes:
            agent = self.tester.agent(self.state, counters.simulator_steps, episodes, "final")
            random = self.tester.random(episodes, "final")
        if not tested and episodes:
            scores = {
                name: {task: of_task.as_dict() for task, of_task in of_all.items()}
                for name, of_all in (("evaluate", agent), ("random", random))
            }
            values = [scalars(name, of_all, config) for name, of_all in scores.items()]
            values.append(_scalars(self.tester.judge(self.state)))
            values.append(self._mean_losses())  # of the last updates
            self.record.write({name: x for row in values for name, x in row.items()})
            counters.evaluated = self.reached
            self.saver.save(self.state)
        self.check_held()
        lost = counters.episodes - len(self.store)
        found = results(config, counters, agent, random, lost, self.record.seconds)
        return write_results(self.run.results, found)

    def save_if_due(self) -> None:
        if self.saver.due:
            self.saver.save(self.state)

    def _before_saving(self) -> None:
        self.counters.seconds = self.record.seconds
        self.counters.position = self.logger.position
        self.sampler.episodes = self.counters.episodes  # whose state is saved, too
        self.check_held()

    def close(self) -> None:
        """Closes the log files and the environments that were opened here."""
        self.ahead.close()
        self.logger.close()
        self.stage.close()


def _scalars(verdict: Verdict | None) -> dict[str, Any]:
    """Returns what a judge found as what is logged; nothing if none was asked."""
    return {} if verdict is None else {"judge/mean": verdict.score}
