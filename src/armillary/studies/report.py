"""The pictures and videos that a run ends with."""

from __future__ import annotations

from pathlib import Path

from armillary.config import Config
from armillary.dynamics.prediction import CONTEXT, LENGTH
from armillary.envs.catalogue import action_repeat
from armillary.replay.episodes import Episode, EpisodeStore
from armillary.studies.plots import learning_curve
from armillary.studies.prediction import open_loop
from armillary.training.player import Player, load
from armillary.training.run import Run
from armillary.video import side_by_side, strip, write_video


def frames_per_second(config: Config, task: str | None = None) -> float:
    """Returns the rate at which a video shows the control suite at about its true speed."""
    repeat = config.environment.action_repeat or action_repeat(task or config.tasks[0])
    return max(10.0, 100.0 / repeat)


def write_report(folder: str | Path) -> dict[str, Path]:
    """Writes what a finished run has to show.

    Args:
        folder: the run folder.

    Returns:
        `curve` (PNG), `agent` (MP4: a noise-free episode), and if that episode is longer than the
        model's context `prediction` (PNG: true frames above predicted ones) and
        `prediction_video` (MP4). With several tasks their names follow: `agent-cheetah-run`.
    """
    run = Run(folder)
    player, tasks = load(folder), run.config.tasks
    files = {"curve": learning_curve([run.folder], run.folder / "curve.png")}
    for number, task in enumerate(tasks):
        episode = EpisodeStore(run.test_episodes).load(number)
        end = f"-{_plain(task)}" if len(tasks) > 1 else ""
        files[f"agent{end}"] = run.folder / f"agent{end}.mp4"
        write_video(files[f"agent{end}"], episode.image, fps=frames_per_second(run.config, task))
        if episode.steps >= CONTEXT:
            picture, video = (run.folder / f"prediction{end}.{kind}" for kind in ("png", "mp4"))
            write_prediction(player, episode, video, picture, task)
            files |= {f"prediction{end}": picture, f"prediction{end}_video": video}
    return files


def _plain(task: str) -> str:
    """Returns a task's name as a part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in task)


def write_prediction(
    player: Player, episode: Episode, video: Path, picture: Path, task: str | None = None
) -> None:
    """Writes open-loop predictions beside the truth, as a video and as a strip of frames.

    The prediction starts in the middle of the episode (of `task`; None: of the only one), or as
    late as its length allows.
    """
    start = max(0, min(episode.steps // 2, episode.steps + 1 - LENGTH))
    true, predicted = open_loop(player, episode, start=start)
    strip(true, predicted, picture, context=CONTEXT)
    fps = frames_per_second(player.config, task) / 2
    write_video(video, side_by_side(true, predicted), fps=fps)
