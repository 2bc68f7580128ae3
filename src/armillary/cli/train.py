"""`armillary train`: train an agent on a task, or continue a run."""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from armillary.config import PRESETS, Config, preset
from armillary.errors import UsageError


@dataclass(frozen=True)
class Arguments:
    """Train an agent on a task, or continue the run in the same folder.

    Any field of the configuration can be set; the values shown are those of the chosen preset (or
    of the run that is continued).
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    run: Path | None = None
    """Run folder. Default: runs/<task>-<agent>-<preset>-seed<N>. A run that is there goes on."""
    trust: bool = False
    """Run the Python module that the folder of a continued run names as its task."""


def run(argv: list[str]) -> int:
    """Trains, then writes the report and says what to do with it."""
    arguments = tyro.cli(
        Arguments, args=argv, prog="armillary train", default=Arguments(_default(argv))
    )
    config = arguments.config
    _check_task(config)
    from armillary.envs.named import check_trust, needing_trust
    from armillary.training.run import Run, default_folder

    folder = arguments.run or default_folder(config)
    place = folder.absolute()  # an environment may change the working folder
    goes_on = Run(folder).exists
    if goes_on and not arguments.trust and _value(argv, "--task") is None:
        check_trust(config.tasks, config.environment, folder)
    Run(folder).check(config)
    trust = " --trust" if needing_trust(config.tasks, config.environment) else ""
    _say(f"{'continuing' if goes_on else 'training'} {config.agent} on {config.task} in {folder}")

    from armillary.studies.report import write_report
    from armillary.training.loop import train
    from armillary.training.signals import Stopped

    try:
        results = train(config, place)
    except Stopped as stopped:
        raise _with_advice(stopped, f"{folder}{trust}") from None
    print(_scores(results))
    print(_advice(results, folder, write_report(place), trust))
    return 0


def _with_advice(stopped: Any, folder: str) -> Exception:
    stopped.args = (
        f"{stopped}; everything so far is saved, continue with: armillary train --run {folder}",
    )
    return stopped


def _default(argv: list[str]) -> Config:
    """Returns the configuration that the options edit.

    That of the run in the folder if there is one and no preset is named, else the preset's.
    """
    name, folder = _value(argv, "--preset"), _value(argv, "--run")
    if name is None and folder is not None:
        from armillary.training.run import Run

        if Run(folder).exists:
            return Run(folder).config
    config = preset(name or "small")
    return dataclasses.replace(config, preset=name or "small")


def _value(argv: list[str], option: str) -> str | None:
    """Returns what was given for an option, before the options are parsed."""
    for i, argument in enumerate(argv):
        if argument == option and i + 1 < len(argv):
            return argv[i + 1]
        if argument.startswith(option + "="):
            return argument.partition("=")[2]
    return None


def _check_task(config: Config) -> None:
    if config.preset not in PRESETS:
        preset(config.preset)  # raises
    if not config.task:
        raise UsageError("the task is empty: give a task, `armillary tasks` lists them")


def _scores(results: dict[str, Any]) -> str:
    """Returns the agent's scores beside those of random actions."""

    def row(name: str, scores: dict[str, Any]) -> str:
        values = ", ".join(f"{score:.0f}" for score in scores["scores"])
        return f"  {name:<14}{scores['mean']:8.1f} ± {scores['std']:<7.1f} ({values})"

    several = len(results["tasks"]) > 1
    lines = [
        "",
        f"{results['task']}: {results['episodes']} episodes{' of each' * several}, "
        f"{results['simulator_steps']:,} environment steps, {results['updates']:,} updates, "
        f"{results['seconds'] / 60:.1f} minutes",
    ]
    for task, scores in results["tasks"].items():
        agent, random = scores["agent"], scores["random"]
        lines += [
            f"{task}: " * several
            + f"score over {agent['episodes']} noise-free episodes, mean ± standard deviation:",
            row("this agent", agent),
            row("random actions", random),
        ]
        if random["mean"] > 0:
            lines.append(f"  {'ratio':<14}{agent['mean'] / random['mean']:8.1f}")
    return "\n".join(lines)


def _advice(results: dict[str, Any], folder: Path, files: dict[str, Path], trust: str) -> str:
    """Returns where everything is, and what to do with it (with the option `trust`)."""
    armillary = "uv run armillary" if "UV" in os.environ else "armillary"
    names = {"curve": "learning curve", "agent": "video", "prediction": "predictions"}
    pictures = [
        f"{'' if name.endswith('_video') else names[name.partition('-')[0]]:<17}{path}"
        for name, path in files.items()
    ]
    return "\n".join(
        [
            "",
            *pictures,
            f"checkpoint       {folder / 'checkpoints'}",
            "",
            "next:",
            f"  {armillary} evaluate {folder} --episodes 10{trust}",
            f"  {armillary} video {folder}{trust}",
            f"  {armillary} plot {folder}",
            f"  {armillary} train --run {folder} --episodes {2 * results['episodes']}{trust}"
            "    # goes on learning",
            f"  tensorboard --logdir {folder}    # pip install tensorboard",
            f'  python: agent = armillary.load("{folder}"); agent.act(observation)',
        ]
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
