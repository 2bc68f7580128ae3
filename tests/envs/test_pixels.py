"""The wrappers on tiny environments, each odd in one way."""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, MultiDiscrete
from gymnasium.utils.env_checker import check_env

from armillary.config import EnvironmentConfig
from armillary.envs import make
from armillary.envs.guard import Guard
from armillary.envs.pixels import _say
from armillary.errors import EnvironmentFailure, UsageError
from fake_envs import IMAGE, Counter, Raises, returning

ZERO = np.zeros(2, np.float32)


def seen(env: gymnasium.Env) -> np.ndarray:
    env.reset(seed=0)
    return env.step(np.zeros(env.action_space.shape, np.float32))[0]


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ({"shape": (16, 16, 3)}, 1),
        ({"shape": (64, 64, 3)}, 1),
        ({"shape": (96, 80, 3)}, 1),
        ({"shape": (16, 16, 1)}, 1),
        ({"shape": (16, 16, 4)}, 1),
        ({"shape": (16, 24)}, 1),
        ({"shape": (3, 16, 24)}, 1),
        ({"shape": (1, 16, 24)}, 1),
        ({"shape": (16, 16, 3), "dtype": np.float32, "high": 1.0}, 255),
        ({"shape": (16, 16, 3), "dtype": np.float64, "high": 255.0}, 1),
        # What the space promises as the most is white.
        ({"shape": (16, 16), "high": 1}, 255),
        ({"shape": (16, 16), "high": 5}, 51),
        ({"shape": (16, 16), "high": 1, "dtype": np.bool_}, 255),
        ({"key": "pixels"}, 1),
        ({"key": "the_only_image"}, 1),
        # No image is observed, so it is drawn: 100 plus the step.
        ({"shape": (5,), "dtype": np.float32, "render_mode": "rgb_array"}, 101),
        ({"shape": (2, 2, 3), "render_mode": "rgb_array"}, 101),
    ],
)
def test_any_image_becomes_64_by_64_rgb(arguments: dict[str, Any], value: int) -> None:
    env = make(Counter(**arguments))
    assert env.observation_space == Box(0, 255, (64, 64, 3), np.uint8)
    image = seen(env)
    np.testing.assert_array_equal(image, np.full((64, 64, 3), value, np.uint8))
    np.testing.assert_array_equal(env.render(), image)


def test_axes_keep_their_places() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for shape, observed in [((64, 64, 3), picture), ((3, 64, 64), np.moveaxis(picture, -1, 0))]:
        env = Counter(shape=shape)
        env.observe = lambda observed=observed: observed  # type: ignore[method-assign]
        np.testing.assert_array_equal(make(env).reset()[0], picture)


def test_shrinking_averages() -> None:
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[::2] = 100
    env = Counter(shape=stripes.shape)
    env.observe = lambda: stripes  # type: ignore[method-assign]
    np.testing.assert_array_equal(make(env).reset()[0], 50)


def test_pixels_chooses_the_source() -> None:
    both = {"render_mode": "rgb_array"}
    assert seen(make(Counter(**both)))[0, 0, 0] == 1
    assert seen(make(Counter(**both), EnvironmentConfig(pixels="render")))[0, 0, 0] == 101
    with pytest.raises(UsageError, match="is no image: use pixels 'render'"):
        make(Counter(shape=(5,), **both), EnvironmentConfig(pixels="observation"))
    with pytest.raises(UsageError, match="gives no images"):
        make(Counter(shape=(5,), dtype=np.float32))
    with pytest.raises(UsageError, match="gives no images"):
        make(Counter(), EnvironmentConfig(pixels="render"))


def test_observations_are_not_overwritten() -> None:
    env = make(Counter(shape=(64, 64, 3)))
    first = env.reset()[0]
    env.step(ZERO)
    assert (first == 0).all()


