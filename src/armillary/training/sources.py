"""Where trained agents come from: a run folder, a packed file, a demo, the Hugging Face Hub.

Whatever reads an agent takes any of these by its name; here it is decided which one it is.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as tensors_of

from armillary import seeding
from armillary.agents.base import Actor, trimmed
from armillary.agents.registry import admit
from armillary.config import Config, from_dict
from armillary.errors import RunError, UsageError
from armillary.training import checkpoint, demos, hub, packed
from armillary.training.counters import Counters
from armillary.training.results import checked, read_results
from armillary.training.run import Run
from armillary.training.saved_config import plain


class Trained(Protocol):
    """A trained agent as it is stored; what is damaged is a RunError when it is read."""

    @property
    def config(self) -> Config: ...

    @property
    def counters(self) -> Counters:
        """How long it was trained."""
        ...

    def restore(self, agent: Actor) -> tuple[Any, dict[str, Any]]:
        """Returns the parameters of an agent of this configuration, and the counters with them."""
        ...

    @property
    def results(self) -> dict[str, Any] | None:
        """What its run ended with, if it did."""
        ...

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """What it was paid when it was packed, if it was played."""
        ...

    @property
    def made(self) -> dict[str, str]:
        """How it was made, as far as it says."""
        ...


def located(where: str | Path) -> Path:
    """Returns the folder or file of an agent; what has to be fetched from the Hub is.

    Args:
        where: a run folder, a packed file, `demo:NAME` or `hf:OWNER/NAME`.

    Raises:
        UsageError: there is no such demo, or the Hub's library is missing.
        RunError: there is no such repository.
    """
    name = os.fspath(where)
    if name.startswith(packed.DEMO):
        return demos.path(name.removeprefix(packed.DEMO))
    if name.startswith(packed.HUB):
        return hub.pull(name.removeprefix(packed.HUB))
    return Path(name)


def opened(where: str | Path, *, trust: bool = False) -> Trained:
    """Returns the agent that a name leads to.

    Args:
        where: as in `located`.
        trust: whether code of an agent or of dynamics that it names may be imported.

    Raises:
        UsageError, RunError: as in `located`; or there is nothing, it is damaged or newer.
    """
    if packed.is_packed(where):
        return _OfPack(packed.Packed(located(where), os.fspath(where)), trust)
    return _OfRun(Run(where, trust=trust))


def config_of(where: str | Path, *, trust: bool = False) -> Config | None:
    """Returns the configuration of an agent; None: there is none of that name.

    Raises:
        UsageError, RunError: as in `opened`.
    """
    there = packed.is_packed(where) or Run(where).exists
    return opened(where, trust=trust).config if there else None


class _OfRun:
    def __init__(self, run: Run) -> None:
        self._run = run
        self.evaluation = None

    @property
    def config(self) -> Config:
        return self._run.config

    @cached_property
    def counters(self) -> Counters:
        run, config = self._run, self.config
        if not checkpoint.exists(run.checkpoints):
            raise RunError(
                f"{str(run.folder)!r} has no checkpoint yet: let it train until its first episode "
                "is over"
            )
        counters = Counters.of(checkpoint.read_meta(run.checkpoints), run.checkpoints)
        run.check_made_with(counters.config, config)
        return counters

    def restore(self, agent: Actor) -> tuple[Any, dict[str, Any]]:
        init = partial(agent.init, seeding.key(self.config.seed, "init"))
        return checkpoint.load(self._run.checkpoints, jax.eval_shape(init))

    @property
    def results(self) -> dict[str, Any] | None:
        return read_results(self._run.results)

    @property
    def made(self) -> dict[str, str]:
        assert self.config  # of a sound folder
        return {"version": self._run.version}


class _OfPack:
    def __init__(self, file: packed.Packed, trust: bool) -> None:
        self._file, self._trust = file, trust
        self.made = file.made

    @cached_property
    def config(self) -> Config:
        file = self._file
        try:
            values = plain(file.json(packed.CONFIG), file.name)
        except (KeyError, TypeError, AttributeError) as error:
            file.damaged(f"{packed.CONFIG}: {error}")
        admit(values, Path(file.name), trust=self._trust)
        try:
            return from_dict(values)
        except (ValueError, TypeError, AttributeError) as error:
            file.damaged(f"{packed.CONFIG}: {error}")

    @cached_property
    def counters(self) -> Counters:
        values = self._file.json(packed.COUNTERS)
        try:
            return Counters.read(values)
        except (UsageError, TypeError, AttributeError) as error:
            self._file.damaged(f"{packed.COUNTERS}: {error}")

    def restore(self, agent: Actor) -> tuple[Any, dict[str, Any]]:
        key = seeding.key(self.config.seed, "init")
        like = jax.eval_shape(lambda: trimmed(agent, agent.init(key)))
        wanted = leaves(like)
        size = sum(x.size * x.dtype.itemsize for x in wanted.values())
        if not size <= self._file.size(packed.WEIGHTS) <= size + packed.TEXT:
            self._file.damaged(
                f"the weights have {self._file.size(packed.WEIGHTS):,} bytes, but those of this "
                f"model {size:,}"
            )
        try:
            found = tensors_of(self._file.read(packed.WEIGHTS))
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            self._file.damaged(error)
        for name in sorted({*wanted, *found}):
            theirs, ours = _kind(found.get(name)), _kind(wanted.get(name))
            if theirs != ours:
                self._file.damaged(f"{name} is {theirs}, where the model has {ours}")
        state = jax.tree.unflatten(
            jax.tree.structure(like), [jnp.asarray(found[name]) for name in wanted]
        )
        return state, asdict(self.counters)

    @property
    def results(self) -> dict[str, Any] | None:
        if packed.RESULTS not in self._file:
            return None
        try:
            return checked(self._file.json(packed.RESULTS))
        except ValueError as error:
            self._file.damaged(f"{packed.RESULTS}: {error}")

    @property
    def evaluation(self) -> dict[str, Any] | None:
        if packed.EVALUATION not in self._file:
            return None
        found = self._file.json(packed.EVALUATION)
        if not isinstance(found, dict):
            self._file.damaged(f"{packed.EVALUATION} holds no scores")
        return found


def leaves(tree: Any) -> dict[str, Any]:
    """Returns the arrays of a tree by their paths, in its order."""
    pairs = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in pairs}


def _kind(array: Any) -> str:
    return "missing" if array is None else f"{np.dtype(array.dtype)}{list(array.shape)}"
