"""Batches that are divided among devices: the same losses as on one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from armillary.config.typed import options
from armillary.errors import UsageError
from armillary.training import hosts
from armillary.training.devices import Devices
from armillary.training.loop import train
from armillary.training.player import load
from conftest import environment
from settings import TINY

TESTS = Path(__file__).parents[1]


def test_what_cannot_be_divided_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for count, words in ((2, "JAX finds 1 here"), (-1, "must not be negative")):
        with pytest.raises(UsageError, match=words):
            train(replace(TINY, training=replace(TINY.training, devices=count)), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()
    assert Devices(0, 4).count == 1
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices() * 3)
    with pytest.raises(UsageError, match="batch_size is 4, which cannot be divided among 3"):
        Devices(0, 4)


def _losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [x for row in rows for name, x in sorted(row.items()) if name.startswith("loss/")]


@pytest.mark.slow
def test_two_devices_learn_what_one_does(
    tmp_path: Path, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In a process for which this CPU is two devices; the run then goes on here, with one."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, str(TESTS / "divided.py"), str(tmp_path / "run")],
        env=environment() | {"XLA_FLAGS": flags, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == {"devices": 2, "rows": [[2, 2]]}
    np.testing.assert_allclose(_losses(tmp_path / "run"), _losses(trained), rtol=1e-3)
    ours, expected = (jax.tree.leaves(load(folder).state) for folder in (tmp_path / "run", trained))
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)
    train(replace(TINY, episodes=5), tmp_path / "run")
    assert "devices 2 before and 1 now" in caplog.text


@pytest.mark.slow
def test_two_hosts_learn_what_one_does(tmp_path: Path, trained: Path) -> None:
    """Two processes: the second has no folder, and ends when the first does."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "armillary", "train"),
                *("--run", str(tmp_path / f"run{number}")),
                *("--hosts", f"localhost:{port},2,{number}"),
                *options(TINY),
            ],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    (out, errors), (_, of_second) = [process.communicate(timeout=500) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors[-2000:] + of_second
    assert "this agent" in out
    assert "which the first process trained" in of_second
    assert not (tmp_path / "run1").exists()
    np.testing.assert_allclose(_losses(tmp_path / "run0"), _losses(trained), rtol=1e-3)


def test_which_process_this_is_must_be_clear() -> None:
    for where, words in (
        ("localhost", "give auto, or ADDRESS:PORT,N,I"),
        ("localhost:1,2,x", "give auto, or"),
        ("localhost:1,2,2", "process 2 of 2: they are counted from 0"),
    ):
        with pytest.raises(UsageError, match=words):
            hosts.connect(where)
