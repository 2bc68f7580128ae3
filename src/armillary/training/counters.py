"""How far a run is."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from armillary.config import Config
from armillary.config.fields import check_types
from armillary.envs import action_repeat
from armillary.errors import RunError, UsageError
from armillary.replay.episode import Episode
from armillary.spec import MASK, Field, Spec, pixels

log = logging.getLogger(__name__)


@dataclass
class Counters:
    """How far a run is; with the parameters and the episodes, all that a checkpoint needs."""

    spec: dict[str, Any]
    """What the agent was made from, see `armillary.spec.Spec.as_dict`."""
    episodes: int = 0
    updates: int = 0
    simulator_steps: int = 0
    """Steps of the wrapped environments, each counted once."""
    seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    """Sums of the losses of the updates since the last episode."""
    evaluated: int = -1
    """Episodes that had been collected at the last test, which a resumed run does not repeat."""
    position: dict[str, int | str] | None = None
    """How far the log files were, to which a resumed run cuts them back."""
    config: dict[str, Any] | None = None
    """The configuration that the parameters come from; None: an older version did not keep it."""
    machine: dict[str, int | str] | None = None
    """What the last bits depend on, see `machine`; None: an older version did not keep it."""

    @classmethod
    def of(cls, meta: Mapping[str, Any], where: Path) -> Counters:
        """Returns the counters that a checkpoint keeps as its meta.

        Raises:
            RunError: it keeps something else; says what.
        """
        try:
            return cls.read(meta)
        except UsageError as error:
            raise RunError(
                f"the newest checkpoint in {where} holds no counters of a run ({error}): move it "
                "away, and the one before it is taken"
            ) from error

    @classmethod
    def read(cls, meta: Mapping[str, Any]) -> Counters:
        """Returns the counters that plain values hold.

        Raises:
            UsageError: they hold something else; says what.
        """
        meta = _of_today(meta)
        unknown = set(meta) - {field.name for field in fields(cls)}
        if unknown or "spec" not in meta:
            raise UsageError(f"unknown or missing: {', '.join(unknown) or 'spec'}")
        check_types(cls, meta)
        counters = cls(**meta)
        position = counters.position or {}
        sizes = (position.get("metrics_bytes", 0), position.get("environment_steps", 0))
        counts = (counters.episodes, counters.updates, counters.simulator_steps, *sizes)
        if not all(isinstance(n, int) and n >= 0 for n in counts):
            raise UsageError("a negative count")
        Spec.from_dict(counters.spec)
        return counters


def simulator_steps(episode: Episode, config: Config, task: str) -> int:
    """Returns the steps of the wrapped environment; at most so many, of an older version."""
    repeat = config.environment.action_repeat or action_repeat(task)
    counted = episode.simulator_steps
    return episode.steps * repeat if counted is None else counted


def _of_today(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the counters of an older version as they are written today.

    Its agents saw one image, and their actions were vectors; those of several tasks were filled up.
    """
    size = meta.get("action_size")
    if "spec" in meta or not isinstance(size, int) or isinstance(size, bool) or size < 1:
        return meta
    config = meta.get("config") or {}
    environment = config.get("environment") or {}
    spec = pixels(int(environment.get("size", 64)), size)
    if "," in str(config.get("task", "")) or environment.get("action_size") is not None:
        spec = Spec.of(spec.fields | {MASK: Field((size,), "bool")}, spec.action)
    rest = {name: value for name, value in meta.items() if name != "action_size"}
    return rest | {"spec": spec.as_dict()}


def machine(devices: int = 1) -> dict[str, int | str]:
    """Returns what the last bits of a run depend on: the device, the cores (on a CPU), JAX.

    Args:
        devices: how many divide a batch; said where it is more than one.
    """
    import jax

    device = jax.devices()[0]
    facts: dict[str, int | str] = {"device": device.device_kind, "JAX": jax.__version__}
    if device.platform == "cpu":
        affinity = getattr(os, "sched_getaffinity", None)
        facts["cores"] = len(affinity(0)) if affinity else os.cpu_count() or 1
    return facts | ({"devices": devices} if devices > 1 else {})


def warn_of_another_machine(
    before: Mapping[str, int | str] | None, now: Mapping[str, int | str] | None, folder: Path
) -> None:
    """Warns if a run goes on where its bits will not be those that it would have had.

    Args:
        before: `machine` when the checkpoint was saved, None: not known.
        now: `machine` in this process.
        folder: of the run.
    """
    if before is None or now is None:
        return
    changes = ", ".join(
        f"{name} {before.get(name, 1)} before and {now.get(name, 1)} now"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    )
    if changes:
        log.warning(
            "%s goes on, but its last bits will not be those of a run that stayed on one machine "
            "(%s)",
            folder,
            changes,
        )
