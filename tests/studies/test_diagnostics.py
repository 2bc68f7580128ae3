"""Probes recover a state that is there and nothing from noise; time is aligned, joints named."""

import dataclasses
import json
from pathlib import Path

import gymnasium as gym
import imageio.v3 as imageio
import jax
import mujoco
import numpy as np
import pytest
from matplotlib.figure import Figure

import known
from armillary.dynamics.base import Dynamics
from armillary.envs.suite import ControlSuite
from armillary.errors import UsageError
from armillary.files import lock
from armillary.studies.heldout import record
from armillary.studies.planet import figure11
from armillary.studies.planet.diagnostics import Diagnosis, cut, diagnose, latent_features
from armillary.studies.planet.probes import ProbeConfig, fit
from armillary.studies.states import Recording, joint_state
from armillary.training.player import Player, load
from armillary.training.run import InUse
from drawing import curves

QUICK = ProbeConfig(hidden=32, steps=1500)
TRAIN, TEST = known.recordings(8, 100, seed=1), known.recordings(4, 99, seed=2)


def look(dynamics: Dynamics, test: list[Recording] = TEST, **options) -> Diagnosis:
    options = {"config": QUICK} | options
    return diagnose(known.Known(dynamics), known.BITS, TRAIN, test, **options)


@pytest.fixture(scope="module")
def exact() -> Diagnosis:
    return look(known.Exact())


def test_a_latent_state_that_is_the_state_tells_it_far_ahead(exact: Diagnosis) -> None:
    assert exact.names == ("position/p", "velocity/v", "reward")
    assert exact.true.shape == (8, 50, 3)  # two stretches of each of four episodes
    assert exact.overall_r2().min() > 0.99
    assert exact.posterior_r2().min() > 0.99
    assert exact.error()[:, :2].max() < 0.1  # standard deviations, at each of 45 steps ahead
    assert exact.error()[:, 2].mean() < 0.1
    assert (exact.error(baseline=True).mean(0) > 0.7).all()


def test_noise_tells_nothing() -> None:
    found = look(known.Noise())
    assert (found.overall_r2() <= 0.1).all()
    assert (found.posterior_r2() <= 0.1).all()
    assert (found.overall_r2() > -0.3).all()  # about the mean, rather than made up


def test_a_state_that_is_off_by_one_row_is_told_worse(exact: Diagnosis) -> None:
    def shifted(recording: Recording) -> Recording:
        state = {name: np.roll(values, -1) for name, values in recording.state.items()}
        return Recording(recording.episode, state)

    late = look(known.Exact(), [shifted(r) for r in TEST])
    assert late.overall_r2()[1] < 0.6
    assert exact.overall_r2()[1] > 0.99


def test_what_the_model_does_with_actions_counts_once_its_eyes_are_closed() -> None:
    for dynamics in (known.Exact(responds=False), known.Exact(lag=True)):
        found = look(dynamics)
        assert found.posterior_r2().min() > 0.99
        assert found.overall_r2()[1] < 0.6
        context = (found.predicted - found.true)[:, 1:5] / found.std
        assert np.abs(context).mean() < 0.1


def test_features_are_of_seen_states_then_of_imagined_ones() -> None:
    stretches = cut(TEST, ("position/p", "velocity/v", "reward"), 40)
    key, options = jax.random.key(0), {"bits": known.BITS, "context": 6}
    model = known.Known(known.Exact())
    features = latent_features(model, stretches.observation, stretches.action, key, **options)
    np.testing.assert_allclose(features, stretches.target[..., :2], atol=0.03)
    blind = stretches.observation["image"].copy()
    blind[:, 6:] = 0  # what is not seen does not matter
    np.testing.assert_array_equal(
        latent_features(model, {"image": blind}, stretches.action, key, **options), features
    )


def test_stretches_follow_one_another() -> None:
    names = ("position/p", "velocity/v", "reward")
    stretches = cut(TEST[:2], names, 30)
    assert stretches.observation["image"].shape == (6, 30, 64, 64, 3)
    np.testing.assert_array_equal(stretches.observation["image"][4], TEST[1].episode.image[30:60])
    np.testing.assert_array_equal(stretches.action[4], TEST[1].episode.action[30:60])
    np.testing.assert_array_equal(stretches.target[4, :, 1], TEST[1].state["velocity/v"][30:60])
    np.testing.assert_array_equal(stretches.target[4, :, 2], TEST[1].episode.reward[30:60])
    short = known.recordings(1, 11)
    assert cut([*TEST[:1], *short], names, 50).action.shape[:2] == (9, 12)


