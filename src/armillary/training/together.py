"""The runs of several seeds, in step: their updates are one computation (Algorithm 1, for all).

Each seed has a `Trainer`: its parameters, episodes, batches, counters, log and checkpoints. Shared
are the updates, the actions of collected episodes, the environments, and the agent's programs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from statistics import mean
from typing import Any

import jax
import jax.numpy as jnp

from armillary.agents.random import Random
from armillary.config.schedule import all_rounds, updates_due
from armillary.errors import EnvironmentFailure, NumericalError
from armillary.replay.episode import Episode
from armillary.replay.sampler import Batch
from armillary.training import compilation
from armillary.training.algorithm import Algorithm
from armillary.training.progress import Progress, Share
from armillary.training.several import Several, stacked, update_each
from armillary.training.signals import Stopped, StopRequest
from armillary.training.trainer import Trainer


class Together(Algorithm):
    """Several seeds, none of which goes on before all have come as far.

    Args:
        trainers: of each seed, with one agent, one stage and one set of collectors.
        stop: asked for by a signal.
    """

    def __init__(self, trainers: Sequence[Trainer], stop: StopRequest) -> None:
        self.trainers, self.stop = trainers, stop
        first, count = trainers[0], len(trainers)
        self.config, self.collectors = first.config, first.collectors
        self.update = jax.jit(partial(update_each, first.agent), donate_argnums=0)
        self.stack = jax.jit(stacked)
        self.keys = jnp.stack([trainer.key for trainer in trainers])
        counters = [trainer.counters for trainer in trainers]
        self.progress = Progress(
            count * self.config.episodes * len(self.config.tasks),
            count * updates_due(self.config, all_rounds(self.config)),
            episodes=sum(of_one.episodes for of_one in counters),
            updates=sum(of_one.updates for of_one in counters),
            environment_steps=sum(of_one.simulator_steps for of_one in counters),
            compiling=compilation.seconds,
        )
        self.shares = [
            Share(self.progress, f"seed {trainer.config.seed}", trainer.counters)
            for trainer in trainers
        ]
        for trainer, share in zip(trainers, self.shares, strict=True):
            trainer.progress = share

    def train(self) -> dict[int, dict[str, Any]]:
        """Trains all from where they are; what is finished outlives whatever ends it."""
        with self.progress:
            try:
                self._loop()
                return {trainer.config.seed: trainer.finish() for trainer in self.trainers}
            except (Stopped, EnvironmentFailure):
                _save(self.trainers)
                raise

    @property
    def episodes(self) -> int:
        """How many episodes each seed has collected, at the least."""
        return min(trainer.episodes for trainer in self.trainers)

    def fit(self, due: int) -> None:
        """Takes the updates that are due, one of each seed at a time."""
        with ExitStack() as stack:
            batches = {t: stack.enter_context(t.batches(due)) for t in self.trainers}
            while (number := min(t.counters.updates for t in self.trainers)) < due:
                self.stop.check()
                turn = [t for t in self.trainers if t.counters.updates == number]
                self._learn({trainer: _whole(next(batches[trainer])) for trainer in turn}, number)
                losses = [share.losses for share in self.shares if share.losses]
                self.progress.update(
                    sum(share.updates for share in self.shares),
                    {name: mean(of_one[name] for of_one in losses) for name in losses[0]},
                )
                self._save_if_due()

    def _learn(self, batches: Mapping[Trainer, Batch], number: int) -> None:
        """Takes an update of each of these seeds.

        Raises:
            NumericalError: a loss of one is NaN or infinite; the others are saved.
        """
        found = self._update(batches, number)
        failed: dict[Trainer, NumericalError] = {}
        for trainer, batch in batches.items():
            try:
                trainer.learned(batch, *found[trainer])
            except NumericalError as error:
                failed[trainer] = error
        if failed:
            others = [trainer for trainer in self.trainers if trainer not in failed]
            _save(others)
            told = "; ".join(f"seed {t.config.seed}: {error}" for t, error in failed.items())
            seeds = " ".join(str(trainer.config.seed) for trainer in others)
            rest = f". The others are saved and can go on without it (seeds {seeds})"
            raise NumericalError(told + rest * bool(others)) from next(iter(failed.values()))

    def _update(self, batches: Mapping[Trainer, Batch], number: int) -> dict[Trainer, Any]:
        """Changes the parameters of these seeds; returns what else their updates give.

        It is the same computation where some seeds are ahead: what it gives for them is thrown away
        so that those behind get the bits that they would have had.
        """
        any_batch = next(iter(batches.values()))
        states = tuple(t.state if t in batches else _copied(t.state) for t in self.trainers)
        drawn = tuple(batches.get(trainer, any_batch) for trainer in self.trainers)
        with self.progress.compiling(f"the update of {len(states)} seeds"):
            states, *found = self.update(states, drawn, self.keys, number)
        found = jax.device_get(found)
        of_each = {}
        for i, (trainer, state) in enumerate(zip(self.trainers, states, strict=True)):
            if trainer in batches:
                trainer.state = state
                of_each[trainer] = jax.tree.map(lambda x, i=i: x[i], found)
        return of_each

    def look_ahead(self) -> None:
        """Nothing begins: see `armillary.training.seeds`."""

    def evaluate(self) -> None:
        """Tests each agent, one after the other, in the same environments."""
        for trainer in self.trainers:
            if trainer.rounds == self.rounds:
                trainer.evaluate()

    def collect(self, *, seeding_model: bool = False) -> None:
        """Collects a round of each seed: games one seed after the other, else side by side."""
        turn = [trainer for trainer in self.trainers if trainer.episodes == self.episodes]
        missing = [trainer for trainer in turn if not trainer.has_round]
        side_by_side = self.collectors[turn[0].task].several
        played = self._play(seeding_model) if missing and side_by_side else {}
        for trainer in turn:
            if trainer not in missing:
                trainer.add(None)
            elif side_by_side:
                trainer.add(played[trainer])
            else:
                trainer.add(trainer.play(seeding_model=seeding_model))
        self.progress.episode(
            sum(share.episodes for share in self.shares),
            sum(share.environment_steps for share in self.shares),
            mean(share.total_reward for share in self.shares),
        )
        self._save_if_due()

    def _play(self, seeding_model: bool) -> dict[Trainer, list[Episode]]:
        """Returns what each seed plays next, also of one whose turn it is not."""
        first, size = self.trainers[0], self.config.round_size
        one = first.actor(seeding_model)
        states = [None if isinstance(one, Random) else t.state for t in self.trainers]
        keys, seeds = zip(
            *(trainer.draws(trainer.episodes) for trainer in self.trainers), strict=True
        )
        task = min(self.trainers, key=lambda trainer: trainer.episodes).task
        played = self.collectors[task].play(
            Several(one, len(states)),
            self.stack(states),
            jnp.stack(keys),
            [*chain(*seeds)],
            first.on_step,
        )
        return {t: played[i * size : (i + 1) * size] for i, t in enumerate(self.trainers)}

    def _save_if_due(self) -> None:
        if any(trainer.saver.due for trainer in self.trainers):
            _save(self.trainers)


def _whole(batch: Batch) -> Batch:
    """Returns a batch that says which rows are valid: all have the same fields then."""
    if batch.valid is not None:
        return batch
    return batch._replace(valid=jnp.ones(batch.reward.shape, bool))


def _copied(state: Any) -> Any:
    """Returns parameters that may be donated."""
    return jax.tree.map(jnp.array, state)


def _save(trainers: Iterable[Trainer]) -> None:
    for trainer in trainers:
        trainer.saver.save(trainer.state)
