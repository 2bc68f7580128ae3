"""Episodes of a Minari data set, as an agent sees them and as they are stored.

What a data set says of its environment is read, and never run (`docs/trust.md`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from armillary.advice import extra
from armillary.config import Config, EnvironmentConfig
from armillary.envs import catalogue
from armillary.envs.actions import PaddedActions, own_actions
from armillary.envs.guard import Guard
from armillary.envs.observations import Observed
from armillary.envs.pixels import is_image, parts
from armillary.errors import RunError, UsageError, nearest
from armillary.replay.episode import Episode
from armillary.spec import Spec

_PREFIX = "minari:"
_ROUNDING = 1e-4
"""By how much of its half range a recorded action may leave it: what rounding does."""


def is_named(source: str | Path | None) -> bool:
    """Whether a source of episodes is a data set: `minari:NAME`."""
    return str(source).startswith(_PREFIX)


class DataSet:
    """A data set on the local disk.

    Args:
        source: `minari:NAME`.
        config: what an agent observes.

    Raises:
        UsageError: Minari is not installed, there is no such data set, its actions are neither a
            bounded Box nor discrete, or it does not hold what is to be observed.
        RunError: it cannot be read.
    """

    def __init__(self, source: str, config: EnvironmentConfig) -> None:
        self.name = f"the data set {source.removeprefix(_PREFIX)!r}"
        self._data = _open(source.removeprefix(_PREFIX), self.name)
        self._played = Played(self._data.observation_space, self._data.action_space)
        try:
            self._actions = own_actions(Guard(self._played, self.name, None), self.name)
        except UsageError as error:
            raise UsageError(f"{error}, and record the episodes again") from error
        env: gymnasium.Env = self._actions
        if config.action_size is not None:
            env = PaddedActions(env, self.name, config.action_size)
        observes = [space for _, space in parts(self._data.observation_space)]
        if "image" in config.observe.split(",") and not any(map(is_image, observes)):
            raise UsageError(
                f"{self.name} observes {self._data.observation_space}, in which there is no image, "
                "and draws none: give --environment.observe vector"
            )
        self._env = Observed(env, self.name, config)

    @property
    def spec(self) -> Spec:
        """What an agent that learns from it is made from."""
        return self._env.agent_spec

    def episodes(self, first: int = 0) -> Iterator[Episode]:
        """Yields the episodes as they would have been collected, in their order.

        Args:
            first: how many are left out.

        Raises:
            RunError: an action is outside of the action space.
            EnvironmentFailure: an observation or a reward is not what was promised.
        """
        for recorded in self._data.iterate_episodes(self._data.episode_indices[first:]):
            yield self._episode(recorded)

    def _episode(self, recorded: Any) -> Episode:
        spec, steps = self.spec, len(recorded.rewards)
        self._played.episode = recorded
        observation, _ = self._env.reset()
        rows = [spec.named(observation)]
        actions = np.zeros((steps + 1, spec.action.size), np.float32)
        rewards = np.zeros(steps + 1, np.float32)
        for step in range(steps):
            own = _row(recorded.actions, step)
            self._check(own, f"{self.name}: the action of step {step} of episode {recorded.id}")
            given = self._actions.inverse(own)
            stored = spec.stored_action(given)
            actions[step + 1, : len(stored)] = stored
            result = self._env.step(actions[step + 1] if not spec.discrete else given)
            rows.append(spec.named(result[0]))
            rewards[step + 1] = result[1]
        return Episode(
            observation={name: np.stack([row[name] for row in rows]) for name in rows[0]},
            action=actions,
            reward=rewards,
            terminal=bool(recorded.terminations[-1]),
            simulator_steps=steps,
        )

    def _check(self, action: Any, what: str) -> None:
        space = self._played.action_space
        right = space.contains(action)
        if isinstance(space, Box):
            slack = _ROUNDING * (space.high.astype(np.float64) - space.low) / 2
            given = np.asarray(action, np.float64)
            right = given.shape == space.shape and bool(
                ((given >= space.low - slack) & (given <= space.high + slack)).all()
            )
        if not right:
            raise RunError(
                f"{what} is {action}, outside of its action space {space}: record the episodes "
                "again from an environment whose action space holds"
            )


class Played(gymnasium.Env):
    """An environment in which a recorded episode happens again, whatever the actions are."""

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.episode: Any = None
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins the episode."""
        self._step = 0
        return _row(self.episode.observations, 0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Goes on in the episode."""
        step, episode = self._step, self.episode
        self._step += 1
        ends = bool(episode.terminations[step]), bool(episode.truncations[step])
        return _row(episode.observations, step + 1), float(episode.rewards[step]), *ends, {}


def task_of(source: str) -> tuple[str, dict[str, Any]] | None:
    """Returns the id of the environment that a data set was recorded in, and its keywords.

    None: the data set does not say. Arguments and errors as `DataSet`.
    """
    name = source.removeprefix(_PREFIX)
    spec = _open(name, f"the data set {name!r}").env_spec
    if spec is None:
        return None
    return str(spec.id), {k: v for k, v in spec.kwargs.items() if k != "render_mode"}


def check_settings(config: Config) -> None:
    """Makes sure that tests are played as the episodes were recorded.

    Raises:
        UsageError: they would not be; or the run is of several tasks.
    """
    if len(config.tasks) > 1:
        raise UsageError(
            f"{config.source} is of one task, but the run is of {len(config.tasks)}: give one"
        )
    repeat = config.environment.action_repeat
    if repeat is None and config.evaluation.final_episodes:
        repeat = catalogue.action_repeat(config.task)
    if repeat not in (None, 1):
        raise UsageError(
            f"{config.source} holds an action for each step, but environment.action_repeat is "
            f"{repeat}: give --environment.action-repeat 1"
        )


def _open(name: str, called: str) -> Any:
    """Returns the data set, if it is on this disk."""
    minari = _package()
    match = minari.dataset.minari_dataset.DATASET_ID_RE.fullmatch(name)
    if match is None or match["version"] is None:
        raise UsageError(
            f"{name!r} is no name of a Minari data set: expected NAME-v0 or GROUP/NAME-v0, as "
            "`minari list local` shows them"
        )
    root = minari.storage.datasets_root_dir.get_dataset_path()
    data = root / name / "data"
    if not data.exists():
        there = list(minari.list_local_datasets())
        raise UsageError(
            f"{called} is not in {str(root)!r}: download it with `minari download {name}`, or give "
            "another place with MINARI_DATASETS_PATH." + nearest(name, there)
        )
    storage = minari.dataset.minari_storage.MinariStorage
    try:
        missing = {"observation_space", "action_space"} - {*storage.read_raw_metadata(data)}
        if not missing:  # else Minari would make the environment to ask it, which runs code
            return minari.load_dataset(name)
    except Exception as error:  # whatever Minari and its file formats find wrong
        raise RunError(f"{called} in {str(data)!r} cannot be read: {error}") from error
    raise RunError(
        f"{called} does not say its {' and '.join(sorted(missing))}: record it again with Minari "
        "0.5 or later"
    )


def _package() -> ModuleType:
    try:
        import minari
        import minari.dataset.minari_storage
        import minari.storage.datasets_root_dir
    except ImportError as error:
        raise UsageError(
            f"--from minari:NAME needs the package minari ({error}): install it with "
            f"`{extra('minari')}`"
        ) from error
    return minari


def _row(values: Any, number: int) -> Any:
    """Returns one row of arrays that may be in dictionaries and tuples."""
    if isinstance(values, dict):
        return {name: _row(part, number) for name, part in values.items()}
    if isinstance(values, tuple):
        return tuple(_row(part, number) for part in values)
    return values[number]
