"""What is done on the machines of a cluster: they are looked at, and runs are trained there.

Nothing heavy is imported before it is needed, so that a worker has its cores first.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import signal
import socket
import tempfile
import time
import traceback
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from armillary.config import Config
from armillary.errors import ArmillaryError, UsageError
from armillary.files import Locked, lock, storage_error, write_atomically
from armillary.studies.cluster import Cluster, ClusterError, Interrupted, Outcome
from armillary.training.signals import Stopped, StopRequest, stop_request

PATIENCE = 120.0
"""Seconds that a run waits for another process to leave its folder: of a machine that is lost, a
network file system keeps the locks for a while (NFS 4: 90 s)."""

_SEEN = 20.0
"""Seconds after which a file that another machine has written is to be seen."""

_OBJECTS = {"s3:", "gs:", "gcs:", "az:", "abfs:", "abfss:", "hdfs:", "http:", "https:"}
_PACKAGES = ("jax", "jaxlib", "numpy", "mujoco")


@dataclass(frozen=True)
class Site:
    """What all machines have to have in common.

    Attributes:
        marker: a file in the folder of the runs, from the root: a machine that does not see it
            would train into a folder of its own.
        place: the working folder, in which a task's module or a source of episodes may lie; a
            machine without it works in its own.
        versions: see `versions`.
        patience: seconds after which a file that another machine has written is to be seen.
    """

    marker: Path
    place: Path
    versions: dict[str, str]
    patience: float = _SEEN

    def problem(self) -> str:
        """Returns what is wrong with this machine, in a sentence; an empty string: nothing."""
        if not appears(self.marker, self.patience):
            return (
                f"{socket.gethostname()} does not see {self.marker.parent}: put the runs (--run) "
                "on a file system that all machines share, under the same path on each"
            )
        here = versions()
        other = [
            f"{name} {here.get(name)} there, {version} here"
            for name, version in self.versions.items()
            if here.get(name) != version
        ]
        if other:
            return (
                f"{socket.gethostname()} has other versions ({'; '.join(other)}): install the same "
                "on every machine"
            )
        return ""


@dataclass(frozen=True)
class Look:
    """What a machine told of itself: what is wrong, a file that it wrote, whether locks hold."""

    problem: str
    written: Path | None = None
    locks: bool = True


@contextlib.contextmanager
def shared(cluster: Cluster, folder: Path) -> Iterator[Site]:
    """Makes sure that all machines of a cluster have in common what they need, before the block.

    Raises:
        UsageError: the folder is an address of object storage.
        ClusterError: a machine does not see the folder, cannot write there, has other versions, or
            does not have armillary.
        StorageError: this machine cannot write there.
    """
    if folder.parts and folder.parts[0] in _OBJECTS:
        raise UsageError(
            f"{str(folder)!r} is an address of object storage, but runs are kept in folders: give "
            "one of a file system that all machines share"
        )
    marker = folder.absolute() / f".cluster-{uuid.uuid4().hex[:12]}"
    write_atomically(marker, lambda file: file.write(b"all machines of a cluster see this\n"))
    try:
        with lock(marker):
            site = Site(marker, Path.cwd(), versions())
            _check(cluster, site)
            yield site
    finally:
        for path in marker.parent.glob(f"{marker.name}*"):
            path.unlink(missing_ok=True)


def _check(cluster: Cluster, site: Site) -> None:
    looks = cluster.on_each(look, site)
    problems = [one.problem for one in looks if one.problem]
    unseen = [
        one.written for one in looks if one.written and not appears(one.written, site.patience)
    ]
    if unseen:
        problems.append(f"what another machine writes into {site.marker.parent} is not seen here")
    if problems:
        more = f" ({len(problems) - 1} more machines have problems)" * (len(problems) > 1)
        raise ClusterError(f"{problems[0]}{more}")
    if not all(one.locks for one in looks):
        cluster.announce(
            f"the file system of {site.marker.parent} keeps no locks between machines: let no "
            "other process train in these runs meanwhile"
        )


def look(site: Site) -> Look:
    """Looks at this machine, for another one."""
    problem = site.problem()
    if problem:
        return Look(problem)
    path = site.marker.with_name(f"{site.marker.name}-{uuid.uuid4().hex[:8]}")
    try:
        path.write_text(socket.gethostname())
    except OSError as error:
        return Look(f"{socket.gethostname()} cannot write into {path.parent}: {error.strerror}")
    try:
        with lock(site.marker):
            return Look("", path, locks=False)
    except Locked:
        return Look("", path)


@cache
def versions() -> dict[str, str]:
    """Returns the versions that must be equal for a run to go on on another machine."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python, "armillary": _ours(), **found}


