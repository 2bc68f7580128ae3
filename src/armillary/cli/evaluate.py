"""`armillary evaluate`: score an agent over noise-free episodes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from armillary.cli.options import parse, value_given
from armillary.cli.simulator import simulated
from armillary.cli.stdout import own_stdout, say, show
from armillary.config import (
    Backend,
    Config,
    EnvironmentConfig,
    Keywords,
    PlannerConfig,
    SearchConfig,
    planner_of,
    search_of,
)
from armillary.errors import UsageError
from armillary.version import __version__


@dataclass(frozen=True)
class Arguments:
    """Score an agent over noise-free episodes: a run, random actions, or the true simulator.

    `--agent simulator` plans with the task's own simulator instead of a learned model. Its
    episodes are kept as they are played: the same command continues where it was stopped, and
    asks for no more than what is missing.
    """

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Run folder of a trained agent, or a packed one: a file, demo:NAME or hf:OWNER/NAME."""
    agent: Literal["random", "simulator"] | None = None
    """An agent that needs no run: random actions, or planning with the true simulator."""
    task: str | None = None
    """The task of an agent without a run; of a run with several tasks, the only one to play."""
    trust: bool = False
    """Run the Python module that the run folder names as its task (docs/trust.md)."""
    episodes: int | None = None
    """How many episodes. Default: 10, of the simulator 3."""
    seed: int = 0
    """Seed of the environments and of the agent."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""
    renderer: Backend | None = None
    """Rendering back end in place of the run's (without a run: auto)."""
    action_repeat: int | None = None
    """Simulator steps for each action, of an agent without a run."""
    kwargs: Keywords = field(default_factory=dict)
    """Keyword arguments of the environment, of an agent without a run: name=value, or JSON."""
    time_limit: int | None = None
    """Simulator steps after which an episode ends, of an agent without a run."""
    side_by_side: int | None = None
    """Episodes played at the same time. Default: 5, of the simulator always 1."""
    act: Literal["policy", "plan"] | None = None
    """Who chooses the actions in place of the run's choice, of an agent that has it: dreamer."""
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    """How to plan, with the simulator or with a run's model in place of the run's own settings
    (PlaNet, Algorithm 2)."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """How to search the tree, in place of the run's own settings, of an agent that does: muzero
    (slides 2 to 5)."""
    threads: int | None = None
    """Threads of the simulator. Default: one for each core."""
    folder: Path = Path("runs/simulator")
    """Where the episodes of the simulator are kept."""


def run(argv: list[str]) -> int:
    """Evaluates and prints the scores."""
    arguments = parse(Arguments, argv, "armillary evaluate", default=_default(argv))
    for name in ("episodes", "side_by_side", "threads", "action_repeat", "time_limit"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}, but it must be at least 1")
    if arguments.seed < 0:
        raise UsageError(f"seed is {arguments.seed}, but it must not be negative")
    if (arguments.run is None) == (arguments.agent is None):
        raise UsageError("give either a run folder, or --agent random or simulator with --task")
    if arguments.agent and arguments.task is None:
        raise UsageError(
            f"--agent {arguments.agent} needs a task: add --task, `armillary tasks` lists them"
        )
    report = simulated if arguments.agent == "simulator" else _report
    with own_stdout() as out:
        show(report(arguments), out)
    return 0


def _default(argv: list[str]) -> Arguments:
    """Returns what the options edit: with the settings of the run, if one is named."""
    config = _config_in(argv)
    if config is None:
        return Arguments()
    planner = planner_of(config, value_given(argv, "--act"))
    return Arguments(planner=planner or PlannerConfig(), search=search_of(config) or SearchConfig())


def planner_in(argv: Sequence[str]) -> PlannerConfig | None:
    """Returns the planner's settings of the run that is named; None: there is none."""
    config = _config_in(argv)
    return None if config is None else planner_of(config, value_given(argv, "--act"))


def _config_in(argv: Sequence[str]) -> Config | None:
    """Returns the configuration of the run that is named; None: there is none."""
    named = [argument for argument in argv if not argument.startswith("-")]
    if not named:  # quick
        return None
    from armillary.training.sources import config_of

    trust = "--trust" in argv
    configs = (config_of(argument, trust=trust) for argument in named)
    return next((config for config in configs if config is not None), None)


