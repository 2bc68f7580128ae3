"""The pictures and videos that a run ends with."""

from __future__ import annotations

from pathlib import Path

from armillary.config import Config
from armillary.dynamics.prediction import CONTEXT, LENGTH
from armillary.envs.catalogue import action_repeat
from armillary.replay.episodes import Episode, EpisodeStore
from armillary.studies.plots import learning_curve
from armillary.studies.prediction import open_loop
from armillary.studies.video import side_by_side, strip, write_video
from armillary.training.player import Player, load
from armillary.training.run import Run


def frames_per_second(config: Config) -> float:
    """Returns the rate at which a video shows the control suite at about its true speed."""
    repeat = config.environment.action_repeat or action_repeat(config.task)
    return max(10.0, 100.0 / repeat)


def write_report(folder: str | Path) -> dict[str, Path]:
    """Writes what a finished run has to show.

    Args:
        folder: the run folder.

    Returns:
        `curve` (PNG), `agent` (MP4: a noise-free episode), and if that episode is longer than the
        model's context `prediction` (PNG: true frames above predicted ones) and
        `prediction_video` (MP4).
    """
    run = Run(folder)
    player = load(folder)
    episode = EpisodeStore(run.test_episodes).load(0)
    files = {"curve": learning_curve([run.folder], run.folder / "curve.png")}
    files["agent"] = run.folder / "agent.mp4"
    write_video(files["agent"], episode.image, fps=frames_per_second(run.config))
    if episode.steps >= CONTEXT:
        files["prediction"] = run.folder / "prediction.png"
        files["prediction_video"] = run.folder / "prediction.mp4"
        write_prediction(player, episode, files["prediction_video"], files["prediction"])
    return files


def write_prediction(player: Player, episode: Episode, video: Path, picture: Path) -> None:
    """Writes open-loop predictions beside the truth, as a video and as a strip of frames.

    The prediction starts in the middle of the episode, or as late as its length allows.
    """
    start = max(0, min(episode.steps // 2, episode.steps + 1 - LENGTH))
    true, predicted = open_loop(player, episode, start=start)
    strip(true, predicted, picture, context=CONTEXT)
    fps = frames_per_second(player.config) / 2
    write_video(video, side_by_side(true, predicted), fps=fps)
