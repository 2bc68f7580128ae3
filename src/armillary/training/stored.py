"""What a run that goes on finds of the episodes that it has collected."""

from __future__ import annotations

import logging

import gymnasium as gym

from armillary.errors import RunError
from armillary.replay.episodes import EpisodeStore
from armillary.training.counters import Counters

log = logging.getLogger(__name__)


def check_episodes(store: EpisodeStore, counters: Counters, envs: gym.vector.VectorEnv) -> None:
    """Warns of episodes that are gone, and of a run that begins again although it has episodes.

    Raises:
        RunError: the episodes are not of such an environment.
    """
    indices = store.indices
    if indices:
        actions = store.small_arrays(indices[0])[0].shape[1]
        ours, theirs = (
            (envs.single_observation_space.shape, counters.action_size),
            (store.image_shape(), actions),
        )
        if ours != theirs:
            raise RunError(
                f"the episodes in {store.folder} have images of {theirs[0]} and {theirs[1]} "
                f"actions, but the run has {ours[0]} and {ours[1]}: they are not of this run, move "
                "them away"
            )
    lost = sorted(set(range(counters.episodes)) - {*indices, *store.damaged})
    if lost:
        log.warning(
            "%d of the %d episodes collected so far are not in %s (the first: %d): the run goes "
            "on, but learns only from those that are left",
            len(lost),
            counters.episodes,
            store.folder,
            lost[0],
        )
    if len(indices) > 1 and not counters.episodes:
        log.warning(
            "there are %d episodes in %s, but no checkpoint: the run begins again, with these "
            "episodes",
            len(indices),
            store.folder,
        )