@pytest.mark.parametrize(
    ("space", "action", "own"),
    [
        (Box(np.array([-2.0, 0]), np.array([2.0, 10])), [-1, 1], [-2, 10]),
        (Box(np.array([-2.0, 0]), np.array([2.0, 10])), [0.5, 0], [1, 5]),
        (Box(-3, 1, (2, 2)), [-1, 1, 0, 0.5], [[-3, 1], [-1, 0]]),
        (Box(0, 10, (2,), np.int64), [-1, 0.31], [0, 7]),
        (Box(-1, 1, (1,)), [7.5], [1]),
    ],
)
def test_actions_are_rescaled(space: Box, action: list[float], own: list[Any]) -> None:
    inner = Counter(actions=space)
    env = make(inner)
    assert env.action_space == Box(-1, 1, (len(action),), np.float32)
    env.reset()
    env.step(np.array(action, np.float32))
    given = inner.actions[0]
    assert given.shape == space.shape
    assert given.dtype == space.dtype
    assert given in space
    np.testing.assert_allclose(given, own, rtol=1e-6)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (MultiDiscrete([2, 2]), "has MultiDiscrete actions, expected a Box or Discrete"),
        (Box(-np.inf, np.inf, (2,)), "must have finite bounds"),
        (Box(np.array([-1.0, 0]), np.array([1.0, np.inf])), "must have finite bounds"),
    ],
)
def test_actions_that_cannot_be_planned(space: gymnasium.Space, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(Counter(actions=space))


@pytest.mark.parametrize("action", [np.zeros(3), np.zeros((2, 1)), np.array([np.nan, 0])])
def test_wrong_actions(action: np.ndarray) -> None:
    env = make(Counter())
    env.reset()
    with pytest.raises(UsageError, match=r"expected \(2,\) finite numbers"):
        env.step(action)


@pytest.mark.parametrize("truncates", [True, False])
def test_rewards_are_summed_until_the_end(truncates: bool) -> None:
    env = make(Counter(end=10, truncates=truncates), EnvironmentConfig(action_repeat=4))
    env.reset()
    results = [env.step(ZERO) for _ in range(3)]
    assert [r[1] for r in results] == [1 + 2 + 3 + 4, 5 + 6 + 7 + 8, 9 + 10]
    assert [r[0][0, 0, 0] for r in results] == [4, 8, 10]
    assert [r[4]["simulator_steps"] for r in results] == [4, 8, 10]
    assert [r[2:4] for r in results] == [
        (False, False),
        (False, False),
        (not truncates, truncates),
    ]


def test_time_limit_counts_simulator_steps_and_truncates() -> None:
    env = make(Counter(end=100), EnvironmentConfig(action_repeat=4, time_limit=6))
    env.reset()
    assert env.step(ZERO)[2:4] == (False, False)
    _, reward, terminated, truncated, info = env.step(ZERO)
    assert (terminated, truncated, reward, info["simulator_steps"]) == (False, True, 11, 6)


def test_an_episode_without_an_end_is_noticed_once(caplog: pytest.LogCaptureFixture) -> None:
    class Quick(gymnasium.Env):
        action_space = Box(-1, 1, (2,))

        def reset(self, **_: Any) -> Any:
            return 0, {}

        def step(self, action: Any) -> Any:
            return 0, 0.0, False, False, {}

    def plays(env: gymnasium.Env, steps: int) -> int:
        caplog.clear()
        env.reset()
        for _ in range(steps):
            env.step(ZERO)
        return len(caplog.records)

    limited = gymnasium.wrappers.TimeLimit(Quick(), 10**6)
    assert plays(Guard(gymnasium.wrappers.TransformReward(limited, float), "limited"), 100_001) == 0
    endless = Guard(gymnasium.wrappers.TransformReward(Quick(), float), "endless")
    assert plays(endless, 100_000) == 0
    assert plays(endless, 1) == 0  # another episode, which is short
    assert plays(endless, 100_001) == 1
    assert "endless" in caplog.text
    assert "--environment.time-limit" in caplog.text
    assert plays(Guard(Quick(), "endless"), 100_001) == 0


def test_an_image_is_made_once_for_an_action() -> None:
    env = Counter(shape=(5,), dtype=np.float32, render_mode="rgb_array")
    drawn = []
    render = env.render
    env.render = lambda: drawn.append(env.steps) or render()  # type: ignore[method-assign]
    wrapped = make(env, EnvironmentConfig(action_repeat=4))
    wrapped.reset()
    wrapped.step(ZERO)
    assert drawn == [0, 4]


def test_an_error_names_the_environment_the_step_and_itself() -> None:
    env = make(Raises)
    env.reset()
    env.step(ZERO)
    env.step(ZERO)
    with pytest.raises(
        EnvironmentFailure, match=r"Raises raised Local at step 3: 100% broken"
    ) as e:
        env.step(ZERO)
    assert type(e.value.__cause__).__name__ == "Local"


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"reset": IMAGE}, r"reset returned an array of uint8.*pair \(observation, info\)"),
        ({"reset": (IMAGE[:8], {})}, r"shape \(8, 16, 3\).*promises uint8 of shape \(16, 16, 3\)"),
        ({"reset": (IMAGE.astype(np.float32), {})}, r"array of float32.*promises uint8"),
        ({"reset": (None, {})}, r"the observation at reset is None, expected an image"),
        ({"reset": ([[0]], {})}, r"of type list, expected an image"),
        ({"reset": (IMAGE, None)}, r"the info at reset is None, expected a dictionary"),
        ({"step": (IMAGE, 0.0, False, False, None)}, r"info at step 1 is None, expected a dict"),
        ({"step": (IMAGE, 0.0, False, False, [1])}, r"the info at step 1 is of type list"),
        ({"step": (IMAGE, 0.0, True, {})}, r"step returned of type tuple"),
        ({"step": (IMAGE, np.nan, False, False, {})}, r"reward at step 1 is nan"),
        ({"step": (IMAGE, -np.inf, False, False, {})}, r"reward at step 1 is -inf"),
        ({"step": (IMAGE, None, False, False, {})}, r"reward at step 1 is None"),
        ({"step": (IMAGE, np.zeros(2), False, False, {})}, r"shape \(2,\), expected a number"),
        ({"step": (IMAGE, 1e39, False, False, {})}, r"reward at step 1 is 1e\+39.*32 bits"),
        ({"step": (IMAGE, np.float64(-4e38), False, False, {})}, r"reward at step 1 is -4e\+38"),
        ({"step": (IMAGE, 10**400, False, False, {})}, r"reward at step 1 is inf"),
        ({"step": (IMAGE, 0, np.zeros(2, bool), False, {})}, r"terminated at step 1 is an array"),
        ({"step": (IMAGE, 0, False, None, {})}, r"truncated at step 1 is None, expected True"),
        ({"step": (IMAGE, 0, "no", False, {})}, r"terminated at step 1 is of type str"),
        ({"step": (IMAGE, 0, False, np.nan, {})}, r"truncated at step 1 is of type float"),
        ({"step": (IMAGE[..., :2], 0.0, False, False, {})}, r"shape \(16, 16, 2\)"),
    ],
)
def test_broken_promises(results: dict[str, Any], message: str) -> None:
    env = make(returning(**results))
    if "reset" not in results:
        env.reset()
    with pytest.raises(EnvironmentFailure, match=message):
        env.reset() if "reset" in results else env.step(ZERO)


