"""Runs of agents that have learned nothing, which is as much to export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from armillary.config import Config, EnvironmentConfig, ObjectiveConfig
from armillary.config.muzero import NetworkConfig
from folders import untrained
from settings import TINY, TINY_DISCRETE, TINY_DREAMER, TINY_GAME, TINY_MUZERO

NUMBERS = replace(
    TINY_DISCRETE, environment=EnvironmentConfig(observe="lamp"), objective=ObjectiveConfig()
)
"""A Dreamer that observes and predicts nothing but numbers, which compiles quickly."""

CONFIGS: dict[str, Config] = {
    "discrete": TINY_DISCRETE,
    "ssm": replace(NUMBERS, model=replace(NUMBERS.model, dynamics="ssm")),
    "rnn": replace(NUMBERS, model=replace(NUMBERS.model, dynamics="rnn", activation="elu")),
    "drnn": replace(NUMBERS, model=replace(NUMBERS.model, dynamics="drnn")),
    "planet": TINY,
    "cartpole": replace(
        TINY_DREAMER, task="CartPole-v1", environment=EnvironmentConfig(observe="vector")
    ),
    "muzero": TINY_MUZERO,
    "game": replace(
        TINY_GAME, network=NetworkConfig(kind="residual", channels=4, blocks=1, hidden=8)
    ),
    "frames": replace(
        TINY_MUZERO,
        environment=EnvironmentConfig(observe="cameras/front"),
        network=NetworkConfig(channels=4, blocks=1, history=2, hidden=8, categories=5),
    ),
}

RunOf = Callable[[str], Path]


@pytest.fixture(scope="session")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> RunOf:
    """Returns the run folder of an agent that has learned nothing, by its name above."""
    folders: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in folders:
            folder = tmp_path_factory.mktemp("exported") / name
            folders[name] = untrained(CONFIGS[name], folder, shaken=0.1)
        return folders[name]

    return run
