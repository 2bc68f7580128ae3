"""`results.json`: what a run ended with."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from armillary.files import read_json, write_atomically

log = logging.getLogger(__name__)


def read_results(path: Path) -> dict[str, Any] | None:
    """Returns what `write_results` wrote; None if there is nothing, or, with a warning, damage.

    Results of an older version have no checksum, and are returned as they are.
    """
    try:
        results = read_json(path)
        if not isinstance(results, dict) or not isinstance(results.get("episodes"), int):
            raise ValueError("it holds no results")
        if results.get("checksum", found := _checksum(results)) != found:
            raise ValueError("wrong checksum")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        log.warning("%s is damaged (%s): it is not used", path, error)
        return None
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
