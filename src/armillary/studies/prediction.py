"""Open-loop video prediction on an episode (PlaNet, Appendix H, Figure 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Float64, UInt8

from armillary import seeding
from armillary.agents.base import predicts_frames
from armillary.dynamics.prediction import CONTEXT, LENGTH
from armillary.errors import UsageError
from armillary.replay.episode import Episode
from armillary.replay.episodes import EpisodeStore
from armillary.studies.quality import CONVENTIONS, MEASURES, over_episodes, quality
from armillary.training.player import Player
from armillary.training.rollout import compiled_predict


def open_loop(
    player: Player,
    episode: Episode,
    *,
    start: int = 0,
    context: int = CONTEXT,
    length: int = LENGTH,
    seed: int = 0,
) -> tuple[UInt8[np.ndarray, "time 64 64 3"], UInt8[np.ndarray, "time 64 64 3"]]:
    """Returns true frames of an episode and what the model makes of them.

    Args:
        player: a trained agent.
        episode: one that it was not trained on, to judge it by.
        start: the first frame.
        context: frames that the model sees.
        length: frames in all, the context included; fewer if the episode ends before.
        seed: of the sampled states.

    Raises:
        UsageError: the episode has no frame beyond the context.
    """
    rows = slice(start, start + length)
    observations = {name: x[rows] for name, x in episode.observation.items()}
    actions = episode.action[rows]
    if len(actions) <= context:
        raise UsageError(
            f"an episode of {episode.steps} steps has nothing to predict from step {start} on "
            f"after {context} frames of context: start earlier, or play a longer episode"
        )
    if not predicts_frames(player.agent):
        raise UsageError(
            f"the run is of an agent that predicts no frames ({player.config.agent}): only a world "
            "model that learns by reconstruction has any to show"
        )
    predict = compiled_predict(player.agent)
    key = jax.random.key(seed)
    predicted = predict(player.state, observations, actions, key, context=context)
    return episode.image[rows], np.asarray(predicted)


Frames = UInt8[np.ndarray, "episodes time 64 64 3"]

LAST_FRAME, MEAN_IMAGE = "last context frame", "mean training image"
_MEAN_OF = 20
"""Training episodes, evenly spread, of which the mean image is taken."""


@dataclass(frozen=True)
class Comparison:
    """Open-loop predictions of several models beside the truth and what knows nothing.

    Attributes:
        true: frames of each episode.
        models: reconstructed context frames, then predicted ones, by the models' labels.
        baselines: the last context frame repeated, and the mean image of training; likewise.
        context: frames that the models saw.
    """

    true: Frames
    models: dict[str, Frames]
    baselines: dict[str, Frames]
    context: int

    @property
    def steps(self) -> list[int]:
        """Steps ahead of each frame: 1 is the first predicted one; 0 and below are context."""
        return [t - self.context + 1 for t in range(self.true.shape[1])]

    @cached_property
    def quality(self) -> dict[str, dict[str, Float64[np.ndarray, "episodes time"]]]:
        """MSE, PSNR and SSIM of models and baselines, by label and measure."""
        both = {**self.models, **self.baselines}
        return {label: quality(self.true, frames) for label, frames in both.items()}

    def as_dict(self) -> dict[str, Any]:
        """Returns the quality at each step ahead over the episodes, ready for JSON.

        Of the baselines only predicted frames count; their context is null.
        """
        models = {
            label: {m: over_episodes(self.quality[label][m]) for m in MEASURES}
            for label in self.models
        }
        baselines = {}
        for label in self.baselines:
            ahead = {m: over_episodes(self.quality[label][m][:, self.context :]) for m in MEASURES}
            baselines[label] = {
                measure: {name: [None] * self.context + row for name, row in table.items()}
                for measure, table in ahead.items()
            }
        return {
            "conventions": CONVENTIONS,
            "episodes": len(self.true),
            "context": self.context,
            "steps": self.steps,
            "models": models,
            "baselines": baselines,
        }


def compare(
    players: Mapping[str, Player],
    episodes: Sequence[Episode],
    *,
    mean_image: UInt8[np.ndarray, "64 64 3"],
    context: int = CONTEXT,
    length: int = LENGTH,
    seed: int = 0,
) -> Comparison:
    """Predicts a stretch of each episode with each model, all from the same frames.

    Args:
        players: trained agents of one task, by label.
        episodes: none that they were trained on.
        mean_image: of training, see `mean_training_image`.
        context: frames that the models see.
        length: frames in all, the context included; fewer if an episode is shorter.
        seed: of where the stretches begin, and of the sampled states.

    Raises:
        UsageError: there is no episode, no context, or an episode has no frame beyond the context.
    """
    if context < 1 or not episodes:
        raise UsageError(
            f"{context} frames of context and {len(episodes)} episodes were asked for, but there "
            "must be at least one of each"
        )
    length = min(length, *(episode.steps + 1 for episode in episodes))
    true: list[np.ndarray] = []
    predicted: dict[str, list[np.ndarray]] = {label: [] for label in players}
    for index, episode in enumerate(episodes):
        starts = episode.steps + 2 - length
        start = int(seeding.generator(seed, "stretch", index).integers(starts))
        for label, player in players.items():
            stretch, frames = open_loop(
                player,
                episode,
                start=start,
                context=context,
                length=length,
                seed=seeding.integer(seed, "open loop", index),
            )
            predicted[label].append(frames)
        true.append(stretch)
    stacked = np.stack(true)
    last = np.broadcast_to(stacked[:, context - 1, None], stacked.shape)
    mean = np.broadcast_to(mean_image, stacked.shape)
    models = {label: np.stack(frames) for label, frames in predicted.items()}
    return Comparison(stacked, models, {LAST_FRAME: last, MEAN_IMAGE: mean}, context)


def mean_training_image(
    store: EpisodeStore, indices: Sequence[int] | None = None
) -> UInt8[np.ndarray, "64 64 3"]:
    """Returns the mean of the frames of stored episodes, of twenty if there are more.

    Args:
        store: the episodes.
        indices: of which; None: all.

    Raises:
        UsageError: there is none.
    """
    indices = store.indices if indices is None else indices
    if not indices:
        raise UsageError(
            f"there is no training episode in {store.folder}, whose mean image a model is compared "
            "with: give the folder of a run with its episodes"
        )
    picks = np.linspace(0, len(indices) - 1, min(_MEAN_OF, len(indices))).round().astype(int)
    total, count = 0.0, 0
    for index in np.array(indices)[picks]:
        image = store.load(int(index)).image
        total = total + image.sum(0, dtype=np.float64)
        count += len(image)
    return np.rint(total / count).astype(np.uint8)
