"""The action model: features to a distribution of actions (Dreamer, Eq. 3 and Appendix B)."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.config import BehaviorConfig
from armillary.nets.dense import Stack
from armillary.nets.distributions import OneHot, TanhNormal


class Policy(eqx.Module):
    """q(a | s): a squashed Gaussian, or for discrete actions a categorical over one-hot vectors."""

    stack: Stack
    action_size: int = eqx.field(static=True)
    discrete: bool = eqx.field(static=True)
    mean_scale: float = eqx.field(static=True)
    initial_std: float = eqx.field(static=True)
    min_std: float = eqx.field(static=True)

    def __init__(
        self,
        feature_size: int,
        action_size: int,
        config: BehaviorConfig,
        *,
        discrete: bool = False,
        key: PRNGKeyArray,
    ) -> None:
        outputs = action_size if discrete else 2 * action_size
        sizes = [feature_size, *[config.hidden] * config.layers, outputs]
        self.stack = Stack(sizes, config.activation, key=key)
        self.action_size = action_size
        self.discrete = discrete
        self.mean_scale = config.mean_scale
        self.initial_std = config.initial_std
        self.min_std = config.min_std

    def __call__(self, features: Float[Array, "*batch features"]) -> TanhNormal | OneHot:
        """Returns the distribution of the action in a state."""
        outputs = self.stack(features)
        if self.discrete:
            return OneHot(outputs)
        mean, raw = jnp.split(outputs, 2, axis=-1)
        mean = self.mean_scale * jnp.tanh(mean / self.mean_scale)
        shift = math.log(math.expm1(self.initial_std))  # the inverse of softplus
        return TanhNormal(mean, jax.nn.softplus(raw + shift) + self.min_std)

    def noise(self, key: PRNGKeyArray, *shape: int) -> Float[Array, "*shape"]:
        """Returns the noise that `sample` of the distribution takes."""
        draw = jax.random.gumbel if self.discrete else jax.random.normal
        return draw(key, shape)
