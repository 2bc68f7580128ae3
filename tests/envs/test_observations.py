"""What is observed: images, vectors, several of them; and discrete actions."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from armillary.config import EnvironmentConfig
from armillary.envs import make, side_by_side
from armillary.envs.build import common, spec_of
from armillary.errors import EnvironmentFailure, UsageError
from armillary.spec import Continuous, Field, Spec
from armillary.spec import Discrete as Choices
from fake_envs import Counter
from toys import Lamps

IMAGE = Field((64, 64, 3), "uint8")


def spec(env: gymnasium.Env) -> Spec:
    return env.get_wrapper_attr("agent_spec")


@pytest.mark.parametrize(
    ("observe", "fields"),
    [
        ("image", {"image": IMAGE}),
        ("vector", {"vector": Field((4,))}),
        ("image, vector", {"image": IMAGE, "vector": Field((4,))}),
        ("cameras/front,lamp", {"cameras/front": IMAGE, "lamp": Field((3,))}),
        ("all", {"cameras/front": IMAGE, "lamp": Field((3,)), "time": Field((1,))}),
    ],
)
def test_the_fields_that_are_asked_for(observe: str, fields: dict[str, Field]) -> None:
    env = make("toys:lamps", EnvironmentConfig(observe=observe))
    assert spec(env) == Spec.of(fields, Choices(3))
    observation, _ = env.reset(seed=0)
    for _ in range(3):
        assert observation in env.observation_space
        named = spec(env).named(observation)
        assert set(named) == set(fields)
        for name, field in fields.items():
            assert (named[name].shape, named[name].dtype) == (field.shape, field.dtype)
        lamp = env.unwrapped.lamp
        if "vector" in fields:  # a number of choices one-hot, the rest as they are
            one_hot = np.eye(3)[lamp]
            expected = [*one_hot, env.unwrapped.time / 12]
            np.testing.assert_allclose(named["vector"], expected, rtol=1e-6)
        if "cameras/front" in fields:
            assert named["cameras/front"][0, 20 * lamp + 10, 0] == 200
        observation, *_ = env.step(1)


def test_one_field_is_the_array_itself() -> None:
    assert make("toys:lamps", EnvironmentConfig(observe="vector")).reset(seed=0)[0].shape == (4,)


def test_the_control_suites_own_numbers_need_no_drawing() -> None:
    config = EnvironmentConfig(observe="vector")
    env = make("cartpole-balance", config)
    assert env.unwrapped.render_mode is None
    observation, _ = env.reset(seed=3)
    assert observation.shape == (5,)
    np.testing.assert_allclose(observation[1] ** 2 + observation[2] ** 2, 1, rtol=1e-6)  # the angle
    assert make(
        "cartpole-balance", EnvironmentConfig(observe="image,vector", renderer="warp")
    ).reset(seed=3)[0]["vector"].tolist() == pytest.approx(observation.tolist())


@pytest.mark.parametrize(
    ("observe", "message"),
    [
        ("lmap", "nothing called 'lmap' to observe.*'lamp'"),
        ("image,", "give image, vector, all"),
        ("image,image", "each once"),
        ("mask", "give image, vector, all"),
    ],
)
def test_what_is_not_there_is_said(observe: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make("toys:lamps", EnvironmentConfig(observe=observe))


class Numbers(Counter):
    """Observes what it is told to."""

    def __init__(self, space: Any, values: list[Any]) -> None:
        super().__init__()
        self.observation_space, self.values = space, values

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        """Gives the first value."""
        return self.values[0], {}

    def step(self, action: Any) -> Any:
        """Gives the second one."""
        return self.values[1], 0.0, False, False, {}


@pytest.mark.parametrize(
    ("space", "values", "message"),
    [
        (Box(-1, 1, (2,)), [np.zeros(2), np.array([0, np.nan])], "at step 1 holds nan"),
        (Box(-1, 1, (2,)), [np.zeros(2), np.array([0, 1e300])], "holds 1e.300.*32 bits"),
        (Box(-1, 1, (2,)), [np.zeros(3), None], r"at reset is .*\(3,\).*promises"),
        (Box(-1, 1, (2,)), [np.zeros(2), None], "at step 1 is None"),
        (Discrete(3), [0, 3], "at step 1 is 3, but.*promises Discrete"),
        (Dict({"a": Discrete(3)}), [{"a": 0}, {"b": 0}], "promises a dictionary with 'a'"),
    ],
)
def test_broken_promises(space: Any, values: list[Any], message: str) -> None:
    env = make(Numbers(space, values), EnvironmentConfig(observe="vector"))

    def play() -> None:
        env.reset()
        env.step(np.zeros(env.action_space.shape, np.float32))

    with pytest.raises(EnvironmentFailure, match=message):
        play()


@pytest.mark.parametrize("action", [3, -1, 1.0, np.array([1]), None, np.array([0.0, 1.0, 0.0])])
def test_wrong_choices(action: Any) -> None:
    env = make("toys:lamps", EnvironmentConfig(observe="vector"))
    env.reset(seed=0)
    with pytest.raises(UsageError, match="has the discrete actions 0 to 2"):
        env.step(action)


def test_choices_are_counted_from_zero() -> None:
    env = make(Lamps(), EnvironmentConfig(observe="lamp"))
    lamp, _ = env.reset(seed=0)
    total = 0.0
    for _ in range(12):
        lamp, reward, _, truncated, _ = env.step(int(lamp.argmax()))
        total += reward
    assert (total, truncated) == (12.0, True)


def test_side_by_side_they_have_one_spec() -> None:
    envs = side_by_side("toys:lamps", EnvironmentConfig(observe="all"), 2)
    assert set(envs.agent_spec.fields) == {"cameras/front", "lamp", "time"}
    observation, _ = envs.reset(seed=[0, 1])
    assert observation["lamp"].shape == (2, 3)
    envs.close()


def test_several_tasks_agree_or_are_refused() -> None:
    config = EnvironmentConfig(observe="image")
    assert common(("toys:short",), config) is config
    both = spec_of(("toys:short", "toys:slider"), config)
    assert both == Spec.of({"image": IMAGE, "mask": Field((2,), "bool")}, Continuous(2))
    with pytest.raises(UsageError, match=r"cannot learn toys:short.*toys:lamps.*differ"):
        spec_of(("toys:short", "toys:lamps"), config)
    with pytest.raises(UsageError, match="3 discrete actions, but action_size is 2"):
        make("toys:lamps", EnvironmentConfig(action_size=2))


def test_choices_that_a_task_does_not_have_are_masked() -> None:
    env = make("toys:lamps", EnvironmentConfig(observe="lamp", action_size=5))
    observation, _ = env.reset(seed=0)
    assert observation["mask"].tolist() == [True] * 3 + [False] * 2
    assert env.action_space == Discrete(5)


def test_a_spec_is_kept_as_json() -> None:
    for env in (
        make("toys:lamps", EnvironmentConfig(observe="all")),
        make("toys:short", EnvironmentConfig(action_size=3)),
    ):
        assert Spec.from_dict(spec(env).as_dict()) == spec(env)
    for wrong in ({}, {"observation": 3}, spec(env).as_dict() | {"continuous": 0}):
        with pytest.raises(UsageError, match="no spec"):
            Spec.from_dict(wrong)