def test_equal_seeds_give_equal_curves() -> None:
    first, again, other = (look(known.Exact(), seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.predicted, again.predicted)
    assert (first.predicted != other.predicted).any()


def test_errors_by_hand() -> None:
    true = np.zeros((2, 4, 2))
    true[..., 0] = [[0, 0, 1, 2], [0, 0, 3, 6]]
    predicted = true.copy()
    predicted[0, 2:, 0] += [1, 2]
    constant = Diagnosis(
        ("a", "b"), 2, true, predicted, true, np.array([1.0, 0]), np.array([2.0, 0])
    )
    np.testing.assert_allclose(constant.error()[:, 0], [np.sqrt(1 / 2) / 2, np.sqrt(4 / 2) / 2])
    np.testing.assert_allclose(
        constant.error(baseline=True)[:, 0], [np.sqrt(4 / 2) / 2, np.sqrt((1 + 25) / 2) / 2]
    )
    np.testing.assert_allclose(constant.r2()[:, 0], [1 - 1 / 4, 1 - 4 / 26])
    assert constant.overall_r2()[0] == pytest.approx(1 - 5 / 30)
    assert constant.posterior_r2()[0] == 1
    assert np.isnan(constant.r2()[:, 1]).all()  # it never varied
    table = json.loads(json.dumps(constant.as_dict(), allow_nan=False))
    assert table["b"]["r2"] == table["b"]["error"] == [None, None]
    assert table["b"]["overall_r2"] is None
    assert table["a"]["r2"] == pytest.approx([0.75, 1 - 4 / 26])


def test_a_probe_learns_a_curve_in_its_own_units_and_leaves_noise_alone() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal([5, -3], [10, 0], (1800, 2))  # the second never varies
    x, noise = (features[:, 0] - 5) / 10, generator.normal(size=1800)
    targets = np.stack([1000 + 50 * np.sin(x), noise, np.full(1800, 7)], axis=1)
    probe = fit(features[:800], targets[:800], jax.random.key(0), QUICK)
    told = np.asarray(probe(features[800:]))
    left = ((told - targets[800:]) ** 2).mean(0)
    assert left[0] < 0.02 * targets[800:, 0].var()
    assert left[1] == pytest.approx(targets[800:, 1].var(), rel=0.05)
    np.testing.assert_allclose(told[:, 2], 7, atol=1e-4)


def test_one_odd_episode_at_the_end_does_not_stop_a_probe() -> None:
    """Rows to judge by come from everywhere: here the last fifth says the opposite of the rest."""
    features = np.random.default_rng(0).normal(size=(1000, 1))
    targets = np.where(np.arange(1000)[:, None] < 800, features, -features)
    told = np.asarray(fit(features, targets, jax.random.key(0), QUICK)(features[:800]))
    assert ((told - targets[:800]) ** 2).mean() < 0.5 * targets[:800].var()


def test_too_little_to_learn_from() -> None:
    model = known.Known(known.Exact())
    for train, test in ((TRAIN, []), ([], TEST)):
        with pytest.raises(UsageError, match="at least one of each is needed"):
            diagnose(model, known.BITS, train, test)
    for context in (0, 50):
        with pytest.raises(UsageError, match="nothing is left to imagine"):
            diagnose(model, known.BITS, TRAIN, TEST, context=context)
    with pytest.raises(UsageError, match="need ten at least"):
        diagnose(model, known.BITS, known.recordings(1, 8), TEST)
    other = [Recording(r.episode, {"x": r.state["position/p"]}) for r in TEST]
    with pytest.raises(UsageError, match="of the same environment"):
        diagnose(model, known.BITS, TRAIN, other)


def suite(task: str) -> ControlSuite:
    env = ControlSuite(task, render_mode=None)
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.sample() if env.action_space.is_bounded() else np.zeros(1))
    return env


def test_joints_of_the_cheetah_by_dm_controls_own_names() -> None:
    env = suite("cheetah-run")
    named, state = env.physics.named.data, joint_state(env)
    joints = ["rootx", "rootz", "rooty", "bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"]
    for joint in joints:
        assert state[f"velocity/{joint}"] == named.qvel[joint][0]
    for joint in set(joints) - {"rooty"}:
        assert state[f"position/{joint}"] == named.qpos[joint][0]
    assert state["position/cos rooty"] == np.cos(named.qpos["rooty"][0])
    assert state["position/sin rooty"] == np.sin(named.qpos["rooty"][0])
    assert len(state) == 19
    env.physics.named.data.qpos["rooty"] += 2 * np.pi
    assert joint_state(env) == pytest.approx(state)


def test_free_joints_by_place_and_rotation() -> None:
    env = suite("humanoid-stand")
    state, named = joint_state(env), env.physics.named.data
    mujoco.mj_kinematics(env.physics.model.ptr, env.physics.data.ptr)
    place = [state[f"position/root {i}"] for i in range(3)]
    np.testing.assert_array_equal(place, named.qpos["root"][:3])
    columns = [state[f"position/root rotation {i}"] for i in range(6)]
    matrix = named.xmat["torso"].reshape(3, 3)
    np.testing.assert_allclose(columns, [*matrix[:, 0], *matrix[:, 1]], atol=1e-12)
    speeds = [state[f"velocity/root {i}"] for i in range(6)]
    np.testing.assert_array_equal(speeds, named.qvel["root"])
    assert len(state) == 9 + 6 + 2 * 21
    env.physics.named.data.qpos["root"][3:] *= -1  # the same orientation
    assert joint_state(env) == pytest.approx(state)


