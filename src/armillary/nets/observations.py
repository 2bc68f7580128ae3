"""Observations to embeddings and features to observations, whatever their fields.

An image has the convolutions of `armillary.nets.image`. All vectors together have dense layers, and
are compressed first, because nothing is known of their units: symlog(x) = sign(x) ln(1 + |x|)
(Hafner et al., 2023, Eq. 9).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from armillary.config import ModelConfig
from armillary.errors import UsageError
from armillary.nets.dense import Stack
from armillary.nets.image import (
    SIZE,
    Decoder,
    Encoder,
    batch_first,
    batch_last,
    postprocess,
    preprocess,
)
from armillary.spec import Spec

_VECTOR_LAYERS = 2
"""Hidden layers of the networks of vectors."""


class Seen(NamedTuple):
    """Observations as networks take and give them.

    Attributes:
        images: each image, centred: values in [-0.5, 0.5).
        vector: all vectors one after the other, compressed; None: there are none.
    """

    images: dict[str, Float[Array, "*batch 64 64 3"]]
    vector: Float[Array, "*batch size"] | None


def symlog(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns sign(x) ln(1 + |x|): nearly x where it is small, and never large."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns the inverse of `symlog`."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


def shown(observation: Seen, spec: Spec) -> dict[str, Array]:
    """Returns the means of a decoder as observations: images as bytes, vectors in their units."""
    fields: dict[str, Array] = {name: postprocess(x) for name, x in observation.images.items()}
    if observation.vector is not None:
        start = 0
        for name, field in spec.vectors.items():
            size = int(np.prod(field.shape))
            part = symexp(observation.vector[..., start : start + size])
            fields[name] = part.reshape(*part.shape[:-1], *field.shape)
            start += size
    return fields


class ObservationEncoder(eqx.Module):
    """Embeds observations: the embeddings of all images and of the vectors, one after the other.

    Attributes:
        images: for each image its network.
        vector: the network of the vectors; None: there are none.
    """

    images: dict[str, Encoder]
    vector: Stack | None
    spec: Spec = eqx.field(static=True)
    embedding_size: int = eqx.field(static=True)

    def __init__(self, spec: Spec, config: ModelConfig, *, key: PRNGKeyArray) -> None:
        """Makes the initial parameters.

        Args:
            spec: what is observed.
            config: the sizes.
            key: of the parameters.

        Raises:
            UsageError: an image has not the size that the networks need, or nothing is observed.
        """
        for name, field in spec.images.items():
            if field.shape != (SIZE, SIZE, 3):
                raise UsageError(
                    f"the observed {name} has the shape {field.shape}, but the networks of this "
                    f"agent need ({SIZE}, {SIZE}, 3): set environment.size to {SIZE}"
                )
        if not spec.images and not spec.vectors:
            raise UsageError("nothing is observed: give the environment an observation")
        self.spec = spec
        keys = {name: _key(key, i) for i, name in enumerate(spec.images)}
        self.images = {
            name: Encoder(config.depth, config.image_activation, config.precision, key=k)
            for name, k in keys.items()
        }
        size = sum(encoder.embedding_size for encoder in self.images.values())
        self.vector = None
        if numbers := _numbers(spec):
            sizes = [numbers, *[config.hidden] * _VECTOR_LAYERS]
            self.vector = Stack(
                sizes, config.activation, activate_last=True, key=_key(key, len(spec.images))
            )
            size += config.hidden
        self.embedding_size = size

    def prepare(
        self,
        observation: Mapping[str, Shaped[Array | np.ndarray, "*batch shape"]],
        bits: int,
        key: PRNGKeyArray | None = None,
    ) -> Seen:
        """Returns observations as the networks take them.

        Args:
            observation: the fields by name, with any leading axes.
            bits: bit depth to which images are reduced, see `preprocess`.
            key: of the noise that dequantises them; None: no noise.
        """
        images = {}
        for i, name in enumerate(self.images):
            noise = None if key is None else _key(key, i)
            images[name] = preprocess(jnp.asarray(observation[name]), bits, noise)
        vectors = [
            _flat(jnp.asarray(observation[name], jnp.float32), len(field.shape))
            for name, field in self.spec.vectors.items()
        ]
        return Seen(images, symlog(jnp.concatenate(vectors, axis=-1)) if vectors else None)

    def __call__(self, observation: Seen) -> Float[Array, "batch embedding"]:
        """Embeds observations with one leading axis."""
        parts = [
            encoder(batch_last(observation.images[name])) for name, encoder in self.images.items()
        ]
        if self.vector is not None:
            assert observation.vector is not None  # both are of the same spec
            parts.append(self.vector(observation.vector))
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


class ObservationDecoder(eqx.Module):
    """The means of observations, all of unit variance.

    Attributes:
        images: for each image its network.
        vector: the network of the vectors; None: there are none.
    """

    images: dict[str, Decoder]
    vector: Stack | None = None

    def __init__(
        self, feature_size: int, spec: Spec, config: ModelConfig, *, key: PRNGKeyArray
    ) -> None:
        """Makes the initial parameters.

        Args:
            feature_size: numbers in the features of one state.
            spec: what is observed.
            config: the sizes.
            key: of the parameters.
        """
        self.images = {
            name: Decoder(
                feature_size,
                config.depth,
                config.image_activation,
                config.precision,
                key=_key(key, i),
            )
            for i, name in enumerate(spec.images)
        }
        if numbers := _numbers(spec):
            sizes = [feature_size, *[config.hidden] * _VECTOR_LAYERS, numbers]
            self.vector = Stack(sizes, config.activation, key=_key(key, len(spec.images)))

    def __call__(self, features: Float[Array, "batch features"]) -> Seen:
        """Returns the means of the observations."""
        images = {name: batch_first(decoder(features)) for name, decoder in self.images.items()}
        return Seen(images, None if self.vector is None else self.vector(features))


def _numbers(spec: Spec) -> int:
    """Returns how many numbers the vectors of a spec have together."""
    return sum(int(np.prod(field.shape)) for field in spec.vectors.values())


def _flat(x: Array, axes: int) -> Array:
    return x.reshape(*x.shape[: x.ndim - axes], -1)


def _key(key: PRNGKeyArray, number: int) -> PRNGKeyArray:
    return key if number == 0 else jax.random.fold_in(key, number)
