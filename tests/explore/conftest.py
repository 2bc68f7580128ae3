"""Runs to look into: they are tiny, and most have learned nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from armillary.config import ObjectiveConfig
from armillary.explore.server import Served
from armillary.training.loop import train
from conftest import once
from folders import untrained
from settings import TINY_DREAMER, TINY_GAME
from tabs import Tab, page

PLANET, BLIND, DREAMER, GAME = range(4)
"""Numbers of the runs: Dreamer's model once without a decoder, and once with one."""


@pytest.fixture(scope="session")
def game_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once(tmp_path_factory, "game", lambda folder: train(TINY_GAME, folder))


@pytest.fixture(scope="session")
def runs(trained: Path, game_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("explored")
    seeing = replace(TINY_DREAMER, objective=ObjectiveConfig(reward_scale=100.0, image_steps=2))
    blind = untrained(TINY_DREAMER, folder / "blind")
    dreamer = untrained(seeing, folder / "dreamer")
    for run in (blind, dreamer):
        shutil.copytree(trained / "episodes", run / "episodes")
    return [trained, blind, dreamer, game_run]


@pytest.fixture(scope="session")
def served(runs: list[Path]) -> Iterator[Served]:
    with page(*runs) as served:
        yield served


@pytest.fixture
def tab(served: Served) -> Iterator[Tab]:
    tab = Tab(served.address)
    yield tab
    tab.close()
