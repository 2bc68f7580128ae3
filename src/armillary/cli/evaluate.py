"""`armillary evaluate`: score an agent over noise-free episodes."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from armillary.cli.stdout import own_stdout
from armillary.config import Backend, EnvironmentConfig
from armillary.errors import UsageError
from armillary.version import __version__


@dataclass(frozen=True)
class Arguments:
    """Score an agent over noise-free episodes: a run, or random actions on a task."""

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Run folder of a trained agent."""
    agent: Literal["random"] | None = None
    """An agent that needs no run: random."""
    task: str | None = None
    """The task of an agent without a run."""
    episodes: int = 10
    """How many episodes."""
    seed: int = 0
    """Seed of the environments and of the agent."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""
    renderer: Backend | None = None
    """Rendering back end in place of the run's (without a run: auto)."""
    action_repeat: int | None = None
    """Simulator steps for each action, of an agent without a run."""
    side_by_side: int = 5
    """Episodes played at the same time."""


def run(argv: list[str]) -> int:
    """Evaluates and prints the scores."""
    arguments = tyro.cli(Arguments, args=argv, prog="armillary evaluate")
    for name in ("episodes", "side_by_side"):
        if getattr(arguments, name) < 1:
            value = getattr(arguments, name)
            raise UsageError(f"{name} is {value}, but it must be at least 1")
    if arguments.seed < 0:
        raise UsageError(f"seed is {arguments.seed}, but it must not be negative")
    if (arguments.run is None) == (arguments.agent is None):
        raise UsageError("give either a run folder, or --agent random with --task")
    with own_stdout() as out:
        print(_report(arguments), file=out)
    return 0


def _report(arguments: Arguments) -> str:
    """Plays the episodes; returns what is printed of them."""
    actor, state, task, environment, facts = (
        _trained(arguments) if arguments.run else _untrained(arguments)
    )

    from armillary.envs import action_repeat, rendering, side_by_side
    from armillary.envs.catalogue import names
    from armillary.training.evaluation import evaluate
    from armillary.training.signals import stop_request

    count = min(arguments.side_by_side, arguments.episodes)
    envs = side_by_side(task, environment, count)
    try:
        if actor is None:
            from armillary.agents.random import Random

            actor = Random(int(envs.single_action_space.shape[0]))  # type: ignore[index]
        with stop_request() as stop:
            scores, _ = evaluate(
                envs,
                actor,
                state,
                episodes=arguments.episodes,
                seed=arguments.seed,
                on_step=lambda _: stop.check(),
            )
    finally:
        envs.close()
    if not arguments.json:
        who = arguments.run or arguments.agent
        each = ", ".join(f"{score:.1f}" for score in scores.scores)
        return f"{who} on {task}: {scores}, mean ± standard deviation\nscores: {each}"
    result = {
        "task": task,
        **facts,
        "seed": arguments.seed,
        **scores.as_dict(),
        "side_by_side": count,
        "action_repeat": environment.action_repeat or action_repeat(task),
        # An environment from elsewhere draws itself.
        "renderer": rendering.choose(environment.renderer) if task in names() else None,
        "armillary": __version__,
    }
    return json.dumps(result)


def _trained(arguments: Arguments) -> tuple[Any, Any, str, EnvironmentConfig, dict[str, Any]]:
    for option in ("task", "action_repeat"):
        if getattr(arguments, option) is not None:
            raise UsageError(f"--{option.replace('_', '-')} belongs to the run: leave it out")
    from armillary.training.player import load

    player = load(arguments.run, renderer=arguments.renderer)  # type: ignore[arg-type]
    counters = player.counters
    facts = {
        "agent": player.config.agent,
        "run": str(arguments.run),
        "trained_episodes": counters["episodes"],
        "trained_updates": counters["updates"],
    }
    print(f"{counters['episodes']} episodes, {counters['updates']} updates", file=sys.stderr)
    config = player.config
    return player.agent, player.state, config.task, config.environment, facts


def _untrained(arguments: Arguments) -> tuple[Any, Any, str, EnvironmentConfig, dict[str, Any]]:
    if arguments.task is None:
        raise UsageError("--agent random needs a task: add --task, `armillary tasks` lists them")
    environment = EnvironmentConfig(
        renderer=arguments.renderer or "auto", action_repeat=arguments.action_repeat
    )
    return None, None, arguments.task, environment, {"agent": arguments.agent}
