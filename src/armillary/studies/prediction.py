"""Open-loop video prediction (PlaNet, Appendix H, Figure 10)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from armillary.dynamics.world_model import WorldModel
from armillary.errors import UsageError
from armillary.nets.image import batch_first, batch_last, postprocess, preprocess
from armillary.replay.episodes import Episode

CONTEXT, LENGTH = 5, 50


@partial(jax.jit, static_argnames=("bits", "context"))
def predict_images(
    model: WorldModel,
    images: UInt8[Array, "time 64 64 3"],
    actions: Float[Array, "time action"],
    key: PRNGKeyArray,
    *,
    bits: int,
    context: int,
) -> UInt8[Array, "time 64 64 3"]:
    """Returns reconstructions of the context frames, then frames predicted from actions alone.

    Args:
        model: the world model.
        images: o_1..o_T, of which only the first `context` are seen.
        actions: `actions[t]` leads to `images[t]`.
        key: of the sampled states.
        bits: bit depth of the model's images.
        context: frames that the posterior sees.
    """
    image_key, belief_key, future_key = jax.random.split(key, 3)
    seen = preprocess(images[:context], bits, image_key)
    embeddings = model.encoder(batch_last(seen))[:, None]
    posteriors, _ = model.dynamics.observe(embeddings, actions[:context, None], belief_key)
    last = jax.tree.map(lambda x: x[-1], posteriors)
    priors = model.dynamics.imagine(last, actions[context:, None], future_key)
    features = jnp.concatenate([model.dynamics.features(s) for s in (posteriors, priors)])
    centre = 0.5 / 2**bits  # of the dequantisation noise
    return postprocess(batch_first(model.decoder(features[:, 0])) - centre)


def open_loop(
    model: WorldModel,
    episode: Episode,
    *,
    bits: int,
    start: int = 0,
    context: int = CONTEXT,
    length: int = LENGTH,
    seed: int = 0,
) -> tuple[UInt8[np.ndarray, "time 64 64 3"], UInt8[np.ndarray, "time 64 64 3"]]:
    """Returns true frames of an episode and what the model makes of them.

    Args:
        model: the world model.
        episode: one that it was not trained on, to judge it by.
        bits: bit depth of the model's images.
        start: the first frame.
        context: frames that the model sees.
        length: frames in all, the context included; fewer if the episode ends before.
        seed: of the sampled states.

    Raises:
        UsageError: the episode has no frame beyond the context.
    """
    rows = slice(start, start + length)
    true, actions = episode.image[rows], episode.action[rows].copy()
    if len(true) <= context:
        raise UsageError(
            f"an episode of {episode.steps} steps has nothing to predict from step {start} on "
            f"after {context} frames of context: start earlier, or play a longer episode"
        )
    key = jax.random.key(seed)
    return true, np.asarray(predict_images(model, true, actions, key, bits=bits, context=context))
