"""A trained world model to look into: states, imagination, pictures and rewards."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float32, PRNGKeyArray, UInt8

from armillary.dynamics.base import LatentState
from armillary.dynamics.world_model import WorldModel
from armillary.errors import UsageError
from armillary.nets.image import postprocess
from armillary.nets.observations import shown
from armillary.spec import MASK, Spec


class LearnedModel:
    """What a world model makes of frames and actions, with any dynamics.

    `encode` gives the state after what was seen. From there `step` and `rollout` go on with actions
    alone, `decode` shows a state as a frame, and `reward` says what it pays. States are
    `LatentState`s; they may have any leading axes, to which actions must fit.

    Nothing is random, Gaussians give their means, unless a seed is given: then states are sampled,
    as they are in training and planning.

    Args:
        model: the world model.
        spec: what it observes, and its actions.
        bits: bit depth of the model's images.
    """

    def __init__(self, model: WorldModel, spec: Spec, bits: int) -> None:
        self.model, self.spec, self.bits = model, spec, bits
        self.action_size = spec.action.size

    def encode(
        self,
        observations: ArrayLike | Mapping[str, ArrayLike],
        actions: ArrayLike,
        *,
        every: bool = False,
        seed: int | None = None,
    ) -> LatentState:
        """Returns the state after a sequence of frames, q(s_T | o_<=T, a_<T).

        Args:
            observations: o_1..o_T, from the beginning of an episode or from anywhere in it: bytes
                of shape (T, 64, 64, 3), or a dictionary of such arrays by the names of their fields
                where an agent observes something else, `episode.observation` for instance.
            actions: shape (T - 1, A), the ones between the frames; or (T, A), where `actions[t]`
                led to row t, as in a stored episode. Discrete ones are one-hot.
            every: return the states after each of the frames, with a leading axis of T.
            seed: of sampled states; None: the means.

        Raises:
            UsageError: the shapes or types are others.
        """
        named = {name: np.asarray(x) for name, x in self.spec.named(observations).items()}
        named.pop(MASK, None)
        for name, array in named.items():
            field = self.spec.fields[name]
            if array.shape[1:] != field.shape or array.dtype != field.dtype:
                what = "frames have" if field.is_image else f"field {name!r} has"
                raise UsageError(
                    f"the {what} shape {array.shape} and type {array.dtype}, expected "
                    f"{field.dtype} of shape (T, {', '.join(map(str, field.shape))}): as the "
                    "environment of `make_env` gives them"
                )
        rows = len(next(iter(named.values())))
        chosen = self._actions(actions, 2)
        if len(chosen) == rows - 1:
            chosen = np.concatenate([np.zeros((1, self.action_size), np.float32), chosen])
        if not rows or len(chosen) != rows or any(len(x) != rows for x in named.values()):
            raise UsageError(
                f"{rows} frames and {len(chosen)} actions were given, but between T frames "
                "there are T - 1 actions (or T, with the one that led to the first frame)"
            )
        states = _encode(self.model, named, chosen, _key(seed), self.bits)
        return states if every else jax.tree.map(lambda x: x[-1], states)

    def step(
        self, state: LatentState, action: ArrayLike, *, seed: int | None = None
    ) -> LatentState:
        """Returns the state that an action leads to, imagined, p(s_t | s_t-1, a_t-1).

        Args:
            state: where to start.
            action: in [-1, 1], shape (*batch, A).
            seed: of a sampled state; None: the mean.

        Raises:
            UsageError: the action does not fit the state.
        """
        states = self.rollout(state, np.asarray(action)[None], seed=seed)
        return jax.tree.map(lambda x: x[0], states)

    def rollout(
        self, state: LatentState, actions: ArrayLike, *, seed: int | None = None
    ) -> LatentState:
        """Returns the states that a sequence of actions leads to, imagined; a leading axis of time.

        Args:
            state: where to start; not among those returned.
            actions: in [-1, 1], shape (time, *batch, A); `actions[0]` leads from `state` to the
                first returned one.
            seed: of sampled states; None: the means.

        Raises:
            UsageError: the actions do not fit the state.
        """
        batch = state.deterministic.shape[:-1]
        chosen = self._actions(actions, 2 + len(batch))
        if chosen.shape[1:-1] != batch:
            raise UsageError(
                f"the actions have shape {chosen.shape}, but for states with leading axes {batch} "
                f"they need (time, {', '.join(map(str, (*batch, self.action_size)))})"
            )
        return _imagine(self.model, state, chosen, _key(seed))

    def decode(self, state: LatentState) -> UInt8[np.ndarray, "*batch 64 64 3"]:
        """Returns the frame that the model expects to see in each state."""
        return np.asarray(_decode(self.model, state))

    def observation(self, state: LatentState) -> dict[str, np.ndarray]:
        """Returns all that the model expects to observe in each state, each field by its name."""
        return {name: np.asarray(x) for name, x in _observation(self.model, state).items()}

    def reward(self, state: LatentState) -> Float32[np.ndarray, "*batch"]:
        """Returns the reward that the model expects on coming into each state."""
        return np.asarray(_reward(self.model, state))

    def _actions(self, actions: ArrayLike, axes: int) -> Float32[np.ndarray, "..."]:
        chosen = np.asarray(actions, np.float32)
        if chosen.ndim != axes or chosen.shape[-1] != self.action_size:
            raise UsageError(
                f"the actions have shape {chosen.shape}, expected {axes} axes, the last one of "
                f"{self.action_size} entries in [-1, 1]"
            )
        return chosen


def _key(seed: int | None) -> PRNGKeyArray | None:
    return None if seed is None else jax.random.key(seed)


@partial(jax.jit, static_argnames="bits")
def _encode(
    model: WorldModel,
    observations: dict[str, Array],
    actions: Array,
    key: PRNGKeyArray | None,
    bits: int,
) -> LatentState:
    embeddings = model.encoder(model.encoder.prepare(observations, bits))
    posteriors, _ = model.dynamics.observe(embeddings[:, None], actions[:, None], key)
    return jax.tree.map(lambda x: x[:, 0], posteriors)


@jax.jit
def _imagine(
    model: WorldModel, state: LatentState, actions: Array, key: PRNGKeyArray | None
) -> LatentState:
    return model.dynamics.imagine(state, actions, key)


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
