"""Where mujoco-warp keeps its compiled kernels: a folder that can really be written."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)

_PATH = "WARP_CACHE_PATH"
"""Warp's own environment variable; child processes inherit it."""


def ensure_cache(version: str) -> None:
    """Lets Warp use a temporary folder, and says so, where its own cannot be written.

    Call it before Warp is initialised.

    Args:
        version: of Warp, whose folder is named after it.

    Raises:
        OSError: there is no temporary folder either.
    """
    own = os.environ.get(_PATH)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    place = Path(own) / version if own else Path(cache) / "warp" / version
    if _can_write(place):
        return
    folder = tempfile.mkdtemp(prefix="armillary-warp-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[_PATH] = folder
    log.warning(
        "%s cannot be written, so what mujoco-warp compiles is only kept until this program ends, "
        "and the next one waits for it again: set %s to a folder that can be written",
        place,
        _PATH,
    )


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
