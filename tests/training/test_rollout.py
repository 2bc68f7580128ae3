"""Episodes as they are recorded, played by an actor whose actions are known."""

from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.envs import side_by_side
from armillary.errors import EnvironmentFailure
from armillary.spec import Spec, pixels
from armillary.training.rollout import compiled, returns, rollout

KEY = jax.random.key(4)


class Scripted(gym.Env):
    """Draws its last action; the seed says how the episode goes.

    It has `3 + seed % 4` steps, of which step t pays `seed + t`, and ends by itself if the seed
    is even, by a limit if it is odd.
    """

    observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    stepped: ClassVar[int] = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        assert seed is not None
        self.seed, self.time = seed, 0
        return np.full((64, 64, 3), 7, np.uint8), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        type(self).stepped += 1
        over = self.time == 3 + self.seed % 4
        even = self.seed % 2 == 0
        return draw(action), float(self.seed + self.time), over and even, over and not even, {}


def draw(action: np.ndarray) -> np.ndarray:
    """Returns an image of an action."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., :2] = np.round(100 + 100 * np.asarray(action))
    return image


SPEC = pixels(64, 2)


@dataclass(frozen=True)
class Stub:
    """Acts at random on what it has seen; tells how many observations that were."""

    spec: Spec = SPEC

    def initial_belief(self, state: Any, environments: int) -> jax.Array:
        return jnp.zeros(environments)

    def act(
        self, state: Any, belief: Any, observation: Any, key: jax.Array, explore: bool
    ) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
        seen = observation["image"][:, 0, 0, 0] / 512.0
        number = 0.01 * belief if explore else -0.01 * belief
        noise = 0.4 * jax.random.uniform(key, seen.shape)
        return belief + 1, jnp.stack([noise + state * seen, number], axis=-1), {}


def _play(count: int, seeds: list[int], **options: Any) -> list:
    envs = side_by_side(Scripted, None, count)
    try:
        return rollout(envs, Stub(), jnp.ones(()), KEY, seeds=seeds, **options)
    finally:
        envs.close()


def test_rows_are_aligned() -> None:
    """Row 0 is the reset; `action[t]` answers `image[t - 1]` and leads to `image[t]`."""
    (episode,) = _play(1, [103], explore=True)
    assert episode.steps == 6
    assert (episode.image[0] == 7).all()
    assert not episode.action[0].any()
    np.testing.assert_array_equal(episode.reward, [0, 104, 105, 106, 107, 108, 109])
    for t in range(1, 7):
        np.testing.assert_array_equal(episode.image[t], draw(episode.action[t]))
        noise = 0.4 * jax.random.uniform(jax.random.fold_in(KEY, t - 1), (1,))[0]
        expected = noise + episode.image[t - 1][0, 0, 0] / 512.0, 0.01 * (t - 1)
        np.testing.assert_allclose(episode.action[t], expected, rtol=1e-6)


def test_episodes_of_different_lengths_end_on_their_own() -> None:
    episodes = _play(4, [3, 4, 5, 6], explore=False)
    assert [episode.steps for episode in episodes] == [6, 3, 4, 5]
    assert [episode.terminal for episode in episodes] == [False, True, False, True]
    for episode, seed in zip(episodes, (3, 4, 5, 6), strict=True):
        np.testing.assert_array_equal(episode.reward[1:], seed + 1 + np.arange(episode.steps))
        np.testing.assert_allclose(episode.action[1:, 1], -0.01 * np.arange(episode.steps))
        for image, action in zip(episode.image[1:], episode.action[1:], strict=True):
            np.testing.assert_array_equal(image, draw(action))
    assert list(returns(episodes)) == [sum(range(4, 10)), 5 + 6 + 7, sum(range(6, 10)), 45]


def test_on_step_counts_the_environments_that_still_play() -> None:
    counts: list[int] = []
    _play(3, [3, 4, 5], explore=False, on_step=counts.append)  # 6, 3 and 4 steps
    assert counts == [3, 3, 3, 2, 1, 1]


def test_on_step_can_end_it() -> None:
    def stop(_: int) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    calls: list[int] = []
    Scripted.stepped = 0
    with pytest.raises(KeyboardInterrupt):
        _play(1, [3], explore=False, on_step=stop)
    assert Scripted.stepped == 3


def test_returns_are_summed_in_double_precision() -> None:
    """A float32 sum of these would lose the small ones."""
    (episode,) = _play(1, [3], explore=False)
    rewards = np.float32([0, 2**24, 1, 1, 1, 1, 1])
    episode = type(episode)(episode.observation, episode.action, rewards)
    assert list(returns([episode])) == [2**24 + 5]


def test_a_return_that_32_bits_do_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reward fits; no episode is kept."""
    step = Scripted.step
    monkeypatch.setattr(
        Scripted, "step", lambda self, action: (*(r := step(self, action))[:1], 1.5e38, *r[2:])
    )
    with pytest.raises(EnvironmentFailure, match=r"add up to 4.5\d*e\+38 at action 3"):
        _play(1, [3], explore=False)


@dataclass(frozen=True)
class Trimming(Stub):
    """A stub whose state has a part with which it does not act."""

    def trimmed(self, state: Any) -> Any:
        return state | {"moments": None}

    def act(self, state: Any, *rest: Any) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
        assert state["moments"] is None
        return super().act(state["scale"], *rest)


def test_the_program_gets_no_more_than_acting_takes() -> None:
    state = {"scale": jnp.ones(()), "moments": jnp.zeros(3)}
    given = jnp.zeros(1), {"image": np.zeros((1, 64, 64, 3), np.uint8)}, KEY, 0
    _, action, _ = compiled(Trimming())(state, *given, explore=True)
    _, expected, _ = compiled(Stub())(state["scale"], *given, explore=True)
    np.testing.assert_array_equal(action, expected)
