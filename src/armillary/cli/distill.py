"""`armillary distill`: fit a policy to what a planning agent chooses."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from armillary.advice import command
from armillary.cli.evaluate import planner_in
from armillary.cli.options import parse
from armillary.cli.stdout import own_stdout, say, show
from armillary.config import DistillationConfig, PlannerConfig
from armillary.errors import UsageError

REPEATS = 20
"""Actions of which each agent's time is taken."""


@dataclass(frozen=True)
class Arguments:
    """Fit a policy to what a planning agent chooses, so that it acts without planning.

    The planner is asked once in every belief of the run's stored episodes. The policy gets a run
    folder of its own, with the run's world model, that all other commands take as any other.
    """

    source: Annotated[Path, tyro.conf.Positional]
    """Run folder of a trained agent that plans."""
    run: Path | None = None
    """Run folder of the policy. Default: that of the planner with -distilled after its name."""
    act: Literal["policy", "plan"] | None = None
    """Who chooses the actions in place of the run's choice: `plan` for one of dreamer."""
    episodes: int = 10
    """Noise-free episodes that both play afterwards. 0: none, which needs no environment."""
    seed: int = 0
    """Seed of these episodes."""
    trust: bool = False
    """Run the Python module that the run folder names as its task (docs/trust.md)."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    """How to plan in place of the run's own settings."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)


def run(argv: list[str]) -> int:
    """Distills, then plays with both agents and prints how they compare."""
    planner = planner_in(argv) or PlannerConfig()
    arguments = parse(
        Arguments,
        argv,
        "armillary distill",
        default=Arguments(tyro.MISSING, planner=planner),
    )
    if arguments.episodes < 0 or arguments.seed < 0:
        raise UsageError(
            f"episodes is {arguments.episodes} and seed {arguments.seed}, but neither must be "
            "negative"
        )
    with own_stdout() as out:
        report = _distilled(arguments, None if arguments.planner == planner else arguments.planner)
        show(json.dumps(report, allow_nan=False) if arguments.json else _text(report), out)
    return 0


def _distilled(arguments: Arguments, planner: PlannerConfig | None) -> dict[str, Any]:
    from armillary.training.distillation import distill
    from armillary.training.player import load
    from armillary.training.signals import Stopped, stop_request

    source = arguments.source
    folder = arguments.run or source.with_name(f"{source.resolve().name}-distilled")
    teacher = load(source, act=arguments.act, planner=planner, trust=arguments.trust)
    if arguments.episodes:
        teacher.check_trust(teacher.config.tasks)
    try:
        with stop_request() as stop:

            def told(done: int, count: int) -> None:
                stop.check()
                say(f"the planner was asked along {done} of {count} episodes")

            fit = distill(teacher, source, folder, arguments.distillation, told)
    except Stopped as stopped:
        stopped.args = (f"{stopped}; nothing was written: the same command begins again",)
        raise
    policy = load(folder, trust=arguments.trust)
    agents = {"planner": teacher, "policy": policy}
    return {
        "run": str(source),
        "folder": str(folder),
        "task": teacher.config.task,
        "held_out_error": fit.error,
        "constant_error": fit.constant,
        "beliefs": fit.beliefs,
        "held_out_beliefs": fit.held_out,
        **{name: _measured(player, arguments) for name, player in agents.items()},
    }


def _measured(player: Any, arguments: Arguments) -> dict[str, Any]:
    """Returns what an agent takes for an action, and its scores on each task."""
    from armillary.machine.agent import time_act

    timing = time_act(player.agent, player.config, player.state, REPEATS)
    scores = {
        task: player.evaluate(arguments.episodes, task=task, seed=arguments.seed).as_dict()
        for task in player.config.tasks
        if arguments.episodes
    }
    return {"seconds_per_action": timing.median, "tasks": scores}


def _text(report: dict[str, Any]) -> str:
    """Returns the report for people."""
    planner, policy = report["planner"], report["policy"]
    lines = [
        f"a policy was fitted to {report['beliefs']:,} beliefs; on {report['held_out_beliefs']:,} "
        "others, of episodes that were held out, its actions (from -1 to 1) differ from the "
        f"planner's by {report['held_out_error']:.3f} (root mean square; a constant action: "
        f"{report['constant_error']:.3f})",
        "",
        f"{'':<24}{'planner':>12}{'policy':>12}{'ratio':>8}",
    ]
    for task in planner["tasks"]:
        ours, theirs = policy["tasks"][task], planner["tasks"][task]
        rows = [f"{theirs['mean']:12.1f}", f"{ours['mean']:12.1f}"]
        ratio = f"{ours['mean'] / theirs['mean']:8.2f}" if theirs["mean"] > 0 else ""
        lines.append(f"{task[:23]:<24}{''.join(rows)}{ratio}")
        lines.append(f"{'  standard deviation':<24}{theirs['std']:12.1f}{ours['std']:12.1f}")
    times = [1e3 * x["seconds_per_action"] for x in (planner, policy)]
    lines += [
        f"{'ms for an action':<24}{times[0]:12.2f}{times[1]:12.2f}{times[1] / times[0]:8.3f}",
        "",
        f"run folder       {report['folder']}",
        "next:",
        f"  {command('evaluate', report['folder'])}",
        f"  {command('video', report['folder'])}",
    ]
    return "\n".join(lines)
