"""A trained world model to look into: states, imagination, pictures, rewards and plans."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float32, PRNGKeyArray, UInt8

from armillary.dynamics.base import LatentState
from armillary.dynamics.given import fitting_actions, fitting_mask, led, observed
from armillary.dynamics.world_model import WorldModel
from armillary.errors import UsageError
from armillary.nets.image import postprocess
from armillary.nets.observations import shown
from armillary.spec import Spec

Choose = Callable[[LatentState, Any, PRNGKeyArray], Array]
"""From states with one leading axis, the mask of their actions or None, and a key to actions."""
Value = Callable[[LatentState], Array]
"""From states to what is to come; a PyTree, as `jax.tree_util.Partial` is."""


class LearnedModel:
    """What a world model makes of observations and actions, with any dynamics.

    `encode` gives the state after what was seen. From there `step` and `rollout` go on with actions
    alone and say what is paid; `decode` shows a state as a frame; `plan` says what the agent would
    do there. States are `LatentState`s, tuples of arrays: keep one to return to it, and copy it to
    branch. They may have any leading axes, to which actions must fit.

    Actions are vectors in [-1, 1]; discrete ones numbers, or one-hot vectors. Rewards are sums over
    an action repeat. Nothing is random, Gaussians give their means, unless a seed is given: then
    states are sampled, as they are in training and planning.

    Args:
        model: the world model.
        spec: what it observes, and its actions.
        bits: bit depth of the model's images.
        choose: what the agent does; None: there is no agent.
        value: what it expects to be paid; None: it does not say.
    """

    def __init__(
        self,
        model: WorldModel,
        spec: Spec,
        bits: int,
        choose: Choose | None = None,
        value: Value | None = None,
    ) -> None:
        self.model, self.spec, self.bits = model, spec, bits
        self.action_size = spec.action.size
        self._choose, self.value_model = choose, value

    def encode(
        self,
        observations: ArrayLike | Mapping[str, ArrayLike],
        actions: ArrayLike,
        *,
        state: LatentState | None = None,
        every: bool = False,
        seed: int | None = None,
    ) -> LatentState:
        """Returns the state after a sequence of observations, q(s_T | o_<=T, a_<T).

        Args:
            observations: o_1..o_T, from the beginning of an episode or from anywhere in it: bytes
                of shape (T, *batch, 64, 64, 3), or a dictionary of such arrays by the names of
                their fields where an agent observes something else, `episode.observation` for
                instance.
            actions: shape (T - 1, *batch, A), those between the observations; or (T, *batch, A),
                where `actions[t]` led to row t, as in a stored episode.
            state: the state before them, from which the first of T actions leads to the first row.
                None: nothing was seen yet.
            every: return the states after each of the rows, with a leading axis of T.
            seed: of sampled states; None: the means.

        Raises:
            UsageError: the shapes or types are others.
        """
        named, batch = observed(self.spec, observations)
        chosen = led(self.spec, actions, named, batch, begun=state is not None)
        if state is None:
            state = self.model.dynamics.initial(*batch)
        if state.deterministic.shape[:-1] != batch:
            raise UsageError(
                f"the state has leading axes {state.deterministic.shape[:-1]}, the observations "
                f"{batch} after that of time: they must be the same"
            )
        states = _encode(self.model, named, chosen, state, _key(seed), self.bits)
        return states if every else jax.tree.map(lambda x: x[-1], states)

    def step(
        self, state: LatentState, action: ArrayLike, *, seed: int | None = None
    ) -> tuple[LatentState, Float32[np.ndarray, "*batch"]]:
        """Returns the state that an action leads to, imagined, p(s_t | s_t-1, a_t-1), and r_t.

        Args:
            state: where to start.
            action: shape (*batch, A).
            seed: of a sampled state; None: the mean.

        Raises:
            UsageError: the action does not fit the state.
        """
        states, rewards = self.rollout(state, np.asarray(action)[None], seed=seed)
        return jax.tree.map(lambda x: x[0], states), np.asarray(rewards[0])

    def rollout(
        self, state: LatentState, actions: ArrayLike, *, seed: int | None = None
    ) -> tuple[LatentState, Float32[np.ndarray, "time *batch"]]:
        """Returns the states that actions lead to, imagined, and the reward on coming into each.

        Args:
            state: where to start; not among those returned.
            actions: shape (time, *batch, A); `actions[0]` leads from `state` to the first returned
                one.
            seed: of sampled states; None: the means.

        Raises:
            UsageError: the actions do not fit the state.
        """
        batch = state.deterministic.shape[:-1]
        chosen = fitting_actions(self.spec, actions, batch)
        states, rewards = _imagine(self.model, state, chosen, _key(seed))
        return states, np.asarray(rewards)

    def decode(self, state: LatentState) -> UInt8[np.ndarray, "*batch 64 64 3"]:
        """Returns the frame that the model expects to see in each state.

        Raises:
            UsageError: the model has no decoder, or observes no images.
        """
        return np.asarray(_decode(self.model, state))

    def observation(self, state: LatentState) -> dict[str, np.ndarray]:
        """Returns all that the model expects to observe in each state, each field by its name.

        Raises:
            UsageError: the model has no decoder.
        """
        return {name: np.asarray(x) for name, x in _observation(self.model, state).items()}

    def reward(self, state: LatentState) -> Float32[np.ndarray, "*batch"]:
        """Returns the reward that the model expects on coming into each state."""
        return np.asarray(_reward(self.model, state))

    def goes_on(self, state: LatentState) -> Float32[np.ndarray, "*batch"]:
        """Returns the probability that the episode goes on after each state.

        It is 1 where the model has no discount head, as on tasks that end by time alone.
        """
        return np.asarray(_goes_on(self.model, state))

    def plan(
        self, state: LatentState, *, mask: ArrayLike | None = None, seed: int = 0
    ) -> np.ndarray:
        """Returns what the agent would do in each state, without exploration.

        PlaNet searches in the model, other agents ask their policy.

        Args:
            state: where to act.
            mask: which entries of an action count, or which discrete actions there are, shape
                (*batch, A); None: all.
            seed: of what is random in the choice.

        Returns:
            What an environment takes, and `step` too: shape `(*batch, A)`, of discrete actions
            numbers of shape `(*batch,)`.

        Raises:
            UsageError: there is no agent, or the mask does not fit.
        """
        if self._choose is None:
            raise UsageError("this world model has no agent that plans: take that of a loaded run")
        batch = state.deterministic.shape[:-1]
        legal = fitting_mask(mask, (*batch, self.action_size))
        action = self._choose(_flat(state), legal, jax.random.key(seed))
        if not self.spec.discrete:
            action = jnp.clip(action, -1.0, 1.0)
            action = action if legal is None else action * legal
        chosen = np.asarray(action).reshape(*batch, self.action_size)
        return np.asarray(self.spec.own_action(chosen))

    def value(self, state: LatentState) -> Float32[np.ndarray, "*batch"]:
        """Returns the discounted sum of rewards that the agent expects from each state on.

        Raises:
            UsageError: it learned no value, as PlaNet does not.
        """
        if self.value_model is None:
            raise UsageError(
                "this agent learned no value: sum the rewards of a `rollout`, or take a run of "
                "dreamer or muzero"
            )
        return np.asarray(_valued(self.value_model, state))


def _flat(state: LatentState) -> LatentState:
    """Returns states with one leading axis; parts of them may have no entries."""
    count = math.prod(state.deterministic.shape[:-1])
    return jax.tree.map(lambda x: x.reshape(count, x.shape[-1]), state)


def _key(seed: int | None) -> PRNGKeyArray | None:
    return None if seed is None else jax.random.key(seed)


@partial(jax.jit, static_argnames="bits")
def _encode(
    model: WorldModel,
    observations: dict[str, Array],
    actions: Array,
    state: LatentState,
    key: PRNGKeyArray | None,
    bits: int,
) -> LatentState:
    batch = actions.shape[1:-1]
    flat = {name: x.reshape(-1, *x.shape[1 + len(batch) :]) for name, x in observations.items()}
    embeddings = model.encoder(model.encoder.prepare(flat, bits))
    rows, size = len(actions), actions.shape[-1]
    posteriors, _ = model.dynamics.observe(
        embeddings.reshape(rows, -1, embeddings.shape[-1]),
        actions.reshape(rows, -1, size),
        key,
        _flat(state),
    )
    return jax.tree.map(lambda x: x.reshape(rows, *batch, x.shape[-1]), posteriors)


@jax.jit
def _imagine(
    model: WorldModel, state: LatentState, actions: Array, key: PRNGKeyArray | None
) -> tuple[LatentState, Array]:
    states = model.dynamics.imagine(state, actions, key)
    return states, model.reward(states)


@jax.jit
def _decode(model: WorldModel, state: LatentState) -> Array:
    features = model.dynamics.features(state)
    frames = postprocess(model.decode_images(features.reshape(-1, features.shape[-1])))
    return jnp.reshape(frames, (*features.shape[:-1], *frames.shape[1:]))


@jax.jit
def _observation(model: WorldModel, state: LatentState) -> dict[str, Array]:
    features = model.dynamics.features(state)
    batch = features.shape[:-1]
    fields = shown(model.decode(features.reshape(-1, features.shape[-1])), model.encoder.spec)
    return {name: x.reshape(*batch, *x.shape[1:]) for name, x in fields.items()}


@jax.jit
def _reward(model: WorldModel, state: LatentState) -> Array:
    return model.reward(state)


@jax.jit
def _goes_on(model: WorldModel, state: LatentState) -> Array:
    return model.goes_on(state)


@jax.jit
def _valued(value: Value, state: LatentState) -> Array:
    return value(state)
