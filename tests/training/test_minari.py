"""Minari data sets as a source: recorded here, in a folder of the test's own."""

import json
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from armillary import seeding
from armillary.agents.random import Random
from armillary.cli import train as command
from armillary.config import EnvironmentConfig, changed
from armillary.config.typed import options
from armillary.envs import side_by_side
from armillary.envs.actions import DiscreteActions, NormalizedActions
from armillary.errors import EnvironmentFailure, RunError, UsageError
from armillary.replay.episode import Episode
from armillary.replay.episodes import EpisodeStore
from armillary.training.loop import train
from armillary.training.minari import DataSet, Played
from armillary.training.offline import source_spec
from armillary.training.player import load
from armillary.training.rollout import rollout
from settings import TINY_DISCRETE, TINY_DREAMER
from toys import Corridor, Lamps, Slider, Terminating

minari = pytest.importorskip("minari")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Minari's, of what is not recorded

VECTOR = EnvironmentConfig(observe="vector")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the data sets are."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    return tmp_path / "sets"


def record(env: gym.Env, name: str, config: EnvironmentConfig, episodes: int = 2) -> list[Episode]:
    """Plays at random, as collected episodes are, and lets Minari look on."""
    collector = minari.DataCollector(env, jpeg_encoding=False)
    played = []
    with closing(side_by_side(lambda: collector, config, 1)) as envs:
        actor = Random(envs.agent_spec)
        for number in range(episodes):
            key = seeding.key(0, "collect", number)
            played += rollout(envs, actor, None, key, seeds=[number], explore=True)
        collector.create_dataset(name)
    return played


def equal(a: Episode, b: Episode) -> None:
    assert a.observation.keys() == b.observation.keys()
    for name, field in a.observation.items():
        assert field.dtype == b.observation[name].dtype
        np.testing.assert_array_equal(field, b.observation[name], err_msg=name)
    np.testing.assert_array_equal(a.action, b.action)
    np.testing.assert_array_equal(a.reward, b.reward)
    assert (a.terminal, a.simulator_steps) == (b.terminal, b.simulator_steps)


@pytest.mark.parametrize(
    ("make", "config"),
    [
        (Terminating, EnvironmentConfig()),  # images; bounds that are not -1 and 1; ends by itself
        (Slider, EnvironmentConfig(action_size=3)),  # with a mask
        (Corridor, VECTOR),
        (Lamps, EnvironmentConfig(observe="cameras/front,lamp")),  # counted from 5
        (Lamps, VECTOR),
    ],
)
def test_it_is_stored_as_if_it_had_been_collected(
    make: Callable[[], gym.Env], config: EnvironmentConfig
) -> None:
    """The same bits."""
    played = record(make(), "toys/one-v0", config)
    data = DataSet("minari:toys/one-v0", config)
    read = list(data.episodes())
    assert len(read) == 2
    for ours, theirs in zip(read, played, strict=True):
        equal(ours, theirs)
    assert read[0].terminal == (make is Terminating)
    equal(next(data.episodes(1)), played[1])
    assert source_spec("minari:toys/one-v0", config) == data.spec
    assert data.spec.masked == (config.action_size is not None)


@pytest.mark.parametrize("low", [-1.0, 0.0, -0.3])
def test_an_action_and_its_inverse(low: float) -> None:
    """Through the environment's own 32 bits: to a rounding; its bounds are exactly the ends."""
    space = gym.spaces.Box(np.array([[low, -7.0]]), np.array([[1.7, 11.0]]), dtype=np.float32)
    wrapper = NormalizedActions(Played(space, space), "it")
    given = np.random.default_rng(0).uniform(-1, 1, (100, 2)).astype(np.float32)
    back = np.stack([wrapper.inverse(wrapper.action(action)) for action in given])
    np.testing.assert_allclose(back, given, atol=3e-7)
    np.testing.assert_array_equal(wrapper.inverse(space.high), [1, 1])
    np.testing.assert_array_equal(wrapper.inverse(space.low), [-1, -1])
    fixed = gym.spaces.Box(np.array([2.0, 0.0]), np.array([2.0, 1.0]), dtype=np.float64)
    np.testing.assert_array_equal(
        NormalizedActions(Played(fixed, fixed), "it").inverse(np.array([2.0, 0.75])), [0, 0.5]
    )
    counted = DiscreteActions(Played(space, gym.spaces.Discrete(3, start=5)), "it")
    assert [int(counted.inverse(counted.action(n))) for n in range(3)] == [0, 1, 2]


def test_a_run_learns_from_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """By the command, with the task that it was recorded in; and goes on without it."""
    played = record(gym.make("CartPole-v1"), "cart/random-v0", VECTOR, episodes=3)
    config = changed(TINY_DREAMER, {"episodes": 2, "environment.observe": "vector"})
    argv = [*options(config), "--from", "minari:cart/random-v0", "--run", str(tmp_path / "run")]
    argv = [w for i, w in enumerate(argv) if "--task" not in (w, argv[max(i - 1, 0)])]
    assert command.run(argv) == 0
    assert "random actions" in capsys.readouterr().out
    run = load(tmp_path / "run")
    assert run.config.task == "CartPole-v1"
    assert run.agent.spec.discrete
    store = EpisodeStore(tmp_path / "run" / "episodes")
    assert store.indices == [0, 1, 2]
    equal(store.load(2), played[2])
    assert store.load(2).terminal
    minari.delete_dataset("cart/random-v0")
    results = train(replace(run.config, episodes=3), tmp_path / "run")
    assert results["updates"] == 12
    assert results["simulator_steps"] == sum(episode.steps for episode in played)


