"""Distilling a planner into a policy: what it chooses, once for every belief, and the fit.

The labels are what the planner chooses without exploration, not the actions of the episodes, which
carry noise; the episodes only say in which beliefs it is asked.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from armillary import seeding
from armillary.agents.distilled import DistilledState, new_policy
from armillary.agents.world_model import WorldModelAgent, adam, descend, init_optimizer
from armillary.config import (
    DistillationConfig,
    DistilledConfig,
    OptimizerConfig,
    WorldModelConfig,
    planner_of,
    to_dict,
)
from armillary.errors import RunError, UsageError
from armillary.files import storage_error
from armillary.nets.dense import Stack
from armillary.replay.episode import Episode
from armillary.replay.episodes import EpisodeStore
from armillary.spec import MASK
from armillary.training import checkpoint
from armillary.training.counters import Counters
from armillary.training.offline import bring
from armillary.training.player import Player
from armillary.training.run import Run

ROWS = 64
"""Beliefs for which a plan is made at a time."""


class Labels(NamedTuple):
    """What a planner chooses in the beliefs of one episode, or of several.

    Attributes:
        features: of the beliefs.
        action: what the planner chooses there, 0 where an entry does not count.
        counts: 1 for each entry of an action that counts, 0 for others.
    """

    features: Float[Array | np.ndarray, "belief features"]
    action: Float[Array | np.ndarray, "belief action"]
    counts: Float[Array | np.ndarray, "belief action"]


class Fit(NamedTuple):
    """A policy, and how near it comes.

    Attributes:
        policy: the network.
        error: root mean square of what it does less what the planner does, on what was held out.
        constant: the same of the best constant action: what an error is to be compared with.
        beliefs: fitted.
        held_out: beliefs that were not.
    """

    policy: Stack
    error: float
    constant: float
    beliefs: int
    held_out: int


def check(player: Player) -> WorldModelAgent:
    """Returns the agent of a run if it can be distilled.

    Raises:
        UsageError: it does not plan, or its actions are discrete.
    """
    agent, config = player.agent, player.config
    if agent.spec.discrete:
        raise UsageError(
            f"the actions of {config.task} are discrete, and only a planner of continuous ones can "
            "be distilled: give a run of another task"
        )
    if planner_of(config) is None:
        could = planner_of(config, "plan") is not None
        raise UsageError(
            f"the agent {config.agent!r} does not plan, so there is nothing to distill: "
            + ("let it plan (--act plan)" if could else "give a run of planet")
        )
    if not isinstance(agent, WorldModelAgent):
        raise UsageError(
            f"the agent {config.agent!r} has no world model whose beliefs a policy could see: give "
            "a run of planet, or of a subclass of WorldModelAgent"
        )
    return agent


def distill(
    player: Player,
    source: str | Path,
    folder: str | Path,
    settings: DistillationConfig,
    on_labels: Callable[[int, int], None] = lambda done, count: None,
) -> Fit:
    """Writes a run folder of a policy that imitates the planner of another run.

    The folder appears when all is done; whatever ends it before leaves none, and it begins again.

    Args:
        player: the agent that plans, loaded from `source`.
        source: its run folder, of which only the episodes are read.
        folder: of the new run, which must not be there.
        settings: of the fit.
        on_labels: called with how many of how many episodes are labelled; what it raises ends it.

    Raises:
        UsageError: the agent does not plan, the folder is there, or there are too few episodes.
        RunError: the episodes are damaged.
        StorageError: the folder cannot be written.
    """
    agent, target = check(player), Path(folder).absolute()
    if target.exists() or target.is_symlink():
        raise UsageError(
            f"{str(folder)!r} is there already: give another --run for what is distilled"
        )
    config = distilled_config(agent, source, settings)
    making = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    run = Run(making)
    try:
        bring(config, run)  # so that a damaged episode is not set aside in the other run
        store = EpisodeStore(run.episodes)
        if len(store) < 2:
            raise UsageError(
                f"{str(source)!r} has {len(store)} episodes that can be read, but it takes two: "
                "one to fit and one to measure the error"
            )
        labels: list[Labels] = []
        label = Labeller(agent, player.state, max(store.lengths.values()))
        for index in store.indices:
            on_labels(len(labels), len(store))
            labels.append(label(store.load(index), seeding.key(config.seed, "distill", index)))
        on_labels(len(labels), len(store))
        fit = fit_policy(labels, settings, config.seed)
        counters = Counters.of(player.counters, Path(source))
        counters = replace(counters, config=to_dict(config), position=None, losses={})
        state = DistilledState(player.state.model, fit.policy)
        checkpoint.save(run.checkpoints, state, asdict(counters))
        run.open(config)
        try:
            os.rename(making, target)
        except OSError as error:
            raise storage_error(target, error) from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return fit


def distilled_config(
    agent: WorldModelAgent, source: str | Path, settings: DistillationConfig
) -> DistilledConfig:
    """Returns the configuration of what is distilled: the agent's, as far as both have it."""
    shared = {f.name: getattr(agent.config, f.name) for f in fields(WorldModelConfig)}
    own = {"agent": DistilledConfig.agent, "source": str(source), "wandb": None}
    return DistilledConfig(**{**shared, **own}, distillation=settings)


