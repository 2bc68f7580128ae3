"""A run that is stopped and started again is the run that was never stopped.

Real processes, real signals; the parameters, the optimiser's moments, the episodes, the scores and
the metrics must be the same to the last bit.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from armillary.config import Config, PlanetConfig
from armillary.config.typed import options
from conftest import environment
from settings import ALL, KINDS

EPISODES = 7


def _start(folder: Path, config: Config) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "armillary", "train", "--run", str(folder), *options(config)]
    command += [
        "--episodes",
        str(EPISODES * config.round_size),
        "--training.checkpoint-minutes",
        "0.001",
    ]
    # One agent's programs are compiled as a user's are; the others' are those of the other tests.
    as_users = isinstance(config, PlanetConfig)
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=environment(as_users=as_users))


def _reached(folder: Path) -> tuple[int, int]:
    """Returns the updates and episodes of the newest checkpoint; -1: there is none."""
    from armillary.errors import RunError
    from armillary.training import checkpoint

    try:
        meta = checkpoint.read_meta(folder / "checkpoints")
    except RunError:
        return -1, -1
    return meta["updates"], meta["episodes"]


def _wait_for(
    process: subprocess.Popen[bytes],
    folder: Path,
    updates: int,
    episodes: int,
    before: tuple[int, int],
) -> None:
    """Returns when the process has come that far; fails if it ends.

    The one before it may have come that far already, so its own checkpoint, another than the one
    `before`, is waited for: a signal that comes while Python starts meets no handler.
    """
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1].decode()
        reached = _reached(folder)
        if reached != before and reached[0] >= updates and reached[1] >= episodes:
            return
        time.sleep(0.01)
    raise AssertionError("the run did not get that far")


def _rows(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def _leaves(folder: Path) -> list[np.ndarray]:
    import jax

    from armillary.training.player import load

    return [np.asarray(leaf) for leaf in jax.tree.leaves(load(folder).state)]


@KINDS
@pytest.mark.slow
def test_a_stopped_run_ends_bit_identical(tmp_path: Path, config: Config) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    process = _start(whole, config)
    assert process.communicate()[0] is None
    assert process.returncode == 0

    stops = [
        (signal.SIGKILL, 0, 1),  # among the seed episodes
        (signal.SIGINT, 3, 2),  # among the updates
        (signal.SIGKILL, 9, 3),
        (signal.SIGTERM, 14, 4),
        (signal.SIGKILL, 22, 5),
    ]
    for number, updates, episodes in stops:
        before = _reached(stopped)
        process = _start(stopped, config)
        _wait_for(process, stopped, updates, episodes * config.round_size, before)
        time.sleep(random.Random(updates).uniform(0, 0.05))
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
        if number == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 128 + number
            assert b"everything so far is saved" in errors
            assert b"Traceback" not in errors
    process = _start(stopped, config)
    process.communicate()
    assert process.returncode == 0

    for a, b in zip(_leaves(whole), _leaves(stopped), strict=True):
        assert a.tobytes() == b.tobytes()
    names = sorted(os.listdir(whole / "episodes"))
    assert len(names) == EPISODES
    assert names == sorted(os.listdir(stopped / "episodes"))
    for name in names:
        with np.load(whole / "episodes" / name) as a, np.load(stopped / "episodes" / name) as b:
            for entry in a.files:
                np.testing.assert_array_equal(a[entry], b[entry])
    results = [json.loads((folder / "results.json").read_text()) for folder in (whole, stopped)]
    assert results[0]["agent"] == results[1]["agent"]
    assert results[0]["random"] == results[1]["random"]
    assert _rows(whole) == _rows(stopped)


@ALL
def test_an_episode_collected_before_the_kill_is_used_not_lost(
    tmp_path: Path, config: Config
) -> None:
    """The kill came after the episode was written and before the checkpoint."""
    from dataclasses import replace

    from armillary.training import checkpoint
    from armillary.training.loop import train

    folder = tmp_path / "run"
    size = config.round_size
    train(replace(config, episodes=3 * size), folder)
    train(replace(config, episodes=4 * size), folder)
    episode = folder / "episodes" / f"episode-{3 * size:06d}.npz"
    before, expected = episode.stat().st_mtime_ns, _leaves(folder)
    (folder / "results.json").unlink()
    meta = [(path, checkpoint.read_meta(path)) for path in (folder / "checkpoints").iterdir()]
    for path, counters in meta:
        if counters["episodes"] == 4 * size:
            path.unlink()
    if not checkpoint.exists(folder / "checkpoints"):  # both kept ones are younger: start over
        assert len(meta) == 2
    train(replace(config, episodes=4 * size), folder)
    assert episode.stat().st_mtime_ns == before
    for a, b in zip(expected, _leaves(folder), strict=True):
        np.testing.assert_array_equal(a, b)
