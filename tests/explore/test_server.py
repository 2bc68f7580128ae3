"""Who is let in, what is served, and what sessions are to tabs."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from armillary.explore import server
from armillary.explore.library import Library
from armillary.explore.runs import shown
from armillary.explore.server import STATIC, Served
from armillary.explore.session import Session
from conftest import environment
from tabs import Tab, page

ASK = httpx.Client(trust_env=False)


def test_the_page_is_served_with_all_that_it_names(served: Served) -> None:
    found = ASK.get(served.address)
    assert found.status_code == 200
    assert "<title>armillary</title>" in found.text
    assert "default-src 'none'" in found.headers["content-security-policy"]
    assert found.headers["referrer-policy"] == "no-referrer"
    for path in STATIC.rglob("*.*"):
        asked = ASK.get(f"{served.address}static/{path.relative_to(STATIC)}")
        assert asked.content == path.read_bytes()
    assert sum(path.stat().st_size for path in STATIC.rglob("*.*")) < 2_000_000


@pytest.mark.parametrize(
    "place", ["", "api/runs", "static/style.css", "api/runs/0/files/curve.png"]
)
@pytest.mark.parametrize(
    ("token", "headers"),
    [
        ("wrong", {}),
        ("", {}),
        (None, {"Origin": "http://example.com"}),
        (None, {"Origin": "null"}),
        (None, {"Origin": "http://127.0.0.1:1"}),
        (None, {"Host": "example.com"}),
        (None, {"Host": "example.com", "Origin": "http://example.com"}),
    ],
)
def test_strangers_are_refused(
    served: Served, place: str, token: str | None, headers: dict[str, str]
) -> None:
    address = served.address
    if token is not None:
        address = f"{address.rsplit('/', 2)[0]}/{token}/"
    assert ASK.get(address + place, headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("change", "origin"), [("wrong/", None), ("", "http://example.com"), ("", "null")]
)
def test_sockets_of_strangers_are_refused(served: Served, change: str, origin: str | None) -> None:
    address = served.address.replace("http:", "ws:")
    if change:
        address = f"{address.rsplit('/', 2)[0]}/{change}"
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{address}socket", origin=origin, proxy=None).__enter__()  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403


def test_nothing_but_pictures_and_videos_of_the_runs_is_served(
    trained: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    (run / "link.png").symlink_to(secret)
    (run / ".hidden.png").write_bytes(b"hidden")
    (run / "folder.png").mkdir()
    with page(run) as served:
        files = f"{served.address}api/runs/0/files/"
        found = ASK.get(f"{files}curve.png")
        assert found.content == (run / "curve.png").read_bytes()
        assert found.headers["content-type"] == "image/png"
        part = ASK.get(f"{files}agent.mp4", headers={"Range": "bytes=2-5"})
        assert part.content == (run / "agent.mp4").read_bytes()[2:6]
        for name in (
            "link.png", ".hidden.png", "folder.png", "config.json", "metrics.jsonl",
            "..%2fsecret.png", "../secret.png", "%2e%2e/secret.png", "..%5csecret.png",
        ):  # fmt: skip
            assert ASK.get(files + name).status_code == 404, name
        base = served.address.removesuffix("/")
        for path in ("/static/../server.py", "/static/%2e%2e/server.py", "/api/runs/1/files/a.png"):
            assert ASK.get(base + path).status_code == 404, path


def test_two_tabs_have_a_world_each(served: Served) -> None:
    one, other = Tab(served.address), Tab(served.address)
    one.ask("dream.open", run=0, seed=1)
    assert "nothing is dreamed yet" in other.error("dream.step")
    other.ask("dream.open", run=0, seed=2)
    for _ in range(2):
        one.ask("dream.step", driver={"by": "still"})
    assert other.ask("dream.step", driver={"by": "still"})[0]["step"] == 1
    assert one.ask("dream.step", driver={"by": "still"})[0]["step"] == 3
    one.close()
    other.close()


def test_a_broken_socket_comes_back_to_its_world(served: Served) -> None:
    first = Tab(served.address)
    first.ask("dream.open", run=0)
    first.ask("dream.step", driver={"by": "still"})
    stranger = Tab(served.address, first.session)  # while the first one has it
    assert not stranger.known
    assert stranger.session != first.session
    stranger.close()
    first.socket.socket.shutdown(socket.SHUT_RDWR)  # without a word
    again = _back(served.address, first.session)
    assert again.ask("dream.step", driver={"by": "still"})[0]["step"] == 2
    again.close()


def _back(address: str, session: str) -> Tab:
    for _ in range(100):
        tab = Tab(address, session)
        if tab.known:
            return tab
        tab.close()
        time.sleep(0.05)
    raise AssertionError("the session was gone")


def test_a_session_that_has_ended_keeps_no_simulator(trained: Path) -> None:
    """One in a cycle, as a renderer is, would wait for a collection that may never come."""
    session = Session("a", Library(shown((trained,), False)))
    asyncio.run(session.answer(json.dumps({"id": 1, "do": "dream.open", "run": 0})))
    assert session._dream is not None
    world = session._dream.env.unwrapped
    world.itself = world  # type: ignore[attr-defined]
    gone = weakref.ref(world)
    del world
    gc.disable()
    try:
        session.close()
        session._thread.shutdown()
        assert gone() is None
    finally:
        gc.enable()


def test_a_session_that_nobody_comes_back_to_ends(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    close = server.Session.close
    monkeypatch.setattr(
        server.Session, "close", lambda self: (closed.append(self.name), close(self))
    )
    monkeypatch.setattr(server, "MOST", 2)
    with page(trained, grace=0.3) as served:
        gone, stays = Tab(served.address), Tab(served.address)
        with pytest.raises(ConnectionClosed, match="tabs are open"):
            Tab(served.address)
        gone.close()
        for _ in range(100):
            if closed:
                break
            time.sleep(0.05)
        assert closed == [gone.session]
        stays.close()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"do": "os.system"}', '{"id": []}', "[" * 9000]
)
def test_messages_that_mean_nothing_are_answered(tab: Tab, text: str) -> None:
    assert tab.send(text)[0]["error"]
    assert tab.ask("run.episode", run=0)[0]["steps"]


def test_a_message_that_is_too_long_ends_the_socket_alone(served: Served) -> None:
    tab = Tab(served.address)
    with pytest.raises(ConnectionClosed):
        tab.send("x" * 2**17)
    Tab(served.address).close()


def test_a_log_is_followed_while_it_grows(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    log = run / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:2]) + lines[2][:10])  # the third is half written
    with page(run) as served:
        rows = f"{served.address}api/runs/0/rows"
        found = ASK.get(rows).json()
        assert (found["start"], len(found["rows"])) == (0, 2)
        last = found["rows"][-1]["episode"]
        log.write_text("".join(lines[:3]))
        found = ASK.get(rows, params={"from": 2, "episode": last}).json()
        assert found == {"start": 2, "rows": [json.loads(lines[2])]}
        log.write_text(lines[0])  # the run went back to a checkpoint
        found = ASK.get(rows, params={"from": 3, "episode": 3}).json()
        assert found == {"start": 0, "rows": [json.loads(lines[0])]}
        log.write_text("{}\n")
        assert "line 1 of" in ASK.get(rows).json()["error"]
        assert "is damaged" in ASK.get(f"{served.address}api/runs").json()[0]["unread"]


def test_the_command_says_what_is_wrong(
    armillary: Callable[..., subprocess.CompletedProcess[str]], trained: Path, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, text in (
            ((trained, "--port", port), f"port {port} cannot be used (Address already in use)"),
            ((trained, "--port", 0), "port is 0, but it must be from 1"),
            ((tmp_path / "no",), "is no folder: give the run folder"),
            ((), "there is no run in the folder 'runs' to explore"),
        ):
            done = armillary("explore", *arguments)
            assert done.returncode == 2
            assert text in done.stderr
            assert done.stdout == ""


def test_a_missing_server_names_the_command_that_installs_it(
    armillary: Callable[..., subprocess.CompletedProcess[str]],
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = armillary("explore", trained)
    assert done.returncode == 2
    assert "uvicorn is missing" in done.stderr
    assert "explore" in done.stderr.split("missing")[1]


def test_the_command_serves_until_it_is_stopped(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(trained)
    with subprocess.Popen(
        [sys.executable, "-m", "armillary", "explore"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment(),
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert ASK.get(f"{address}api/runs").json()[0]["name"] == "mine"
            tab = Tab(address)  # one that is open does not keep it
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            with pytest.raises(ConnectionClosed):
                tab.send("{}")
        finally:
            process.kill()


def test_nothing_is_changed_in_a_run_folder(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    first, *_ = sorted((run / "episodes").glob("*.npz"))
    first.write_bytes(first.read_bytes()[:-40])  # damaged
    (run / "episodes" / ".left.tmp").write_bytes(b"")
    os.utime(run / "episodes" / ".left.tmp", (0, 0))
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with page(run) as served:
        tab = Tab(served.address)
        tab.ask("latent.open", run=0)
        assert tab.ask("run.episode", run=0, which="collected")[0]["steps"]
        tab.close()
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