def test_what_was_interrupted_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No environment is needed: the task need not exist."""
    played = record(Lamps(), "lamps-v0", TINY_DISCRETE.environment, episodes=3)
    settings = {"episodes": 2, "evaluation.final_episodes": 0, "task": "gone:Gone"}
    config = changed(TINY_DISCRETE, settings | {"source": "minari:lamps-v0"})
    write, written, failed = EpisodeStore.write, [], []

    def fail_at_the_second(self: EpisodeStore, index: int, episode: Episode) -> None:
        if index == 1 and not failed:
            failed.append(index)
            raise OSError("the power went")
        written.append(index)
        write(self, index, episode)

    monkeypatch.setattr(EpisodeStore, "write", fail_at_the_second)
    with pytest.raises(OSError, match="the power went"):
        train(config, tmp_path / "run")
    assert train(config, tmp_path / "run")["updates"] == 6
    assert written == [0, 1, 2]
    equal(EpisodeStore(tmp_path / "run" / "episodes").load(2), played[2])


def test_what_cannot_be_used_is_said(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(name: str, config: EnvironmentConfig = VECTOR) -> DataSet:
        return DataSet(f"minari:{name}", config)

    record(Corridor(), "corridor-v0", VECTOR)
    with pytest.raises(UsageError, match=r"`minari download corridor-v1`.*corridor-v0"):
        opened("corridor-v1")
    for name in ("corridor", "../corridor-v0", "", "/etc-v0"):
        with pytest.raises(UsageError, match="no name of a Minari data set"):
            opened(name)
    with pytest.raises(UsageError, match=r"no image.*--environment\.observe vector"):
        opened("corridor-v0", EnvironmentConfig())
    with pytest.raises(UsageError, match="nothing called 'speed'"):
        opened("corridor-v0", EnvironmentConfig(observe="speed"))

    config = replace(TINY_DREAMER, environment=VECTOR, source="minari:corridor-v0")
    with pytest.raises(UsageError, match=r"toys:lamps has .*name the task"):
        train(replace(config, task="toys:lamps"), tmp_path / "run")
    with pytest.raises(UsageError, match=r"action_repeat is 8.*action-repeat 1"):
        train(replace(config, task="cartpole-swingup"), tmp_path / "run")
    with pytest.raises(UsageError, match="is of one task, but the run is of 2"):
        train(replace(config, task="toys:corridor,toys:lamps"), tmp_path / "run")
    assert not (tmp_path / "run").exists()

    text = place / "corridor-v0" / "data" / "metadata.json"
    kept = text.read_text()
    spaces = {name: json.loads(kept)[name] for name in ("observation_space", "action_space")}
    text.write_text(json.dumps({k: v for k, v in json.loads(kept).items() if k not in spaces}))
    with pytest.raises(RunError, match="does not say its action_space and observation_space"):
        opened("corridor-v0")
    text.write_text("no JSON")
    with pytest.raises(RunError, match="cannot be read"):
        opened("corridor-v0")

    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(UsageError, match=r"needs the package minari.*minari"):
        opened("corridor-v0")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"actions": [[0.5], [1.5]]}, RunError, "the action of step 1 of episode 0 is .*outside"),
        ({"observations": [[0.0], [np.nan], [0.0]]}, EnvironmentFailure, "step 1 holds nan"),
        ({"rewards": [0.0, np.inf]}, EnvironmentFailure, "reward at step 2 is inf"),
    ],
)
def test_what_is_wrong_in_it_is_said_with_its_place(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    arrays = {
        "observations": [[0.0], [0.1], [0.2]],
        "actions": [[0.5], [0.5]],
        "rewards": [0.0, 1.0],
        "terminations": [False, False],
        "truncations": [False, True],
    }
    buffer = minari.data_collector.EpisodeBuffer(
        id=0, **{name: np.array(x) for name, x in (arrays | changes).items()}
    )
    minari.create_dataset_from_buffers(
        "wrong-v0",
        [buffer],
        observation_space=gym.spaces.Box(-1, 1, (1,)),
        action_space=gym.spaces.Box(-1, 1, (1,)),
    )
    data = DataSet("minari:wrong-v0", VECTOR)
    with pytest.raises(error, match=message):
        next(data.episodes())


@pytest.mark.parametrize("space", [gym.spaces.Box(-np.inf, 1, (2,)), gym.spaces.MultiBinary(3)])
def test_actions_that_nobody_here_takes_are_refused(space: gym.Space) -> None:
    shape = space.shape or ()
    buffer = minari.data_collector.EpisodeBuffer(
        id=0,
        observations=np.zeros((2, 1)),
        actions=np.zeros((1, *shape), space.dtype),
        rewards=np.zeros(1),
        terminations=np.array([False]),
        truncations=np.array([True]),
    )
    minari.create_dataset_from_buffers(
        "odd-v0", [buffer], observation_space=gym.spaces.Box(-1, 1, (1,)), action_space=space
    )
    with pytest.raises(UsageError, match=r"the data set 'odd-v0' has .*record the episodes again"):
        DataSet("minari:odd-v0", VECTOR)
