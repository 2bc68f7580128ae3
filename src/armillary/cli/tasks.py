"""`armillary tasks`: the tasks of the control suite."""

from __future__ import annotations

from dataclasses import dataclass

from armillary.cli.options import parse
from armillary.cli.stdout import show


@dataclass(frozen=True)
class Arguments:
    """List the tasks of the control suite. Gymnasium ids and module:callable are tasks, too."""

    json: bool = False
    """Print a JSON list."""


def run(argv: list[str]) -> int:
    """Prints the table."""
    arguments = parse(Arguments, argv, "armillary tasks")
    import dataclasses
    import json

    from armillary.envs.catalogue import tasks

    if arguments.json:
        show(json.dumps([dataclasses.asdict(task) for task in tasks()]))
        return 0
    show(f"{'task':<32}{'actions':>8}{'repeat':>8}{'steps':>8}  papers")
    for task in tasks():
        steps = task.episode_steps or "none"
        papers = ", ".join(task.papers)
        show(f"{task.name:<32}{task.action_size:>8}{task.action_repeat:>8}{steps:>8}  {papers}")
    show("\nAlso tasks: an id of gymnasium.make (CarRacing-v3), and module:callable.")
    return 0
