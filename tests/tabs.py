"""A page of runs, and a tab that talks to it without a browser."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from websockets.sync.client import connect

from armillary.explore.library import Library
from armillary.explore.runs import shown
from armillary.explore.server import Served, serving


@contextmanager
def page(*folders: Path, trust: bool = False, grace: float = 60.0) -> Iterator[Served]:
    """Serves a page of runs."""
    with serving(Library(shown(folders, trust)), grace=grace) as served:
        yield served


class Tab:
    """A tab's socket.

    Attributes:
        session: its name.
        known: whether the session was there before.
    """

    def __init__(self, address: str, session: str | None = None) -> None:
        place = address.replace("http:", "ws:") + "socket"
        place += f"?session={session}" if session else ""
        self._open = ExitStack()
        self.socket = self._open.enter_context(connect(place, max_size=None, proxy=None))
        told = json.loads(self.socket.recv(timeout=60))
        self.session, self.known = told["session"], told["known"]

    def ask(self, what: str, **given: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Returns the values and the pictures of an answer."""
        return self.send(json.dumps({"id": 7, "do": what, **given}))

    def send(self, text: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Sends a message as it is; returns the answer."""
        self.socket.send(text)
        answer = self.socket.recv(timeout=300)
        assert isinstance(answer, bytes)
        (length,) = struct.unpack("<I", answer[:4])
        values = json.loads(answer[4 : 4 + length])
        images, rest = {}, answer[4 + length :]
        for image in values.pop("images"):
            size = int(np.prod(image["shape"]))
            images[image["name"]] = np.frombuffer(rest[:size], np.uint8).reshape(image["shape"])
            rest = rest[size:]
        assert not rest
        return values, images

    def error(self, what: str, **given: Any) -> str:
        """Returns why something is not done."""
        return str(self.ask(what, **given)[0]["error"])

    def close(self) -> None:
        self._open.close()
