"""A sweep: runs that differ in some settings, to find the values with the best scores.

Each trial is a run for each of its seeds, in a run folder like any other. Optuna proposes the
values (`armillary.studies.proposals`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from armillary.config import Config, changed, to_dict
from armillary.errors import (
    RunError,
)
from armillary.studies import space
from armillary.studies.plots import evaluation_curve, read_metrics
from armillary.studies.proposals import Sampler, Trial
from armillary.training.results import read_results
from armillary.training.run import Run
from armillary.training.saved_config import MAY_CHANGE

Score = Literal["final", "tests"]


@dataclass(frozen=True)
class Sweep:
    """What is tried.

    Attributes:
        config: what all trials have in common; its seed is that of the proposals, too.
        over: the settings that they differ in.
        folder: of all of it.
        trials: how many.
        seeds: runs of each trial, with seeds from that of the configuration on.
        score: final: the mean of the noise-free episodes at a run's end. tests: the mean over all
            its tests, that at the end among them, so that learning sooner counts.
        sampler: see `Proposals`.
        prune: whether trials end early that are worse than the median at a test of their first
            seed.
    """

    config: Config
    over: tuple[space.Setting, ...]
    folder: Path
    trials: int = 20
    seeds: int = 1
    score: Score = "final"
    sampler: Sampler = "tpe"
    prune: bool = False

    def described(self) -> dict[str, Any]:
        """Returns all that makes a sweep another one."""
        config = to_dict(self.config)
        kept = {name for name in MAY_CHANGE if name != "episodes"}
        for name in kept:
            section, _, last = name.rpartition(".")
            (config[section] if section else config).pop(last, None)
        what = {name: getattr(self, name) for name in ("seeds", "score", "sampler", "prune")}
        return {"config": config, "over": [asdict(one) for one in self.over], **what}

    def run_config(self, trial: Trial, seed: int) -> Config:
        """Returns the configuration of a trial's run, by the number of its seed from 0."""
        return changed(self.config, {**trial.values, "seed": self.config.seed + seed})

    def run_folder(self, trial: Trial, seed: int) -> Path:
        """Returns the folder of a trial's run."""
        return self.folder / f"trial{trial.folder_number:03d}-seed{self.config.seed + seed}"


def check(sweep: Sweep) -> None:
    """Makes sure, before anything is written, that the trials can be.

    Raises:
        UsageError: a value is not allowed, the task is unknown, or the agent cannot do it.
    """
    from armillary.agents.registry import know, make_agent
    from armillary.envs.build import spec_of
    from armillary.envs.games import game, is_game, spec_of_game

    space.check(sweep.config, sweep.over)
    config = sweep.config
    know(config)
    if config.source is not None:
        return
    kwargs = config.environment.kwargs
    if is_game(config.task, kwargs):
        spec = spec_of_game(game(config.task, kwargs))
    else:
        spec = spec_of(config.tasks, config.environment)
    for one in sweep.over:
        for value in one.ends:
            tried = changed(config, {one.name: value})
            if tried.environment == config.environment:
                make_agent(tried, spec)


def tests(folder: Path) -> list[tuple[int, float]]:
    """Returns the mean scores of a run's tests so far, each with its collected episodes."""
    if not (folder / "metrics.jsonl").exists():
        return []
    curve = evaluation_curve([read_metrics(folder)])
    return [(n, mean(scores)) for n, scores in zip(curve.episodes, curve.scores, strict=True)]


def score(sweep: Sweep, folder: Path) -> float:
    """Returns the score of a run that has ended.

    Raises:
        RunError: its results are damaged.
    """
    if sweep.score == "tests":
        return mean(one for _, one in tests(folder))
    results = read_results(Run(folder).results)
    if results is None:
        raise RunError(f"{Run(folder).results} is missing or damaged: the same command goes on")
    return float(results["agent"]["mean"])


def begins(trial: Trial, sweep: Sweep) -> str:
    """Returns which trial it is, in a line."""
    values = ", ".join(f"{name} {short(value)}" for name, value in trial.values.items())
    return f"trial {trial.number + 1} of {sweep.trials}: {values}"


def told(trial: Trial, sweep: Sweep) -> str:
    """Returns what came of a trial, in a line."""
    scored = "" if trial.score is None else f" with a score of {trial.score:.1f}"
    why = f": {trial.why}" * bool(trial.why)
    return f"{begins(trial, sweep)}: {trial.state}{scored}{why}"


def short(value: Any) -> str:
    """Returns a value as people read it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
