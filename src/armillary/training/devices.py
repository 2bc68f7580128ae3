"""Updates of which each of several devices computes a part: batches are divided among them."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PRNGKeyArray

from armillary import seeding
from armillary.agents.base import Agent
from armillary.agents.registry import make_agent
from armillary.config import Config
from armillary.errors import UsageError
from armillary.replay.sampler import Batch
from armillary.spec import Spec
from armillary.training import hosts


class Devices:
    """The devices that an update is computed on, of this process or of several hosts.

    Each has all parameters and a part of the batch; sums over the batch are taken over all of them
    by the compiler. With one device everything is as if this were not there. The last bits differ
    between numbers of devices, as those of sums in another order do.

    Args:
        count: how many; 0: all that there are. Of several hosts all.
        batch_size: B, which they divide.

    Raises:
        UsageError: there are fewer, or B cannot be divided by their number.
    """

    def __init__(self, count: int, batch_size: int) -> None:
        there = jax.devices() if hosts.many() else jax.local_devices()
        self.count = len(there) if hosts.many() else count or len(there)
        if self.count > len(there):
            kind = there[0].platform
            more = (
                ": a CPU is one device, unless XLA_FLAGS=--xla_force_host_platform_device_count=N "
                "divides it"
                if kind == "cpu"
                else ""
            )
            raise UsageError(
                f"training.devices is {count}, but JAX finds {len(there)} here ({kind}){more}"
            )
        if batch_size % self.count:
            raise UsageError(
                f"training.batch_size is {batch_size}, which cannot be divided among {self.count} "
                "devices: give a multiple"
            )
        if self.count > 1:
            mesh = Mesh(np.array(there[: self.count]), ("batch",))
            self._divided = NamedSharding(mesh, PartitionSpec("batch"))
            self._whole = NamedSharding(mesh, PartitionSpec())

    def divide(self, batch: Batch) -> Batch:
        """Puts a part of a batch on each device of this host; other hosts get theirs in `share`."""
        if hosts.many():
            return batch
        return jax.device_put(batch) if self.count == 1 else jax.device_put(batch, self._divided)

    def share(self, batch: Batch, counter: int) -> Batch:
        """Returns the batch of the next update, a part of it on each device of each host."""
        if not hosts.many():
            return batch
        batch = batch._replace(rows=None)
        if hosts.leads():
            hosts.send_batch(batch, counter)
        return jax.tree.map(partial(_placed, self._divided), batch)

    def everywhere(self, state: Any, spec: Spec) -> Any:
        """Puts the parameters on every device."""
        if not hosts.many():
            return state if self.count == 1 else jax.device_put(state, self._whole)
        if hosts.leads():
            hosts.send_state(state, spec)
        return jax.tree.map(partial(_placed, self._whole), state)

    def keep_everywhere(self, updated: Any) -> Any:
        """Says of what an update returns, while it is traced, that every device has it."""
        if self.count == 1:
            return updated
        return jax.lax.with_sharding_constraint(updated, self._whole)

    def on_first(self, state: Any) -> Any:
        """Returns the parameters on this host's first device, where all else is computed."""
        if self.count == 1:
            return state
        return jax.tree.map(lambda x: x.addressable_data(0), state)


def updated(
    agent: Agent, devices: Devices, state: Any, batch: Batch, key: PRNGKeyArray, counter: int
) -> Any:
    """Returns what an update returns; its random numbers follow from the counter."""
    return devices.keep_everywhere(agent.update(state, batch, jax.random.fold_in(key, counter)))


def _placed(sharding: NamedSharding, array: Any) -> jax.Array:
    """Returns an array that every host has, as one of all of them."""
    whole = np.asarray(array)
    return jax.make_array_from_callback(whole.shape, sharding, lambda part: whole[part])


def follow(config: Config) -> None:
    """Computes this host's part of each update of the run that the first process trains.

    Returns when that run ends.
    """
    devices = Devices(0, config.training.batch_size)
    key = seeding.purpose_key(config.seed, "update")
    state: Any = None
    update: Any = None
    while content := hosts.receive():
        if "spec" in content:
            spec = hosts.spec_of(content)
            agent: Any = make_agent(config, spec)
            flat, structure = jax.tree.flatten(jax.eval_shape(agent.init, key))
            leaves = [content[f"leaf/{i}"] for i in range(len(flat))]
            state = devices.everywhere(jax.tree.unflatten(structure, leaves), spec)
            update = update or jax.jit(partial(updated, agent, devices), donate_argnums=0)
        else:
            counter = int(content["counter"])
            batch = devices.share(hosts.batch_of(content), counter)
            state, *_ = update(state, batch, key, counter)
