"""Open-loop video prediction on an episode (PlaNet, Appendix H, Figure 10)."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import UInt8

from armillary.dynamics.prediction import CONTEXT, LENGTH
from armillary.errors import UsageError
from armillary.replay.episodes import Episode
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
    true, actions = episode.image[rows], episode.action[rows]
    if len(true) <= context:
        raise UsageError(
            f"an episode of {episode.steps} steps has nothing to predict from step {start} on "
            f"after {context} frames of context: start earlier, or play a longer episode"
        )
    predict = compiled_predict(player.agent)
    key = jax.random.key(seed)
    return true, np.asarray(predict(player.state, true, actions, key, context=context))
