"""What the training loop knows of an agent."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Shaped, UInt8

from armillary.config import PlannerConfig
from armillary.replay.positions import Windows
from armillary.replay.sampler import Batch
from armillary.spec import MASK, Spec

if TYPE_CHECKING:
    from armillary.search.tree import Found

Observation = Mapping[str, Shaped[Array | np.ndarray, "environment *shape"]]
"""The fields of an observation by name, see `armillary.spec`."""


Updated = (
    tuple[PyTree, dict[str, Float[Array, ""]]]
    | tuple[PyTree, dict[str, Float[Array, ""]], Float[Array, " batch"]]
)
"""The next state and metrics by their names; of an agent that learns from single steps also the
new priorities of these."""


@runtime_checkable
class Actor(Hashable, Protocol):
    """Anything that acts: pure functions over a state and a belief, both PyTrees."""

    @property
    def spec(self) -> Spec:
        """What it observes, and its actions."""
        ...

    def init(self, key: PRNGKeyArray) -> PyTree:
        """Returns random parameters."""
        ...

    def initial_belief(self, state: Any, environments: int) -> PyTree:
        """Returns the belief before an episode.

        Args:
            state: the parameters.
            environments: how many are side by side.
        """
        ...

    def act(
        self,
        state: Any,
        belief: Any,
        observation: Observation,
        key: PRNGKeyArray,
        explore: bool,
    ) -> tuple[PyTree, Float[Array, "environment action"], dict[str, Array]]:
        """Returns the next belief, actions as the spec has them, and what else is known of them.

        Args:
            state: the parameters.
            belief: what is believed of each environment before this observation.
            observation: the fields by name, a leading axis of environments.
            key: of all that is random.
            explore: whether to act as data collection does, rather than as well as possible.
        """
        ...


@runtime_checkable
class Agent(Actor, Protocol):
    """An actor that learns."""

    def update(self, state: Any, batch: Batch, key: PRNGKeyArray) -> Updated:
        """Takes one gradient step; compiles under `jax.jit`.

        Args:
            state: the parameters, and all else that an agent keeps: optimisers, target networks.
            batch: chunks of experience, or single steps with the rows around them.
            key: of all that is random.

        Returns:
            The next state and the metrics that are logged; of an agent that `LearnsFromSteps` also
            the new priorities of these.
        """
        ...


@runtime_checkable
class Predicts(Hashable, Protocol):
    """An agent that can predict frames, if its model was made to: ask `predicts_frames`."""

    @property
    def predicts_frames(self) -> bool:
        """Whether its model was made to predict images."""
        ...

    def predict(
        self,
        state: Any,
        observations: Observation,
        actions: Float[Array, "time action"],
        key: PRNGKeyArray,
        context: int,
    ) -> UInt8[Array, "time height width 3"]:
        """Returns the frames of one episode as the model sees them, open loop after the context.

        Args:
            state: the parameters.
            observations: the fields by name, a leading axis of time; no more than the context of
                them is looked at.
            actions: `actions[t]` led to row t.
            key: of all that is random.
            context: rows that are seen.
        """
        ...


@runtime_checkable
class Models(Protocol):
    """An agent whose model can be looked into."""

    def world_model(self, state: Any) -> Any:
        """Returns its model with `encode`, `step`, `rollout`, `decode`, `plan` and `value`."""
        ...


def predicts_frames(agent: Any) -> TypeGuard[Predicts]:
    """Whether there are frames of an agent's predictions to show."""
    return isinstance(agent, Predicts) and agent.predicts_frames


@runtime_checkable
class Records(Protocol):
    """An actor that keeps some of what it knows of its actions beside the steps, for its updates.

    Attributes:
        records: the names of what its `act` returns third, arrays with a leading axis
            `environment`, which episodes then hold as `Episode.records`.
    """

    @property
    def records(self) -> tuple[str, ...]:
        """The names."""
        ...


@runtime_checkable
class Searches(Protocol):
    """An actor that searches a tree before it acts, which can be looked at."""

    def searched(
        self, state: Any, belief: Any, observation: Observation, key: PRNGKeyArray, explore: bool
    ) -> Found:
        """Returns what the search finds from which `act` chooses, given the same."""
        ...


@runtime_checkable
class Plans(Protocol):
    """An agent that plans by the cross-entropy method, if it is so set: ask `plans`."""

    @property
    def plans(self) -> bool: ...

    def plan_of(self, state: Any, latent: Any, mask: Any, key: PRNGKeyArray) -> dict[str, Any]:
        """Returns the arguments of `planners.cem.cem` in one environment."""
        ...


@runtime_checkable
class LearnsFromSteps(Protocol):
    """An agent whose batches are single steps with the rows around them, not chunks.

    Its `update` returns the new priorities of these steps beside the state and the metrics.
    """

    @property
    def windows(self) -> Windows:
        """Which rows around a step its batches have."""
        ...

    @property
    def recorded(self) -> dict[str, tuple[int, ...]]:
        """The shape of one row of each record that its batches need."""
        ...


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

    @classmethod
    def planning(cls, planner: PlannerConfig) -> Acting:
        """Returns that of an agent that plans, with the plan's size."""
        return cls("plan", "plans", planner.size)


@runtime_checkable
class Describes(Protocol):
    """An agent that says what its acting is, as a planner does; of any other it is `Acting()`."""

    @property
    def acting(self) -> Acting:
        """What it does for one action."""
        ...


@runtime_checkable
class Trims(Protocol):
    """An agent whose state has parts that nothing but its updates needs."""

    def trimmed(self, state: Any) -> PyTree:
        """Returns the state with None in place of them; it acts, and is looked into, as before."""
        ...


def trimmed(agent: Actor, state: Any) -> PyTree:
    """Returns what acting and looking into an agent take: all of its state if it does not say."""
    return agent.trimmed(state) if isinstance(agent, Trims) else state


@runtime_checkable
class Divides(Protocol):
    """An agent whose update has parts that can be looked at, and timed, alone."""

    def parts(
        self, state: Any, batch: Batch, key: PRNGKeyArray
    ) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
        """Returns pure functions and their arguments, by a name that gives their size, too."""
        ...


def masked(
    action: Float[Array, "environment action"], observation: Observation
) -> Float[Array, "environment action"]:
    """Returns a continuous action whose entries that do not count are 0."""
    return action * observation[MASK] if MASK in observation else action
