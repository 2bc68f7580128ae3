"""A whole run on two devices, in a process in which a CPU is two: `python divided.py FOLDER`.

Prints JSON: how many devices there are, and the rows of a batch that each of them has had.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import jax

from armillary.training.devices import Devices
from armillary.training.loop import train
from settings import TINY


def main() -> None:
    """Trains, and looks at what comes to the devices."""
    seen: set[tuple[int, ...]] = set()
    divide, on_first = Devices.divide, Devices.on_first

    def watched(self: Devices, batch: Any) -> Any:
        divided = divide(self, batch)
        seen.add(tuple(shard.data.shape[0] for shard in divided.reward.addressable_shards))
        return divided

    def checked(self: Devices, state: Any) -> Any:
        assert all(x.is_fully_replicated for x in jax.tree.leaves(state))
        assert all(len(x.sharding.device_set) == 2 for x in jax.tree.leaves(state))
        return on_first(self, state)

    Devices.divide, Devices.on_first = watched, checked  # type: ignore[method-assign]
    train(replace(TINY, training=replace(TINY.training, devices=2)), sys.argv[1])
    json.dump({"devices": jax.device_count(), "rows": sorted(seen)}, sys.stdout)


if __name__ == "__main__":
    main()