@pytest.mark.parametrize(
    ("frame", "message"),
    [(None, "is None"), (np.zeros((8, 8, 3)), "array of float64"), (np.zeros((4, 4, 2)), "shape")],
)
def test_broken_frames(frame: Any, message: str) -> None:
    env = make(returning(render=frame), EnvironmentConfig(pixels="render"))
    with pytest.raises(EnvironmentFailure, match=message):
        env.reset()


def test_a_dictionary_without_its_image() -> None:
    env = Counter(key="pixels")
    env.observe = lambda: {"speed": np.zeros(2)}  # type: ignore[method-assign]
    with pytest.raises(EnvironmentFailure, match="promises a dictionary with 'pixels'"):
        make(env).reset()


FLOATS = {"shape": (16, 16, 3), "dtype": np.float32, "high": 1.0}


@pytest.mark.parametrize(
    ("arguments", "value", "shown"),
    [
        (FLOATS, 1.5, "values from 1.5 to 1.5, but its observation space promises 0 to 1"),
        (FLOATS, -0.1, "values from -0.1 to -0.1"),
        (FLOATS, np.nan, "values from nan to nan"),
        (FLOATS, np.inf, "values from inf to inf"),
        ({**FLOATS, "high": 255.0}, np.nan, "values from nan to nan.*promises 0 to 255"),
        ({"shape": (16, 16), "high": 1}, 255, "values from 255 to 255.*promises 0 to 1"),
        (FLOATS, 1 + 1e-6, 255),
        (FLOATS, -1e-6, 0),
    ],
)
def test_values_that_leave_their_range(
    arguments: dict[str, Any], value: float, shown: int | str
) -> None:
    env = Counter(**arguments)
    picture = np.full(env.box.shape, value, env.box.dtype)
    env.observe = lambda: picture  # type: ignore[method-assign]
    if isinstance(shown, int):
        assert (make(env).reset()[0] == shown).all()
        return
    with pytest.raises(EnvironmentFailure, match=f"the observation at reset has {shown}"):
        make(env).reset()


