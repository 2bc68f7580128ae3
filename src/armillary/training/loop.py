"""One loop for every agent: fit, evaluate, collect, save (PlaNet, Algorithm 1)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from armillary import seeding
from armillary.agents.random import Random
from armillary.agents.registry import know, make_agent
from armillary.config import Config, to_dict
from armillary.envs import action_repeat, side_by_side
from armillary.envs.build import agreed, common
from armillary.envs.parallel import SideBySide
from armillary.errors import EnvironmentFailure, NumericalError, UsageError
from armillary.replay.episodes import Episode, EpisodeStore
from armillary.replay.sampler import Batch, WindowSampler, prefetch
from armillary.training import checkpoint, compilation
from armillary.training.counters import Counters, machine, warn_of_another_machine
from armillary.training.logger import Logger
from armillary.training.progress import Progress
from armillary.training.results import read_results, write_results
from armillary.training.rollout import returns, rollout
from armillary.training.run import Run
from armillary.training.schedule import evaluation_due, updates_due
from armillary.training.signals import Stopped, StopRequest, stop_request
from armillary.training.stored import check_episodes
from armillary.training.testing import Tester, scalars, together


def train(
    config: Config,
    folder: str | Path,
    *,
    on_progress: Callable[[Counters], None] = lambda counters: None,
    on_metrics: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Trains an agent in a run folder, or continues the run that is there.

    Args:
        config: the run's configuration.
        folder: the run folder. If it holds a run of this configuration, that run goes on from
            its last checkpoint, and ends with the parameters and scores of one never stopped: the
            same bits, on the same device, number of cores and version of JAX.
        on_progress: called with the counters after each update and each collected episode.
        on_metrics: called with each row of `metrics.jsonl` when it has been written: the counters,
            and returns, losses or scores by name. What it raises ends the run, which can go on.

    Returns:
        What `results.json` holds: the scores of the trained agent and of random actions.

    Raises:
        UsageError: the folder holds a run of another configuration, or the task is unknown.
        RunError: the folder is damaged, or in use.
        NumericalError: a loss became NaN or infinite.
        EnvironmentFailure, RenderingError, StorageError: as named; what was finished is kept.
        Stopped: SIGINT or SIGTERM came; the state was saved.
    """
    know(config)
    place = Path(folder).absolute()  # an environment may change the working folder
    config = Run(place).check(config)
    with ExitStack() as stack:
        envs = _environments(config, stack)  # fails before anything is written
        run = Run(place)
        with run.locked() as check_held, stop_request() as stop:
            config = run.check(config)  # environments take long: another run may have begun here
            trainer = Trainer(config, run, envs, stop, on_progress, on_metrics, check_held)
            try:
                return trainer.train()
            finally:
                trainer.close()


def _environments(config: Config, stack: ExitStack) -> dict[str, SideBySide]:
    """Returns an environment for each task, which `stack` closes."""
    environment = common(config.tasks, config.environment)
    envs = {}
    for task in config.tasks:
        envs[task] = side_by_side(task, environment, 1)
        stack.callback(envs[task].close)
    return envs


