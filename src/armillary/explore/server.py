"""The server of the page: on this machine alone, for whoever knows the token in its address."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armillary.advice import extra
from armillary.errors import ArmillaryError, UsageError
from armillary.explore.frames import plain
from armillary.explore.library import Library
from armillary.explore.runs import KINDS
from armillary.explore.session import Session

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.websockets import WebSocket

STATIC = Path(__file__).parent / "static"
HOST = "127.0.0.1"
GRACE = 60.0
"""Seconds that the session of a socket that broke is kept, for the tab to come back to."""
MOST = 24
"""Sessions at the same time."""
_MESSAGE = 2**16
"""Bytes of a message from the page, at most."""

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self'; connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Sessions:
    """The sessions of all tabs; what nobody comes back to is closed.

    Args:
        library: the runs.
        grace: seconds that one waits for its tab.
    """

    def __init__(self, library: Library, grace: float = GRACE) -> None:
        self._library, self._grace = library, grace
        self._all: dict[str, Session] = {}
        self._attached: set[str] = set()
        self._ends: dict[str, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._all)

    def attach(self, name: str | None) -> tuple[Session, bool] | None:
        """Returns the session of that name, or a new one; None: there are too many.

        One that a socket has is given to no other: two tabs do not mix.
        """
        if name in self._all and name not in self._attached:
            assert name is not None
            self._ends.pop(name).cancel()
            self._attached.add(name)
            return self._all[name], True
        if len(self._all) >= MOST:
            waiting = next((other for other in self._all if other not in self._attached), None)
            if waiting is None:
                return None
            self._close(waiting)
        session = Session(secrets.token_urlsafe(16), self._library)
        self._all[session.name] = session
        self._attached.add(session.name)
        return session, False

    def detach(self, session: Session) -> None:
        """Lets a session wait for its tab to come back."""
        self._attached.discard(session.name)
        loop = asyncio.get_running_loop()
        self._ends[session.name] = loop.call_later(self._grace, self._close, session.name)

    def _close(self, name: str) -> None:
        if end := self._ends.pop(name, None):
            end.cancel()
        if session := self._all.pop(name, None):
            session.close()

    def close(self) -> None:
        """Closes all."""
        for name in list(self._all):
            self._close(name)


class Guard:
    """Lets nobody in but the page itself: 403 for another host, origin or token.

    The host is checked, too: a foreign name that leads to this machine has a foreign origin of its
    own, which a browser takes for the same as the page's.

    Args:
        app: what is guarded; it does not see the token.
        token: the first part of every path.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.datastructures import Headers
        from starlette.responses import PlainTextResponse
        from starlette.websockets import WebSocketClose

        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        why = self._refused(scope, headers)
        if why is None:
            host = headers.get("host", "")
            scope = dict(scope, path=scope["path"][len(self._token) + 1 :] or "/", raw_path=None)
            await self._app(scope, receive, _secured(send, host))
        elif scope["type"] == "websocket":
            await WebSocketClose(1008, why)(scope, receive, send)
        else:
            await PlainTextResponse(f"403: {why}\n", 403)(scope, receive, send)

    def _refused(self, scope: Scope, headers: Any) -> str | None:
        """Returns why a request is refused; None: it is not."""
        host = headers.get("host", "")
        port = scope["server"][1]
        own = {f"{HOST}:{port}", f"localhost:{port}"}
        if host not in own:
            return "this page is for this machine alone: open the address that was printed"
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return "another page may not ask this one"
        given = scope["path"].split("/")[1].encode()
        if not secrets.compare_digest(given, self._token.encode()):
            return "the token in the address is wrong: open the address that was printed"
        return None


