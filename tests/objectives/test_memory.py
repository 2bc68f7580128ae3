"""What a loss holds at a time on a CPU: a few images, not the batch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from armillary.config import ModelConfig, ObjectiveConfig
from armillary.nets.pieces import in_one_piece
from armillary.objectives.representations import image_loss
from armillary.objectives.world_model import filter_chunks
from armillary.replay.sampler import Batch
from models import random_model

SMALL = ModelConfig(stochastic=3, deterministic=8, hidden=8, depth=2)
CHUNKS, STEPS = 6, 50


def _encoder(model: Any, images: Any) -> Any:
    nothing = jnp.zeros((CHUNKS, STEPS))
    actions = jnp.zeros((CHUNKS, STEPS, 2))
    batch = Batch({"image": images}, actions, nothing, nothing > 0)
    keys = jax.random.split(jax.random.key(0))
    return filter_chunks(model, batch, *keys, ObjectiveConfig()).embeddings.sum()


def _decoder(model: Any, images: Any) -> Any:
    features = jnp.zeros((CHUNKS, STEPS, model.dynamics.feature_size))
    prepared = {"image": images / 255}
    return image_loss(model.decoder.images, prepared, features, None, jax.random.key(0))


@pytest.mark.parametrize("loss", [_encoder, _decoder])
def test_the_patches_of_a_batch_are_never_there_together(loss: Any) -> None:
    model = random_model(SMALL, 2)
    images = jax.ShapeDtypeStruct((CHUNKS, STEPS, 64, 64, 3), jnp.uint8)

    def bytes_of(at_once: bool) -> int:
        with in_one_piece(at_once):
            compiled = jax.jit(jax.grad(loss)).lower(model, images).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    in_pieces, whole = bytes_of(at_once=False), bytes_of(at_once=True)
    assert in_pieces < whole / 2
