"""Run folders that are whole, and not what they were."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def forged(
    run: Path, folder: Path, *, environment: Mapping[str, Any], task: str | None = None
) -> Path:
    """Copies a run and makes it one of another task or environment, in its checkpoints, too."""
    shutil.copytree(run, folder)
    content = json.loads((folder / "config.json").read_text())
    content["config"]["task"] = task or content["config"]["task"]
    content["config"]["environment"] |= environment
    (folder / "config.json").write_text(json.dumps(content))
    for file in (folder / "checkpoints").glob("checkpoint-*"):
        header, payload = file.read_bytes().split(b"\n", 1)[1].split(b"\n", 1)
        meta = json.loads(header)
        meta["meta"]["config"] = content["config"]
        body = json.dumps(meta).encode() + b"\n" + payload
        digest = hashlib.sha256(body).hexdigest().encode()
        file.write_bytes(b"armillary-checkpoint " + digest + b"\n" + body)
    return folder
