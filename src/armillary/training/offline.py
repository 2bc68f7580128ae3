"""Learning from episodes that are there already, without collecting any."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from armillary.agents.base import Actor, LearnsFromSteps
from armillary.config import Config, EnvironmentConfig
from armillary.errors import RunError, UsageError
from armillary.files import write_atomically
from armillary.replay.entry import recorded_in, verified
from armillary.replay.episodes import EpisodeStore
from armillary.spec import MASK, Continuous, Discrete, Field, Spec
from armillary.training import checkpoint, minari
from armillary.training.counters import Counters
from armillary.training.packed import refuse
from armillary.training.run import Run
from armillary.training.selfplay import OUTCOME


def source_spec(source: str | Path, environment: EnvironmentConfig | None = None) -> Spec:
    """Returns what an agent that learns from these episodes is made from.

    A run's checkpoint says it, and a Minari data set its spaces. Of a bare folder it is seen in the
    first sound episode, whose actions are taken for discrete ones if they are all one-hot.

    Args:
        source: a run folder, a folder of episodes, or `minari:NAME`.
        environment: what is observed of a data set.

    Raises:
        UsageError: there are no episodes.
        RunError: they are damaged.
    """
    if minari.is_named(source):
        return minari.DataSet(str(source), environment or EnvironmentConfig()).spec
    run = Run(source)
    if begun(run):
        meta = checkpoint.read_meta(run.checkpoints)
        return Spec.from_dict(Counters.of(meta, run.checkpoints).spec)
    entries = (verified(path) for path in _files(source))
    entry = next((entry[0] for entry in entries if isinstance(entry, list)), None)
    if entry is None:
        raise RunError(f"every episode in {str(_folder(source))!r} is damaged: give other ones")
    fields = {name: Field(*of_row) for name, of_row in entry.layout["observation"].items()}
    actions = entry.action
    one_hot = np.isin(actions, (0, 1)).all() and (actions[1:].sum(axis=1) == 1).all()
    kind = Discrete if one_hot and actions.shape[1] > 1 else Continuous
    if MASK in entry.small:
        fields[MASK] = Field((actions.shape[1],), "bool")
    players = 2 if OUTCOME in entry.records else 1
    return Spec.of(fields, kind(actions.shape[1]), players)


def check_records(config: Config, agent: Actor) -> None:
    """Makes sure that all episodes of `config.source` hold what an agent's updates read of them.

    Damaged ones are left to those who read them.

    Raises:
        UsageError: there are none, or records are missing.
    """
    wanted = set(agent.recorded) if isinstance(agent, LearnsFromSteps) else set()
    if not wanted:
        return
    source = str(config.source)
    files = [] if minari.is_named(source) else [*_files(source)]
    records = {str(path): recorded_in(path) for path in files} or {source: set()}
    for name, found in records.items():
        if found is not None and not wanted <= found:
            raise UsageError(
                f"{config.agent} learns from what it noted of its own actions "
                f"({', '.join(sorted(wanted))}), which {name!r} does not have: give --from a run "
                f"of {config.agent}, or let it play episodes of its own"
            )


def begun(run: Run) -> bool:
    """Whether a run has a checkpoint."""
    return run.checkpoints.is_dir() and checkpoint.exists(run.checkpoints)


def bring(config: Config, run: Run) -> None:
    """Puts the episodes of `config.source` into a run's own folder.

    They keep their numbers; those of a Minari data set are written as if they had been collected.
    Where the file system can, they take no room for a second time. What is
    there already is left alone, so that what was interrupted can be done again.

    Raises:
        UsageError: there are none, or it is the run's own folder.
        StorageError: they cannot be written.
    """
    source = str(config.source)
    if minari.is_named(source):
        store = EpisodeStore(run.episodes)
        begin = store.indices[-1] + 1 if store.indices else 0
        data = minari.DataSet(source, config.environment)
        for index, episode in enumerate(data.episodes(begin), begin):
            store.write(index, episode)
        return
    if _folder(source).resolve() == run.episodes.resolve():
        raise UsageError(
            f"{source!r} is the folder of this run itself: give another one with --run"
        )
    for path in _files(source):
        target = run.episodes / path.name
        with suppress(FileExistsError):
            try:
                run.episodes.mkdir(parents=True, exist_ok=True)
                os.link(path.resolve(), target)
            except FileExistsError:
                raise
            except OSError:  # on another disk, or one that has no links
                with open(path, "rb") as file:
                    write_atomically(target, partial(shutil.copyfileobj, file))


def _folder(source: str | Path) -> Path:
    """Returns where the files are: in a run folder in its `episodes`."""
    folder = Path(source)
    return folder / "episodes" if (folder / "episodes").is_dir() else folder


def _files(source: str | Path) -> Iterator[Path]:
    """Yields the episodes of a folder.

    Raises:
        UsageError: there are none.
    """
    refuse(source, "episodes")
    folder = _folder(source)
    files = sorted(folder.glob("episode-*.npz")) if folder.is_dir() else []
    if not files:
        what = "holds no episodes" if folder.is_dir() else "does not exist"
        raise UsageError(
            f"there is nothing to learn from: {str(folder)!r} {what}. Give a run folder, or "
            "a folder of episode-*.npz"
        )
    yield from files