class Trainer:
    """The state of one training run in this process."""

    def __init__(
        self,
        config: Config,
        run: Run,
        envs: dict[str, SideBySide],
        stop: StopRequest,
        on_progress: Callable[[Counters], None],
        on_metrics: Callable[[dict[str, Any]], None],
        check_held: Callable[[], None],
    ) -> None:
        self.config = config
        self.run = run
        self.stop = stop
        self.on_progress, self.on_metrics = on_progress, on_metrics
        self.check_held = check_held
        self.started = self.last_saved = time.monotonic()
        self.envs = envs
        self.tasks = config.tasks
        self.spec = agreed({task: env.agent_spec for task, env in envs.items()})
        self.counters = Counters(self.spec.as_dict(), config=to_dict(config), machine=machine())
        self.agent = make_agent(config, self.spec)
        self.update = jax.jit(self._update, donate_argnums=0)
        self.state = self._restore()
        self.seconds_before = self.counters.seconds
        run.open(config)  # all that can be wrong with the request has been seen by now
        self.store = EpisodeStore(run.episodes)
        check_episodes(self.store, self.counters, self.spec)
        self.sampler = WindowSampler(
            self.store,
            config.training.batch_size,
            config.training.chunk_length,
            tasks=len(self.tasks),
            masked=self.spec.masked,
        )
        self.logger = Logger(
            run.folder, self.counters.position, wandb=config.wandb, config=to_dict(config)
        )
        self.tester = Tester(config, run, self.agent, self.logger, self._on_step)
        self.progress = Progress(
            config.episodes * len(self.tasks),
            updates_due(config, config.episodes),
            episodes=self.counters.episodes,
            updates=self.counters.updates,
            environment_steps=self.counters.simulator_steps,
            compiling=compilation.seconds,
        )

    def train(self) -> dict[str, Any]:
        """Runs PlaNet's Algorithm 1 from where the counters are."""
        with self.progress:
            try:
                self._loop()
                return self._finish()
            except (Stopped, EnvironmentFailure):
                self._save()
                raise

    def _loop(self) -> None:
        config, counters = self.config, self.counters
        while self.rounds < config.collection.seed_episodes:
            self._collect(seed_episode=True)
        while True:
            self._fit(updates_due(config, self.rounds))
            if self.rounds >= config.episodes:
                return
            due = evaluation_due(config, self.rounds)
            if due and counters.evaluated // len(self.tasks) != self.rounds:
                self._evaluate()
            self._collect(seed_episode=False)
            while counters.episodes % len(self.tasks):
                self._collect(seed_episode=False)

    @property
    def rounds(self) -> int:
        """How many episodes of each task have been collected."""
        return self.counters.episodes // len(self.tasks)

    def _update(self, state: Any, batch: Batch, key: PRNGKeyArray, counter: int) -> Any:
        return self.agent.update(state, batch, jax.random.fold_in(key, counter))

    def _fit(self, due: int) -> None:
        """Takes the updates that are due (Algorithm 1, lines 4 to 7)."""
        config, counters = self.config, self.counters
        self.sampler.episodes = counters.episodes
        key = seeding.purpose_key(config.seed, "update")
        generators = (
            seeding.generator(config.seed, "batch", update)
            for update in range(counters.updates, due)
        )
        with prefetch(self.sampler, generators, transfer=jax.device_put) as batches:
            for batch in batches:
                self.stop.check()
                state, metrics = self.update(self.state, batch, key, counters.updates)
                values = {name: float(x) for name, x in jax.device_get(metrics).items()}
                self._check_finite(values)
                self.state = state
                counters.updates += 1
                for name, value in values.items():
                    counters.losses[name] = counters.losses.get(name, 0.0) + value
                self.progress.update(updates=counters.updates, losses=_shown(values))
                self.on_progress(counters)
                self._save_if_due()

    def _collect(self, *, seed_episode: bool) -> None:
        """Collects one episode of the task whose turn it is (Algorithm 1, lines 1 and 8 to 16)."""
        counters = self.counters
        index = counters.episodes
        task = self.tasks[index % len(self.tasks)]
        if index in self.store.indices:  # collected before a stop, not yet in a checkpoint
            episode = self.store.load(index)
        else:
            episode = self._play(index, random=seed_episode)
            self.check_held()
            self.store.write(index, episode)
        counters.episodes += 1
        counters.simulator_steps += self._simulator_steps(episode, task)
        values = {"collect/return": next(returns([episode])), "collect/length": episode.steps}
        if len(self.tasks) > 1:
            values[f"collect/{task}/return"] = values["collect/return"]
        values |= self._mean_losses()
        counters.losses = {}
        self._log(values)
        self._save_if_due()
        self.progress.episode(counters.episodes, counters.simulator_steps, values["collect/return"])
        self.on_progress(counters)

    def _simulator_steps(self, episode: Episode, task: str) -> int:
        """Returns the steps of the wrapped environment; at most so many, of an older version."""
        repeat = self.config.environment.action_repeat or action_repeat(task)
        counted = episode.simulator_steps
        return episode.steps * repeat if counted is None else counted

    def _mean_losses(self) -> dict[str, float]:
        """Returns the mean losses of the updates since the last episode, if there were any."""
        updates = self.config.training.collect_interval * len(self.tasks)
        return {name: total / updates for name, total in self.counters.losses.items()}

    def _play(self, index: int, *, random: bool) -> Episode:
        actor = Random(self.spec) if random else self.agent
        (episode,) = rollout(
            self.envs[self.tasks[index % len(self.tasks)]],
            actor,
            None if random else self.state,
            seeding.key(self.config.seed, "collect", index),
            seeds=[seeding.integer(self.config.seed, "collect", index)],
            explore=True,
            on_step=self._on_step,
        )
        return episode

    def _on_step(self, count: int) -> None:
        self.stop.check()
        self.progress.frame(count)

    def _evaluate(self) -> None:
        """Tests the agent while training goes on."""
        counters = self.counters
        episodes = self.config.evaluation.episodes
        scores = self.tester.agent(self.state, counters.simulator_steps, episodes, "evaluate")
        counters.evaluated = counters.episodes
        plain = {task: of_task.as_dict() for task, of_task in scores.items()}
        self._log(scalars("evaluate", plain, self.config))
        for task, of_task in scores.items():
            which = f" of {task}" if len(scores) > 1 else ""
            self.progress.message(f"test score after {self.rounds} episodes{which}: {of_task}")

    def _finish(self) -> dict[str, Any]:
        """Tests the trained agent and random actions, and at last writes `results.json`, once."""
        counters, results = self.counters, self._earlier_results()
        if results is not None:
            self._replace_damaged_checkpoint()
        else:
            self._save()
            episodes = self.config.evaluation.final_episodes
            agent = self.tester.agent(self.state, counters.simulator_steps, episodes, "final")
            random = self.tester.random(episodes, "final")
            agent_scores = {task: scores.as_dict() for task, scores in agent.items()}
            random_scores = {task: scores.as_dict() for task, scores in random.items()}
            results = {
                "task": self.config.task,
                "seed": self.config.seed,
                "agent": together(agent).as_dict(),
                "random": together(random).as_dict(),
                "tasks": {
                    task: {"agent": agent_scores[task], "random": random_scores[task]}
                    for task in self.tasks
                },
                "episodes": self.rounds,
                "simulator_steps": counters.simulator_steps,
                "updates": counters.updates,
                "lost_episodes": counters.episodes - len(self.store),
                "seconds": self._elapsed(),
            }
            if counters.evaluated != counters.episodes:
                self._log(
                    scalars("evaluate", agent_scores, self.config)
                    | scalars("random", random_scores, self.config)
                    | self._mean_losses()  # of the last updates
                )
                counters.losses = {}
                counters.evaluated = counters.episodes
                self._save()
            self.check_held()
            results = write_results(self.run.results, results)
        return results

    def _earlier_results(self) -> dict[str, Any] | None:
        """Returns the results of this run, if it has ended with all that belongs to them.

        Otherwise the tests are played again, with the same scores.
        """
        results = read_results(self.run.results)
        ended = self.counters.evaluated == self.counters.episodes and self.tester.has_episodes
        if results is None or not ended or "checksum" not in results:
            return None
        return results if results["episodes"] == self.config.episodes else None

    def _replace_damaged_checkpoint(self) -> None:
        newest = checkpoint.newest(self.run.checkpoints)
        if newest is None or not checkpoint.sound(newest):
            self._save()

    def _log(self, values: dict[str, Any]) -> None:
        counters = self.counters
        counters.seconds = self._elapsed()
        self.check_held()
        position = {
            "episode": counters.episodes,
            "environment_steps": counters.simulator_steps,
            "updates": counters.updates,
            "seconds": round(counters.seconds, 3),
        }
        self.logger.scalars(position, values)
        self.on_metrics(position | values)

    def _check_finite(self, values: dict[str, float]) -> None:
        """Raises NumericalError if a loss or the gradient is NaN or infinite."""
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            newest = checkpoint.newest(self.run.checkpoints)
            terms = ", ".join(f"{name} = {values[name]}" for name in wrong)
            raise NumericalError(
                f"update {self.counters.updates + 1} gave {terms}; the run is stopped and the last "
                f"good checkpoint is {newest}. Look for such values in the environment's rewards, "
                "or try a smaller optimizer.learning_rate or optimizer.clip_norm in a new --run"
            )

    def _elapsed(self) -> float:
        """Returns the seconds that the run has taken, in this process and before."""
        return self.seconds_before + time.monotonic() - self.started

    def _save_if_due(self) -> None:
        minutes = (time.monotonic() - self.last_saved) / 60
        first = not checkpoint.exists(self.run.checkpoints)
        if first or minutes > self.config.training.checkpoint_minutes:
            self._save()

    def _save(self) -> None:
        self.counters.seconds = self._elapsed()
        self.counters.position = self.logger.position
        self.check_held()
        checkpoint.save(self.run.checkpoints, self.state, asdict(self.counters))
        self.last_saved = time.monotonic()

    def _restore(self) -> Any:
        """Returns the parameters of the last checkpoint, or new ones."""
        init = partial(jax.jit(self.agent.init), seeding.key(self.config.seed, "init"))
        if not checkpoint.exists(self.run.checkpoints):
            return init()
        state, meta = checkpoint.load(self.run.checkpoints, jax.eval_shape(init))
        now = self.counters
        self.counters = Counters.of(meta, self.run.checkpoints)
        self.run.check_made_with(self.counters.config, self.config)
        warn_of_another_machine(self.counters.machine, now.machine, self.run.folder)
        self.counters.config, self.counters.machine = now.config, now.machine
        if self.rounds > self.config.episodes:
            raise UsageError(
                f"the run in {str(self.run.folder)!r} already has {self.rounds} "
                f"episodes: ask for that many or more instead of {self.config.episodes}"
            )
        return state

    def close(self) -> None:
        """Closes the log files and the environments that were opened here."""
        self.logger.close()
        self.tester.close()


def _shown(metrics: dict[str, float]) -> dict[str, float]:
    """Returns the losses of an update as people want to see them.

    A divergence in the loss is constant while it is below the free nats: its raw value is shown.
    """
    losses = {name: value for name, value in metrics.items() if name.startswith("loss/")}
    for name in losses:
        losses[name] = metrics.get(name.removeprefix("loss/"), losses[name])
    return losses
