"""How far a run is."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Counters:
    """How far a run is; with the parameters and the episodes, all that a checkpoint needs."""

    action_size: int
    episodes: int = 0
    updates: int = 0
    simulator_steps: int = 0
    seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    """Sums of the losses of the updates since the last episode."""
    evaluated: int = -1
    """Episodes that had been collected at the last test, which a resumed run does not repeat."""
    position: dict[str, int] | None = None
    """How far the log files were, to which a resumed run cuts them back."""
