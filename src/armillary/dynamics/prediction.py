"""Open-loop video prediction with a world model (PlaNet, Appendix H)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped, UInt8

from armillary.config import ObjectiveConfig
from armillary.dynamics.world_model import WorldModel
from armillary.nets.image import postprocess

CONTEXT, LENGTH = 5, 50
"""Frames that are seen, and frames in all (PlaNet, Figure 10)."""


def predict_images(
    model: WorldModel,
    observations: Mapping[str, Shaped[Array | np.ndarray, "time *shape"]],
    actions: Float[Array, "time action"],
    key: PRNGKeyArray,
    config: ObjectiveConfig,
    *,
    context: int,
) -> UInt8[Array, "time 64 64 3"]:
    """Returns reconstructions of the context frames, then frames predicted from actions alone.

    Args:
        model: the world model.
        observations: o_1..o_T, each field by its name, of which only the first `context` are seen.
        actions: `actions[t]` leads to row t of the observations.
        key: of the sampled states.
        config: how images are preprocessed.
        context: rows that the posterior sees.
    """
    image_key, belief_key, future_key = jax.random.split(key, 3)
    seen = model.encoder.prepare(
        {name: x[:context] for name, x in observations.items()},
        config.bits,
        image_key if config.dequantize else None,
    )
    embeddings = model.encoder(seen)[:, None]
    posteriors, _ = model.dynamics.observe(embeddings, actions[:context, None], belief_key)
    last = jax.tree.map(lambda x: x[-1], posteriors)
    priors = model.dynamics.imagine(last, actions[context:, None], future_key)
    features = jnp.concatenate([model.dynamics.features(s) for s in (posteriors, priors)])
    return postprocess(model.decode_images(features[:, 0]))
