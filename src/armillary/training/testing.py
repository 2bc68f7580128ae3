"""Noise-free test episodes while an agent is trained, on each of its tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from armillary import seeding
from armillary.agents.base import Agent, predicts_frames
from armillary.agents.random import Random
from armillary.config import Config
from armillary.config.muzero import judged
from armillary.dynamics.prediction import CONTEXT, LENGTH
from armillary.envs import side_by_side
from armillary.envs.build import fitting
from armillary.envs.parallel import SideBySide
from armillary.replay.episode import Episode
from armillary.replay.episodes import EpisodeStore
from armillary.spec import Spec
from armillary.training.evaluation import Scores, evaluate
from armillary.training.judges import JUDGES, Verdict
from armillary.training.logger import Logger
from armillary.training.rollout import compiled_predict
from armillary.training.run import Run

FRAMES_PER_SECOND = 30
"""Of the videos in TensorBoard."""


class Stage:
    """The environments of test episodes, opened when they are first needed.

    Args:
        config: of the run.
        spec: of its agent.
    """

    def __init__(self, config: Config, spec: Spec) -> None:
        self._config, self._spec = config, spec
        self._envs: dict[str, SideBySide] = {}

    def of(self, task: str) -> SideBySide:
        """Returns those of a task, side by side."""
        if task not in self._envs:
            evaluation = self._config.evaluation
            count = min(evaluation.episodes, evaluation.final_episodes)
            environment = fitting(self._config.environment, self._spec)
            self._envs[task] = side_by_side(task, environment, count)
        return self._envs[task]

    def close(self) -> None:
        """Closes the environments that were opened here."""
        while self._envs:
            self._envs.popitem()[1].close()


class Tester:
    """Plays the test episodes of one training run; keeps one of each task, and logs pictures.

    Args:
        config: of the run.
        run: its folder.
        agent: the agent that is trained.
        logger: where videos and pictures go.
        stage: where the episodes are played.
        on_step: as in `rollout`.
    """

    def __init__(
        self,
        config: Config,
        run: Run,
        agent: Agent,
        logger: Logger,
        stage: Stage,
        on_step: Callable[[int], None],
    ) -> None:
        self._config, self._agent, self._logger, self._on_step = config, agent, logger, on_step
        self._store, self._stage = EpisodeStore(run.test_episodes), stage

    @property
    def has_episodes(self) -> bool:
        """Whether an episode of each task is kept."""
        return self._store.indices[: len(self._config.tasks)] == list(
            range(len(self._config.tasks))
        )

    def agent(self, state: Any, step: int, episodes: int, purpose: str) -> dict[str, Scores]:
        """Returns the agent's scores on each task.

        Args:
            state: its parameters.
            step: simulator steps so far, for the log.
            episodes: how many on each task.
            purpose: of the random numbers; one for the tests on the way, one for the last.
        """
        scores = {}
        for number, task in enumerate(self._config.tasks):
            scores[task], played = self._play(task, self._agent, state, episodes, purpose)
            self._store.write(number, played[0])
            self._log_pictures(state, played[0], step, "evaluate" + of(task, self._config))
        return scores

    def judge(self, state: Any) -> Verdict | None:
        """Returns what the judge of a game finds, if it is to be asked and there is one."""
        judge = JUDGES.get(self._config.task)
        if not judged(self._config) or judge is None or not judge.works:
            return None
        kwargs = self._config.environment.kwargs
        return judge.verdict(self._config.task, self._agent, state, kwargs)

    def random(self, episodes: int, purpose: str) -> dict[str, Scores]:
        """Returns the scores of random actions in the same episodes."""
        actor = Random(self._agent.spec)
        return {
            task: self._play(task, actor, None, episodes, purpose)[0] for task in self._config.tasks
        }

    def _play(
        self, task: str, actor: Any, state: Any, episodes: int, purpose: str
    ) -> tuple[Scores, list[Episode]]:
        return evaluate(
            self._stage.of(task),
            actor,
            state,
            episodes=episodes,
            seed=self._config.seed,
            purpose=purpose,
            on_step=self._on_step,
        )

    def _log_pictures(self, state: Any, episode: Episode, step: int, name: str) -> None:
        """Logs a video of an episode, and predicted frames (below) beside true ones (above)."""
        if not episode.images:
            return
        self._logger.video(f"{name}/agent", episode.image, step, fps=FRAMES_PER_SECOND)
        if episode.steps >= CONTEXT and predicts_frames(self._agent):
            key = seeding.key(self._config.seed, "predict")
            observations, actions = (
                jax.tree.map(lambda x: x[:LENGTH], x) for x in (episode.observation, episode.action)
            )
            predict = compiled_predict(self._agent)
            predicted = np.asarray(predict(state, observations, actions, key, context=CONTEXT))
            pairs = zip(episode.image[:LENGTH], predicted, strict=True)
            columns = [np.concatenate(pair) for pair in pairs]
            picture = np.concatenate(columns[:: max(1, len(columns) // 10)], axis=1)
            self._logger.image(f"{name}/prediction", picture, step)


def of(task: str, config: Config) -> str:
    """Returns what the names of scalars say of a task: nothing where there is only one."""
    return f"/{task}" if len(config.tasks) > 1 else ""


def together(scores: Mapping[str, Scores]) -> Scores:
    """Returns the scores on several tasks as one."""
    return Scores(tuple(score for one in scores.values() for score in one.scores))


def scalars(name: str, scores: Mapping[str, Mapping[str, Any]], config: Config) -> dict[str, Any]:
    """Returns scores as what is logged: of all tasks together, and of each if there are several.

    Args:
        name: `evaluate` or `random`.
        scores: for each task what `Scores.as_dict` returned.
        config: of the run.
    """
    pooled = Scores(tuple(score for one in scores.values() for score in one["scores"]))
    values = {f"{name}/{key}": value for key, value in pooled.as_dict().items()}
    if len(config.tasks) > 1:
        for task, one in scores.items():
            values |= {f"{name}/{task}/{key}": value for key, value in one.items()}
    return values
