"""A world and what a model dreams of it: two simulators that take the same actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from armillary.agents.hidden import HiddenModel
from armillary.envs import make
from armillary.envs.build import drawn
from armillary.errors import UsageError
from armillary.explore.frames import Answer
from armillary.explore.library import Loaded
from armillary.spec import MASK
from armillary.training.trees import words

DRIVERS = ("you", "agent", "random", "still")
"""Who chooses the actions: the reader, the agent, chance, or nobody (zeros)."""


class Dream:
    """The true simulator, the model's belief of it, and one or two dreams that began in it.

    The belief is filtered: at each step it sees the true observation. A dream sees nothing more
    after it has begun: it goes on with actions alone, by `world_model.step`. It belongs to the
    thread that made it, as the environment's OpenGL context does.

    Args:
        loaded: the agent.
        task: one of those that it learned; None: the first.
        seed: of the episode.

    Raises:
        UsageError: it is a game of two players; or the run folder names a Python module as its
            task, and is not trusted.
        EnvironmentFailure: the environment broke.
    """

    def __init__(self, loaded: Loaded, task: str | None = None, seed: int = 0) -> None:
        player = loaded.player
        self.loaded, self.model, self.spec = loaded, loaded.model, player.agent.spec
        self.task = player.task(task)
        if self.spec.players > 1:
            raise UsageError(f"{self.task} is a game of two players: play it in the view of games")
        player.check_trust((self.task,))
        self.env = make(self.task, drawn(player.config.environment, self.spec))
        try:
            self.names = self._names()
            self.begin(seed)
        except BaseException:
            self.env.close()
            raise

    def begin(self, seed: int) -> None:
        """Begins an episode, and a dream in its first state.

        Raises:
            EnvironmentFailure: the environment broke.
        """
        self.seed, self.steps, self.over = seed, 0, False
        self._random = np.random.default_rng(seed)
        self._see(self.env.reset(seed=seed)[0])
        self.last: dict[str, Any] = {}
        self._rows: list[dict[str, np.ndarray]] = [self.observation]
        self._led = [np.zeros(self.spec.action.size, np.float32)]
        self.belief = self._encoded()
        self.wake()

    def close(self) -> None:
        """Ends the environment."""
        self.env.close()

    def _names(self) -> list[str]:
        """Returns what the entries of an action are called, or the choices."""
        size = self.spec.action.size
        if self.spec.discrete:
            return words(self.env, size)
        return [str(number + 1) for number in range(size)]

    def _see(self, given: Any) -> None:
        """Takes an observation of the environment: the fields that the agent sees, and a frame."""
        named = {name: np.asarray(x) for name, x in self.spec.named(given).items()}
        mask = named.pop(MASK, None)
        self.mask = None if mask is None else mask.astype(bool)
        self.observation = named
        fields = given if isinstance(given, Mapping) else named
        frames = [np.asarray(x) for x in fields.values() if _is_image(x)]
        self.frame = frames[0] if frames else None

    def _encoded(self) -> Any:
        """Returns the state after what was seen, with a leading axis of 1."""
        if isinstance(self.model, HiddenModel):
            rows = _stacked(self._rows)
            return self.model.encode(rows, np.stack(self._led)[:, None])
        first = {name: x[None, None] for name, x in self.observation.items()}
        if len(self._rows) == 1 and not self.steps:
            return self.model.encode(first, np.zeros((0, 1, self.spec.action.size), np.float32))
        return self.model.encode(first, self._led[-1][None, None], state=self.belief)

    def wake(self) -> None:
        """Sets the dream to the truth: to what the model believes now. The branch ends."""
        self.dream, self.branch = self.belief, None
        self.asleep = 0
        self.scores = {"truth": 0.0, "dream": 0.0, "branch": 0.0}

    def fork(self) -> None:
        """Begins a second dream where the first one is."""
        self.branch = self.dream
        self.scores["branch"] = self.scores["dream"]

    def join(self) -> None:
        """Ends the second dream."""
        self.branch = None

    def chosen(self, driver: Mapping[str, Any], state: Any) -> np.ndarray:
        """Returns the action that somebody chooses, as it is stored.

        Args:
            driver: `by`: one of `DRIVERS`; of "you" the `action`, numbers in [-1, 1] or a choice.
            state: in which the agent would act, with a leading axis of 1.

        Raises:
            UsageError: it is no such choice.
        """
        by, size = driver.get("by", "agent"), self.spec.action.size
        if by == "agent":
            mask = None if self.mask is None else self.mask[None]
            return self.spec.stored_action(self.model.plan(state, mask=mask, seed=self.steps)[0])
        if by == "random":
            if self.spec.discrete:
                legal = np.arange(size) if self.mask is None else np.flatnonzero(self.mask)
                return self.spec.stored_action(self._random.choice(legal))
            return self._allowed(self._random.uniform(-1, 1, size))
        if by == "still":
            return self.spec.stored_action(0) if self.spec.discrete else np.zeros(size, np.float32)
        if by != "you":
            raise UsageError(f"{by!r} cannot act: expected one of {', '.join(DRIVERS)}")
        return self._yours(driver.get("action"))

    def _yours(self, action: Any) -> np.ndarray:
        size = self.spec.action.size
        if self.spec.discrete:
            if isinstance(action, bool) or not isinstance(action, int) or not 0 <= action < size:
                raise UsageError(f"the action is {action!r}, expected a number below {size}")
            if self.mask is not None and not self.mask[action]:
                raise UsageError(f"the action {action} may not be taken here")
            return self.spec.stored_action(action)
        try:
            numbers = np.asarray(action, np.float32)
        except (TypeError, ValueError):
            numbers = np.full(0, np.nan, np.float32)
        if numbers.shape != (size,) or not np.isfinite(numbers).all():
            raise UsageError(f"the action is {action!r}, expected {size} numbers in [-1, 1]"[:200])
        return self._allowed(numbers)

    def _allowed(self, action: np.ndarray) -> np.ndarray:
        action = np.clip(action, -1, 1).astype(np.float32)
        return action if self.mask is None else action * self.mask

    def step(
        self, driver: Mapping[str, Any], other: Mapping[str, Any] | None, sampled: bool = False
    ) -> None:
        """Lets a time step pass in the world, and in each dream.

        Args:
            driver: who acts in the world and, with the same actions, in the dream.
            other: who acts in the branch.
            sampled: whether the dreams' states are drawn at random, as in training, instead of
                being means.

        Raises:
            UsageError: the episode is over, or an action is none.
            EnvironmentFailure: the environment broke.
        """
        if self.over:
            raise UsageError("the episode is over: begin another one")
        action = self.chosen(driver, self.belief)
        actions = [action]
        if self.branch is not None:
            same = other is None or other.get("by") == "same"
            actions.append(action if same else self.chosen(other or {}, self.branch))
        given, reward, ended, cut, _ = self.env.step(self.spec.own_action(action))
        self._see(given)
        self._remember(action)
        self.belief = self._encoded()
        predicted = self._imagine(actions, sampled)
        self.steps += 1
        self.asleep += 1
        self.over = bool(ended or cut)
        self.scores["truth"] += float(reward)
        self.scores["dream"] += predicted[0]
        if self.branch is not None:
            self.scores["branch"] += predicted[1]
        self.last = {
            "reward": float(reward),
            "dream_reward": predicted[0],
            "branch_reward": predicted[1] if self.branch is not None else None,
            "action": action.tolist(),
            "branch_action": actions[1].tolist() if self.branch is not None else None,
        }

    def _remember(self, action: np.ndarray) -> None:
        """Keeps as many rows as the model looks back on."""
        kept = self.model.history if isinstance(self.model, HiddenModel) else 1
        self._rows = [*self._rows, self.observation][-kept:]
        self._led = [*self._led, action][-kept:]

    def _imagine(self, actions: list[np.ndarray], sampled: bool) -> list[float]:
        """Goes on with the dreams; returns the rewards that they expect."""
        dreams = [self.dream] if self.branch is None else [self.dream, self.branch]
        random: dict[str, Any] = {}
        if sampled and not isinstance(self.model, HiddenModel):
            random = {"seed": self.seed * 100_000 + self.steps}
        states, rewards = self.model.step(joined(dreams), np.stack(actions), **random)
        parts = [jax.tree.map(lambda x, i=i: x[i : i + 1], states) for i in range(len(dreams))]
        self.dream = parts[0]
        self.branch = parts[1] if self.branch is not None else None
        return [float(reward) for reward in rewards]

    def view(self) -> Answer:
        """Returns what is to be seen now."""
        images: dict[str, np.ndarray] = {}
        values: dict[str, Any] = {
            "step": self.steps,
            "asleep": self.asleep,
            "over": self.over,
            "branched": self.branch is not None,
            "scores": dict(self.scores),
            **self.last,
        }
        dreams = [self.dream] if self.branch is None else [self.dream, self.branch]
        if self.frame is not None:
            images["truth"] = self.frame
        if self.loaded.draws:
            frames = self.model.decode(joined(dreams))
            images |= dict(zip(("dream", "branch"), frames, strict=False))
        for name, frame in list(images.items()):
            if name != "truth" and self.frame is not None and self.frame.shape == frame.shape:
                apart = np.abs(frame.astype(np.int16) - self.frame)
                values[f"{name}_difference"] = float(apart.mean()) / 255
        values |= self._values(dreams)
        return Answer(values, images)

    def _values(self, dreams: list[Any]) -> dict[str, float]:
        """Returns what the agent expects to be paid from each dream on, if it says."""
        found = self.values_of(joined(dreams))
        names = ("dream_value", "branch_value")
        return {} if found is None else dict(zip(names, map(float, found), strict=False))

    def values_of(self, states: Any) -> np.ndarray | None:
        """Returns the values of states; None: the agent learned none."""
        try:
            return np.asarray(self.model.value(states))
        except UsageError:
            return None

    def facts(self) -> dict[str, Any]:
        """Returns what does not change while it lasts."""
        return {
            "task": self.task,
            "seed": self.seed,
            "agent": self.loaded.player.config.agent,
            "trained": self.loaded.episodes,
            "discrete": self.spec.discrete,
            "names": self.names,
            "used": None if self.mask is None else self.mask.tolist(),
            "draws": self.loaded.draws,
            "chance": not isinstance(self.model, HiddenModel),
        }


def joined(states: list[Any]) -> Any:
    """Returns states with a leading axis as one."""
    if len(states) == 1:
        return states[0]
    return jax.tree.map(lambda *x: jnp.concatenate(x), *states)


def _is_image(array: Any) -> bool:
    array = np.asarray(array)
    return array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8


def _stacked(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([row[name] for row in rows])[:, None] for name in rows[0]}
