"""What the updates and the actions of several seeds cost as one program, beside one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from armillary import seeding
from armillary.agents.base import Agent
from armillary.config import Config
from armillary.machine.agent import example_batch, example_observation
from armillary.machine.flop import matrix_flop
from armillary.machine.timing import Timing
from armillary.training.rollout import compiled
from armillary.training.saving import init
from armillary.training.several import Several, stacked, update_each


@dataclass(frozen=True)
class Turns:
    """Times of the same work done both ways, in turns.

    Attributes:
        alone: of one seed after the other.
        together: of all as one.
        ratio: of the time as one to that one by one, the median over the turns.
        cpu_ratio: the same of the processor's time, which other programs disturb less.
    """

    alone: Timing
    together: Timing
    ratio: float
    cpu_ratio: float

    def as_dict(self, rate: float) -> dict[str, Any]:
        """Returns plain numbers; `rate` is that of matrix products, operations per second."""
        ratios = {"ratio": self.ratio, "cpu_ratio": self.cpu_ratio}
        of_each = {"alone": self.alone.as_dict(rate), "together": self.together.as_dict(rate)}
        return of_each | ratios


@dataclass(frozen=True)
class SeedsReport:
    """What several seeds cost.

    Attributes:
        count: how many.
        difference: of the parameters after an update as one and alone, the largest relative to the
            largest of the same array.
        update: of each seed.
        action: of each in the environments of its round; None: the agent plays against itself, and
            no seed waits for another.
    """

    count: int
    difference: float
    update: Turns
    action: Turns | None

    def as_dict(self, rate: float) -> dict[str, Any]:
        """Returns plain numbers; `rate` is that of matrix products, operations per second."""
        return {
            "count": self.count,
            "difference": self.difference,
            "update": self.update.as_dict(rate),
            "action": self.action and self.action.as_dict(rate),
        }


def measure_seeds(
    agent: Agent, config: Config, count: int, repeats: int, games: bool
) -> SeedsReport:
    """Times the updates of several seeds, and their actions, both ways in turns.

    One by one is what so many runs do, each with its own call and its metrics read after it, here
    in one process.

    Args:
        agent: of all seeds.
        config: of any of them.
        count: how many seeds.
        repeats: how often an update is timed; an action twice as often.
        games: whether the agent plays against itself.
    """
    of_each = [seeding.purpose_key(seed, "update") for seed in range(count)]
    keys = jnp.stack(of_each)
    states = [init(agent, seeding.key(seed, "init")) for seed in range(count)]
    batch = example_batch(config, agent)
    if batch.valid is None:  # as several seeds in step have it
        batch = batch._replace(valid=np.ones(batch.reward.shape, bool))
    batch = jax.device_put(batch)

    def update(state: Any, key: Any, counter: int) -> Any:
        return agent.update(state, batch, jax.random.fold_in(key, counter))

    one = jax.jit(update, donate_argnums=0)
    all_ = jax.jit(
        lambda states, keys, counter: update_each(agent, states, [batch] * count, keys, counter),
        donate_argnums=0,
    )
    parameters = {"alone": _copies(states), "together": _copies(states)}

    def alone() -> None:
        after = []
        for state, key in zip(parameters["alone"], of_each, strict=True):
            state, *found = one(state, key, 0)
            jax.device_get(found)
            after.append(state)
        parameters["alone"] = tuple(after)
        jax.block_until_ready(after)

    def together() -> None:
        parameters["together"], *found = all_(parameters["together"], keys, 0)
        jax.block_until_ready((parameters["together"], jax.device_get(found)))

    alone()
    together()
    difference = _difference(*parameters.values())
    flop = count * matrix_flop(update, states[0], of_each[0], 0)
    works: dict[str, Callable[[], None]] = {"alone": alone, "together": together}
    updates = _in_turns(works, repeats, flop)
    actions = None if games else _actions(agent, config, states, 2 * repeats)
    return SeedsReport(count, difference, updates, actions)


def _actions(agent: Agent, config: Config, states: list[Any], repeats: int) -> Turns:
    """Times the actions of each seed in the environments of its round."""
    each, count = config.round_size, len(states)
    several = Several(agent, count)
    seen = example_observation(agent.spec, (each,))
    of_all = example_observation(agent.spec, (count * each,))
    of_each = [seeding.key(seed, "act") for seed in range(count)]
    keys = jnp.stack(of_each)
    act, act_all, state = compiled(agent), compiled(several), stacked(states)
    beliefs = [agent.initial_belief(own, each) for own in states]
    belief = several.initial_belief(state, count * each)

    def alone() -> None:
        for own, believed, key in zip(states, beliefs, of_each, strict=True):
            np.asarray(act(own, believed, seen, key, 0, explore=True)[1])

    def together() -> None:
        np.asarray(act_all(state, belief, of_all, keys, 0, explore=True)[1])

    alone()
    together()
    flop = count * matrix_flop(
        partial(agent.act, explore=True), states[0], beliefs[0], seen, of_each[0]
    )
    return _in_turns({"alone": alone, "together": together}, repeats, flop)


def _in_turns(works: Mapping[str, Callable[[], None]], repeats: int, flop: int) -> Turns:
    """Times works that have been compiled, each once in every turn."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    processor: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            started = time.perf_counter(), time.process_time()
            work()
            seconds[name].append(time.perf_counter() - started[0])
            processor[name].append(time.process_time() - started[1])
    times = {name: Timing(tuple(of_one), flop) for name, of_one in seconds.items()}
    ratio, cpu_ratio = (
        float(np.median(np.divide(of["together"], of["alone"]))) for of in (seconds, processor)
    )
    return Turns(**times, ratio=ratio, cpu_ratio=cpu_ratio)


def _copies(states: list[Any]) -> tuple[Any, ...]:
    """Returns parameters that may be donated."""
    return tuple(jax.tree.map(jnp.array, state) for state in states)


def _difference(one: Any, other: Any) -> float:
    """Returns the largest difference, relative to the largest of the same array."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    arrays = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs]
    return max(float(np.abs(a - b).max() / (np.abs(a).max() or 1.0)) for a, b in arrays if a.size)
