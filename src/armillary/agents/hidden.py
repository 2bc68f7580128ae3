"""MuZero's model to look into: hidden states, what they are worth, and the search in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Float32, PRNGKeyArray

from armillary.dynamics.given import fitting_actions, fitting_mask, led, observed
from armillary.errors import UsageError
from armillary.nets.muzero import History, MuZeroNetwork
from armillary.objectives.muzero import value_of
from armillary.search.tree import Found
from armillary.spec import Spec

Search = Callable[[Array, Any, PRNGKeyArray, int | None], Found]
"""From hidden states with one leading axis, the mask of their actions or None, a key, and the
number of simulations or None."""

HiddenState = Array
"""s^k, shape (*batch, *shape): of vectors numbers, of boards and frames planes."""

_ROWS = 32
"""Rows that are represented at a time: histories of frames are megabytes each."""


class HiddenModel:
    """What MuZero's model makes of observations and actions (MuZero, slide 3).

    `encode` gives the hidden state after what was seen. From there `step` and `rollout` go on with
    actions alone and say what is paid; `policy` and `value` say what the model expects of a state
    at once, `search` and `plan` after a search from it. A hidden state is an array: keep one to
    return to it, and copy it to branch. Nothing is ever decoded from it: it need not hold what is
    seen, only what that is worth.

    Actions are numbers, or one-hot vectors. States may have any leading axes, to which actions must
    fit. Of a game of two players values are from the view of who is to move, and rewards are 0:
    only the outcome is paid. Nothing is random.

    Args:
        network: h, g and f.
        spec: what is observed, and the actions.
        history: rows of observations that h sees.
        search: from hidden states.
    """

    def __init__(self, network: MuZeroNetwork, spec: Spec, history: int, search: Search) -> None:
        self.network, self.spec, self.history = network, spec, history
        self.action_size = spec.action.size
        self._search = search
        fields = {name: f for name, f in spec.fields.items() if name in spec.images | spec.vectors}
        past = History(
            {name: jnp.zeros((1, history, *f.shape), f.dtype) for name, f in fields.items()},
            jnp.zeros((1, history, self.action_size)),
        )
        self.state_shape = tuple(jax.eval_shape(network.represent, past).shape[1:])

    def encode(
        self,
        observations: ArrayLike | Mapping[str, ArrayLike],
        actions: ArrayLike,
        *,
        every: bool = False,
    ) -> HiddenState:
        """Returns the hidden state after a sequence of observations, s^0 = h(o_1..o_T).

        Args:
            observations: o_1..o_T from the beginning of an episode, shape (T, *batch, ...); or a
                dictionary of such arrays by the names of their fields.
            actions: those between the observations, T - 1, or T of them, where `actions[t]` led to
                row t, as in a stored episode.
            every: return the states after each of the rows, with a leading axis of T.

        Raises:
            UsageError: the shapes or types are others.
        """
        named, batch = observed(self.spec, observations)
        chosen = led(self.spec, actions, named, batch, begun=False)
        rows = range(len(chosen)) if every else (len(chosen) - 1,)
        found = [
            self._represented(named, chosen, rows[i : i + _ROWS])
            for i in range(0, len(rows), _ROWS)
        ]
        states = np.concatenate(found)
        return jnp.asarray(states if every else states[0])

    def _represented(
        self, named: Mapping[str, np.ndarray], actions: np.ndarray, rows: Sequence[int]
    ) -> np.ndarray:
        """Returns the hidden states after these rows; what came before the first is zeros."""
        batch = actions.shape[1:-1]
        seen = np.asarray(rows)[:, None] + np.arange(self.history)

        def windows(array: np.ndarray) -> Any:
            past = np.zeros((self.history - 1, *array.shape[1:]), array.dtype)
            found = np.concatenate([past, array])[seen]
            shape = array.shape[1 + len(batch) :]
            return np.moveaxis(found, 1, 1 + len(batch)).reshape(-1, self.history, *shape)

        history = History({name: windows(x) for name, x in named.items()}, windows(actions))
        states = np.asarray(_represent(self.network, history))
        return states.reshape(len(rows), *batch, *self.state_shape)

    def step(
        self, state: HiddenState, action: ArrayLike
    ) -> tuple[HiddenState, Float32[np.ndarray, "*batch"]]:
        """Returns the hidden state that an action leads to, and its reward, s^k, r^k = g(s^k-1, a).

        Args:
            state: where to start.
            action: shape `(*batch,)`, or `(*batch, A)` one-hot.

        Raises:
            UsageError: the action does not fit the state.
        """
        states, rewards = self.rollout(state, np.asarray(action)[None])
        return states[0], np.asarray(rewards[0])

    def rollout(
        self, state: HiddenState, actions: ArrayLike
    ) -> tuple[HiddenState, Float32[np.ndarray, "time *batch"]]:
        """Returns the hidden states that actions lead to, and the reward on coming into each.

        Args:
            state: where to start; not among those returned.
            actions: shape (time, *batch), or (time, *batch, A) one-hot.

        Raises:
            UsageError: the actions do not fit the state.
        """
        flat, batch = self._flat(state)
        chosen = fitting_actions(self.spec, actions, batch)
        count = len(flat)
        states, rewards = _unrolled(
            self.network, flat, chosen.reshape(len(chosen), count, self.action_size)
        )
        shape = (len(chosen), *batch)
        return states.reshape(*shape, *self.state_shape), np.asarray(rewards).reshape(shape)

    def policy(self, state: HiddenState) -> Float32[np.ndarray, "*batch action"]:
        """Returns p of each state: the probabilities of actions before any search."""
        flat, batch = self._flat(state)
        logits, _ = _predicted(self.network, flat)
        return np.asarray(jax.nn.softmax(logits)).reshape(*batch, self.action_size)

    def value(self, state: HiddenState) -> Float32[np.ndarray, "*batch"]:
        """Returns v of each state: the discounted sum of rewards from there on, or the outcome."""
        flat, batch = self._flat(state)
        return np.asarray(_predicted(self.network, flat)[1]).reshape(batch)

    def search(
        self,
        state: HiddenState,
        *,
        mask: ArrayLike | None = None,
        simulations: int | None = None,
        seed: int = 0,
    ) -> Found:
        """Returns what a search finds from each state: visits, values and the whole tree.

        Args:
            state: where to search from; the result's arrays have one leading axis for all of them.
            mask: which actions may be taken there, shape (*batch, A); None: all.
            simulations: states that are added to each tree; None: as many as the agent's settings
                say. 0: the policy alone.
            seed: of what is random, with Gumbel MuZero.

        Raises:
            UsageError: the mask does not fit, or the simulations are fewer than none.
        """
        if simulations is not None and simulations < 0:
            raise UsageError(f"{simulations} simulations were asked for: give 0 or more")
        flat, batch = self._flat(state)
        legal = fitting_mask(mask, (*batch, self.action_size))
        return self._search(flat, legal, jax.random.key(seed), simulations)

    def plan(
        self,
        state: HiddenState,
        *,
        mask: ArrayLike | None = None,
        simulations: int | None = None,
        seed: int = 0,
    ) -> np.ndarray:
        """Returns the number of the action that the search takes in each state.

        Args:
            state: where to act.
            mask: which actions may be taken there, shape (*batch, A); None: all.
            simulations: of each search, see `search`.
            seed: of what is random, with Gumbel MuZero.

        Raises:
            UsageError: the mask does not fit, or the simulations are fewer than none.
        """
        found = self.search(state, mask=mask, simulations=simulations, seed=seed)
        return np.asarray(found.action).reshape(self._flat(state)[1])

    def decode(self, state: HiddenState) -> NoReturn:
        """Raises `UsageError`: nothing that is seen is ever predicted."""
        raise UsageError(
            "muzero predicts rewards, values and policies, not what is seen: there are no frames "
            "to decode. Ask `policy`, `value` or `search`, or train planet or dreamer"
        )

    def _flat(self, state: HiddenState) -> tuple[Array, tuple[int, ...]]:
        """Returns states with one leading axis, and the axes that they had.

        Raises:
            UsageError: they are no hidden states of this model.
        """
        array = jnp.asarray(state)
        axes = array.ndim - len(self.state_shape)
        if axes < 0 or array.shape[axes:] != self.state_shape:
            raise UsageError(
                f"a hidden state of this model has shape (*batch, "
                f"{', '.join(map(str, self.state_shape))}), but here is one of {array.shape}: "
                "make it with `encode`"
            )
        batch = array.shape[:axes]
        return array.reshape(math.prod(batch), *self.state_shape), batch


def stepped(
    network: MuZeroNetwork, state: Array, action: Float[Array, "batch action"]
) -> tuple[Array, Float[Array, " batch"]]:
    """Returns the next hidden state, and its reward as a number."""
    state, reward = network.step(state, action)
    return state, jnp.zeros(action.shape[0]) if reward is None else value_of(reward)


@jax.jit
def _represent(network: MuZeroNetwork, history: History) -> Array:
    return network.represent(history)


@jax.jit
def _unrolled(network: MuZeroNetwork, state: Array, actions: Array) -> tuple[Array, Array]:
    def step(state: Array, action: Array) -> Any:
        state, reward = stepped(network, state, action)
        return state, (state, reward)

    return jax.lax.scan(step, state, actions)[1]


@jax.jit
def _predicted(network: MuZeroNetwork, state: Array) -> tuple[Array, Array]:
    logits, value = network.predict(state)
    return logits, value_of(value)
