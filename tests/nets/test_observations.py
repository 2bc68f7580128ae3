"""Observations of any fields: what the networks see of them, and what comes back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.config import ModelConfig
from armillary.errors import UsageError
from armillary.nets.dense import Stack
from armillary.nets.distributions import Normal
from armillary.nets.image import batch_last, preprocess
from armillary.nets.observations import (
    ObservationDecoder,
    ObservationEncoder,
    Seen,
    shown,
    symexp,
    symlog,
)
from armillary.objectives.representations import info_nce, vector_loss
from armillary.spec import Continuous, Field, Spec

IMAGE = Field((64, 64, 3), "uint8")
SPEC = Spec.of(
    {"front": IMAGE, "wrist": IMAGE, "arm": Field((2, 2)), "hand": Field((3,))}, Continuous(1)
)
CONFIG = ModelConfig(depth=1, hidden=5)
KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0)
OBSERVATION = {
    "front": RANDOM.integers(0, 256, (2, 64, 64, 3), np.uint8),
    "wrist": RANDOM.integers(0, 256, (2, 64, 64, 3), np.uint8),
    "arm": RANDOM.normal(0, 1, (2, 2, 2)).astype(np.float32),
    "hand": RANDOM.normal(0, 1, (2, 3)).astype(np.float32),
}


def test_symlog_and_its_inverse() -> None:
    x = jnp.array([-1e30, -3, -1e-3, 0, 1e-30, 0.5, 2, 1e6, 1e30])
    expected = np.sign(x) * np.log1p(np.abs(np.asarray(x, float)))
    np.testing.assert_allclose(symlog(x), expected, rtol=1e-5)
    np.testing.assert_allclose(symexp(symlog(x)), x, rtol=1e-4)


def test_images_are_seen_each_by_its_network_and_vectors_together() -> None:
    encoder = ObservationEncoder(SPEC, CONFIG, key=KEY)
    seen = encoder.prepare(OBSERVATION, 5)
    rows = np.concatenate([OBSERVATION["arm"].reshape(2, 4), OBSERVATION["hand"]], axis=1)
    numbers = jnp.asarray(rows)
    np.testing.assert_allclose(seen.vector, symlog(numbers), rtol=1e-6)
    parts = [
        encoder.images[name](batch_last(preprocess(jnp.asarray(OBSERVATION[name]))))
        for name in ("front", "wrist")
    ]
    expected = np.concatenate([*parts, encoder.vector(symlog(numbers))], axis=1)
    np.testing.assert_allclose(encoder(seen), expected, rtol=1e-5, atol=1e-6)
    assert encoder.embedding_size == expected.shape[1]
    noisy = encoder.prepare(OBSERVATION, 5, KEY).images
    noise = [np.asarray(noisy[name] - seen.images[name]) for name in ("front", "wrist")]
    for one in noise:
        assert 0 <= one.min() < 0.01
        assert 0.02 < one.max() <= 2**-5
    assert np.abs(noise[0] - noise[1]).max() > 0.01  # of each its own


def test_what_is_decoded_is_shown_in_its_own_units() -> None:
    decoder = ObservationDecoder(4, SPEC, CONFIG, key=KEY)
    means = decoder(jnp.ones((2, 4)))
    assert means.images["wrist"].shape == (2, 64, 64, 3)
    assert means.vector.shape == (2, 7)
    seen = ObservationEncoder(SPEC, CONFIG, key=KEY).prepare(OBSERVATION, 8)
    again = shown(seen, SPEC)
    for name, value in OBSERVATION.items():
        assert again[name].dtype == value.dtype
        np.testing.assert_allclose(again[name], value, rtol=1e-5, atol=1e-6)


def test_an_image_of_another_size_and_nothing_at_all_are_refused() -> None:
    small = Spec.of({"image": Field((32, 32, 3), "uint8")}, Continuous(1))
    with pytest.raises(UsageError, match=r"set environment.size to 64"):
        ObservationEncoder(small, CONFIG, key=KEY)
    with pytest.raises(UsageError, match="nothing is observed"):
        ObservationEncoder(Spec.of({}, Continuous(1)), CONFIG, key=KEY)


def test_the_loss_of_vectors_by_hand() -> None:
    decoder = Stack([3, 7], "elu", key=KEY)
    features, vectors = RANDOM.normal(0, 1, (4, 2, 3)), RANDOM.normal(0, 1, (4, 2, 7))
    features, vectors = (jnp.asarray(x, jnp.float32) for x in (features, vectors))
    valid = jnp.asarray(RANDOM.uniform(size=(4, 2)) < 0.5)
    squares = 0.5 * np.sum((np.asarray(decoder(features)) - vectors) ** 2, axis=-1)
    np.testing.assert_allclose(vector_loss(decoder, vectors, features), squares.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        vector_loss(decoder, vectors, features, valid), squares[valid].mean(), rtol=1e-5
    )


def test_a_state_is_not_told_from_what_fills_up_a_window() -> None:
    """InfoNCE over the valid observations is that of a batch of them alone."""
    mean, std, features = (RANDOM.normal(0, 1, (4, 2, 3)) for _ in range(3))
    model = Normal(jnp.asarray(mean, jnp.float32), jnp.exp(jnp.asarray(std, jnp.float32)))
    features = jnp.asarray(features, jnp.float32)
    valid = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], bool)
    bound = info_nce(model, features, jnp.asarray(valid))
    alone = info_nce(Normal(*(x[valid] for x in model)), features[valid])
    np.testing.assert_allclose(bound[valid], alone, rtol=1e-4, atol=1e-5)
    assert np.isfinite(bound).all()


def test_seen_holds_no_vector_where_there_is_none() -> None:
    encoder = ObservationEncoder(Spec.of({"image": IMAGE}, Continuous(1)), CONFIG, key=KEY)
    seen = encoder.prepare({"image": OBSERVATION["front"]}, 5)
    assert isinstance(seen, Seen)
    assert seen.vector is None
