"""What the rules of a board game cost where it is played against oneself, compiled and batched."""

from __future__ import annotations

from typing import Any

from armillary import seeding
from armillary.agents.random import Random
from armillary.config import Config
from armillary.envs.games import game, spec_of_game
from armillary.machine.timing import Timing, timed
from armillary.training.selfplay import self_play


def measure_game(config: Config, repeats: int) -> dict[str, Any]:
    """Returns what `measure_environment` does, of rounds of random games.

    A step is a move in each of the games of a round, as self-play makes and stores them, without a
    search. There are as many as the longest of the games has moves, since all wait for it.

    Raises:
        UsageError: there is no such game, or its players do not take turns.
    """
    rules, count = game(config.tasks[0], config.environment.kwargs), config.round_size
    spec = spec_of_game(rules)
    longest: list[int] = []

    def once() -> None:
        key = seeding.key(len(longest), "bench")
        played = self_play(rules, Random(spec), None, key, count=count, openings=0)
        longest.append(max(episode.steps for episode in played))

    times = timed(once, repeats)
    moves = longest[1:]  # the first round was not timed
    seconds = tuple(time / n for time, n in zip(times.seconds, moves, strict=True))
    step = Timing(seconds).as_dict()
    step |= {"with_image": False, "at_once": count}
    step["simulator_steps_per_second"] = count * step["per_second"]
    return {
        "spec": spec.as_dict(),
        "environment_step": step,
        "episode_steps": max(moves),
        "renderer": "none",
        "rendering": {},
        "renderers_that_do_not_work": {},
    }
