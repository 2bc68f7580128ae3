"""`armillary tasks`: the tasks of the control suite."""

from __future__ import annotations

from dataclasses import dataclass

import tyro


@dataclass(frozen=True)
class Arguments:
    """List the tasks of the control suite. Gymnasium ids and module:callable are tasks, too."""

    json: bool = False
    """Print a JSON list."""


def run(argv: list[str]) -> int:
    """Prints the table."""
    arguments = tyro.cli(Arguments, args=argv, prog="armillary tasks")
    import dataclasses
    import json

    from armillary.envs.catalogue import tasks

    if arguments.json:
        print(json.dumps([dataclasses.asdict(task) for task in tasks()]))
        return 0
    print(f"{'task':<32}{'actions':>8}{'repeat':>8}{'steps':>8}  papers")
    for task in tasks():
        steps = task.episode_steps or "none"
        papers = ", ".join(task.papers)
        print(f"{task.name:<32}{task.action_size:>8}{task.action_repeat:>8}{steps:>8}  {papers}")
    print("\nAlso tasks: an id of gymnasium.make (CarRacing-v3), and module:callable.")
    return 0
