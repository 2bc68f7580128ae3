"""When what is due (PlaNet, Algorithm 1; Dreamer's and MuZero's order is the same)."""

from __future__ import annotations

from armillary.config import Config


def updates_due(config: Config, rounds: int) -> int:
    """Returns how many updates a run has made before it goes on from a number of rounds.

    None during the seed episodes; then C for each episode, the seed episodes counting as one round.

    Args:
        config: S, C and the tasks.
        rounds: episodes of each task that have been collected.
    """
    fitted = max(0, rounds - config.collection.seed_episodes + 1)
    return fitted * config.training.collect_interval * len(config.tasks)


def evaluation_due(config: Config, rounds: int) -> bool:
    """Says whether the agent is tested before it goes on from a number of rounds.

    Args:
        config: S, and how often.
        rounds: as above, fewer than those of the whole run: a test at its end is always due.
    """
    fitted = rounds - config.collection.seed_episodes
    return fitted > 0 and fitted % config.evaluation.every == 0