def _ours() -> str:
    """Returns the version of armillary, with a mark of its source, which may have been edited."""
    import armillary

    root = Path(armillary.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return f"{armillary.__version__} (source {digest.hexdigest()[:8]})"


def train(config: Config, folder: Path, site: Site, cores: int) -> Outcome:
    """Trains a run, or continues it, with all that it prints in the `run.log` of its folder.

    Args:
        config: of the run.
        folder: of the run, from the root.
        site: what this machine has to have in common with the one that asks.
        cores: so many are its own.

    Raises:
        Interrupted: the worker was asked to stop by its machine; the state was saved.
    """
    take_cores(cores)
    if problem := site.problem():
        return Outcome("failed", problem)
    if site.place.is_dir():
        os.chdir(site.place)
    from armillary.training.run import InUse, Run

    with _logged(Run(folder).log), stop_request() as stop:
        try:
            _train(config, folder, stop)
            return Outcome("done")
        except Stopped as stopped:
            if stopped.exit_code == 128 + signal.SIGTERM:
                raise Interrupted(str(stopped)) from None
            return Outcome("stopped", str(stopped), stopped.exit_code)
        except InUse as error:
            return Outcome("elsewhere", str(error))
        except ArmillaryError as error:
            return Outcome("failed", str(error), error.exit_code, type(error).__name__)
        except Exception as error:
            traceback.print_exc()
            return Outcome("failed", f"{type(error).__name__}: {error}", 1, type(error).__name__)


def _train(config: Config, folder: Path, stop: StopRequest) -> None:
    from armillary.training.loop import train
    from armillary.training.run import InUse

    until = time.monotonic() + PATIENCE
    while True:
        try:
            train(config, folder)
            return
        except InUse:
            if time.monotonic() > until:
                raise
            stop.check()
            time.sleep(1.0)


def take_cores(count: int) -> None:
    """Keeps this process, before JAX counts the cores, to so many that no other run here has.

    Locks on files of this machine say which are taken, until the process ends. Where there are not
    so many left, runs share some.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, _cores(count))


@cache
def _cores(count: int) -> list[int]:
    usable = sorted(os.sched_getaffinity(0))
    folder = Path(tempfile.gettempdir()) / f"armillary-cores-{os.getuid()}"
    taken: list[int] = []
    for core in usable:
        if len(taken) < count:
            with contextlib.suppress(ArmillaryError):  # taken; or no such folder can be made
                _kept.enter_context(lock(folder / str(core)))
                taken.append(core)
    return (taken + [core for core in usable if core not in taken])[:count]


_kept = contextlib.ExitStack()
"""Locks that this process holds to its end."""


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Writes what the block prints, in any language, to a file, after what is there."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise storage_error(path, error) from error
    before = [os.dup(number) for number in (1, 2)]
    with open(descriptor, "a") as file:
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            print(f"{now} on {socket.gethostname()}, process {os.getpid()}", file=file, flush=True)
            yield
        finally:
            for number, copy in zip((1, 2), before, strict=True):
                os.dup2(copy, number)
                os.close(copy)


def appears(path: Path, seconds: float = _SEEN) -> bool:
    """Whether a file is there, or comes to be seen within some seconds."""
    until = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True
