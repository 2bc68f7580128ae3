"""Which steps of the episodes an agent learns from."""

from __future__ import annotations

from armillary.agents.base import Agent, LearnsFromSteps
from armillary.config import Config, TrainingConfig
from armillary.config.muzero import ReplayConfig
from armillary.replay.episodes import EpisodeStore
from armillary.replay.positions import PositionSampler
from armillary.replay.sampler import Sampler, WindowSampler

_UNIFORM = ReplayConfig(priority=0.0)


def make_sampler(store: EpisodeStore, agent: Agent, config: Config) -> Sampler:
    """Returns what draws an agent's batches: single steps if it asks for them, else chunks."""
    batch_size = config.training.batch_size
    if isinstance(agent, LearnsFromSteps):
        replay = getattr(config, "replay", _UNIFORM)
        return PositionSampler(
            store,
            batch_size,
            agent.windows,
            capacity=replay.capacity,
            priority=replay.priority,
            correction=replay.correction,
        )
    training = config.training
    length = training.chunk_length if isinstance(training, TrainingConfig) else 1
    tasks, masked = len(config.tasks), agent.spec.masked
    return WindowSampler(store, batch_size, length, tasks, masked=masked)
