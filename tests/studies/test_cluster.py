"""Runs as tasks of Ray: nothing is lost with a worker, failures are told, signals stop all."""

import ipaddress
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from armillary.config import Config
from armillary.errors import UsageError
from armillary.studies import connecting, remote, runs, sweeping
from armillary.studies.cluster import RETRIES, Cluster, ClusterError, Interrupted, Needs, Outcome
from armillary.studies.cluster import variables as passed
from armillary.studies.comparisons import Variant
from armillary.studies.connecting import connected
from armillary.studies.muzero.comparisons import PAPER
from armillary.studies.runs import Member
from armillary.studies.space import Setting
from armillary.studies.sweep import Sweep
from armillary.studies.workers import WorkerError
from armillary.training.run import Run
from armillary.training.signals import Stopped
from conftest import TESTS, Command
from folders import finish
from settings import TINY_MUZERO

CONFIG = replace(
    TINY_MUZERO,
    episodes=8,
    training=replace(TINY_MUZERO.training, collect_interval=150, checkpoint_minutes=0.001),
)
"""A run of a second or more, with a checkpoint after every episode."""


@pytest.fixture(scope="module")
def ray() -> Iterator[Cluster]:
    """One that is started here, for all tests of this file; nothing of it outlives them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        patch.setattr(connecting.resources, "cores", lambda: SimpleNamespace(usable=2))
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        others = {*psutil.Process().children(recursive=True)}  # those of tests before stay
        with connected("", Needs(cpus=1)) as cluster:
            assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
            started = {*psutil.Process().children(recursive=True)} - others
            yield cluster
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive


def _member(folder: Path, name: str, config: Config = CONFIG) -> Member:
    return Member(Variant(name), config, folder / "lamps" / name)


def _rows(member: Member) -> list[dict[str, Any]]:
    path = member.folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = []
    for line in lines:
        row = json.loads(line)
        del row["seconds"]
        found.append(row)
    return found


def _worker(member: Member) -> int:
    """The process that trains a run, as its log says."""
    return int(re.findall(r"process (\d+)", Run(member.folder).log.read_text())[-1])


def _when(member: Member, rows: int, act: Callable[[], object]) -> threading.Thread:
    """Does something when a run has come so far that it has written so many rows."""

    def wait() -> None:
        deadline = time.monotonic() + 240
        while len(_rows(member)) < rows and time.monotonic() < deadline:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def _leaves(member: Member) -> list[np.ndarray]:
    import jax

    from armillary.training.player import load

    return [np.asarray(leaf) for leaf in jax.tree.leaves(load(member.folder).state)]


@pytest.mark.slow
def test_a_killed_worker_changes_nothing_and_a_failure_ends_no_other_run(
    ray: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    killed, whole = (_member(tmp_path, name) for name in ("killed", "whole"))
    broken = _member(tmp_path, "broken", replace(CONFIG, task="toys:short"))
    thread = _when(killed, 4, lambda: os.kill(_worker(killed), signal.SIGKILL))
    with pytest.raises(WorkerError, match=r"1 of 3 runs failed, all others are done") as caught:
        runs.run([killed, broken, whole], cluster=ray)
    thread.join()
    assert f"all others are done; {broken.folder}: toys:short observes Box" in str(caught.value)
    assert caught.value.exit_code == 2
    logs = [Run(member.folder).log.read_text() for member in (killed, whole)]
    assert [log.count(", process ") for log in logs] == [2, 1]
    assert all("episode 8/8" in log for log in logs)
    said = capsys.readouterr().err
    assert f"{killed.folder}: its worker died, so it goes on in another one" in said
    assert f"{whole.folder}: score" in said
    assert f"{broken.folder}: failed: toys:short observes" in said
    one, other = killed.results, whole.results
    assert one is not None
    assert other is not None
    for results in (one, other):
        del results["seconds"], results["checksum"]
    assert one == other
    assert _rows(killed) == _rows(whole)
    for a, b in zip(_leaves(killed), _leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not [*tmp_path.glob(".cluster-*")]


@pytest.mark.slow
def test_a_signal_stops_all_and_the_same_runs_go_on_without_ray(
    ray: Cluster, tmp_path: Path
) -> None:
    config = replace(CONFIG, training=replace(CONFIG.training, collect_interval=250))
    members = [_member(tmp_path, name, config) for name in ("one", "two", "three")]
    thread = _when(members[1], 4, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Stopped):
        runs.run(members, cluster=ray)
    thread.join()
    assert ray.open == []
    from armillary.training import checkpoint

    member = members[1]
    reached = checkpoint.read_meta(Run(member.folder).checkpoints)
    assert member.results is None
    assert 3 <= reached["episodes"] < CONFIG.episodes
    rows = _rows(member)
    runs.run([member])
    assert member.results is not None
    assert _rows(member)[: len(rows)] == rows


def test_nothing_of_it_listens_beyond_this_machine(ray: Cluster) -> None:
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    sockets = [
        c for process in processes for c in process.net_connections() if c.status == "LISTEN"
    ]
    assert len(sockets) >= 4
    for one in sockets:
        address = ipaddress.ip_address(one.laddr.ip)
        assert (getattr(address, "ipv4_mapped", None) or address).is_loopback
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_a_machine_says_what_is_wrong_with_it(ray: Cluster, tmp_path: Path) -> None:
    here, versions = socket.gethostname(), remote.versions()
    site = remote.Site(tmp_path / "marker", tmp_path, versions, patience=0.0)
    (seen,) = ray.on_each(remote.look, site)
    assert seen.problem == (
        f"{here} does not see {tmp_path}: put the runs (--run) on a file system that all machines "
        "share, under the same path on each"
    )
    site.marker.touch()
    (seen,) = ray.on_each(remote.look, replace(site, versions={**versions, "jax": "0.1"}))
    assert seen.problem.startswith(f"{here} has other versions (jax {versions['jax']} there, 0.1")
    (seen,) = ray.on_each(remote.look, site)
    assert seen == remote.Look("", seen.written, locks=False)
    assert seen.written.read_text() == here
    with remote.shared(ray, tmp_path / "runs") as site:
        assert site.marker.exists()
    assert [*(tmp_path / "runs").iterdir()] == []
    outcome = ray.call(remote.train, CONFIG, tmp_path / "run", replace(site, patience=0.0), 1)
    assert (outcome.state, "does not see" in outcome.why) == ("failed", True)
    assert not (tmp_path / "run").exists()  # it began nothing in a folder of its own


@pytest.mark.slow
def test_the_command(ray: Cluster, armillary: Command, tmp_path: Path) -> None:
    """A study of which one run is missing; the folder is given as seen from the working folder."""
    comparison, scale = PAPER.at("figure3", "smoke")
    members = runs.members(comparison, scale, tmp_path / "study")
    for member in members[1:]:
        finish(member, lambda task, i: 5.0)
    arguments = ("study", "muzero/figure3", "--scale", "smoke", "--run", "study", "--ray")
    planned = armillary(*arguments, "--plan-only")
    assert planned.returncode == 0, planned.stderr
    assert "1 machine, each run is given 1 CPU and 0 GPUs: 2 at a time" in planned.stderr
    assert "by the runs that have ended" in planned.stderr
    assert members[0].results is None
    done = armillary(*arguments)
    assert done.returncode == 0, done.stderr
    assert "100% · 1 of 1 runs" in done.stderr
    assert f"study/CartPole-v1/{members[0].folder.name}: score" in done.stderr
    assert members[0].results is not None
    assert (tmp_path / "study" / "figure3.png").exists()
    refused = armillary(*arguments, "--workers", 2)
    assert refused.returncode == 0  # nothing is missing any more
    members[0].folder.joinpath("results.json").unlink()
    for given, words in (
        (("--workers", 2), "with --ray as many runs as fit are trained at a time"),
        (("--ray-cpus", 0), "--ray-cpus is 0.0, but it must be greater than zero"),
        (("--ray-cpus", 99), "each is given 99 CPUs and 0 GPUs, more than this machine has"),
        (("--ray-gpus", 1.5), "--ray-gpus is 1.5: give a whole number, or a part of one"),
    ):
        refused = armillary(*arguments, *given)
        assert refused.returncode == 2, refused.stderr
        assert words in refused.stderr
    refused = armillary(*arguments[:-1], "--ray-gpus", 1)
    assert refused.returncode == 2
    assert "--ray-gpus says what Ray gives to each run: add --ray" in refused.stderr


@pytest.mark.slow
def test_a_sweep(ray: Cluster, tmp_path: Path) -> None:
    over = (Setting("training.collect_interval", (4, 40)),)
    sweep = Sweep(TINY_MUZERO, over, tmp_path / "sweep", 2, sampler="random")
    ended: list[int] = []
    trials = sweeping.run(sweep, cluster=ray, on_end=lambda trials: ended.append(len(trials)))
    assert [trial.state for trial in trials] == ["done"] * 2
    assert len(ended) == 2
    for trial in trials:
        run = Run(sweep.run_folder(trial, 0))
        assert run.config.training.collect_interval == trial.values["training.collect_interval"]
        assert trial.score == json.loads(run.results.read_text())["agent"]["mean"]
        assert ", process " in run.log.read_text()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that answers, and is no Ray."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            connection.recv(64)
            connection.sendall(b"SSH-2.0-of something else\r\n")
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_an_address_at_which_no_ray_answers(silent: str) -> None:
    for address, kind, words in (
        ("127.0.0.1:1", ClusterError, "no Ray answers at 127.0.0.1:1 .*Connection refused"),
        (silent, ClusterError, "no Ray answers at .*something else does"),
        ("somewhere", UsageError, "--ray somewhere: expected HOST:PORT"),
        ("ray://127.0.0.1:10001", UsageError, "expected HOST:PORT"),
        ("127.0.0.1:port", UsageError, "expected HOST:PORT"),
    ):
        with pytest.raises(kind, match=words), connected(address, Needs()):
            pass


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UsageError, match=r"Ray is not installed: `.*ray.*`"),
        connected("", Needs()),
    ):
        pass


def test_what_each_run_is_given() -> None:
    plain, card = {"CPU": 8.0}, {"CPU": 32.0, "GPU": 4.0}
    assert Needs().resolved([plain]) == Needs(1.0, 0.0)
    assert Needs().resolved([plain, card]) == Needs(8.0, 1.0)
    assert Needs(gpus=0.5).resolved([card]) == Needs(4.0, 0.5)
    assert Needs(cpus=2).resolved([card]) == Needs(2, 1.0)
    assert Needs(gpus=0).resolved([card]) == Needs(1.0, 0)
    assert [Needs(8.0, 1.0).fits(machine) for machine in (plain, card)] == [0, 4]
    assert Needs(3.0, 0.0).fits(plain) == 2
    assert (Needs(0.5).cores, Needs(2.0).cores) == (1, 2)
    given = {"MUJOCO_GL": "egl", "JAX_ENABLE_X64": "0", "HOME": "/root", "WANDB_API_KEY": "x"}
    kept = {"MUJOCO_GL": "egl", "JAX_ENABLE_X64": "0"}
    assert passed(given, Needs(1, 0)) == kept | {"JAX_PLATFORMS": "cpu"}
    assert passed(given, Needs(1, 1)) == kept
    part = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450"}
    assert passed(given, Needs(1, 0.5)) == kept | part


class _Dying:
    """A Ray in which each piece of work ends as it is told to."""

    class exceptions:
        class RayError(Exception):
            pass

        class TaskCancelledError(RayError):
            pass

        class RayTaskError(RayError):
            cause: BaseException

    def __init__(self, ends: list[Outcome | Exception]) -> None:
        self.ends, self.begun = iter(ends), 0

    def remote(self, function: Callable[..., Any]) -> Any:
        def begin(*arguments: Any) -> int:
            self.begun += 1
            return self.begun

        return SimpleNamespace(options=lambda **given: SimpleNamespace(remote=begin))

    def wait(self, references: list[int], **given: Any) -> tuple[list[int], list[int]]:
        return references[:1], references[1:]

    def get(self, reference: int) -> Outcome:
        end = next(self.ends)
        if isinstance(end, Exception):
            raise end
        return end


def _all_ends(ends: list[Outcome | Exception], progress: Iterator[int]) -> tuple[Outcome, int]:
    ray = _Dying(ends)
    cluster: Cluster[str] = Cluster(ray, Needs(1, 0), lambda text: None)
    cluster.submit("work", remote.train, (), lambda: next(progress))
    while True:
        for key, outcome in cluster.ended(0.0):
            assert key == "work"
            assert cluster.ended(0.0) == []
            return outcome, ray.begun


def test_work_that_gets_no_further_is_given_up() -> None:
    dead = _Dying.exceptions.RayError("The worker died.\nMuch more.")
    given_up = _Dying.exceptions.RayTaskError("traceback")
    given_up.cause = Interrupted()
    deaths: list[Outcome | Exception] = [dead, given_up] * 50
    outcome, begun = _all_ends([*deaths], iter([1] * 100))
    assert outcome.state == "failed"
    assert outcome.why.startswith(f"its worker died {RETRIES + 1} times in a row: ")
    assert begun == RETRIES + 1
    assert _all_ends([*deaths, Outcome("done")], iter(range(200))) == (Outcome("done"), 101)
    broken = _Dying.exceptions.RayTaskError("traceback")
    broken.cause = ValueError("no")
    assert _all_ends([broken], iter([0])) == (Outcome("failed", "ValueError: no"), 1)


def test_folders_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    unseen = SimpleNamespace(
        announce=told.append,
        on_each=lambda look, site: [remote.Look(""), remote.Look("elsewhere does not see it")] * 2,
    )
    for folder, kind, words in (
        (Path("s3://bucket/runs"), UsageError, "is an address of object storage"),
        (tmp_path / "runs", ClusterError, r"elsewhere does not see it \(1 more machines have"),
    ):
        with pytest.raises(kind, match=words), remote.shared(unseen, folder):  # type: ignore[arg-type]
            pass
    away = remote.Look("", tmp_path / "never written here", locks=True)
    hidden = SimpleNamespace(announce=told.append, on_each=lambda look, site: [away])
    monkeypatch.setattr(remote, "appears", lambda path, seconds: path.exists())
    words = r"another machine writes into .* is not seen here"
    with pytest.raises(ClusterError, match=words), remote.shared(hidden, tmp_path / "runs"):  # type: ignore[arg-type]
        pass
    unlocked = SimpleNamespace(
        announce=told.append, on_each=lambda look, site: [remote.Look("", locks=False)]
    )
    with remote.shared(unlocked, tmp_path / "runs"):  # type: ignore[arg-type]
        assert "keeps no locks between machines" in told[-1]
    assert [*(tmp_path / "runs").iterdir()] == []


def test_each_run_has_cores_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By locks on files: what another process holds is left to it, until there are no others."""
    from armillary.files import lock

    monkeypatch.setattr(remote.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3})
    monkeypatch.setattr(remote, "_cores", remote._cores.__wrapped__)
    taken: list[list[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: taken.append(cores))
    folder = tmp_path / f"armillary-cores-{os.getuid()}"
    with lock(folder / "1"):
        remote.take_cores(2)
        remote.take_cores(2)
    assert taken == [[0, 2], [3, 0]]
    remote._kept.close()