class Labeller:
    """Asks an agent what it would choose along an episode.

    Args:
        agent: who plans.
        state: its parameters.
        rows: of the longest episode: shorter ones are filled up, so that one program does for all.
    """

    def __init__(self, agent: WorldModelAgent, state: Any, rows: int) -> None:
        self._agent, self._state, self._rows = agent, state, rows
        self._filter, self._choose = jax.jit(self._beliefs), jax.jit(self._chosen)

    def __call__(self, episode: Episode, key: PRNGKeyArray) -> Labels:
        """Returns the planner's choices in all beliefs but the last, after which nothing follows.

        Args:
            episode: as it is stored.
            key: of the sampled beliefs, and of the plans.
        """
        spec = self._agent.spec
        named = {name: np.asarray(x) for name, x in spec.named(episode.observation).items()}
        counts = named.pop(MASK, np.ones(episode.action.shape, bool))
        filled = partial(_filled, rows=self._rows)
        belief_key, plan_key = jax.random.split(key)
        latents, features = self._filter(
            {name: filled(x) for name, x in named.items()}, filled(episode.action), belief_key
        )
        mask = filled(counts) if spec.masked else None
        actions = []
        for start in range(0, episode.steps, ROWS):
            rows = np.minimum(np.arange(start, start + ROWS), episode.steps - 1)
            latent = jax.tree.map(lambda x, rows=rows: x[rows], latents)
            of_rows = None if mask is None else mask[rows]
            actions.append(self._choose(latent, of_rows, jax.random.fold_in(plan_key, start)))
        action = np.concatenate(actions)[: episode.steps]
        weights = counts[: episode.steps].astype(np.float32)
        return Labels(np.asarray(features)[: episode.steps], action * weights, weights)

    def _beliefs(
        self, observation: dict[str, Array], action: Array, key: PRNGKeyArray
    ) -> tuple[Any, Array]:
        """Filters an episode as the agent does when it acts: with samples, and noise on images."""
        model, objective = self._state.model, self._agent.config.objective
        image_key, state_key = jax.random.split(key)
        seen = model.encoder.prepare(
            observation, objective.bits, image_key if objective.dequantize else None
        )
        latents, _ = model.dynamics.observe(
            model.encoder(seen)[:, None], action[:, None], state_key
        )
        latents = jax.tree.map(lambda x: x[:, 0], latents)
        return latents, model.dynamics.features(latents)

    def _chosen(self, latent: Any, mask: Any, key: PRNGKeyArray) -> Array:
        action, _ = self._agent.choose(self._state, latent, mask, key, False)
        return jnp.clip(action, -1.0, 1.0)


def fit_policy(labels: list[Labels], settings: DistillationConfig, seed: int) -> Fit:
    """Fits a policy to the labels of some episodes, and measures it on those of the others.

    Args:
        labels: of two episodes or more.
        settings: of the policy and of the fit.
        seed: of the choice of episodes, the first parameters and the order.

    Raises:
        RunError: a label is no number, because the model is not.
    """
    count = min(len(labels) - 1, max(1, round(settings.held_out * len(labels))))
    order = seeding.generator(seed, "held out").permutation(len(labels))
    held, fitted = (_together([labels[i] for i in x]) for x in (order[:count], order[count:]))
    for array in (*held, *fitted):
        if not np.isfinite(array).all():
            raise RunError(
                "the planner's choices are no finite numbers, because the model's are not: "
                "distill an earlier checkpoint, or another run"
            )
    optimizer = adam(OptimizerConfig(learning_rate=settings.learning_rate))
    key = seeding.key(seed, "distilled policy")
    policy = new_policy(fitted.features.shape[1], fitted.action.shape[1], settings, key)
    moments = init_optimizer(optimizer, policy)
    size = min(settings.batch_size, len(fitted.action))

    @jax.jit
    def epoch(policy: Stack, moments: Any, batches: Labels) -> tuple[Stack, Any]:
        def step(carry: tuple[Stack, Any], batch: Labels) -> tuple[tuple[Stack, Any], None]:
            policy, moments = carry
            gradient = eqx.filter_grad(mean_square)(policy, batch)
            policy, moments, _ = descend(optimizer, gradient, moments, policy)
            return (policy, moments), None

        return jax.lax.scan(step, (policy, moments), batches)[0]

    error_of = jax.jit(mean_square)
    best, least = policy, float(error_of(policy, held))
    for number in range(settings.epochs):
        shuffled = seeding.generator(seed, "distill", number).permutation(len(fitted.action))
        rows = shuffled[: len(shuffled) // size * size].reshape(-1, size)
        policy, moments = epoch(policy, moments, jax.tree.map(lambda x, r=rows: x[r], fitted))
        error = float(error_of(policy, held))
        if error < least:
            best, least = policy, error
    total = np.maximum(fitted.counts.sum(0), 1)
    constant = (held.action - fitted.action.sum(0) / total) * held.counts
    of_constant = float(np.sum(constant**2) / np.sum(held.counts))
    return Fit(best, least**0.5, of_constant**0.5, len(fitted.action), len(held.action))


def mean_square(policy: Stack, labels: Labels) -> Float[Array, ""]:
    """Returns the mean square of the policy's error over the entries of actions that count."""
    errors = (jnp.tanh(policy(jnp.asarray(labels.features))) - labels.action) * labels.counts
    return jnp.sum(errors**2) / jnp.maximum(jnp.sum(labels.counts), 1)


def _together(labels: list[Labels]) -> Labels:
    return Labels(*(np.concatenate(arrays) for arrays in zip(*labels, strict=True)))


def _filled(x: np.ndarray, rows: int) -> np.ndarray:
    """Returns an array with as many rows as are wanted, the last one again and again."""
    return np.concatenate([x, np.repeat(x[-1:], rows - len(x), axis=0)])
