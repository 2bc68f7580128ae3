"""Updates of which each of several devices computes a part: batches are divided among them."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from armillary.errors import UsageError
from armillary.replay.sampler import Batch


class Devices:
    """The devices of this process that an update is computed on.

    Each has all parameters and a part of the batch; sums over the batch are taken over all of them
    by the compiler. With one device everything is as if this were not there. The last bits differ
    between numbers of devices, as those of sums in another order do.

    Args:
        count: how many; 0: all that there are.
        batch_size: B, which they divide.

    Raises:
        UsageError: there are fewer, or B cannot be divided by their number.
    """

    def __init__(self, count: int, batch_size: int) -> None:
        there = jax.local_devices()
        self.count = count or len(there)
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
        """Puts a part of a batch on each device."""
        return jax.device_put(batch) if self.count == 1 else jax.device_put(batch, self._divided)

    def everywhere(self, state: Any) -> Any:
        """Puts the parameters on every device."""
        return state if self.count == 1 else jax.device_put(state, self._whole)

    def keep_everywhere(self, state: Any) -> Any:
        """Says so of the parameters that an update returns, while it is traced."""
        if self.count == 1:
            return state
        return jax.lax.with_sharding_constraint(state, self._whole)

    def on_first(self, state: Any) -> Any:
        """Returns the parameters on the first device alone, where everything else is computed."""
        if self.count == 1:
            return state
        return jax.tree.map(lambda x: x.addressable_data(0), state)
