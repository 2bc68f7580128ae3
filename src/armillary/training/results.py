"""`results.json`: what a run ended with."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armillary.config import Config
from armillary.files import read_json, write_atomically
from armillary.training.counters import Counters
from armillary.training.evaluation import Scores
from armillary.training.testing import together

log = logging.getLogger(__name__)


def results(
    config: Config,
    counters: Counters,
    agent: Mapping[str, Scores],
    random: Mapping[str, Scores],
    lost_episodes: int,
    seconds: float,
) -> dict[str, Any]:
    """Returns what a run ends with, ready for JSON.

    Args:
        config: of the run.
        counters: at its end.
        agent: the trained agent's scores on each task.
        random: those of random actions.
        lost_episodes: collected ones whose files are gone.
        seconds: that it took.
    """
    return {
        "task": config.task,
        "seed": config.seed,
        "agent": together(agent).as_dict(),
        "random": together(random).as_dict(),
        "tasks": {
            task: {"agent": agent[task].as_dict(), "random": random[task].as_dict()}
            for task in config.tasks
        },
        "episodes": config.episodes,
        "simulator_steps": counters.simulator_steps,
        "updates": counters.updates,
        "lost_episodes": lost_episodes,
        "seconds": seconds,
    }


def earlier_results(path: Path, config: Config) -> dict[str, Any] | None:
    """Returns the results of a run that has ended; None: there are none, or of fewer episodes.

    Those of an older version, without a checksum, do not count: the tests are played again.
    """
    found = read_results(path)
    if found is None or "checksum" not in found or found["episodes"] != config.episodes:
        return None
    return found


def read_results(path: Path) -> dict[str, Any] | None:
    """Returns what `write_results` wrote; None if there is nothing, or, with a warning, damage.

    Results of an older version have no checksum, and are returned as they are.
    """
    try:
        return checked(read_json(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        log.warning("%s is damaged (%s): it is not used", path, error)
        return None


def checked(results: Any) -> dict[str, Any]:
    """Returns results as they were written.

    Raises:
        ValueError: they are something else, or have another checksum.
    """
    if not isinstance(results, dict) or not isinstance(results.get("episodes"), int):
        raise ValueError("it holds no results")
    if results.get("checksum", found := _checksum(results)) != found:
        raise ValueError("wrong checksum")
    return results


def write_results(path: Path, results: dict[str, Any]) -> dict[str, Any]:
    """Writes the results; returns them with their checksum, which is in the file, too.

    Raises:
        StorageError: they cannot be written.
    """
    results = {**results, "checksum": _checksum(results)}
    text = json.dumps(results, indent=2).encode()
    write_atomically(path, lambda file: file.write(text))
    return results


def _checksum(results: dict[str, Any]) -> str:
    """Returns the SHA-256 of results, whatever their order and whitespace in the file."""
    values = {name: value for name, value in results.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