class Cameras(Counter):
    """Observes images of several cameras, each of another grey."""

    def __init__(self, tree: Any, render_mode: str | None = "rgb_array") -> None:
        super().__init__(render_mode=render_mode)
        self.tree = tree
        self.observation_space = self.of(tree, Box(0, 255, (16, 16, 3), np.uint8))

    def of(self, tree: Any, box: Box | None) -> Any:
        if isinstance(tree, dict):
            parts = {name: self.of(part, box) for name, part in tree.items()}
            return gymnasium.spaces.Dict(parts) if box else parts
        if isinstance(tree, tuple):
            members = tuple(self.of(part, box) for part in tree)
            return gymnasium.spaces.Tuple(members) if box else members
        return box or np.full((16, 16, 3), tree, np.uint8)

    def observe(self) -> Any:
        return self.of(self.tree, None)


TWO = {"front": 10, "wrist": 20}
NESTED = {"state": {"cameras": {"front": 10}}}


@pytest.mark.parametrize(
    ("tree", "pixels", "grey", "said"),
    [
        (TWO, "auto", 100, r"'front', 'wrist'\): the agent sees render\(\)"),
        (TWO, "wrist", 20, ""),
        (TWO, "render", 100, ""),
        ({**TWO, "image": 30}, "auto", 30, r"the agent sees the image 'image'"),
        (NESTED, "auto", 10, ""),
        (NESTED, "state/cameras/front", 10, ""),
        ({"all": TWO}, "all/wrist", 20, ""),
        ({"all": (10, 20)}, "all/1", 20, ""),
        ({"a/b": 10, "c": 20}, "a/b", 10, ""),
        ((10, 20), "1", 20, ""),
    ],
)
def test_several_cameras(
    tree: Any, pixels: str, grey: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    _say.cache_clear()
    for _ in range(2):
        env = make(Cameras(tree), EnvironmentConfig(pixels=pixels))
        assert env.reset()[0][0, 0, 0] == grey
    assert len(caplog.records) == bool(said)  # once
    assert re.search(said, caplog.text)


@pytest.mark.parametrize("pixels", ["auto", "observation", "frnt"])
def test_a_choice_that_has_to_be_made(pixels: str) -> None:
    with pytest.raises(UsageError, match=r"'front', 'wrist'"):
        make(Cameras(TWO, render_mode=None), EnvironmentConfig(pixels=pixels))


def test_sums_of_rewards_that_32_bits_do_not_hold() -> None:
    env = make(returning(step=(IMAGE, 2e38, False, False, {})), EnvironmentConfig(action_repeat=2))
    env.reset()
    with pytest.raises(EnvironmentFailure, match=r"the last of them step 2, add up to 4e\+38"):
        env.step(ZERO)


@pytest.mark.parametrize("reward", [1, np.float32(1), np.array(1.0), np.array([1.0]), True])
def test_rewards_of_any_number_type(reward: Any) -> None:
    env = make(returning(step=(IMAGE, reward, False, False, {})))
    env.reset()
    assert env.step(ZERO)[1] == 1.0
    assert type(env.step(ZERO)[1]) is float


def test_the_wrapped_environment_keeps_gymnasiums_rules() -> None:
    check_env(make(Counter(render_mode="rgb_array")), skip_render_check=True)
