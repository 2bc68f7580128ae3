"""The settings that a sweep tries, and their values."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from armillary.config import Config, changed
from armillary.errors import UsageError

_KEPT = ("task", "agent", "preset", "seed", "source", "wandb", "evaluation")
"""What all trials have in common, or their scores would say nothing of each other."""

_MOST = 512
"""Combinations of values that are looked at before a sweep begins."""


@dataclass(frozen=True)
class Setting:
    """One setting that a sweep tries: a range of numbers, or a list of values.

    Attributes:
        name: of the configuration's field, dotted.
        ends: the lowest and the highest number; of a list all values.
        texts: of a list the values as they were given; empty: it is a range.
        log: whether the logarithm is what is spread evenly.
    """

    name: str
    ends: tuple[Any, ...]
    texts: tuple[str, ...] = ()
    log: bool = False

    def suggest(self, trial: Any) -> Any:
        """Returns the value that an Optuna trial has, or is given now."""
        if self.texts:
            return self.ends[self.texts.index(trial.suggest_categorical(self.name, self.texts))]
        low, high = self.ends
        if isinstance(low, int):
            return trial.suggest_int(self.name, low, high, log=self.log)
        return trial.suggest_float(self.name, low, high, log=self.log)

    def value(self, known: Any) -> Any:
        """Returns the value of what Optuna has kept of it."""
        return self.ends[self.texts.index(known)] if self.texts else known

    def __str__(self) -> str:
        if self.texts:
            return f"{self.name} of {', '.join(self.texts)}"
        return f"{self.name} from {self.ends[0]} to {self.ends[1]}{', log' * self.log}"


def setting(text: str, read: Callable[[str, str], Any]) -> Setting:
    """Returns the setting that `NAME=LOW:HIGH`, `NAME=LOW:HIGH:log` or `NAME=VALUE,VALUE` means.

    Args:
        text: as given.
        read: returns the value that a text is of the setting of a name.

    Raises:
        UsageError: it means none; says why. And whatever `read` raises.
    """
    name, sign, given = text.partition("=")
    name = name.removeprefix("--").replace("-", "_")
    if not sign or not name or not given:
        raise UsageError(
            f"--over {text}: expected NAME=LOW:HIGH (with :log after it for an even spread of the "
            "logarithm) or NAME=VALUE,VALUE"
        )
    if name.partition(".")[0] in _KEPT:
        raise UsageError(
            f"--over {text}: {name} is the same in all trials, so that their scores can be compared"
        )
    parts = given.split(":")
    if "," in given or not 2 <= len(parts) <= 3:
        return _listed(text, name, given.split(","), read)
    if len(parts) == 3 and parts[2] != "log":
        raise UsageError(f"--over {text}: after LOW:HIGH: expected log, not {parts[2]!r}")
    low, high = (read(name, part) for part in parts[:2])
    log = len(parts) == 3
    if not all(isinstance(x, int | float) and not isinstance(x, bool) for x in (low, high)):
        raise UsageError(f"--over {text}: {name} is no number: give values, {name}=A,B")
    if not low < high:
        raise UsageError(f"--over {text}: {low} is not less than {high}")
    if log and low <= 0:
        raise UsageError(f"--over {text}: there is no logarithm of {low}")
    return Setting(name, (low, high), log=log)


def _listed(text: str, name: str, texts: list[str], read: Callable[[str, str], Any]) -> Setting:
    values = tuple(read(name, one) for one in texts)
    if len(values) < 2 or any(value in values[:i] for i, value in enumerate(values)):
        raise UsageError(f"--over {text}: give two or more different values, or a range LOW:HIGH")
    return Setting(name, values, tuple(texts))


def check(config: Config, over: Sequence[Setting]) -> None:
    """Makes sure that the settings' values fit each other, as far as their ends tell.

    Raises:
        UsageError: there is no setting, one is given twice, or a combination is not allowed.
    """
    if not over:
        raise UsageError(
            "no --over: give one for each setting to try, --over optimizer.learning-rate=1e-4:1e-2:"
            "log or --over model.depth=16,32 for instance"
        )
    names = [one.name for one in over]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"--over is given twice for {twice[0]}: give all its values at once")
    for values in itertools.islice(combinations(over), _MOST):
        try:
            changed(config, values).check_trained()
        except UsageError as error:
            given = ", ".join(f"{name} {value}" for name, value in values.items())
            raise UsageError(f"a trial with {given} cannot be: {error}") from error


def combinations(over: Sequence[Setting]) -> Iterator[dict[str, Any]]:
    """Yields every combination of the settings' ends, by name."""
    for values in itertools.product(*(one.ends for one in over)):
        yield dict(zip((one.name for one in over), values, strict=True))