def test_joints_are_of_the_control_suite() -> None:
    with pytest.raises(UsageError, match="not an environment of the control suite"):
        joint_state(known.told())


def told_player(trained: Path) -> Player:
    player = load(trained)
    config = dataclasses.replace(player.config, task="known:told")
    return Player(config, player.agent, player.state, player.counters)


class Live:
    """The state as a simulator gives it: one array, which it goes on writing to."""

    __qualname__ = "Live"

    def __init__(self) -> None:
        self.memory = np.zeros(2)

    def __call__(self, env: gym.Env) -> dict[str, np.ndarray]:
        self.memory[:] = env.unwrapped.position
        return {"position": self.memory}


def test_the_state_is_that_of_the_image_at_the_same_row(trained: Path, tmp_path: Path) -> None:
    player = told_player(trained)
    first = record(player, tmp_path, 2, needs_state=True)
    live = record(player, tmp_path, 2, state=Live())
    for recording, other in zip(first, live, strict=True):
        assert recording.state.keys() == {"position 0", "position 1"}
        position = np.stack([recording.state["position 0"], recording.state["position 1"]], 1)
        assert len(position) == 13
        for image, (x, y) in zip(recording.episode.image, position, strict=True):
            row, column = np.unravel_index(image[..., 0].astype(int).argmax(), (64, 64))
            assert (column, row) == pytest.approx((32 + 24 * x, 32 + 24 * y), abs=6)
        move = np.clip(position[:-1] + 0.25 * recording.episode.action[1:], -1, 1)
        np.testing.assert_allclose(position[1:], move, atol=1e-6)
        np.testing.assert_array_equal(other.state["position 0"], position[:, 0])
    assert (first[0].episode.image[0] != first[1].episode.image[0]).any()


def test_episodes_are_played_once_and_differ_by_seed(trained: Path, tmp_path: Path) -> None:
    said: list[str] = []
    player = told_player(trained)
    first = record(player, tmp_path, 1, announce=said.append)
    more = record(player, tmp_path, 2, announce=said.append)
    assert said == ["1 of 1 held-out episodes to play", "1 of 2 held-out episodes to play"]
    np.testing.assert_array_equal(first[0].episode.image, more[0].episode.image)
    np.testing.assert_array_equal(first[0].state["position 0"], more[0].state["position 0"])
    other = record(player, tmp_path, 1, seed=1, announce=said.append)
    assert (first[0].episode.image[0] != other[0].episode.image[0]).any()
    fresh = record(player, tmp_path / "fresh", 2)
    np.testing.assert_array_equal(fresh[1].episode.action, more[1].episode.action)


def position(env: gym.Env) -> dict[str, np.ndarray]:
    return {"position/x": env.unwrapped.position[0], "velocity/y": env.unwrapped.position[1]}


def test_two_figures_do_not_play_the_same_episodes_at_once(trained: Path, tmp_path: Path) -> None:
    record(load(trained), tmp_path, 1)
    (folder,) = tmp_path.iterdir()
    with lock(folder / ".lock"):
        record(load(trained), tmp_path, 1)  # it is there already
        with pytest.raises(InUse, match="another process is playing the held-out episodes"):
            record(load(trained), tmp_path, 2)


def test_a_run_is_looked_into(trained: Path, tmp_path: Path, drawn: list[Figure]) -> None:
    options = {"train_episodes": 2, "test_episodes": 1, "length": 13, "state": position}
    options["probe"] = ProbeConfig(hidden=8, steps=50)
    files = figure11.run([trained, trained], tmp_path, labels=["A", "B"], **options)
    assert imageio.imread(files["picture"]).std() > 10
    assert imageio.imread(files["errors"]).std() > 10
    assert [curves(figure) >= {"A", "B"} for figure in drawn] == [True, True]
    content = json.loads(files["json"].read_text())
    assert content["steps"] == list(range(1, 9))
    assert content["stretches"] == 1
    quantities = content["models"]["A"]["quantities"]
    assert quantities.keys() == {"position/x", "velocity/y", "reward"}
    assert len(quantities["reward"]["error"]) == 8
    assert quantities == content["models"]["B"]["quantities"]


def test_an_environment_that_tells_no_state(trained: Path, tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(UsageError, match="toys:short does not tell its state"):
        figure11.run(trained, tmp_path, announce=said.append)
    assert not list(tmp_path.rglob("episode-*"))
    with pytest.raises(UsageError, match="name of the reward"):
        figure11.run(trained, tmp_path, state=lambda env: {"reward": 1.0})
    for wrong in ({"train_episodes": 0}, {"test_episodes": 0}, {"context": 0}, {"length": 5}):
        with pytest.raises(UsageError, match="must be at least 1"):
            figure11.run(trained, tmp_path, **wrong)


def test_an_agent_without_a_latent_state(trained: Path) -> None:
    player = load(trained)
    assert figure11.world_model(player) is player.state.model
    with pytest.raises(UsageError, match="has no latent dynamics model"):
        figure11.world_model(Player(player.config, player.agent, (), {}))
