"""Run folders that are whole and not what they were, or that hold scores and nothing else."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from armillary import seeding
from armillary.agents.registry import make_agent
from armillary.config import Config, to_dict
from armillary.envs.build import spec_of
from armillary.envs.games import game, is_game, spec_of_game
from armillary.studies.runs import Member
from armillary.training import checkpoint
from armillary.training.counters import Counters
from armillary.training.run import Run


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


def finish(
    member: Member,
    score: Callable[[str, int], float],
    tests: Sequence[tuple[int, float]] = ((2, 0.5), (3, 1.0)),
    seconds: float = 10.0,
) -> None:
    """Writes what a finished run leaves: tests of three episodes on each task.

    Args:
        member: the run.
        score: of a task's test episode, by its number, at the end.
        tests: for each the episode at which it was, and the part of those scores that it has.
        seconds: that the run took.
    """
    member.folder.mkdir(parents=True)
    Run(member.folder).open(member.config)
    tasks = member.config.tasks
    rows, results = [], {}
    for task in tasks:
        scores = [score(task, i) for i in range(3)]
        name = f"evaluate/{task}" if len(tasks) > 1 else "evaluate"
        for episode, share in tests:
            values = {f"{name}/mean": 0.0, f"{name}/scores": [share * s for s in scores]}
            rows.append({"episode": episode * len(tasks), **values})
        results[task] = {"agent": {"scores": scores}, "random": {"scores": [1.0, 2.0]}}
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (member.folder / "metrics.jsonl").write_text(lines)
    content = {
        "episodes": member.config.episodes,
        "updates": 1,
        "tasks": results,
        "seconds": seconds,
    }
    Run(member.folder).results.write_text(json.dumps(content))


def untrained(config: Config, folder: Path, shaken: float = 0.0) -> Path:
    """Writes the run of an agent that has learned nothing yet.

    Args:
        config: of the run.
        folder: of the run.
        shaken: standard deviation of noise on a network of MuZero, which otherwise finds
            everything equally good.
    """
    if is_game(config.task, config.environment.kwargs):
        spec = spec_of_game(game(config.task, config.environment.kwargs))
    else:
        spec = spec_of(config.tasks, config.environment)
    counters = Counters(spec.as_dict(), config=to_dict(config))
    run = Run(folder)
    run.open(config)
    state = make_agent(config, spec).init(seeding.key(config.seed, "init"))
    part = next((name for name in ("network", "model") if name in state._fields), None)
    if part is not None:
        random = np.random.default_rng(0)
        noisy = jax.tree.map(
            lambda x: x + shaken * random.normal(size=x.shape).astype(x.dtype),
            getattr(state, part),
        )
        state = state._replace(**{part: noisy})
    checkpoint.save(run.checkpoints, state, asdict(counters))
    return folder
