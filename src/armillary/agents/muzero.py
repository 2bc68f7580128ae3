"""MuZero: a model of reward, value and policy that a search learns from; and MuZero Reanalyze."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray

from armillary.agents.searcher import MuZeroState, Searcher
from armillary.config.muzero import DescentConfig
from armillary.errors import UsageError
from armillary.nets.muzero import History, MuZeroNetwork
from armillary.objectives.muzero import Later, muzero_loss, value_of
from armillary.objectives.returns import Targets, game_targets, general_targets
from armillary.replay.positions import Windows
from armillary.replay.sampler import Batch
from armillary.spec import MASK


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


@dataclass(frozen=True)
class MuZero(Searcher):
    """The agent of MuZero (slides 2 to 7): pure functions over `MuZeroState`."""

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
        observed = unroll if self.config.target.consistency else 0
        return Windows(self._history - 1, after, after if self.config.reanalyze else observed)

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return descent(self.config.optimizer)

    def init(self, key: PRNGKeyArray) -> MuZeroState:
        """Returns random parameters."""
        network = MuZeroNetwork(self.spec, self.config.network, key=key)
        optimizer = self._optimizer.init(eqx.filter(network, eqx.is_inexact_array))
        target = jax.tree.map(jnp.array, network) if self.config.reanalyze else None
        return MuZeroState(network, target, optimizer, jnp.zeros((), jnp.int32))

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
        root = self.root(rows)
        actions = self._unrolled(rows, unroll_key)
        later = self._later(state.network, rows) if self.config.target.consistency else None
        gradient_of = eqx.filter_value_and_grad(muzero_loss, has_aux=True)
        (_, (losses, error)), gradient = gradient_of(
            state.network,
            root,
            actions,
            targets,
            rows.weight,
            self.config.value_scale,
            later,
            self.config.target.consistency,
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

    def root(self, rows: Rows) -> History:
        """Returns what was seen up to the step, and nothing that came later."""
        seen = slice(self._history)
        observation = {name: field[:, seen] for name, field in rows.observation.items()}
        return History(observation, rows.action[:, seen])

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
        """Searches the step and the K after it again, in a share of the updates (Reanalyze).

        With noise at the root, as when they were played: without it a model that knows little
        yet has its own preferences confirmed, and explores no more.
        """
        fresh_key, search_key = jax.random.split(key)
        count = self.config.target.unroll + 1
        legal = rows.observation.get(MASK)

        def searched(_: None) -> Array:
            first = self._history - 1
            states = self._represented(state.network, rows, count)
            masks = None if legal is None else _flat(legal[:, first : first + count])
            found = self.search_from(state.network, states, masks, search_key, True)
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

    def _later(self, network: MuZeroNetwork, rows: Rows) -> Later:
        """Returns the states of what was seen in the K rows after the step."""
        count = self.config.target.unroll + 1
        states = self._represented(network, rows, count)
        shaped = jax.tree.map(lambda x: x.reshape(-1, count, *x.shape[1:]), states)
        first = self._history
        valid = rows.valid[:, first : first + count - 1]
        return Later(jnp.moveaxis(shaped, 1, 0)[1:], valid)

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


def descent(config: DescentConfig) -> optax.GradientTransformation:
    """Returns the optimiser, with a learning rate that falls smoothly and weight decay."""
    rate = optax.exponential_decay(config.learning_rate, config.decay_steps, config.decay)
    method = optax.sgd(rate, momentum=0.9) if config.method == "sgd" else optax.adam(rate)
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.add_decayed_weights(config.weight_decay),
        method,
    )
