"""Exploration without reward: a Dreamer that seeks what its model cannot predict yet.

After Plan2Explore (Sekar et al., 2020). The world model still learns the rewards that it meets, so
that a task can be learned afterwards from the collected episodes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from armillary.agents.dreamer import Dreamer, DreamerState
from armillary.agents.world_model import adam, descend, init_optimizer
from armillary.config import ExplorerConfig, OptimizerConfig
from armillary.dynamics.base import LatentState
from armillary.dynamics.learned import Value
from armillary.dynamics.world_model import WorldModel
from armillary.errors import UsageError
from armillary.nets.ensemble import Ensemble
from armillary.objectives.behavior import Starts
from armillary.objectives.disagreement import disagreement, ensemble_loss, seen, transitions
from armillary.replay.sampler import Batch

_LEAST = 1e-20
"""The least mean disagreement that others are divided by: members that are all equal pay nothing.
"""


class ExplorerState(NamedTuple):
    """Everything that is learned.

    Attributes:
        dreamer: the world model, the explorer's policy and its value.
        ensemble: the one-step predictions.
        optimizer: of the ensemble.
    """

    dreamer: DreamerState
    ensemble: Ensemble
    optimizer: optax.OptState

    @property
    def model(self) -> WorldModel:
        """The world model."""
        return self.dreamer.model


@dataclass(frozen=True)
class Explorer(Dreamer):
    """Dreamer whose rewards in imagination are an ensemble's disagreement."""

    config: ExplorerConfig

    @property
    def _of_ensemble(self) -> optax.GradientTransformation:
        settings = self.config.ensemble
        return adam(OptimizerConfig(settings.rate, settings.epsilon, settings.clip_norm))

    def init(self, key: PRNGKeyArray) -> Any:
        """Returns random parameters, an `ExplorerState`.

        Raises:
            UsageError: the dynamics have no stochastic state to predict.
        """
        dreamer = super().init(key)
        settings, dynamics = self.config.ensemble, dreamer.model.dynamics
        if not dynamics.stochastic_size:
            raise UsageError(
                f"the explorer predicts the stochastic state, but {self.config.model.dynamics} has "
                "none: choose another model (--dynamics rssm)"
            )
        inputs = dynamics.feature_size + self.spec.action.size
        sizes = [inputs, *[settings.hidden] * settings.layers, dynamics.stochastic_size]
        ensemble = Ensemble(
            settings.members, sizes, settings.activation, key=jax.random.fold_in(key, 3)
        )
        return ExplorerState(dreamer, ensemble, init_optimizer(self._of_ensemble, ensemble))

    def trimmed(self, state: Any) -> Any:
        """Returns Dreamer's parameters, which are all that it acts with."""
        if not isinstance(state, ExplorerState):
            return state
        dreamer = super().trimmed(state.dreamer)
        return ExplorerState(dreamer, None, None)  # type: ignore[arg-type]

    def update(
        self, state: Any, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Any, dict[str, Float[Array, ""]]]:
        """Learns the dynamics, the ensemble, then where it disagrees.

        What an action is paid is the disagreement about where it leads, divided by its mean on the
        transitions of the batch: 1 is as new as what has been seen. (It shrinks while the model
        learns, and the policy's entropy would outweigh it.)
        """
        model_key, behavior_key = jax.random.split(key)
        dreamer, posteriors, metrics = self.learn_dynamics(state.dreamer, batch, model_key)
        ensemble, optimizer, of_ensemble = self.learn_ensemble(state, posteriors, batch)
        scale = jnp.maximum(of_ensemble["disagreement"], _LEAST)

        def reward(features: Array, actions: Array) -> Array:
            return disagreement(ensemble(seen(features, actions))) / scale

        starts = Starts.of(posteriors, batch)
        dreamer, of_behavior = self.learn_behavior(dreamer, starts, behavior_key, reward)
        return ExplorerState(dreamer, ensemble, optimizer), metrics | of_ensemble | of_behavior

    def learn_ensemble(
        self, state: ExplorerState, posteriors: LatentState, batch: Batch
    ) -> tuple[Ensemble, optax.OptState, dict[str, Float[Array, ""]]]:
        """Takes a step on the ensemble.

        Args:
            state: the parameters, of which the world model stays as it is.
            posteriors: inferred of the batch, leading axes (time, batch).
            batch: what they were inferred of.
        """
        gradient_of = eqx.filter_value_and_grad(ensemble_loss, has_aux=True)
        steps = transitions(state.model.dynamics, posteriors, batch)
        (loss, mean), gradient = gradient_of(state.ensemble, *steps)
        ensemble, optimizer, norm = descend(
            self._of_ensemble, gradient, state.optimizer, state.ensemble
        )
        metrics = {"loss/ensemble": loss, "disagreement": mean, "ensemble_gradient_norm": norm}
        return ensemble, optimizer, metrics

    def parts(
        self, state: Any, batch: Batch, key: PRNGKeyArray
    ) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
        """Returns the behaviour's part of an update, as Dreamer's: without the ensemble."""
        return super().parts(state.dreamer, batch, key)

    def _value(self, state: Any) -> Value | None:
        """Returns the value model, of what there is to discover."""
        return super()._value(state.dreamer)

    def choose(
        self,
        state: Any,
        latent: LatentState,
        mask: Bool[Array | np.ndarray, "environment action"] | None,
        key: PRNGKeyArray,
        explore: bool,
    ) -> tuple[Float[Array, "environment action"], dict[str, Array]]:
        """Chooses as Dreamer does; the `value` is that of what there is to discover."""
        return super().choose(state.dreamer, latent, mask, key, explore)
