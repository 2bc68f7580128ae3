"""Learning to act in imagination: the losses of the action and the value model (Dreamer, Eq. 7, 8).

The world model is fixed meanwhile: its parameters get no gradient, but the gradient of the value
estimates flows back through its predictions to the actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from armillary.config import BehaviorConfig
from armillary.dynamics.base import Dynamics, LatentState
from armillary.nets.dense import Stack
from armillary.nets.policy import Policy
from armillary.objectives.values import fixed_step_value, lambda_return, reward_sum
from armillary.replay.sampler import Batch
from armillary.spec import MASK


@runtime_checkable
class Imaginable(Protocol):
    """A model in which trajectories can be imagined: a `WorldModel`, or one that is written."""

    dynamics: Dynamics

    def reward(self, state: LatentState) -> Float[Array, "*batch"]:
        """Returns the mean of p(r_t | s_t)."""

    def goes_on(self, state: LatentState) -> Float[Array, "*batch"]:
        """Returns the probability that the episode goes on after s_t."""


Paid = Callable[
    [Float[Array, "steps starts features"], Float[Array, "steps starts action"]],
    Float[Array, "steps starts"],
]
"""What an action is paid in the state in which it is taken, by the features of the state."""


class Starts(NamedTuple):
    """States from which trajectories are imagined.

    Attributes:
        latent: s_t, one leading axis.
        mask: which entries of an action count from there on, or which discrete actions there are;
            None: all.
        weights: of the starts, 1 on average; None: 1.
    """

    latent: LatentState
    mask: Bool[Array, "starts action"] | None = None
    weights: Float[Array, " starts"] | None = None

    @classmethod
    def of(cls, posteriors: LatentState, batch: Batch) -> Starts:
        """Returns the states that were inferred of a batch, leading axes (time, batch)."""

        def flat(x: Array) -> Array:
            return x.reshape(-1, *x.shape[2:])

        def of_batch(x: Array | np.ndarray) -> Array:
            return flat(jnp.swapaxes(jnp.asarray(x), 0, 1))

        mask, weights = batch.observation.get(MASK), None
        if batch.valid is not None:
            valid = of_batch(batch.valid)
            weights = valid / jnp.mean(valid)
        latent = jax.tree.map(flat, posteriors)
        return cls(latent, None if mask is None else of_batch(mask), weights)

    def mean(self, x: Float[Array, "*axes starts"]) -> Float[Array, ""]:
        """Returns a mean in which each start has its weight."""
        return jnp.mean(x if self.weights is None else x * self.weights)


class Imagined(NamedTuple):
    """Trajectories {s_tau}, tau = t ... t + H, imagined from many states s_t at once.

    Attributes:
        features: of the states.
        estimates: of their values, see `behavior_loss`.
        entropies: of the policy in the H states in which it acts.
        weights: of the states: the probability that the episode has not ended before (1 where the
            world model does not predict the end), times that of the start.
    """

    features: Float[Array, "states starts features"]
    estimates: Float[Array, "states starts"]
    entropies: Float[Array, "steps starts"]
    weights: Float[Array, "states starts"]


def imagine(
    model: Imaginable,
    policy: Policy,
    starts: Starts,
    horizon: int,
    key: PRNGKeyArray,
    *,
    through_policy: bool = True,
) -> tuple[LatentState, Float[Array, "steps starts action"], Float[Array, "steps starts"]]:
    """Rolls the world model forward with actions of the policy (Dreamer, Algorithm 1, line 10).

    Args:
        model: the world model.
        policy: the action model.
        starts: s_t.
        horizon: H.
        key: of the samples of actions and states.
        through_policy: whether gradients flow through what the policy sees of a state, too.

    Returns:
        The H + 1 states s_t ... s_t+H, with a leading axis of time, and of the first H the actions
        taken there and an estimate of the policy's entropy.
    """
    start, mask = starts.latent, starts.mask
    count = start.deterministic.shape[0]
    action_key, state_key = jax.random.split(key)
    action_noise = policy.noise(action_key, horizon, count)
    state_noise = jax.random.normal(state_key, (horizon, count, model.dynamics.stochastic_size))

    def step(
        state: LatentState, noise: tuple[Array, Array]
    ) -> tuple[LatentState, tuple[LatentState, Array, Array]]:
        seen = model.dynamics.features(state)
        seen = seen if through_policy else jax.lax.stop_gradient(seen)
        distribution = policy(seen, mask)
        action = distribution.sample(noise[0])
        if mask is not None:
            action = action * mask
        state = model.dynamics.predict(state, action, noise[1])
        return state, (state, action, distribution.entropy(noise[0]))

    _, (states, actions, entropies) = jax.lax.scan(step, start, (action_noise, state_noise))
    states = jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), start, states)
    return states, actions, entropies


def behavior_loss(
    policy: Policy,
    model: Imaginable,
    value: Stack,
    starts: Starts,
    key: PRNGKeyArray,
    config: BehaviorConfig,
    reward: Paid | None = None,
) -> tuple[Float[Array, ""], Imagined]:
    """Returns minus the mean of the value estimates of imagined states (Dreamer, Eq. 7).

    To be differentiated by the policy alone. The mean is over the H states in which an action is
    chosen and over the starts, weighted by the probability that the episode has not ended. With
    an `entropy_scale` the policy's entropy in these states is added.

    Args:
        policy: the action model.
        model: the world model.
        value: the value model that estimates what comes beyond (the slow one, if there is one).
        starts: s_t, which get no gradient.
        key: of the samples.
        config: the horizon, gamma, lambda and the estimate.
        reward: what is maximised in place of the rewards that the model predicts. It gets its
            gradient through states and actions.
    """
    starts = jax.lax.stop_gradient(starts)
    states, actions, entropies = imagine(
        model, policy, starts, config.horizon, key, through_policy=config.through_policy
    )
    features, goes_on = model.dynamics.features(states), model.goes_on(states)
    if reward is None:
        rewards = model.reward(states)
    else:  # no action is taken in the last state
        rewards = jnp.pad(reward(features[:-1], actions), ((0, 1), (0, 0)))
    if config.estimate == "rewards":
        estimates = reward_sum(rewards)
    else:
        values, discounts = value(features)[..., 0], config.discount * goes_on[:-1]
        if config.estimate == "fixed":
            estimates = fixed_step_value(rewards, values, discounts, config.horizon)
        else:
            estimates = lambda_return(rewards, values, discounts, config.trace)
    alive = jnp.concatenate([jnp.ones_like(goes_on[:1]), goes_on[:-1]])
    weights = jax.lax.stop_gradient(jnp.cumprod(alive, axis=0))
    if starts.weights is not None:
        weights *= starts.weights
    worth = estimates[:-1] + config.entropy_scale * entropies
    loss = -jnp.mean(weights[:-1] * worth)
    return loss, Imagined(features, estimates, entropies, weights)


def value_loss(value: Stack, imagined: Imagined) -> Float[Array, ""]:
    """Returns half the mean squared error of the values of imagined states (Dreamer, Eq. 8).

    States and estimates get no gradient. The last state is left out: its estimate is its value.
    """
    imagined = jax.lax.stop_gradient(imagined)
    errors = value(imagined.features[:-1])[..., 0] - imagined.estimates[:-1]
    return 0.5 * jnp.mean(imagined.weights[:-1] * errors**2)
