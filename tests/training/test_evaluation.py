"""Scores of noise-free episodes, played by a stub whose exploration would be seen."""

from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary import seeding
from armillary.envs import side_by_side
from armillary.spec import Spec, pixels
from armillary.training.evaluation import Scores, evaluate


class Paying(gym.Env):
    """Pays what its seed says, and -1000 for exploration; it keeps the score itself."""

    observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    seeds: ClassVar[list[int]] = []
    earned: ClassVar[dict[int, float]] = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        assert seed is not None
        self.seed, self.time = seed, 0
        self.seeds.append(seed)
        self.earned[seed] = 0.0
        return np.zeros((64, 64, 3), np.uint8), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        reward = self.seed % 97 + self.time / 4 - 1000 * float(action[0] > 0)
        self.earned[self.seed] += reward
        over = self.time == 2 + self.seed % 3
        return np.zeros((64, 64, 3), np.uint8), reward, over, False, {}


SPEC = pixels(64, 1)


@dataclass(frozen=True)
class Stub:
    """Its action tells whether it was asked to explore."""

    spec: Spec = SPEC

    def initial_belief(self, state: Any, environments: int) -> None:
        return None

    def act(
        self, state: Any, belief: Any, observation: Any, key: jax.Array, explore: bool
    ) -> tuple[None, jax.Array, dict[str, jax.Array]]:
        return None, jnp.full((len(observation["image"]), 1), 0.5 if explore else -0.5), {}


@pytest.fixture(autouse=True)
def _forget() -> None:
    Paying.seeds.clear()
    Paying.earned.clear()


def _evaluate(count: int, episodes: int, **options: Any) -> tuple[Scores, list]:
    envs = side_by_side(Paying, None, count)
    try:
        return evaluate(envs, Stub(), None, episodes=episodes, **{"seed": 3} | options)
    finally:
        envs.close()


def test_scores_are_undiscounted_sums_of_rewards_without_exploration() -> None:
    scores, played = _evaluate(1, 4)
    assert min(Paying.earned.values()) >= 0
    assert scores.scores == tuple(Paying.earned[seed] for seed in Paying.seeds)
    assert len(set(scores.scores)) == 4
    assert [float(episode.reward.sum()) for episode in played] == [scores.scores[-1]]
    assert scores.mean == pytest.approx(sum(scores.scores) / 4)
    assert scores.std == pytest.approx(np.mean((np.array(scores.scores) - scores.mean) ** 2) ** 0.5)
    assert scores.as_dict() == {
        "mean": scores.mean,
        "std": scores.std,
        "episodes": 4,
        "scores": list(scores.scores),
    }


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_an_episode_does_not_depend_on_how_many_are_played_side_by_side(count: int) -> None:
    """Also where the number of episodes is not divisible: no score more, none less."""
    one_by_one, _ = _evaluate(1, 5)
    expected = [seeding.integer(3, "evaluate", index) for index in range(5)]
    assert Paying.seeds == expected
    Paying.seeds.clear()
    scores, _ = _evaluate(count, 5)
    assert Paying.seeds[:5] == expected
    assert scores == one_by_one


def test_purposes_and_seeds_have_episodes_of_their_own() -> None:
    _evaluate(2, 4)
    _evaluate(2, 4, purpose="final")
    _evaluate(2, 4, seed=4)
    assert len(set(Paying.seeds)) == 12


def test_on_step_sees_every_step() -> None:
    counts: list[int] = []
    _, played = _evaluate(2, 2, on_step=counts.append)
    assert sum(counts) == sum(episode.steps for episode in played)
