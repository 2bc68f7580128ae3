"""Connecting to a Ray: one that runs, or one that is started on this machine for a while."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from armillary.advice import extra
from armillary.errors import UsageError
from armillary.machine import resources
from armillary.studies.cluster import Cluster, ClusterError, Needs, machines

OBJECTS = 80 * 2**20
"""Bytes of the object store of a Ray that is started here, about the least that it takes: what goes
through it are settings; episodes and parameters go through the run folders."""


_SETTINGS = b"\x04"
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _SETTINGS + bytes(5)
"""How a connection in HTTP/2, which Ray speaks, begins; the answer begins with settings, too."""


@contextlib.contextmanager
def connected(
    address: str, needs: Needs, announce: Callable[[str], None] = lambda text: None
) -> Iterator[Cluster[Any]]:
    """Connects to a Ray while the block runs, or starts one.

    Where this process is connected to one already, that is used and left as it is.

    Args:
        address: `HOST:PORT` of a Ray of which this machine is a part, or `auto`: of the one that
            runs on this machine. Empty: that of the variable `RAY_ADDRESS`, else one is started
            here, which no other machine can reach, and ends with the block.
        needs: of each piece of work.
        announce: is told what is begun.

    Raises:
        UsageError: Ray is not installed, or the address is none.
        ClusterError: nothing answers there, or it does not start.
    """
    address = address or os.environ.get("RAY_ADDRESS", "")
    _check_answers(address)
    ray = _import(embedded=not address)
    ours = not ray.is_initialized()
    if ours:
        announce(f"connecting to the Ray at {address}" if address else "starting Ray")
        _start(ray, address)
    try:
        found = machines(ray)
        needs = needs.resolved(list(found.values()))
        cluster: Cluster[Any] = Cluster(ray, needs, announce)
        each = f"{needs.cpus:g} CPU{'s' * (needs.cpus != 1)} and {needs.gpus:g} GPUs"
        if not cluster.slots and not address:
            raise UsageError(f"no run fits: each is given {each}, more than this machine has")
        announce(
            f"{len(found)} machine{'s' * (len(found) != 1)}, each run is given {each}: "
            + (f"{cluster.slots} at a time" if cluster.slots else "none fits now, they wait for it")
        )
        yield cluster
    finally:
        if ours:
            ray.shutdown()


def _import(embedded: bool) -> Any:
    # Read when Ray is imported. Under `uv run` it would copy the working folder, runs and all.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if embedded:
        # As on other systems than Linux: its processes listen on the loopback interface alone.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # other users of this machine keep out
        if os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            f"--ray was given, but Ray is not installed: `{extra('ray')}`, or leave --ray out"
        ) from error
    return ray


def _start(ray: Any, address: str) -> None:
    given: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if address:
        given |= {"address": address}
    else:
        given |= {"address": "local", "num_cpus": max(1, int(resources.cores().usable))}
        given |= {"include_dashboard": False, "object_store_memory": OBJECTS}
    try:
        with _own_signals():
            ray.init(**given)
    except Exception as error:
        ray.shutdown()
        what = f"the Ray at {address} cannot be used" if address else "Ray does not start"
        raise ClusterError(f"{what}: {error}") from error
    here = ray.util.get_node_ip_address()
    if not address and not ipaddress.ip_address(here).is_loopback:
        ray.shutdown()
        raise ClusterError(
            f"the Ray that was started listens at {here}, beyond this machine: import nothing of "
            "Ray before armillary starts it, or start one yourself and give its address"
        )


def _check_answers(address: str) -> None:
    """Makes sure that something listens, which Ray itself would wait for by the minute."""
    if address in ("", "auto", "local"):
        return
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        raise UsageError(
            f"--ray {address}: expected HOST:PORT of a Ray cluster's head (its port is 6379 if "
            "`ray start --head` was given no other), on a machine that is a part of it, or auto"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10) as connection:
            connection.sendall(_HELLO)
            answer = connection.recv(9)
        if os.environ.get("RAY_USE_TLS", "0") == "0" and answer[3:4] != _SETTINGS:
            raise OSError("something else does")
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray answers at {address} ({error}): start one there with `ray start --head`, or "
            "leave the address out for one on this machine"
        ) from error


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Gives the signals' handlers back as they were: Ray takes SIGTERM's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
