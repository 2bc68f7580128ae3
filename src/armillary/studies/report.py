"""The pictures and videos that a run ends with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from armillary.agents.base import predicts_frames
from armillary.dynamics.prediction import CONTEXT, LENGTH
from armillary.envs import side_by_side as make_side_by_side
from armillary.envs.build import drawn
from armillary.errors import ArmillaryError
from armillary.replay.episode import Episode
from armillary.replay.episodes import EpisodeStore
from armillary.studies.plots import learning_curve
from armillary.studies.prediction import open_loop
from armillary.training.evaluation import Scores, evaluate
from armillary.training.player import Player, load
from armillary.training.run import Run
from armillary.training.signals import stop_request
from armillary.video import comparison, frames_per_second, strip, write_video


def write_report(
    folder: str | Path, on_failure: Callable[[Path, Exception], None] | None = None
) -> dict[str, Path]:
    """Writes what a finished run has to show.

    Args:
        folder: the run folder.
        on_failure: is told the file that could not be made and why; the others are made all the
            same, and an older file in its place stays. None: the first failure is raised.

    Returns:
        Of what was written: `curve` (PNG), `agent` (MP4: a noise-free episode), and if that episode
        is longer than the model's context `prediction` (PNG: true frames above predicted ones) and
        `prediction_video` (MP4). With several tasks their names follow: `agent-cheetah-run`.
    """
    run = Run(folder)
    files: dict[str, Path] = {}

    def write(name: str, path: Path, make: Callable[[Path], object]) -> None:
        try:
            make(path)
            files[name] = path
        except Exception as error:
            if on_failure is None:
                raise
            on_failure(path, error)

    write("curve", run.folder / "curve.png", partial(learning_curve, [run.folder]))
    several = len(run.config.tasks) > 1
    for number, task in enumerate(run.config.tasks):
        end = f"-{_plain(task)}" if several else ""
        played = _Played(run, number, task)
        if played.drawn:
            write(f"agent{end}", run.folder / f"agent{end}.mp4", played.write_episode)
        if played.predictable:
            write(f"prediction{end}", run.folder / f"prediction{end}.png", played.write_strip)
            video = run.folder / f"prediction{end}.mp4"
            write(f"prediction{end}_video", video, played.write_prediction)
    return files


def one_episode(player: Player, task: str, seed: int = 0) -> tuple[Scores, Episode]:
    """Plays a noise-free episode, which is drawn even if the agent does not observe it.

    Args:
        player: a trained agent.
        task: one of its tasks.
        seed: of the episode and of the agent.

    Raises:
        Stopped: by a signal.
        UsageError: the task is a module that is not trusted.
        EnvironmentFailure: the environment broke.
    """
    player.check_trust((task,))
    envs = make_side_by_side(task, drawn(player.config.environment, player.agent.spec), 1)
    try:
        with stop_request() as stop:
            scores, (episode,) = evaluate(
                envs,
                player.agent,
                player.state,
                episodes=1,
                seed=seed,
                on_step=lambda _: stop.check(),
            )
    finally:
        envs.close()
    return scores, episode


class _Played:
    """The last test episode of a run on one of its tasks; nothing is read before it is needed."""

    def __init__(self, run: Run, number: int, task: str) -> None:
        self.run, self.number, self.task = run, number, task

    @cached_property
    def episode(self) -> Episode:
        return EpisodeStore(self.run.test_episodes).load(self.number)

    @property
    def drawn(self) -> bool:
        """Whether the agent observed images, or else nobody knows: reading will tell."""
        try:
            return bool(self.episode.images)
        except ArmillaryError:
            return True

    @property
    def predictable(self) -> bool:
        """Whether it could be read, is longer than the context, and the model predicts frames."""
        read = "episode" in self.__dict__ and self.episode.steps >= CONTEXT
        return read and predicts_frames(self.player.agent)

    @cached_property
    def player(self) -> Player:
        return load(self.run.folder)

    @cached_property
    def prediction(self) -> Prediction:
        return Prediction.of(self.player, self.episode, self.task)

    def write_episode(self, path: Path) -> None:
        write_video(path, self.episode.image, frames_per_second(self.run.config, self.task))

    def write_strip(self, path: Path) -> None:
        self.prediction.write_picture(path)

    def write_prediction(self, path: Path) -> None:
        self.prediction.write_video(path)


def _plain(task: str) -> str:
    """Returns a task's name as a part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in task)


@dataclass(frozen=True)
class Prediction:
    """A stretch of an episode and what the model predicts of it, open loop.

    Attributes:
        true: the frames of the episode.
        predicted: the first `CONTEXT` as reconstructed, the others from actions alone.
        fps: frames per second that show it at half its speed.
    """

    true: UInt8[np.ndarray, "time height width 3"]
    predicted: UInt8[np.ndarray, "time height width 3"]
    fps: float

    @classmethod
    def of(cls, player: Player, episode: Episode, task: str | None = None) -> Prediction:
        """Predicts from the middle of the episode on, or from as late as its length allows.

        Args:
            player: a trained agent.
            episode: of the task.
            task: one of the agent's; None: its first.
        """
        start = max(0, min(episode.steps // 2, episode.steps + 1 - LENGTH))
        fps = frames_per_second(player.config, task) / 2
        return cls(*open_loop(player, episode, start=start), fps)

    def write_picture(self, path: Path) -> None:
        """Writes some of the frames as three labelled rows: truth, model, difference."""
        strip(self.true, self.predicted, path, context=CONTEXT)

    def write_video(self, path: Path) -> None:
        """Writes truth, model and difference side by side, with a line of labels above."""
        frames = comparison(self.true, self.predicted, context=CONTEXT)
        write_video(path, frames, fps=self.fps, scale=1)
