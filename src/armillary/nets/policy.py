"""The action model: features to a distribution of actions (Dreamer, Eq. 3 and Appendix B)."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from armillary.config import BehaviorConfig
from armillary.nets.dense import Stack
from armillary.nets.distributions import IMPOSSIBLE, OneHot, TanhNormal
from armillary.spec import Continuous, Discrete


class Policy(eqx.Module):
    """q(a | s): a squashed Gaussian, or for discrete actions a categorical over one-hot vectors."""

    stack: Stack
    action: Continuous | Discrete = eqx.field(static=True)
    mean_scale: float = eqx.field(static=True)
    initial_std: float = eqx.field(static=True)
    min_std: float = eqx.field(static=True)

    def __init__(
        self,
        feature_size: int,
        action: Continuous | Discrete,
        config: BehaviorConfig,
        *,
        key: PRNGKeyArray,
    ) -> None:
        outputs = action.size if isinstance(action, Discrete) else 2 * action.size
        sizes = [feature_size, *[config.hidden] * config.layers, outputs]
        self.stack = Stack(sizes, config.activation, key=key)
        self.action = action
        self.mean_scale = config.mean_scale
        self.initial_std = config.initial_std
        self.min_std = config.min_std

    def __call__(
        self,
        features: Float[Array, "*batch features"],
        mask: Bool[Array | np.ndarray, "*batch action"] | None = None,
    ) -> TanhNormal | OneHot:
        """Returns the distribution of the action in a state.

        Args:
            features: of the state.
            mask: which discrete actions may be taken; of continuous ones nothing depends on it,
                for the entries that do not count are set to 0 afterwards. None: all.
        """
        outputs = self.stack(features)
        if isinstance(self.action, Discrete):
            return OneHot(outputs if mask is None else jnp.where(mask, outputs, IMPOSSIBLE))
        mean, raw = jnp.split(outputs, 2, axis=-1)
        mean = self.mean_scale * jnp.tanh(mean / self.mean_scale)
        shift = math.log(math.expm1(self.initial_std))  # the inverse of softplus
        return TanhNormal(mean, jax.nn.softplus(raw + shift) + self.min_std)

    def noise(self, key: PRNGKeyArray, *batch: int) -> Float[Array, "*batch action"]:
        """Returns the noise that `sample` of the distribution takes."""
        draw = jax.random.gumbel if isinstance(self.action, Discrete) else jax.random.normal
        return draw(key, (*batch, self.action.size))
