"""What is due, counted by Algorithm 1 as it is written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from armillary.config import CollectionConfig, Config, EvaluationConfig
from armillary.config.schedule import evaluation_due, updates_due
from settings import TINY


def played(config: Config) -> tuple[dict[int, int], list[int]]:
    """Returns the updates made before each number of episodes goes on, and when there is a test."""
    updates, tests, made = {}, [], 0
    episodes = config.collection.seed_episodes  # line 1
    while True:
        for _ in range(config.training.collect_interval * len(config.tasks)):  # lines 4 to 7
            made += 1
        updates[episodes] = made
        if episodes == config.episodes:
            return updates, tests
        since = episodes - config.collection.seed_episodes
        if since and since % config.evaluation.every == 0:
            tests.append(episodes)
        episodes += 1  # lines 8 to 16


@pytest.mark.parametrize("tasks", ["cheetah-run", "cheetah-run,reacher-easy"])
def test_it_counts_what_the_algorithm_does(tasks: str) -> None:
    config = replace(
        TINY,
        task=tasks,
        episodes=12,
        collection=CollectionConfig(seed_episodes=3),
        evaluation=EvaluationConfig(every=4),
    )
    updates, tests = played(config)
    assert {rounds: updates_due(config, rounds) for rounds in updates} == updates
    assert [rounds for rounds in range(12) if evaluation_due(config, rounds)] == tests == [7, 11]
    assert [updates_due(config, rounds) for rounds in range(3)] == [0, 0, 0]
