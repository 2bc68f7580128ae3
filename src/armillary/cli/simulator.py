"""`armillary evaluate --agent simulator`: planning with the true simulator."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from armillary.config import SearchConfig
from armillary.errors import UsageError
from armillary.version import __version__

if TYPE_CHECKING:
    from armillary.cli.evaluate import Arguments


def simulated(arguments: Arguments) -> str:
    """Plans episodes with the true simulator; returns what is printed of them."""
    if arguments.search != SearchConfig():
        raise UsageError("--search means nothing to --agent simulator: leave it out")
    for option in ("renderer", "side_by_side", "kwargs", "trust", "act"):
        if getattr(arguments, option):
            name = option.replace("_", "-")
            raise UsageError(f"--{name} means nothing to --agent simulator: leave it out")
    from armillary.studies.trials import Trial, evaluate
    from armillary.training.evaluation import Scores

    trials = [
        Trial(
            str(arguments.task),
            index,
            arguments.seed,
            arguments.planner,
            arguments.action_repeat,
            arguments.time_limit,
        )
        for index in range(arguments.episodes or 3)
    ]
    records = evaluate(trials, arguments.folder, threads=arguments.threads)
    scores = Scores(tuple(record.score for record in records))
    unstable, candidates = (
        sum(getattr(record, name) for record in records) for name in ("unstable", "candidates")
    )
    kept = trials[0].path(arguments.folder).parent
    if not arguments.json:
        lines = [
            f"simulator on {arguments.task}: {scores}, mean ± standard deviation",
            "scores: " + ", ".join(f"{score:.1f}" for score in scores.scores),
            f"episodes: {kept}",
        ]
        if unstable:
            lines.append(f"unstable: {unstable:,} of {candidates:,} candidates, counted as worst")
        return "\n".join(lines)
    import mujoco

    result = {
        "task": arguments.task,
        "agent": "simulator",
        "seed": arguments.seed,
        **scores.as_dict(),
        "action_repeat": trials[0].action_repeat,
        "time_limit": arguments.time_limit,
        "planner": asdict(arguments.planner),
        "seconds": [record.seconds for record in records],
        "candidates": candidates,
        "unstable": unstable,
        "folder": str(kept),
        "mujoco": mujoco.__version__,
        "armillary": __version__,
    }
    return json.dumps(result, allow_nan=False)
