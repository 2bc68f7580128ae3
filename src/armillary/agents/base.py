"""What the training loop knows of an agent."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, UInt8

from armillary.replay.sampler import Batch


@runtime_checkable
class Actor(Hashable, Protocol):
    """Anything that acts: pure functions over a state and a belief, both PyTrees."""

    @property
    def action_size(self) -> int: ...

    def initial_belief(
        self,
        state: Any,
        environments: int,
        used: Float[Array | np.ndarray, " action"] | None = None,
    ) -> PyTree:
        """Returns the belief before an episode.

        Args:
            state: the parameters.
            environments: how many are side by side.
            used: 1 for the entries of an action that the environments use and 0 for those that
                fill it up (one agent for several tasks); these stay 0. None: all are used.
        """
        ...

    def act(
        self,
        state: Any,
        belief: Any,
        observation: UInt8[Array, "environment height width 3"],
        key: PRNGKeyArray,
        explore: bool,
    ) -> tuple[PyTree, Float[Array, "environment action"], dict[str, Array]]: ...


@runtime_checkable
class Agent(Actor, Protocol):
    """An actor that learns."""

    def init(self, key: PRNGKeyArray) -> PyTree: ...

    def update(
        self, state: Any, batch: Batch, key: PRNGKeyArray
    ) -> tuple[PyTree, dict[str, Float[Array, ""]]]: ...


@runtime_checkable
class Predicts(Hashable, Protocol):
    """An agent that can predict frames, if its model was made to: ask `predicts_frames`."""

    @property
    def predicts_frames(self) -> bool: ...

    def predict(
        self,
        state: Any,
        images: UInt8[Array, "time height width 3"],
        actions: Float[Array, "time action"],
        key: PRNGKeyArray,
        context: int,
    ) -> UInt8[Array, "time height width 3"]: ...


def predicts_frames(agent: Any) -> TypeGuard[Predicts]:
    """Whether there are frames of an agent's predictions to show."""
    return isinstance(agent, Predicts) and agent.predicts_frames


class Acting(NamedTuple):
    """What an agent does for one action, in words.

    Attributes:
        name: `plan` for instance.
        plural: of the name.
        size: how much of it, `J=1000, I=10, H=12` for instance; empty: nothing to say.
    """

    name: str = "act"
    plural: str = "actions"
    size: str = ""


@runtime_checkable
class Describes(Protocol):
    """An agent that says what its acting is, as a planner does; of any other it is `Acting()`."""

    @property
    def acting(self) -> Acting: ...


@runtime_checkable
class Divides(Protocol):
    """An agent whose update has parts that can be looked at, and timed, alone."""

    def parts(
        self, state: Any, batch: Batch, key: PRNGKeyArray
    ) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
        """Returns pure functions and their arguments, by a name that gives their size, too."""
        ...


def used_entries(
    used: Float[Array | np.ndarray, " action"] | None, environments: int, size: int
) -> Float[Array, "environment action"]:
    """Returns `used` for each of several environments; None: every entry is used."""
    return jnp.broadcast_to(jnp.ones(size) if used is None else used, (environments, size))
