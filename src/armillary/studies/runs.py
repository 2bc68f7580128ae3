"""The training runs of a comparison: which there are, what they cost, and how they are run.

A study is a list of runs. The studies of a paper share their runs: PlaNet on cheetah run, seed 0,
is the same run in Figures 4 to 9 and in Table 1, and is trained once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from armillary.config import Config
from armillary.config.schedule import all_rounds, evaluation_due, updates_due
from armillary.errors import UsageError
from armillary.studies import remote
from armillary.studies.bar import Bar, duration
from armillary.studies.cluster import Cluster, Outcome
from armillary.studies.comparisons import Comparison, Scale, Variant
from armillary.studies.workers import WorkerError, share
from armillary.training.results import read_results
from armillary.training.run import InUse, Run

_SECONDS = 5.0
"""How often it is looked how far the runs are."""


@dataclass(frozen=True)
class Member:
    """One run of a study.

    Attributes:
        variant: which line of the figure it belongs to.
        config: its configuration.
        folder: its run folder.
    """

    variant: Variant
    config: Config
    folder: Path

    @property
    def results(self) -> dict[str, Any] | None:
        """What the run ended with; None if it has not ended."""
        results = read_results(Run(self.folder).results)
        return results if results and results["episodes"] >= self.config.episodes else None


def members(comparison: Comparison, scale: Scale, folder: Path) -> list[Member]:
    """Returns the runs of a study: of every variant, task and seed.

    Raises:
        UsageError: in a run's folder there is a run of another configuration, or a longer one.
        RunError: or a damaged one.
    """
    found = list(_members(comparison, scale, folder))
    for member in found:
        run = Run(member.folder)
        if run.exists:
            run.check_same(member.config)
            if run.config.episodes > member.config.episodes:
                raise UsageError(
                    f"{str(run.folder)!r} is a run of {run.config.episodes} episodes, more than "
                    f"the {member.config.episodes} asked for: give another --run, or as many"
                )
    return found


def _members(comparison: Comparison, scale: Scale, folder: Path) -> Iterator[Member]:
    for seed in range(scale.seeds):
        for variant in comparison.variants:
            for task in (",".join(scale.tasks),) if variant.together else scale.tasks:
                config = scale.config(variant, task, seed)
                place = "all" if variant.together else task
                yield Member(variant, config, folder / place / f"{variant.name}-seed{seed}")


def cost(
    members: Sequence[Member],
    missing: Sequence[Member],
    workers: int,
    announce: Callable[[str], None] = lambda text: None,
    cluster: Cluster | None = None,
) -> str:
    """Returns what the missing runs will take, as far as it is known.

    The time is estimated for each agent, of MuZero with and without Reanalyze: from the runs in
    the folder that have ended, and before there is one, from an update and an action that are
    timed here.

    Args:
        members: the runs of the study.
        missing: those that are to be trained.
        workers: how many at the same time.
        announce: is told what is timed.
        cluster: where they are trained, and timed, as many at the same time as it can; None: here.
    """
    if cluster is not None:
        workers = max(1, cluster.slots)
    episodes = sum(len(m.config.tasks) * m.config.episodes for m in missing)
    updates, seconds, timed = 0, 0.0, []
    agents = list(dict.fromkeys(member.config.learner for member in missing))
    for agent in agents:
        ahead = [member for member in missing if member.config.learner == agent]
        due = sum(_updates(member.config) for member in ahead)
        pace = _pace([m for m in members if m.config.learner == agent])
        if pace is None:
            announce(f"timing an update and an action of {agent}, to say what the study will cost")
            if cluster is None:
                pace = _seconds_per_update(ahead[0].config)
            else:
                pace = cluster.call(_timed, ahead[0].config, cluster.needs.cores)
            timed.append(agent)
        updates += due
        seconds += pace * due
    how = "by the runs that have ended"
    if timed:
        before = "" if len(timed) == len(agents) else f"{how}; of {' and '.join(timed)} "
        how = before + f"by one update and one action, timed {'there' if cluster else 'here'}"
    return (
        f"{len(missing)} of {len(members)} runs are missing: {episodes:,} episodes and {updates:,} "
        f"updates; about {duration(seconds / min(workers, len(missing)))} ({how})"
    )


def _pace(members: Sequence[Member]) -> float | None:
    """Returns the seconds for an update, all else included, of the runs that have ended."""
    ended = [(member, results) for member in members if (results := member.results)]
    if not ended:
        return None
    updates = sum(_updates(member.config) for member, _ in ended)
    return float(sum(results["seconds"] for _, results in ended) / max(1, updates))


def _updates(config: Config) -> int:
    return updates_due(config, all_rounds(config))


def _seconds_per_update(config: Config) -> float:
    """Returns the time of an update, with its part of the actions between updates."""
    from armillary import seeding
    from armillary.agents.base import Agent
    from armillary.agents.registry import make_agent
    from armillary.envs.build import spec_of
    from armillary.envs.catalogue import action_repeat
    from armillary.machine.agent import time_act, time_update
    from armillary.training.program_cache import keep
    from armillary.training.saving import init

    keep()
    agent = make_agent(config, spec_of(config.tasks, config.environment))
    assert isinstance(agent, Agent)  # studies train
    state = init(agent, seeding.key(0, "bench"))
    update = time_update(agent, config, state, 3)
    act = time_act(agent, config, state, 1)
    repeat = config.environment.action_repeat or action_repeat(config.tasks[0])
    actions = (config.environment.time_limit or 1000) / repeat
    evaluation = config.evaluation
    tests = sum(evaluation_due(config, rounds) for rounds in range(all_rounds(config)))
    episodes = config.episodes - config.collection.seed_episodes
    episodes += tests * evaluation.episodes + evaluation.final_episodes
    actions *= episodes * len(config.tasks) / config.round_size  # played side by side
    return update.median + act.best * actions / _updates(config)


def _timed(config: Config, cores: int) -> float:
    """The same on a machine of a cluster."""
    remote.take_cores(cores)
    return _seconds_per_update(config)


def run(
    missing: list[Member],
    *,
    workers: int = 1,
    announce: Callable[[str], None] = lambda text: None,
    cluster: Cluster | None = None,
) -> None:
    """Trains the runs that are missing, one after another, in several processes, or on a cluster.

    A run that another process is training is left to it. An interrupted run goes on where it was.

    Args:
        missing: the runs.
        workers: processes; of the cores each gets its part. With one, the runs are trained in this
            process and show their own progress.
        announce: is told what begins.
        cluster: which trains them, as many at the same time as it can; None: this machine does.

    Raises:
        Stopped: by a signal; what was done is kept.
        InUse: runs are being trained elsewhere, and all others are done.
        WorkerError: a run failed; of a cluster all others are done.
        ClusterError: its machines do not see the folder, or are not alike.
    """
    workers = min(workers, len(missing))
    if cluster is not None:
        _spread(missing, cluster)
    elif workers > 1:
        with Bar(_to_collect(missing), _collected(missing)) as bar:

            def watch() -> None:
                ended = sum(member.results is not None for member in missing)
                bar.update(_collected(missing), f"{ended} of {len(missing)} runs")

            logs = missing[0].folder.parents[1]
            share(_work, (missing, workers, logs), workers, watch=watch, seconds=_SECONDS)
    else:
        _train_each(missing, announce, lambda: None)
    elsewhere = [member for member in missing if member.results is None]
    if elsewhere:
        raise InUse(
            f"{len(elsewhere)} runs are being trained by another process, {elsewhere[0].folder} "
            "for one: the same command draws the figure when they are done"
        )


def _spread(missing: Sequence[Member], cluster: Cluster) -> None:
    """Trains runs on a cluster; one that fails does not end the others."""
    members = {str(member.folder): member for member in missing}
    failed: dict[str, Outcome] = {}
    ended = 0
    with (
        remote.shared(cluster, missing[0].folder.parents[1]) as site,
        Bar(_to_collect(missing), _collected(missing)) as bar,
        cluster.stopping(bar.message),
    ):
        for name, member in members.items():
            place = member.folder.absolute()
            arguments = (member.config, place, site, cluster.needs.cores)
            cluster.submit(name, remote.train, arguments, partial(_collected, [member]))
        while cluster.open:
            just = cluster.ended(_SECONDS)
            for name, outcome in just:
                if outcome.state in ("failed", "stopped"):
                    failed[name] = outcome
                bar.message(f"{name}: {_told(members[name], outcome)}")
            ended += len(just)
            wrong = f", {len(failed)} of them failed" * bool(failed)
            text = f"{ended} of {len(missing)} runs{wrong}"
            bar.update(_collected(missing), text, now=bool(just))
    if failed:
        name, first = next(iter(failed.items()))
        others = "".join(f"\n  {name}" for name in list(failed)[1:])
        raise WorkerError(
            f"{len(failed)} of {len(missing)} runs failed, all others are done; {name}: "
            f"{first.why}{'; and' * bool(others)}{others}",
            first.exit_code,
        )


def _told(member: Member, outcome: Outcome) -> str:
    """Returns how a run on a cluster ended, in a sentence."""
    if outcome.state != "done":
        return f"{outcome.state}: {outcome.why}"
    remote.appears(Run(member.folder).results)
    results = member.results
    return f"score {results['agent']['mean']:.1f}" if results else "done"


def _to_collect(missing: Sequence[Member]) -> int:
    """Returns how many rounds of episodes the runs will have collected."""
    return sum(all_rounds(m.config) * len(m.config.tasks) for m in missing)


def _collected(missing: Sequence[Member]) -> int:
    """Returns how many rounds of episodes the runs have collected so far."""
    rows = (member.folder / "metrics.jsonl" for member in missing)
    return sum(path.read_bytes().count(b'"collect/return"') for path in rows if path.exists())


def _work(
    missing: list[Member], workers: int, logs: Path, number: int, check: Callable[[], None]
) -> None:
    """One process's share, on its part of the cores; it tells its progress to a file."""
    if hasattr(os, "sched_setaffinity"):  # before JAX counts the cores
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[number % len(cores) :: workers])
    logs.mkdir(parents=True, exist_ok=True)
    with open(logs / f"worker-{number}.log", "a") as log, redirect_stderr(log):
        _train_each(missing, lambda text: print(text, file=log, flush=True), check)


def _train_each(
    missing: list[Member], announce: Callable[[str], None], check: Callable[[], None]
) -> None:
    from armillary.training.loop import train

    for number, member in enumerate(missing, 1):
        if member.results is not None:  # by another process meanwhile
            continue
        announce(f"run {number} of {len(missing)}: {member.variant.label}, {member.folder}")
        try:
            train(member.config, member.folder, on_progress=lambda counters: check())
        except InUse:
            announce(f"{member.folder} is being trained by another process: left to it")
