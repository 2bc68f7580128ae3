"""The times of an agent's work, whichever agent it is: an update, its parts, an action.

Nothing here knows how an agent learns or acts: what is timed are the functions that the training
loop calls, and their operations are counted from their own programs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from armillary import seeding
from armillary.agents.base import Acting, Actor, Agent, Describes, Divides, LearnsFromSteps
from armillary.config import Config, TrainingConfig
from armillary.machine.flop import matrix_flop
from armillary.machine.timing import Timing, timed
from armillary.replay.sampler import Batch
from armillary.spec import Spec
from armillary.training.rollout import compiled


def window_rows(config: Config, agent: Actor) -> tuple[int, int]:
    """Returns the rows of a batch's windows, and how many of them come with an observation."""
    if isinstance(agent, LearnsFromSteps):
        before, after, observed = agent.windows
        return before + 1 + after, before + 1 + observed
    length = config.training.chunk_length if isinstance(config.training, TrainingConfig) else 1
    return length, length


def example_batch(config: Config, agent: Actor) -> Batch:
    """Returns random experience in the shape of a batch: B windows of L rows."""
    generator, spec = np.random.default_rng(0), agent.spec
    rows, seen = window_rows(config, agent)
    shape = (config.training.batch_size, rows)
    actions = generator.uniform(-1, 1, (*shape, spec.action.size)).astype(np.float32)
    if spec.discrete:
        actions = spec.stored_action(actions.argmax(axis=-1))
    batch = Batch(
        observation=example_observation(spec, (shape[0], seen)),
        action=actions,
        reward=generator.uniform(0, 1, shape).astype(np.float32),
        terminal=np.zeros(shape, bool),
    )
    if not isinstance(agent, LearnsFromSteps):
        return batch
    records = {name: np.zeros((*shape, *size), np.float32) for name, size in agent.recorded.items()}
    weight = np.ones(shape[0], np.float32)
    return batch._replace(valid=np.ones(shape, bool), records=records, weight=weight)


def example_observation(spec: Spec, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Returns random observations with these leading axes; every entry of an action counts."""
    generator = np.random.default_rng(0)
    observation: dict[str, np.ndarray] = {}
    for name, field in spec.fields.items():
        whole = (*shape, *field.shape)
        if field.is_image:
            observation[name] = generator.integers(0, 256, whole, np.uint8)
        elif field.dtype == "bool":
            observation[name] = np.ones(whole, bool)
        else:
            observation[name] = generator.standard_normal(whole).astype(field.dtype)
    return observation


def time_update(agent: Agent, config: Config, state: Any, repeats: int) -> Timing:
    """Times one update of a batch that is on the device, as the training loop makes them.

    Each with a key of its own: what an update does may be drawn, as MuZero Reanalyze draws whether
    it searches.
    """
    batch, key = _on_device(agent, config), seeding.key(0, "update")
    keys = itertools.cycle(jax.random.split(key, 16))
    update = jax.jit(agent.update, donate_argnums=0)
    # The loop donates the state; the caller's stays whole.
    states = [jax.tree.map(jnp.array, state)]

    def once() -> None:
        states[0], *metrics = update(states[0], batch, next(keys))
        jax.block_until_ready((states[0], metrics))

    return timed(once, repeats, flop=matrix_flop(agent.update, state, batch, key))


def time_parts(agent: Agent, config: Config, state: Any, repeats: int) -> dict[str, Timing]:
    """Times the parts of an update, of an agent that says what they are; of any other none."""
    if not isinstance(agent, Divides):
        return {}
    parts = agent.parts(state, _on_device(agent, config), seeding.key(0, "update"))
    return {
        name: _time(function, arguments, repeats) for name, (function, arguments) in parts.items()
    }


def _time(function: Callable[..., Any], arguments: tuple[Any, ...], repeats: int) -> Timing:
    compiled = jax.jit(function)
    return timed(
        lambda: jax.block_until_ready(compiled(*arguments)),
        repeats,
        flop=matrix_flop(function, *arguments),
    )


def time_copy(agent: Actor, config: Config, repeats: int) -> Timing:
    """Times the copying of a batch to the device."""
    batch = example_batch(config, agent)
    return timed(lambda: jax.block_until_ready(jax.device_put(batch)), repeats)


def _on_device(agent: Actor, config: Config) -> Batch:
    return jax.device_put(example_batch(config, agent))


def time_act(agent: Actor, config: Config, state: Any, repeats: int) -> Timing:
    """Times one action in each environment of a round, seen on the host, with exploration."""
    count = config.round_size
    observation = example_observation(agent.spec, (count,))
    act, key = compiled(agent), seeding.key(0, "act")
    belief = agent.initial_belief(state, count)

    def once() -> None:
        jax.block_until_ready(act(state, belief, observation, key, 0, explore=True))

    flop = matrix_flop(partial(agent.act, explore=True), state, belief, observation, key)
    return timed(once, repeats, flop=flop)


def acting(agent: Actor) -> Acting:
    """Returns what the agent does for one action, in words."""
    return agent.acting if isinstance(agent, Describes) else Acting()
