"""When what is due (PlaNet, Algorithm 1; Dreamer's and MuZero's order is the same)."""

from __future__ import annotations

from armillary.config.settings import Config


def updates_due(config: Config, rounds: int) -> int:
    """Returns how many updates a run has made before it goes on from a number of rounds.

    None during the seed episodes; then C for each round of each task, those of the seed episodes
    counting as one.

    Args:
        config: S, C and the tasks.
        rounds: rounds of each task that have been collected.
    """
    fitted = max(0, rounds - seed_rounds(config) + 1)
    return fitted * config.training.collect_interval * len(config.tasks)


def evaluation_due(config: Config, rounds: int) -> bool:
    """Says whether the agent is tested before it goes on from a number of rounds.

    Args:
        config: S, and how often.
        rounds: as above, fewer than those of the whole run: a test at its end is always due.
    """
    fitted = rounds - seed_rounds(config)
    return fitted > 0 and fitted % config.evaluation.every == 0


def seed_rounds(config: Config) -> int:
    """Returns the rounds before anything is learned."""
    return config.collection.seed_episodes // config.round_size


def all_rounds(config: Config) -> int:
    """Returns the rounds of the whole run, of each task."""
    return config.episodes // config.round_size
