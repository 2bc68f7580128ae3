"""The times of an agent's work: what an update draws is drawn anew each time."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from armillary.machine import agent as timing
from settings import TINY_MUZERO


class Drawing:
    """An agent whose updates do nothing but look at their keys."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def update(self, state: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        number = jax.random.randint(key, (), 0, 2**30)
        jax.debug.callback(lambda number: self.seen.append(int(number)), number)
        return state + 1, {}


def test_updates_are_timed_with_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call compiles, and is not timed."""
    monkeypatch.setattr(timing, "_on_device", lambda agent, config: jnp.zeros(()))
    agent = Drawing()
    found = timing.time_update(agent, TINY_MUZERO, jnp.zeros(()), 3)  # type: ignore[arg-type]
    jax.effects_barrier()
    assert len(found.seconds) == 3
    assert len(set(agent.seen)) == len(agent.seen) == 4
