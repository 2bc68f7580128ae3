"""What the training loop knows of an agent."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, PRNGKeyArray, PyTree, UInt8

from armillary.replay.sampler import Batch


@runtime_checkable
class Actor(Hashable, Protocol):
    """Anything that acts: pure functions over a state and a belief, both PyTrees."""

    @property
    def action_size(self) -> int: ...

    def initial_belief(self, state: Any, environments: int) -> PyTree: ...

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

    def predict(
        self,
        state: Any,
        images: UInt8[Array, "time height width 3"],
        actions: Float[Array, "time action"],
        key: PRNGKeyArray,
        context: int,
    ) -> UInt8[Array, "time height width 3"]: ...
