"""`armillary video`: a video of an agent, or of its model's predictions beside the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from armillary.cli.options import parse
from armillary.cli.stdout import show
from armillary.config import Backend
from armillary.errors import UsageError


@dataclass(frozen=True)
class Arguments:
    """Write a video of a trained agent at work, or of its model's open-loop predictions."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of a trained agent, or a packed one: a file, demo:NAME or hf:OWNER/NAME."""
    predict: bool = False
    """Predict open loop from five frames: truth, model and difference side by side."""
    out: Path | None = None
    """Video to write, .mp4 or .gif. Default: in the run folder, of a packed agent here."""
    task: str | None = None
    """Which task, of a run with several. Default: the first."""
    trust: bool = False
    """Run the Python module that the run folder names as its task (docs/trust.md)."""
    seed: int = 0
    """Seed of the episode and of the agent."""
    renderer: Backend | None = None
    """Rendering back end in place of the run's."""


def run(argv: list[str]) -> int:
    """Plays one noise-free episode and writes the video."""
    arguments = parse(Arguments, argv, "armillary video")
    if arguments.seed < 0:
        raise UsageError(f"seed is {arguments.seed}, but it must not be negative")
    name = f"{'prediction' if arguments.predict else 'agent'}-{arguments.seed}.mp4"
    from armillary.training.packed import beside

    out = arguments.out or beside(arguments.run, name)
    path = out.absolute()  # environments may change folders
    if path.suffix.lower() not in (".mp4", ".gif"):
        raise UsageError(f"cannot write {str(path)!r}: the name must end in .mp4 or .gif")

    from armillary.studies.report import Prediction, frames_per_second, one_episode
    from armillary.training.player import load
    from armillary.video import write_video

    trusted = arguments.trust or arguments.task is not None
    player = load(arguments.run, renderer=arguments.renderer, trust=trusted)
    task = player.task(arguments.task)
    scores, episode = one_episode(player, task, arguments.seed)
    if arguments.predict:
        picture = path.with_suffix(".png")
        prediction = Prediction.of(player, episode, task)
        prediction.write_picture(picture)
        prediction.write_video(path)
        show(f"{path} and {picture}: truth, model and difference, predicted from five frames")
    else:
        write_video(path, episode.image, fps=frames_per_second(player.config, task))
        show(f"{path}: {episode.steps} steps, return {scores.mean:.1f}")
    return 0