def _report(arguments: Arguments) -> str:
    """Plays the episodes; returns what is printed of them."""
    if arguments.act and not arguments.run:
        raise UsageError("--act is only for a run: leave it out")
    if not arguments.run and arguments.search != SearchConfig():
        raise UsageError("--search is only for a run: leave it out")
    for option in ("planner", "threads", "folder"):
        if option == "planner" and arguments.run:
            continue
        if getattr(arguments, option) != getattr(Arguments(), option):
            raise UsageError(f"--{option} is only for --agent simulator: leave it out")
    episodes = arguments.episodes or 10
    actor, state, tasks, environment, facts = (
        _trained(arguments) if arguments.run else _untrained(arguments)
    )

    from armillary.envs import side_by_side
    from armillary.training.evaluation import Scores, evaluate
    from armillary.training.signals import stop_request

    count = min(arguments.side_by_side or 5, episodes)
    scores: dict[str, Scores] = {}
    with stop_request() as stop:
        for task in tasks:
            envs = side_by_side(task, environment, count)
            try:
                if actor is None:
                    from armillary.agents.random import Random

                    actor = Random(envs.agent_spec)
                scores[task], _ = evaluate(
                    envs,
                    actor,
                    state,
                    episodes=episodes,
                    seed=arguments.seed,
                    on_step=lambda _: stop.check(),
                )
            finally:
                envs.close()
    assert actor is not None
    verdicts = {
        task: _judged(task, actor, state, environment, found, arguments.seed)
        | _normalized(task, environment, found)
        for task, found in scores.items()
    }
    if not arguments.json:
        return "\n".join(
            f"{arguments.run or arguments.agent} on {task}: {found}, mean ± standard deviation\n"
            + "\n".join(
                [
                    "scores: " + ", ".join(f"{score:.1f}" for score in found.scores),
                    *map(str, verdicts[task].values()),
                ]
            )
            for task, found in scores.items()
        )
    for task, verdict in verdicts.items():
        told = {name: found.as_dict() for name, found in verdict.items()}
        facts |= told if len(tasks) == 1 else {"judged": facts.get("judged", {}) | {task: told}}
    return json.dumps(_facts(arguments, scores, environment, count, facts), allow_nan=False)


def _judged(
    task: str, actor: Any, state: Any, environment: EnvironmentConfig, scores: Any, seed: int
) -> dict[str, Any]:
    """Returns what is found of a board game beside the scores, by name; of other tasks nothing."""
    from armillary.advice import install
    from armillary.envs.games import is_game
    from armillary.training.judges import JUDGES, outcomes

    if actor.spec.players == 1 or not is_game(task, environment.kwargs):
        return {}
    verdicts: dict[str, Any] = {"outcomes": outcomes(scores, seed)}
    judge = JUDGES.get(task)
    if judge is not None and judge.works:
        verdicts[judge.name] = judge.verdict(task, actor, state, environment.kwargs)
    elif judge is not None:
        say(f"{judge.name} are not counted: `{install(str(judge.needs))}` brings what counts them")
    return verdicts


def _normalized(task: str, environment: EnvironmentConfig, scores: Any) -> dict[str, Any]:
    """Returns the human-normalised score of whole episodes of an Atari game, by its name."""
    from armillary.studies.muzero.published import Normalized, game_of

    game = game_of(task)
    whole = environment.time_limit is None
    return {"human_normalized": Normalized(game, scores.mean)} if game and whole else {}


def _facts(
    arguments: Arguments,
    scores: dict[str, Any],
    environment: EnvironmentConfig,
    count: int,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Returns the scores, and how they came about, ready for JSON."""
    from armillary.envs import action_repeat, rendering
    from armillary.envs.catalogue import names
    from armillary.training.testing import together

    tasks = list(scores)
    several = {} if len(tasks) == 1 else {"tasks": {t: s.as_dict() for t, s in scores.items()}}
    return {
        "task": ",".join(tasks),
        **facts,
        "seed": arguments.seed,
        **together(scores).as_dict(),
        **several,
        "side_by_side": count,
        "action_repeat": environment.action_repeat or action_repeat(tasks[0]),
        # An environment from elsewhere draws itself.
        "renderer": rendering.choose(environment.renderer) if set(tasks) & set(names()) else None,
        "armillary": __version__,
    }


_Played = tuple[Any, Any, tuple[str, ...], EnvironmentConfig, dict[str, Any]]


def _trained(arguments: Arguments) -> _Played:
    for option in ("action_repeat", "time_limit", "kwargs"):
        if getattr(arguments, option):
            raise UsageError(f"--{option.replace('_', '-')} belongs to the run: leave it out")
    from armillary.training.player import load

    assert arguments.run is not None
    planner, search, act = arguments.planner, arguments.search, arguments.act
    unchanged = _default(
        [
            str(arguments.run),
            *(["--act", act] if act else []),
            *(["--trust"] if arguments.trust else []),
        ]
    )
    player = load(
        arguments.run,
        renderer=arguments.renderer,
        act=act,
        planner=None if planner == unchanged.planner else planner,
        search=None if search == unchanged.search else search,
        trust=arguments.trust or arguments.task is not None,
    )
    counters = player.counters
    facts = {
        "agent": player.config.agent,
        "run": str(arguments.run),
        "trained_episodes": counters["episodes"],
        "trained_updates": counters["updates"],
    }
    if settings := planner_of(player.config):
        facts["planner"] = asdict(settings)
    if searching := search_of(player.config):
        facts["search"] = asdict(searching)
    say(f"{counters['episodes']} episodes, {counters['updates']} updates")
    config = player.config
    tasks = config.tasks if arguments.task is None else (player.task(arguments.task),)
    player.check_trust(tasks)
    return player.agent, player.state, tasks, config.environment, facts


def _untrained(arguments: Arguments) -> _Played:
    environment = EnvironmentConfig(
        renderer=arguments.renderer or "auto",
        action_repeat=arguments.action_repeat,
        time_limit=arguments.time_limit,
        kwargs=arguments.kwargs,
    )
    return None, None, (str(arguments.task),), environment, {"agent": arguments.agent}
