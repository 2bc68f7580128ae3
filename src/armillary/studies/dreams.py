"""An episode beside what a model dreams of it: it sees a little, goes on alone, and sees again."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
from jaxtyping import UInt8

from armillary.agents.base import predicts_frames
from armillary.dynamics.learned import LearnedModel
from armillary.dynamics.prediction import CONTEXT, LENGTH
from armillary.errors import UsageError
from armillary.replay.episode import Episode
from armillary.studies.report import frames_per_second
from armillary.training.player import Player
from armillary.video import DREAMS, SEES, labels, side_by_side, write_video

SCALE = 4
"""Pixels that one becomes, in each direction."""


def dreamed(player: Player, episode: Episode) -> UInt8[np.ndarray, "time 64 64 3"]:
    """Returns the frames of an episode as the model has them.

    Of every 50 it sees five, and predicts the others from the actions alone.

    Args:
        player: an agent whose model predicts frames.
        episode: of any length.

    Raises:
        UsageError: it predicts none.
    """
    model = player.world_model if predicts_frames(player.agent) else None
    if not isinstance(model, LearnedModel):
        raise UsageError(f"the agent {player.config.agent!r} predicts no frames to be shown")
    seen = model.encode(episode.observation, episode.action, every=True)
    frames = model.decode(seen).copy()
    last = np.arange(CONTEXT - 1, len(frames), LENGTH)  # what is seen last before each dream
    if not len(last):
        return frames
    later = last + np.arange(1, LENGTH - CONTEXT + 1)[:, None]
    ends = later < len(frames)
    actions = episode.action[np.where(ends, later, 0)]
    imagined, _ = model.rollout(jax.tree.map(lambda x: x[last], seen), actions)
    frames[later[ends]] = model.decode(imagined)[ends]
    return frames


def write_dream(player: Player, episode: Episode, task: str, path: Path) -> None:
    """Writes truth, dream and difference side by side, as a video at the task's own speed.

    Raises:
        UsageError: the model predicts no frames, or the name ends in neither .mp4 nor .gif.
        EncodingError: there is no encoder.
        StorageError: it cannot be written.
    """
    frames = beside(episode.image, dreamed(player, episode))
    write_video(path, frames, frames_per_second(player.config, task), scale=1)


def beside(
    true: UInt8[np.ndarray, "time height width 3"], model: UInt8[np.ndarray, "time height width 3"]
) -> UInt8[np.ndarray, "time high wide 3"]:
    """Returns truth, dream and difference side by side and enlarged, with what they are above.

    Args:
        true: the frames of an episode.
        model: what `dreamed` gave for it.
    """
    small = side_by_side(true, model)
    column, wide = SCALE * true.shape[2], SCALE * small.shape[2]
    above = {said: labels(("truth", said, "difference"), column, wide) for said in (SEES, DREAMS)}
    top = len(above[SEES])
    frames = np.empty((len(small), top + SCALE * small.shape[1], wide, 3), np.uint8)
    for step, (frame, picture) in enumerate(zip(frames, small, strict=True)):
        frame[:top] = above[SEES if step % LENGTH < CONTEXT else DREAMS]
        frame[top:] = picture.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    return frames
