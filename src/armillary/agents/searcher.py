"""Acting by a tree search in a learned model (MuZero, slides 2 to 5)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from armillary.agents.base import Acting, Observation
from armillary.agents.hidden import HiddenModel, stepped
from armillary.agents.random import uniform
from armillary.config.muzero import MuZeroConfig
from armillary.config.schedule import all_rounds, updates_due
from armillary.errors import UsageError
from armillary.nets.muzero import History, MuZeroNetwork, kind_of
from armillary.objectives.muzero import value_of
from armillary.search.tree import Found, Root, draw, search
from armillary.search.variation import variation
from armillary.spec import MASK, Spec


class MuZeroState(NamedTuple):
    """Everything that is learned, and the optimiser's moments.

    Attributes:
        network: h, g and f.
        target: the same as they were a while ago, which bootstrap values (Reanalyze); else None.
        optimizer: its state.
        updates: how many have been made.
    """

    network: MuZeroNetwork
    target: MuZeroNetwork | None
    optimizer: optax.OptState
    updates: Int32[Array, ""]


class Belief(NamedTuple):
    """What the agent carries from one step to the next, for each of several environments.

    Attributes:
        moves: actions taken in this episode.
        history: the rows of observations that the representation sees, and the actions before
            them, without the present.
        action: the action taken last; zeros before the first.
    """

    moves: Int32[Array, " environment"]
    history: History
    action: Float[Array, "environment action"]


@dataclass(frozen=True)
class Searcher:
    """What acts by searching from what it has seen; a subclass learns.

    Raises:
        UsageError: actions are not discrete, or it cannot observe what the spec has.
    """

    config: MuZeroConfig
    spec: Spec

    def __post_init__(self) -> None:
        if not self.spec.discrete:
            raise UsageError(
                f"muzero searches over discrete actions, but {self.config.task} has "
                f"{self.spec.action.size} continuous entries of an action: give planet or dreamer "
                "with --agent, or another task"
            )
        kind_of(self.spec, self.config.network)
        if self.is_game and len(self.config.tasks) > 1:
            raise UsageError(f"one agent learns one game, but the tasks are {self.config.task}")

    @property
    def is_game(self) -> bool:
        """Whether two players take turns, and the outcome is all that counts."""
        return self.spec.players > 1

    @property
    def records(self) -> tuple[str, ...]:
        """What is kept beside the steps: the search's policy and value."""
        return ("policy", "value")

    @property
    def acting(self) -> Acting:
        """A search, and its size."""
        return Acting("search", "searches", f"{self.config.search.simulations} simulations")

    @property
    def discount(self) -> float:
        """gamma."""
        return 1.0 if self.is_game else self.config.target.discount

    def trimmed(self, state: Any) -> Any:
        """Returns the parameters without the target network and the optimiser's state."""
        if not isinstance(state, MuZeroState):
            return state
        return state._replace(target=None, optimizer=None)

    def world_model(self, state: MuZeroState) -> HiddenModel:
        """Returns its model to look into."""
        return HiddenModel(
            state.network, self.spec, self._history, partial(_searched, self, state.network)
        )

    @property
    def _history(self) -> int:
        return self.config.network.history if self.spec.images else 1

    def initial_belief(self, state: Any, environments: int) -> Belief:
        """Returns the belief before an episode: nothing was seen."""
        rows = (environments, self._history)
        observation = {
            name: jnp.zeros((*rows, *field.shape), field.dtype)
            for name, field in self.spec.fields.items()
            if name != MASK
        }
        action = jnp.zeros((*rows, self.spec.action.size))
        moves = jnp.zeros(environments, jnp.int32)
        return Belief(moves, History(observation, action), action[:, 0])

    def act(
        self,
        state: MuZeroState,
        belief: Belief,
        observation: Observation,
        key: PRNGKeyArray,
        explore: bool,
    ) -> tuple[Belief, Float[Array, "environment action"], dict[str, Array]]:
        """Searches, and takes an action by its visits: the most visited, or to explore a draw.

        Returns:
            The next belief, one-hot actions, and the search's `policy`, `visits` and `value`, and
            the `variation` that it expects: numbers of actions, the first that taken, -1 past the
            end of the tree.
        """

        found = self.searched(state, belief, observation, key, explore)
        _, action_key = jax.random.split(key)  # of which `searched` takes the first
        number = found.action
        if explore and self.config.search.algorithm == "muzero":
            temperature = self.temperature(state.updates, belief.moves)
            number = draw(found.policy, action_key, temperature)
        if explore and self.config.collection.policy == "random":
            one_hot = uniform(self.spec, observation, len(number), action_key)
            number = jnp.argmax(one_hot, axis=-1)
        action = jax.nn.one_hot(number, self.spec.action.size)
        known = {
            "policy": found.policy,
            "value": found.value,
            "visits": found.visits,
            "variation": variation(found.tree, number),
        }
        return Belief(belief.moves + 1, self._seen(belief, observation), action), action, known

    def searched(
        self,
        state: MuZeroState,
        belief: Belief,
        observation: Observation,
        key: PRNGKeyArray,
        explore: bool,
    ) -> Found:
        """Returns what the search finds from which `act` chooses, given the same."""
        search_key, _ = jax.random.split(key)
        history = self._seen(belief, observation)
        return self.search(state.network, history, observation.get(MASK), search_key, explore)

    def _seen(self, belief: Belief, observation: Observation) -> History:
        """Returns what the representation sees: the past, and the present."""

        def shifted(rows: Array, new: Any) -> Array:
            return jnp.concatenate([rows[:, 1:], jnp.asarray(new, rows.dtype)[:, None]], axis=1)

        seen = belief.history.observation
        return History(
            {name: shifted(rows, observation[name]) for name, rows in seen.items()},
            shifted(belief.history.action, belief.action),
        )

    def search(
        self,
        network: MuZeroNetwork,
        history: History,
        legal: Any,
        key: PRNGKeyArray,
        explore: bool,
    ) -> Found:
        """Searches from what was seen, with noise at the root to explore."""
        return self.search_from(network, network.represent(history), legal, key, explore)

    def search_from(
        self,
        network: MuZeroNetwork,
        state: Any,
        legal: Any,
        key: PRNGKeyArray,
        explore: bool,
        simulations: int | None = None,
    ) -> Found:
        """Searches from hidden states of the representation.

        Args:
            network: h, g and f.
            state: hidden states, one leading axis.
            legal: which actions may be taken at the root; None: all.
            key: of the noise.
            explore: with noise.
            simulations: None: as many as the settings say.
        """
        logits, value = network.predict(state)
        return search(
            model,
            network,
            Root(logits, value_of(value), state),
            key,
            self.config.search,
            simulations=simulations,
            legal=legal,
            discount=self.discount,
            players=self.spec.players,
            explore=explore,
        )

    def temperature(
        self, updates: Int32[Array, ""], moves: Int32[Array, " environment"]
    ) -> Float[Array, " environment"]:
        """Returns the temperature of an action, by how far the run and the episode are."""
        settings = self.config.collection
        total = max(1, updates_due(self.config, all_rounds(self.config)))
        first, *others = settings.temperatures
        share = 0.5 / max(1, len(others))
        stage = jnp.floor((updates / total - 0.5) / share).astype(jnp.int32) + 1
        of_run = jnp.array([first, *others])[jnp.clip(stage, 0, len(others))]
        if settings.moves is None:
            return jnp.full(moves.shape, of_run)
        return jnp.where(moves < settings.moves, of_run, settings.late_temperature)


def model(
    network: MuZeroNetwork, state: Any, action: Int32[Array, " batch"]
) -> tuple[Any, Float[Array, " batch"], Float[Array, "batch action"], Float[Array, " batch"]]:
    """Returns the next state, its reward, and its prior and value: what a search asks for."""
    state, reward = stepped(network, state, jax.nn.one_hot(action, network.actions))
    logits, value = network.predict(state)
    return state, reward, logits, value_of(value)


@partial(jax.jit, static_argnums=(0, 5))
def _searched(
    searcher: Searcher,
    network: MuZeroNetwork,
    states: Any,
    legal: Any,
    key: PRNGKeyArray,
    simulations: int | None,
) -> Found:
    """Searches from hidden states, without noise."""
    return searcher.search_from(network, states, legal, key, False, simulations)