def _secured(send: Send, host: str) -> Send:
    """Returns a `send` that adds the headers that every answer has."""

    async def secured(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [
                (name.lower().encode(), text.format(host=host).encode())
                for name, text in _HEADERS.items()
            ]
            names = {name for name, _ in headers}
            kept = [pair for pair in message["headers"] if pair[0].lower() not in names]
            message = dict(message, headers=[*kept, *headers])
        await send(message)

    return secured


def application(library: Library, token: str, grace: float = GRACE) -> ASGIApp:
    """Returns the page as an ASGI application.

    Args:
        library: the runs.
        token: the first part of all its paths.
        grace: seconds that a session waits for its tab.
    """
    return Guard(_application(library, Sessions(library, grace)), token)


def _application(library: Library, sessions: Sessions) -> Starlette:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
    from starlette.routing import Mount, Route, WebSocketRoute
    from starlette.staticfiles import StaticFiles
    from starlette.websockets import WebSocketDisconnect

    async def index(request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def runs(request: Request) -> Response:
        found = await run_in_threadpool(lambda: [run.facts() for run in library.runs])
        return JSONResponse(plain(found))

    async def rows(request: Request) -> Response:
        try:
            run = library[request.path_params["number"]]
            query = request.query_params
            start, episode = int(query.get("from", 0)), query.get("episode")
            known = None if episode is None else int(episode)
            return JSONResponse(plain(await run_in_threadpool(run.rows, start, known)))
        except (ArmillaryError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 404)

    async def file(request: Request) -> Response:
        try:
            path = library[request.path_params["number"]].file(request.path_params["name"])
        except UsageError:
            path = None
        if path is None:
            return PlainTextResponse("404: there is no such picture or video\n", 404)
        return FileResponse(path, media_type=KINDS[path.suffix])

    async def talk(websocket: WebSocket) -> None:
        found = sessions.attach(websocket.query_params.get("session"))
        await websocket.accept()
        if found is None:
            await websocket.close(1013, f"{MOST} tabs are open: close one")
            return
        session, known = found
        try:
            await websocket.send_json({"session": session.name, "known": known})
            while True:
                await websocket.send_bytes(await session.answer(await websocket.receive_text()))
        except (WebSocketDisconnect, KeyError, RuntimeError):  # it left, or sent no text
            pass
        finally:
            sessions.detach(session)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        yield
        sessions.close()

    return Starlette(
        routes=[
            Route("/", index),
            Mount("/static", StaticFiles(directory=STATIC)),
            Route("/api/runs", runs),
            Route("/api/runs/{number:int}/rows", rows),
            Route("/api/runs/{number:int}/files/{name}", file),
            WebSocketRoute("/socket", talk),
        ],
        lifespan=lifespan,
    )


@dataclass(frozen=True)
class Served:
    """A page that is served.

    Attributes:
        address: with the token; whoever knows it can do what the page can.
        alive: whether it still is.
    """

    address: str
    thread: threading.Thread

    @property
    def alive(self) -> bool:
        return self.thread.is_alive()


@contextlib.contextmanager
def serving(
    library: Library, port: int | None = None, token: str | None = None, grace: float = GRACE
) -> Iterator[Served]:
    """Serves the page while the block runs, on a thread of its own.

    Args:
        library: the runs.
        port: None: a free one.
        token: None: a new one.
        grace: seconds that a session waits for its tab.

    Raises:
        UsageError: the port is in use; or the server is not installed.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn
        import websockets  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"the page needs a server, and {error.name} is missing: `{extra('explore')}`"
        ) from error
    token = token or secrets.token_urlsafe(16)
    listening = _listening(port)
    config = uvicorn.Config(
        application(library, token, grace),
        log_level="error",
        ws_max_size=_MESSAGE,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=2,
        server_header=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listening]}, name="explore", daemon=True
    )
    thread.start()
    try:
        yield Served(f"http://{HOST}:{listening.getsockname()[1]}/{token}/", thread)
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def _listening(port: int | None) -> socket.socket:
    """Returns a socket that listens on the loopback.

    Raises:
        UsageError: the port is in use, or may not be used.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port or 0))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise UsageError(
            f"port {port} cannot be used ({error.strerror}): give another --port, or leave it out "
            "for a free one"
        ) from error
    return listening
