"""The names that other libraries give to our options."""

from __future__ import annotations

import pytest

from armillary.cli import elsewhere, options
from armillary.config.presets import PRESETS
from armillary.errors import UsageError


def test_each_of_ours_is_there() -> None:
    """What the table sends a user to is an option of at least one agent."""
    known = {"run", "task", "agent", "preset"}
    for presets in PRESETS.values():
        config = presets["small"]()
        known |= {option.name for option in options._options(type(config), config)}
    assert {*elsewhere.OURS} - known == set()


def test_no_name_is_sent_to_two() -> None:
    names = [name for theirs in elsewhere.OURS.values() for name in theirs.split()]
    names += elsewhere.DEVICE.split()
    assert len(names) == len({*names})


def test_what_is_known_here_is_left_alone() -> None:
    elsewhere.refuse(["--out", "film.mp4", "logdir", "--planner.horizon=3"], {"out"}, "x")
    elsewhere.refuse(["--logdir"], {"out"}, "x")  # this command has no --run: nothing to say
    with pytest.raises(UsageError, match="Here it is --run"):
        elsewhere.refuse(["--log_dir=here"], {"run"}, "x")
