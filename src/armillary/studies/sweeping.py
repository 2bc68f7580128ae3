"""Running a sweep: its trials in turn in this process, or side by side on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from armillary.errors import EnvironmentFailure, NumericalError, RunError, UsageError
from armillary.files import Locked, lock, storage_error
from armillary.studies import remote
from armillary.studies.bar import Bar
from armillary.studies.cluster import Cluster, Outcome
from armillary.studies.proposals import Proposals, Trial
from armillary.studies.sweep import Sweep, begins, score, tests, told
from armillary.studies.workers import WorkerError
from armillary.training.run import Run
from armillary.training.signals import Stopped, stop_request

_BAD = (NumericalError, UsageError)
"""Errors that a trial's values are to blame for."""
_ITS_OWN = (*_BAD, EnvironmentFailure)
"""Errors that end a trial; others (a full disk) end the sweep, and the same command goes on."""

_SECONDS = 5.0


Told = Callable[[Trial], None]
"""Is told that a trial has ended."""


class _Pruned(Exception):
    """The run is not worth going on with."""


def run(
    sweep: Sweep,
    *,
    cluster: Cluster | None = None,
    announce: Callable[[str], None] = lambda text: None,
    on_end: Callable[[list[Trial]], None] = lambda trials: None,
) -> list[Trial]:
    """Runs what is missing of a sweep; returns its trials.

    Args:
        sweep: what; call `check` before.
        cluster: which trains the runs, as many trials at the same time as it can; None: in turn, in
            this process.
        announce: is told what begins and ends.
        on_end: is given all trials whenever one has ended.

    Raises:
        UsageError: the folder holds another sweep.
        RunError: it is in use, or holds something else.
        Stopped: by a signal; the same sweep goes on where it was.
        ArmillaryError: what is not a trial's own fault.
    """
    with _alone(sweep.folder), stop_request() as stop:
        proposals = Proposals(
            sweep.folder,
            sweep.over,
            sampler=sweep.sampler,
            seed=sweep.config.seed,
            prune=sweep.prune,
            described=sweep.described(),
        )

        done = sum(trial.state != "open" for trial in proposals.trials)
        announce(
            f"{sweep.trials} trials of {sweep.config.agent} on {sweep.config.task} in "
            f"{sweep.folder}, {done} of them done: {'; '.join(map(str, sweep.over))}"
        )

        def ended(trial: Trial) -> None:
            trials = proposals.trials
            announce(told(trials[trial.number], sweep))
            on_end(trials)

        try:
            if cluster is None:
                for trial in _to_do(sweep, proposals, ended):
                    stop.check()
                    announce(begins(trial, sweep))
                    _in_turn(sweep, proposals, trial)
                    ended(trial)
            else:
                _side_by_side(sweep, proposals, cluster, ended)
        except Stopped as stopped:
            done = sum(trial.state != "open" for trial in proposals.trials)
            stopped.args = (
                f"{stopped}; {done} of {sweep.trials} trials are done and the others saved: the "
                "same command goes on",
            )
            raise
        return proposals.trials


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps two processes from running a sweep in the same folder."""
    if folder.is_dir() and Run(folder).exists:
        raise RunError(f"{str(folder)!r} is a run, not a sweep: give another --run")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error
    try:
        with lock(folder):
            yield
    except Locked as error:
        raise RunError(
            f"another process runs the sweep in {str(folder)!r}: wait for it, stop it, or give "
            "another --run"
        ) from error


def _to_do(sweep: Sweep, proposals: Proposals, ended: Told) -> Iterator[Trial]:
    """Yields the trials that were stopped, then new ones, each proposed when it is asked for."""
    for trial in proposals.trials:
        if trial.state == "open":
            yield proposals.complete(trial)
    while len(proposals.trials) < sweep.trials:
        trial = proposals.propose()
        before = _before(proposals, trial)
        if before is None:
            yield trial
        else:
            proposals.end_as(trial, before)
            ended(trial)


def _before(proposals: Proposals, trial: Trial) -> Trial | None:
    """Returns the trial that has ended with the same values, and so with the same scores."""
    same = (one for one in proposals.trials if one.values == trial.values)
    return next((one for one in same if one.state != "open"), None)


def _in_turn(sweep: Sweep, proposals: Proposals, trial: Trial) -> None:
    """Trains the runs of a trial, one after another, in this process."""
    from armillary.training.loop import train

    def watch(folder: Path, row: Mapping[str, Any]) -> None:
        if "evaluate/mean" in row and proposals.report(trial, tests(folder)):
            raise _Pruned

    scores: list[float] = []
    try:
        for seed in range(sweep.seeds):
            folder = sweep.run_folder(trial, seed)
            first: dict[str, Any] = {} if seed else {"on_metrics": partial(watch, folder)}
            train(sweep.run_config(trial, seed), folder, **first)
            scores.append(score(sweep, folder))
    except _Pruned:
        proposals.end(trial, scores)
    except _ITS_OWN as error:
        proposals.end(trial, scores, why=str(error), bad=isinstance(error, _BAD))
    else:
        proposals.end(trial, scores, score=mean(scores))


def _side_by_side(sweep: Sweep, proposals: Proposals, cluster: Cluster, ended: Told) -> None:
    """Trains the runs of several trials at the same time on a cluster."""
    running: dict[int, tuple[Trial, dict[int, float]]] = {}
    to_do, more = _to_do(sweep, proposals, ended), True
    sweep.folder.mkdir(parents=True, exist_ok=True)
    with (
        remote.shared(cluster, sweep.folder) as site,
        Bar(sweep.trials, sum(t.state != "open" for t in proposals.trials)) as bar,
        cluster.stopping(bar.message),
    ):
        while more or running:
            while more and len(running) * sweep.seeds < max(1, cluster.slots):
                trial = next(to_do, None)
                more = trial is not None
                if trial is not None:
                    running[trial.number] = trial, {}
                    for seed in range(sweep.seeds):
                        folder = sweep.run_folder(trial, seed).absolute()
                        config = sweep.run_config(trial, seed)
                        arguments = (config, folder, site, cluster.needs.cores)
                        key = (trial.number, seed)
                        cluster.submit(key, remote.train, arguments, partial(_rows, folder))
            for (number, seed), outcome in cluster.ended(_SECONDS if running else 0.0):
                if number in running:
                    trial, found = running[number]
                    if _take(sweep, proposals, trial, seed, found, outcome):
                        del running[number]
                        _leave(cluster, number)
                        ended(trial)
            if sweep.prune:
                for trial, found in list(running.values()):
                    if 0 not in found and proposals.report(
                        trial, tests(sweep.run_folder(trial, 0))
                    ):
                        _leave(cluster, trial.number)
                        proposals.end(trial, list(found.values()))
                        del running[trial.number]
                        ended(trial)
            done = sum(t.state != "open" for t in proposals.trials)
            bar.update(done, f"{done} of {sweep.trials} trials, {len(running)} running")


def _take(
    sweep: Sweep,
    proposals: Proposals,
    trial: Trial,
    seed: int,
    found: dict[int, float],
    outcome: Outcome,
) -> bool:
    """Takes what a run on a cluster ended with; returns whether its trial has ended with it.

    Raises:
        WorkerError: it failed by what is not the trial's own fault.
    """
    folder = sweep.run_folder(trial, seed)
    if outcome.state != "done":
        own = not outcome.kind or outcome.kind in {kind.__name__ for kind in _ITS_OWN}
        if outcome.state != "failed" or not own:
            raise WorkerError(f"{folder}: {outcome.state}: {outcome.why}", outcome.exit_code)
        bad = outcome.kind in {kind.__name__ for kind in _BAD}
        proposals.end(trial, list(found.values()), why=outcome.why, bad=bad)
        return True
    remote.appears(Run(folder).results)
    found[seed] = score(sweep, folder)
    if len(found) < sweep.seeds:
        return False
    scores = [found[seed] for seed in range(sweep.seeds)]
    proposals.end(trial, scores, score=mean(scores))
    return True


def _leave(cluster: Cluster, number: int) -> None:
    """Stops what still runs of a trial."""
    cluster.stop([key for key in cluster.open if key[0] == number])


def _rows(folder: Path) -> int:
    """Returns how far a run is, in rows of its metrics."""
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0
