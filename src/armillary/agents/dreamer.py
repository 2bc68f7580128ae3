"""Dreamer: a world model, and behaviours learned by latent imagination in it (Algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray

from armillary.agents.base import Acting
from armillary.agents.world_model import (
    WorldModelAgent,
    adam,
    descend,
    init_model,
    init_optimizer,
    update_model,
)
from armillary.config import DreamerConfig, OptimizerConfig, planner_of
from armillary.dynamics.base import LatentState
from armillary.dynamics.learned import Value
from armillary.dynamics.world_model import WorldModel
from armillary.envs.catalogue import names
from armillary.errors import UsageError
from armillary.nets.dense import Stack
from armillary.nets.pieces import mean_in_pieces, on_cpu
from armillary.nets.policy import Policy
from armillary.objectives.behavior import Paid, Starts, behavior_loss, value_loss
from armillary.planners.cem import cem
from armillary.planners.rollout import Beyond, actor_sequences, latent_returns, used
from armillary.replay.sampler import Batch

CPU_STARTS = 500
"""Start states from which trajectories are imagined at a time on a CPU, about: the activations of
all 2,500 at once are gigabytes, which take longer to write and read than to compute."""


class DreamerState(NamedTuple):
    """Everything that is learned: theta, phi and xi, and the optimisers' moments.

    Attributes:
        model: the world model, theta.
        policy: the action model, phi.
        value: the value model, xi.
        slow_value: the value model as it was a while ago, which estimates returns; None: the value
            model itself does.
        optimizers: of the three.
        updates: how many have been made.
    """

    model: WorldModel
    policy: Policy
    value: Stack
    slow_value: Stack | None
    optimizers: tuple[optax.OptState, optax.OptState, optax.OptState]
    updates: Int32[Array, ""]


@dataclass(frozen=True)
class Dreamer(WorldModelAgent):
    """The agent of Dreamer, Algorithm 1: pure functions over `DreamerState`."""

    config: DreamerConfig

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spec.discrete and self.config.act == "plan":
            raise UsageError(
                "the cross-entropy method plans continuous actions, but those of this task are "
                "discrete: leave --act plan out, and the policy chooses them"
            )
        if self.config.model.discount_head is None:
            ends = any(task not in names() for task in self.config.tasks)
            model = replace(self.config.model, discount_head=ends)
            object.__setattr__(self, "config", replace(self.config, model=model))

    @property
    def acting(self) -> Acting:
        """A plan and its size, or an action of the policy."""
        planner = planner_of(self.config)
        return Acting() if planner is None else Acting.planning(planner)

    @property
    def _optimizers(self) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
        """Of the policy and of the value model."""
        settings = self.config.behavior
        rates = (settings.actor_rate, settings.value_rate)
        policy, value = (
            adam(OptimizerConfig(rate, settings.epsilon, settings.clip_norm)) for rate in rates
        )
        return policy, value

    def init(self, key: PRNGKeyArray) -> DreamerState:
        """Returns random parameters (Algorithm 1, line 2)."""
        model_key, policy_key, value_key = jax.random.split(key, 3)
        model, model_optimizer = init_model(self.config, self.spec, model_key)
        settings, features = self.config.behavior, model.dynamics.feature_size
        policy = Policy(features, self.spec.action, settings, key=policy_key)
        sizes = [features, *[settings.hidden] * settings.layers, 1]
        value = Stack(sizes, settings.activation, key=value_key)
        of_policy, of_value = self._optimizers
        optimizers = (
            model_optimizer,
            init_optimizer(of_policy, policy),
            init_optimizer(of_value, value),
        )
        slow_value = None if settings.slow_value_every is None else jax.tree.map(jnp.array, value)
        return DreamerState(model, policy, value, slow_value, optimizers, jnp.zeros((), jnp.int32))

    def trimmed(self, state: Any) -> Any:
        """Returns the parameters without the optimisers' moments and the value of a while ago."""
        if not isinstance(state, DreamerState):
            return state
        return state._replace(slow_value=None, optimizers=None)  # type: ignore[arg-type]

    def update(
        self, state: DreamerState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[DreamerState, dict[str, Float[Array, ""]]]:
        """Learns the dynamics, then the behaviour (Algorithm 1, lines 5 to 14)."""
        model_key, behavior_key = jax.random.split(key)
        state, posteriors, metrics = self.learn_dynamics(state, batch, model_key)
        starts = Starts.of(posteriors, batch)
        state, of_behavior = self.learn_behavior(state, starts, behavior_key)
        return state, metrics | of_behavior

    def learn_dynamics(
        self, state: DreamerState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[DreamerState, LatentState, dict[str, Float[Array, ""]]]:
        """Takes a step on the world model (Algorithm 1, lines 5 to 8).

        Returns:
            The parameters, the states that were inferred of the batch before the step, leading
            axes (time, batch), and the metrics.
        """
        model, optimizer, metrics, posteriors = update_model(
            state.model, state.optimizers[0], batch, key, self.config, self.loss
        )
        optimizers = (optimizer, *state.optimizers[1:])
        return state._replace(model=model, optimizers=optimizers), posteriors, metrics

    def learn_behavior(
        self,
        state: DreamerState,
        starts: Starts,
        key: PRNGKeyArray,
        reward: Paid | None = None,
    ) -> tuple[DreamerState, dict[str, Float[Array, ""]]]:
        """Takes a step on the policy and one on the value model (Algorithm 1, lines 9 to 14).

        Args:
            state: the parameters, of which the world model stays as it is.
            starts: the states from which trajectories are imagined, one leading axis.
            key: of the samples.
            reward: what actions are paid; None: what the world model predicts.
        """
        settings = self.config.behavior
        estimator = state.value if state.slow_value is None else state.slow_value

        def gradients(starts: Starts, key: PRNGKeyArray) -> tuple[Any, Any, Any]:
            gradient_of = eqx.filter_value_and_grad(behavior_loss, has_aux=True)
            (loss, imagined), to_policy = gradient_of(
                state.policy, state.model, estimator, starts, key, settings, reward
            )
            means = {
                "loss/policy": loss,
                "imagined_return": starts.mean(imagined.estimates[0]),
                "policy_entropy": starts.mean(jnp.mean(imagined.entropies, axis=0)),
            }
            if settings.estimate == "rewards":
                return means, to_policy, None
            loss, to_value = eqx.filter_value_and_grad(value_loss)(state.value, imagined)
            return means | {"loss/value": loss}, to_policy, to_value

        metrics, to_policy, to_value = mean_in_pieces(gradients, starts, on_cpu(CPU_STARTS), key)
        of_policy, of_value = self._optimizers
        model_optimizer, policy_optimizer, value_optimizer = state.optimizers
        policy, policy_optimizer, norm = descend(
            of_policy, to_policy, policy_optimizer, state.policy
        )
        metrics |= {"policy_gradient_norm": norm}
        value, slow_value = state.value, state.slow_value
        updates = state.updates + 1
        if to_value is not None:
            value, value_optimizer, norm = descend(of_value, to_value, value_optimizer, value)
            metrics |= {"value_gradient_norm": norm}
            if settings.slow_value_every is not None:
                due = updates % settings.slow_value_every == 0
                slow_value = jax.tree.map(
                    lambda new, old: jnp.where(due, new, old), value, slow_value
                )
        optimizers = (model_optimizer, policy_optimizer, value_optimizer)
        return DreamerState(state.model, policy, value, slow_value, optimizers, updates), metrics

    def _value(self, state: DreamerState) -> Value | None:
        """Returns the value model, unless the estimate of returns does without one (V_R)."""
        if self.config.behavior.estimate == "rewards":
            return None
        return jax.tree_util.Partial(_expected, state.model, state.value)

    def parts(
        self, state: DreamerState, batch: Batch, key: PRNGKeyArray
    ) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
        """Returns the behaviour's part of an update: it starts from every state of a batch."""
        count = batch.reward.size
        arguments = (state, Starts(state.model.dynamics.initial(count)), key)
        name = f"behaviour ({count:,} starts, H={self.config.behavior.horizon})"
        return {name: (self.learn_behavior, arguments)}

    def choose(
        self,
        state: DreamerState,
        latent: LatentState,
        mask: Bool[Array | np.ndarray, "environment action"] | None,
        key: PRNGKeyArray,
        explore: bool,
    ) -> tuple[Float[Array, "environment action"], dict[str, Array]]:
        """Takes the policy's mode, or where it is so set a sample to collect; and the `value`.

        With `act` "plan" it plans instead, and returns also the `predicted_return` of each.
        """
        if self.config.act == "plan":
            return self._plan(state, latent, mask, key)
        features = state.model.dynamics.features(latent)
        distribution = state.policy(features, mask)
        action = distribution.mode()
        if explore and self.config.behavior.collect == "sample":
            action = distribution.sample(state.policy.noise(key, len(action)))
        return action, {"value": state.value(features)[..., 0]}

    def _plan(
        self,
        state: DreamerState,
        latent: LatentState,
        mask: Bool[Array | np.ndarray, "environment action"] | None,
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, "environment action"], dict[str, Array]]:
        """Plans in each environment, with the value and the actor's proposals if it is so set."""

        def plan_one(latent: LatentState, mask: Any, key: PRNGKeyArray) -> Any:
            plan = cem(**self.plan_of(state, latent, mask, key))
            return plan.mean[0], plan.predicted_return

        keys = jax.random.split(key, latent.stochastic.shape[0])
        action, returns = jax.vmap(plan_one)(latent, mask, keys)
        value = state.value(state.model.dynamics.features(latent))[..., 0]
        return action, {"predicted_return": returns, "value": value}

    @property
    def plans(self) -> bool:
        """Whether it acts by a plan in place of its policy."""
        return self.config.act == "plan"

    def plan_of(
        self, state: DreamerState, latent: LatentState, mask: Any, key: PRNGKeyArray
    ) -> dict[str, Any]:
        """Returns what `cem` is given in one environment, for a plan or for its trace."""
        planner, discount = self.config.planner, self.config.behavior.discount
        beyond = Beyond(state.value, discount) if planner.value else None
        actor_key = jax.random.fold_in(key, planner.iterations + 1)  # `cem` takes those before
        actors: dict[str, Array] = {}
        if planner.proposed or planner.start == "actor":
            count = max(planner.proposed, 1)
            sequences = actor_sequences(
                state.model, state.policy, latent, mask, actor_key,
                count=count, horizon=planner.horizon,
            )  # fmt: skip
            actors |= {"proposals": sequences} if planner.proposed else {}
            actors |= {"mean": sequences[0]} if planner.start == "actor" else {}
        return {
            "evaluate": used(latent_returns(state.model, latent, beyond), mask),
            "key": key,
            "action_size": self.spec.action.size,
            "config": planner,
            **actors,
        }


def _expected(model: WorldModel, value: Stack, states: LatentState) -> Float[Array, "*batch"]:
    return value(model.dynamics.features(states))[..., 0]
