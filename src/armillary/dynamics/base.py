"""The one interface of every latent dynamics model: `initial`, `observe`, `imagine`.

A model is chosen by its name in `ModelConfig.dynamics`. Whoever uses it, an agent, a planner or an
objective, knows only this interface: what a model lacks is an array without entries.
"""

from __future__ import annotations

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from armillary.nets.distributions import Normal


class LatentState(NamedTuple):
    """The state of a latent dynamics model at one time step: a belief, prior or posterior.

    Attributes:
        distribution: the Gaussian from which the stochastic state was drawn.
        stochastic: s, a sample of it; without entries in a purely deterministic model.
        deterministic: h, the activations of the recurrent network (of two, one after the other);
            without entries in a purely stochastic model.
    """

    distribution: Normal
    stochastic: Float[Array, "*batch stochastic"]
    deterministic: Float[Array, "*batch deterministic"]


class Dynamics(eqx.Module):
    """A latent dynamics model. A subclass gives three methods about one time step.

    Everything below works on any leading axes (`*batch`): candidates of a planner, sequences of a
    batch, environments side by side.

    Attributes:
        stochastic_size: numbers in s; 0 in a purely deterministic model, which has no divergence.
        deterministic_size: numbers in h; 0 in a purely stochastic model.
        feature_size: numbers in the features.
    """

    stochastic_size: eqx.AbstractVar[int]
    deterministic_size: eqx.AbstractVar[int]
    feature_size: eqx.AbstractVar[int]

    def initial(self, *batch: int) -> LatentState:
        """Returns the fixed state s_0 before the first time step: zeros.

        Its standard deviation is one and never used.
        """
        zeros = jnp.zeros((*batch, self.stochastic_size))
        deterministic = jnp.zeros((*batch, self.deterministic_size))
        return LatentState(Normal(zeros, jnp.ones_like(zeros)), zeros, deterministic)

    @abc.abstractmethod
    def predict(
        self,
        state: LatentState,
        action: Float[Array, "*batch action"],
        noise: Float[Array, "*batch stochastic"] | None,
    ) -> LatentState:
        """Returns the prior at the next time step, before its observation.

        Args:
            state: the state at this time step.
            action: the action that leads to the next one.
            noise: standard normal noise of the sample; None takes the mean.
        """

    @abc.abstractmethod
    def infer(
        self,
        state: LatentState,
        action: Float[Array, "*batch action"],
        embedding: Float[Array, "*batch embedding"],
        noise: Float[Array, "*batch stochastic"] | None,
    ) -> tuple[LatentState, Normal]:
        """Returns the posterior q(s_t | s_t-1, a_t-1, o_t) at the next time step, and the prior.

        Args:
            state: the state at this time step, t-1.
            action: the action a_t-1 that leads to the next one.
            embedding: of the next time step's observation o_t.
            noise: standard normal noise of the posterior's sample; None takes the mean.

        Returns:
            The posterior with its sample, and the prior p(s_t | s_t-1, a_t-1).
        """

    @abc.abstractmethod
    def features(self, state: LatentState) -> Float[Array, "*batch features"]:
        """Returns what the observation and reward models see of a state."""

    def observe(
        self,
        embeddings: Float[Array, "time batch embedding"],
        actions: Float[Array, "time batch action"],
        key: PRNGKeyArray | None,
        state: LatentState | None = None,
    ) -> tuple[LatentState, Normal]:
        """Filters a batch of sequences (PlaNet, Section 3, "Variational encoder").

        Args:
            embeddings: of the observations o_t.
            actions: `actions[t]` is the action that *led to* observation t.
            key: of the posterior samples; None takes the means.
            state: the state before the first time step; None: `initial`.

        Returns:
            The posteriors q(s_t | o_<=t, a_<t) with their samples, and the one-step priors
            p(s_t | s_t-1, a_t-1), both with a leading time axis.
        """
        time, batch = actions.shape[:2]
        noise = _noise(key, (time, batch, self.stochastic_size))

        def step(
            state: LatentState, inputs: tuple[Array, Array, Array | None]
        ) -> tuple[LatentState, tuple[LatentState, Normal]]:
            embedding, action, noise = inputs
            posterior, prior = self.infer(state, action, embedding, noise)
            return posterior, (posterior, prior)

        first = self.initial(batch) if state is None else state
        _, (posteriors, priors) = jax.lax.scan(step, first, (embeddings, actions, noise))
        return posteriors, priors

    def imagine(
        self,
        state: LatentState,
        actions: Float[Array, "time *batch action"],
        key: PRNGKeyArray | None,
    ) -> LatentState:
        """Rolls the transition model forward with sampled states, without observations.

        Args:
            state: where to start, leading axes `*batch`.
            actions: `actions[0]` leads from `state` to the first returned one.
            key: of the samples; None takes the means.

        Returns:
            The sampled priors of the `time` steps ahead, with a leading time axis.
        """
        noise = _noise(key, (*actions.shape[:-1], self.stochastic_size))

        def step(
            state: LatentState, inputs: tuple[Array, Array | None]
        ) -> tuple[LatentState, LatentState]:
            prior = self.predict(state, *inputs)
            return prior, prior

        return jax.lax.scan(step, state, (actions, noise))[1]


def _noise(key: PRNGKeyArray | None, shape: tuple[int, ...]) -> Array | None:
    return None if key is None else jax.random.normal(key, shape)


def sample(distribution: Normal, noise: Float[Array, "*batch size"] | None) -> Array:
    """Returns a sample for the given noise, or the mean where there is none."""
    return distribution.mean if noise is None else distribution.sample(noise)


def gaussian(parameters: Float[Array, "*batch twice"], min_std: float) -> Normal:
    """Returns the Gaussian of a network's output: means, then raw standard deviations."""
    mean, raw = jnp.split(parameters, 2, axis=-1)
    return Normal(mean, jax.nn.softplus(raw) + min_std)
