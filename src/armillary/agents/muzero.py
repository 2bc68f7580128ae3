"""MuZero: a model of reward, value and policy, and a tree search in it; and MuZero Reanalyze."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray

from armillary.agents.base import Acting, Observation
from armillary.agents.random import uniform
from armillary.config.muzero import DescentConfig, MuZeroConfig
from armillary.config.schedule import all_rounds, updates_due
from armillary.errors import UsageError
from armillary.nets.muzero import History, MuZeroNetwork, kind_of
from armillary.objectives.muzero import muzero_loss, value_of
from armillary.objectives.returns import Targets, game_targets, general_targets
from armillary.replay.positions import Windows
from armillary.replay.sampler import Batch
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


class Rows(NamedTuple):
    """A batch on the device, with all that `MuZero.windows` and `MuZero.recorded` ask for."""

    observation: dict[str, Array]
    action: Float[Array, "batch rows action"]
    reward: Float[Array, "batch rows"]
    terminal: Bool[Array, "batch rows"]
    valid: Bool[Array, "batch rows"]
    records: dict[str, Array]
    weight: Float[Array, " batch"]

    @classmethod
    def of(cls, batch: Batch) -> Rows:
        """Returns the rows of a batch.

        Raises:
            UsageError: it was not drawn for such an agent.
        """
        if batch.valid is None or batch.records is None or batch.weight is None:
            raise UsageError("this batch has no records of a search: draw it with PositionSampler")
        small: Any = (batch.action, batch.reward, batch.terminal, batch.valid)
        fields: Any = (dict(batch.observation), *small, dict(batch.records), batch.weight)
        return cls(*jax.tree.map(jnp.asarray, fields))


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
class MuZero:
    """The agent of MuZero (slides 2 to 7): pure functions over `MuZeroState`.

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
    def recorded(self) -> dict[str, tuple[int, ...]]:
        """The shape of one row of each record; of a game's also the outcome."""
        shapes: dict[str, tuple[int, ...]] = {"policy": (self.spec.action.size,), "value": ()}
        return shapes | ({"outcome": ()} if self.is_game else {})

    @property
    def windows(self) -> Windows:
        """What an update reads around a step."""
        unroll = self.config.target.unroll
        after = unroll if self.is_game else unroll + self.config.steps
        return Windows(self._history - 1, after, after if self.config.reanalyze else 0)

    @property
    def acting(self) -> Acting:
        """A search, and its size."""
        return Acting("search", "searches", f"{self.config.search.simulations} simulations")

    @property
    def discount(self) -> float:
        """gamma."""
        return 1.0 if self.is_game else self.config.target.discount

    @property
    def _history(self) -> int:
        return self.config.network.history if self.spec.images else 1

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return descent(self.config.optimizer)

    def init(self, key: PRNGKeyArray) -> MuZeroState:
        """Returns random parameters."""
        network = MuZeroNetwork(self.spec, self.config.network, key=key)
        optimizer = self._optimizer.init(eqx.filter(network, eqx.is_inexact_array))
        target = jax.tree.map(jnp.array, network) if self.config.reanalyze else None
        return MuZeroState(network, target, optimizer, jnp.zeros((), jnp.int32))

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

        def shifted(rows: Array, new: Any) -> Array:
            return jnp.concatenate([rows[:, 1:], jnp.asarray(new, rows.dtype)[:, None]], axis=1)

        seen = belief.history.observation
        history = History(
            {name: shifted(rows, observation[name]) for name, rows in seen.items()},
            shifted(belief.history.action, belief.action),
        )
        search_key, action_key = jax.random.split(key)
        legal = observation.get(MASK)
        found = self.search(state.network, history, legal, search_key, explore)
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
        return Belief(belief.moves + 1, history, action), action, known

    def search(
        self,
        network: MuZeroNetwork,
        history: History,
        legal: Any,
        key: PRNGKeyArray,
        explore: bool,
    ) -> Found:
        """Searches from what was seen, with noise at the root to explore."""
        return self._search_from(network, network.represent(history), legal, key, explore)

    def _search_from(
        self, network: MuZeroNetwork, state: Any, legal: Any, key: PRNGKeyArray, explore: bool
    ) -> Found:
        """Searches from hidden states of the representation."""
        logits, value = network.predict(state)
        return search(
            model,
            network,
            Root(logits, value_of(value), state),
            key,
            self.config.search,
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

    def update(
        self, state: MuZeroState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[MuZeroState, dict[str, Float[Array, ""]], Float[Array, " batch"]]:
        """Takes a gradient step on the loss (slide 7).

        Returns:
            The state, metrics, and the new priorities |v - z| of the batch's steps.
        """
        rows = Rows.of(batch)
        unroll_key, fresh_key = jax.random.split(key)
        targets, metrics = self.targets(state, rows, fresh_key)
        seen = slice(self._history)
        root = History(
            {name: field[:, seen] for name, field in rows.observation.items()}, rows.action[:, seen]
        )
        actions = self._unrolled(rows, unroll_key)
        gradient_of = eqx.filter_value_and_grad(muzero_loss, has_aux=True)
        (_, (losses, error)), gradient = gradient_of(
            state.network, root, actions, targets, rows.weight, self.config.value_scale
        )
        changes, optimizer = self._optimizer.update(gradient, state.optimizer, state.network)
        network = eqx.apply_updates(state.network, changes)
        metrics |= losses | {"gradient_norm": optax.tree.norm(gradient)}
        updates = state.updates + 1
        target = state.target
        if target is not None:
            due = updates % self.config.fresh.target_every == 0
            target = jax.tree.map(lambda new, old: jnp.where(due, new, old), network, target)
        return MuZeroState(network, target, optimizer, updates), metrics, error

    def _unrolled(self, rows: Rows, key: PRNGKeyArray) -> Float[Array, "unroll batch action"]:
        """Returns the K actions that follow; past the end of an episode random ones."""
        ahead = slice(self._history, self._history + self.config.target.unroll)
        actions, valid = rows.action[:, ahead], rows.valid[:, ahead]
        number = jax.random.randint(key, valid.shape, 0, self.spec.action.size)
        other = jax.nn.one_hot(number, self.spec.action.size)
        return jnp.moveaxis(jnp.where(valid[..., None], actions, other), 1, 0)

    def targets(
        self, state: MuZeroState, rows: Rows, key: PRNGKeyArray
    ) -> tuple[Targets, dict[str, Float[Array, ""]]]:
        """Returns what the model is to predict from the step and the K after it."""
        first = self._history - 1
        reward, terminal, valid = (x[:, first:] for x in (rows.reward, rows.terminal, rows.valid))
        policy, value = rows.records["policy"][:, first:], rows.records["value"][:, first:]
        unroll = self.config.target.unroll
        metrics: dict[str, Float[Array, ""]] = {}
        searched = jnp.sum(policy, axis=-1) > 0
        if self.config.reanalyze:
            policy, metrics = self._fresh_policy(state, rows, policy, key)
        if self.is_game:
            outcome = rows.records["outcome"][:, first]
            of_game = game_targets(outcome, policy, searched, valid, terminal, unroll=unroll)
            return of_game, metrics
        estimated = searched
        if self.config.reanalyze:
            value, estimated = self._fresh_value(state, rows), valid
        of_task = general_targets(
            reward,
            value,
            policy,
            searched,
            valid,
            terminal,
            steps=self.config.steps,
            discount=self.discount,
            unroll=unroll,
            estimated=estimated,
        )
        return of_task, metrics

    def _fresh_policy(
        self, state: MuZeroState, rows: Rows, policy: Array, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Float[Array, ""]]]:
        """Searches the step and the K after it again, in a share of the updates (Reanalyze)."""
        fresh_key, search_key = jax.random.split(key)
        count = self.config.target.unroll + 1
        legal = rows.observation.get(MASK)

        def searched(_: None) -> Array:
            first = self._history - 1
            states = self._represented(state.network, rows, count)
            masks = None if legal is None else _flat(legal[:, first : first + count])
            found = self._search_from(state.network, states, masks, search_key, False)
            new = found.policy.reshape(-1, count, policy.shape[-1])
            had = jnp.sum(policy[:, :count], axis=-1, keepdims=True) > 0
            return policy.at[:, :count].set(jnp.where(had, new, policy[:, :count]))

        fresh = jax.random.bernoulli(fresh_key, self.config.fresh.policy)
        policy = jax.lax.cond(fresh, searched, lambda _: policy, None)
        return policy, {"fresh_policy": fresh.astype(jnp.float32)}

    def _fresh_value(self, state: MuZeroState, rows: Rows) -> Array:
        """Returns the values of all rows from the step on, by the target network (Reanalyze)."""
        count = self.windows.observed + 1
        network = state.target or state.network
        _, value = network.predict(self._represented(network, rows, count))
        return value_of(value).reshape(-1, count)

    def _represented(self, network: MuZeroNetwork, rows: Rows, count: int) -> Any:
        """Returns the hidden states of so many rows from the step on; batch and rows in one axis.

        One row after the other: the histories of all of them at once are gigabytes of frames.
        """

        def represent(first: Int32[Array, ""]) -> Any:
            def window(field: Array) -> Array:
                return jax.lax.dynamic_slice_in_dim(field, first, self._history, axis=1)

            observation = {name: window(field) for name, field in rows.observation.items()}
            return network.represent(History(observation, window(rows.action)))

        states = jax.lax.map(represent, jnp.arange(count))
        return jax.tree.map(lambda x: _flat(jnp.swapaxes(x, 0, 1)), states)


def _flat(rows: Array) -> Array:
    """Joins the first two axes."""
    return rows.reshape(-1, *rows.shape[2:])


def model(
    network: MuZeroNetwork, state: Any, action: Int32[Array, " batch"]
) -> tuple[Any, Float[Array, " batch"], Float[Array, "batch action"], Float[Array, " batch"]]:
    """Returns the next state, its reward, and its prior and value: what a search asks for."""
    one_hot = jax.nn.one_hot(action, network.actions)
    state, reward = network.step(state, one_hot)
    logits, value = network.predict(state)
    numbers = jnp.zeros(len(action)) if reward is None else value_of(reward)
    return state, numbers, logits, value_of(value)


def descent(config: DescentConfig) -> optax.GradientTransformation:
    """Returns the optimiser, with a learning rate that falls smoothly and weight decay."""
    rate = optax.exponential_decay(config.learning_rate, config.decay_steps, config.decay)
    method = optax.sgd(rate, momentum=0.9) if config.method == "sgd" else optax.adam(rate)
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.add_decayed_weights(config.weight_decay),
        method,
    )
