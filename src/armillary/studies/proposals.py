"""The trials of a sweep, as Optuna proposes and keeps them.

Optuna keeps what it was told in `trials.journal` in the sweep's folder. Its sampler is made anew
for each trial, with a seed of that trial's number: so a sweep that was stopped proposes what it
would have proposed (in turn; side by side it depends on which trials had ended).
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from armillary import seeding
from armillary.advice import extra
from armillary.errors import RunError, UsageError
from armillary.files import storage_error
from armillary.studies.space import Setting

Sampler = Literal["tpe", "random"]
State = Literal["open", "done", "pruned", "failed"]

JOURNAL = "trials.journal"
_STUDY = "sweep"


@dataclass(frozen=True)
class Trial:
    """One combination of values, and what came of it.

    Attributes:
        number: from 0.
        values: by the settings' names.
        state: open: not ended. pruned: stopped since others were better at the same test. failed:
            `why` says with which error.
        score: None: it has none.
        scores: those of its seeds, of which `score` is the mean.
        why: in a sentence.
        runs_of: the number of the trial of the same values, whose runs are its own, too; negative:
            there is none.
    """

    number: int
    values: Mapping[str, Any]
    state: State = "open"
    score: float | None = None
    scores: Sequence[float] = ()
    why: str = ""
    runs_of: int = -1

    @property
    def folder_number(self) -> int:
        """The number in the names of its run folders."""
        return self.number if self.runs_of < 0 else self.runs_of


class Proposals:
    """The trials of a sweep.

    Args:
        folder: of the sweep.
        over: the settings.
        sampler: tpe: the tree-structured Parzen estimator, after ten random trials. random.
        seed: of the proposals.
        prune: whether `report` may say that a trial is to end: Optuna's median rule.
        described: all that makes this sweep another one, ready for JSON.

    Raises:
        UsageError: Optuna is not installed, or the folder holds another sweep.
        RunError: it holds something else, or the journal is damaged.
        StorageError: it cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        over: Sequence[Setting],
        *,
        sampler: Sampler,
        seed: int,
        prune: bool,
        described: Mapping[str, Any],
    ) -> None:
        self._optuna = _import()
        self._over, self._sampler, self._seed = over, sampler, seed
        self._folder, path = folder, folder / JOURNAL
        if not path.exists() and folder.exists() and any(folder.glob("[!.]*")):
            raise RunError(
                f"{str(folder)!r} exists and is not the folder of a sweep: give an empty or a new "
                "one (--run)"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _cut(path)
            self._study = self._open(path, prune)
        except OSError as error:
            raise storage_error(path, error) from error
        except (ValueError, KeyError, AssertionError) as error:
            raise RunError(
                f"{path} is damaged ({error}): the runs beside it are untouched; begin a new sweep "
                "with another --run"
            ) from error
        self._check_same(json.loads(json.dumps(described)))

    def _open(self, path: Path, prune: bool) -> Any:
        optuna = self._optuna
        storage = optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(path))
        )
        pruner = optuna.pruners.MedianPruner() if prune else optuna.pruners.NopPruner()
        return optuna.create_study(
            storage=storage, study_name=_STUDY, direction="maximize", pruner=pruner,
            load_if_exists=True,
        )  # fmt: skip

    def _check_same(self, described: Mapping[str, Any]) -> None:
        before = self._study.user_attrs.get("described")
        if before is None:
            self._study.set_user_attr("described", described)
        elif before != described:
            names = sorted(
                name for name in before | described if before.get(name) != described.get(name)
            )
            lines = "".join(
                f"\n  {name}: {before.get(name)!r} there, {described.get(name)!r} asked for"
                for name in names
            )
            raise UsageError(
                f"{str(self._folder)!r} holds a sweep of other settings; give another --run, or "
                f"the same settings to go on with it (--trials may grow). These differ:{lines}"
            )

    @property
    def trials(self) -> list[Trial]:
        """All trials, by their numbers."""
        return [self._of(frozen) for frozen in self._study.get_trials(deepcopy=False)]

    def _of(self, frozen: Any) -> Trial:
        states = self._optuna.trial.TrialState
        why = frozen.user_attrs.get("why", "")
        state: State = "open"
        if frozen.state.is_finished():
            ended: State = "done" if frozen.state == states.COMPLETE else "pruned"
            state = "failed" if why or frozen.state == states.FAIL else ended
        known = {one.name: one for one in self._over}
        values = {name: known[name].value(x) for name, x in frozen.params.items()}
        score = frozen.value if state == "done" else None
        return Trial(
            frozen.number,
            values,
            state,
            score,
            tuple(frozen.user_attrs.get("scores", ())),
            why,
            frozen.user_attrs.get("runs_of", -1),
        )

    def propose(self) -> Trial:
        """Returns a new trial."""
        number = len(self._study.get_trials(deepcopy=False))
        self._study.sampler = self._made(number)
        trial = self._study.ask()
        return Trial(number, {one.name: one.suggest(trial) for one in self._over})

    def complete(self, trial: Trial) -> Trial:
        """Returns an open trial with the values that it lacks, if it was stopped while it began."""
        self._study.sampler = self._made(trial.number)
        live = self._live(trial)
        return Trial(trial.number, {one.name: one.suggest(live) for one in self._over})

    def report(self, trial: Trial, tests: Sequence[tuple[int, float]]) -> bool:
        """Takes down the scores of a trial's tests; returns whether it is to be pruned.

        Args:
            trial: an open one.
            tests: of its first seed all until now: after how many episodes, and the score.
        """
        live = self._live(trial)
        known = self._study.get_trials(deepcopy=False)[trial.number].intermediate_values
        for episode, score in tests:
            if episode not in known:
                live.report(score, episode)
        return bool(tests) and bool(live.should_prune())

    def end(
        self,
        trial: Trial,
        scores: Sequence[float] = (),
        *,
        score: float | None = None,
        why: str = "",
        bad: bool = False,
    ) -> None:
        """Takes down how a trial ended.

        Args:
            trial: an open one.
            scores: of its seeds.
            score: None, and no `why`: it was pruned.
            why: it failed.
            bad: it failed by its values, so the sampler is to keep away from them.
        """
        states, live = self._optuna.trial.TrialState, self._live(trial)
        live.set_user_attr("scores", list(scores))
        if why:
            live.set_user_attr("why", why)
        if score is not None:
            self._study.tell(trial.number, score)
        else:  # a pruned one counts as worse than all that have a score
            failed = bool(why) and not bad
            self._study.tell(trial.number, state=states.FAIL if failed else states.PRUNED)

    def end_as(self, trial: Trial, before: Trial) -> None:
        """Takes down that a trial ended as another one of the same values."""
        frozen = self._study.get_trials(deepcopy=False)[before.number]
        self._live(trial).set_user_attr("runs_of", before.folder_number)
        bad = frozen.state == self._optuna.trial.TrialState.PRUNED
        self.end(trial, before.scores, score=before.score, why=before.why, bad=bad)

    def _live(self, trial: Trial) -> Any:
        frozen = self._study.get_trials(deepcopy=False)[trial.number]
        return self._optuna.trial.Trial(self._study, frozen._trial_id)

    def _made(self, number: int) -> Any:
        samplers, seed = self._optuna.samplers, seeding.integer(self._seed, "sweep", number)
        if self._sampler == "random":
            return samplers.RandomSampler(seed=seed)
        return samplers.TPESampler(seed=seed, constant_liar=True)


def _import() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UsageError(
            f"a sweep needs Optuna, which is not installed: `{extra('sweep')}`"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    return optuna


def _cut(path: Path) -> None:
    """Cuts off a last line that was half written when the power went."""
    if not path.exists():
        return
    text = path.read_bytes()
    whole = text.rfind(b"\n") + 1
    if whole < len(text):
        os.truncate(path, whole)
