"""The bench on tiny agents: that it measures what it says, not how fast."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import time

import jax
import pytest

from armillary.agents.registry import make_agent
from armillary.cli import bench as command
from armillary.config import Config, changed, preset
from armillary.errors import UsageError
from armillary.machine import bench
from armillary.machine.agent import example_batch
from armillary.machine.flop import matrix_flop
from armillary.machine.timing import Timing, timed
from armillary.spec import Spec, pixels
from settings import TINY_GAME, TINY_MUZERO


@pytest.fixture(scope="module", params=["planet", "dreamer"])
def quick(request):
    """The report of a tiny agent on a toy, and its configuration."""
    config = command._config(command.Arguments(agent=request.param, task="toys:point", quick=True))
    return bench.measure(config, repeats=1, sizes=(64,)), config


def update_flop(config, actions=2):
    agent, key = make_agent(config, pixels(64, actions)), jax.random.key(0)
    state = jax.eval_shape(agent.init, key)
    return matrix_flop(agent.update, state, example_batch(config, agent), key)


PARTS = {
    "planet": ("plan", []),
    "dreamer": ("act", ["behaviour (8 starts, H=3)"]),
}


@pytest.mark.slow
def test_report_is_plain_and_consistent(quick):
    report, config = quick
    assert json.loads(json.dumps(report)) == report
    assert report["agent"] == config.agent
    assert report["action_size"] == 2
    rate = report["matrix_gflop_per_second"]["float32"]
    acting, parts = PARTS[config.agent]
    assert list(report["parts"]) == parts
    assert report["update"]["gflop"] == update_flop(config) / 1e9
    for part in report["parts"].values():
        assert 0 < part["gflop"] < report["update"]["gflop"]
    for timing in (report["update"], report[acting], *report["parts"].values()):
        gflop_per_second = timing["gflop"] / timing["best_seconds"]
        assert timing["gflop_per_second"] == pytest.approx(gflop_per_second)
        assert timing["fraction_of_matrix_rate"] == pytest.approx(gflop_per_second / rate)
        assert 0 < timing["best_seconds"] <= timing["median_seconds"]
    assert report["environment_step"]["with_image"]  # a toy is not drawn apart from its step
    assert report["peak_memory_bytes"] > 50 * 2**20


def test_planning_with_true_simulators(capfd):
    arguments = ["--quick", "--simulators", "pendulum-swingup", "reacher-easy", "--json"]
    assert command.run(arguments) == 0
    report = json.loads(capfd.readouterr().out)
    assert [one["task"] for one in report["simulators"]] == ["pendulum-swingup", "reacher-easy"]
    for one, repeat in zip(report["simulators"], (2, 4), strict=True):
        ratio = one["plan"]["best_seconds"] / one["rollout"]["best_seconds"]
        assert one["plan_over_rollout"] == pytest.approx(ratio)
        # The same sequences: two iterations of 10 candidates and their mean, 3 decisions each.
        steps = one["physics_steps_per_second"] * one["rollout"]["best_seconds"]
        assert steps == pytest.approx((2 * 10 + 1) * 3 * repeat)
    assert command.run(arguments[:-1]) == 0
    assert "mujoco.rollout of it" in capfd.readouterr().out


REPORT = {
    "action_repeat": 4,
    "episode_steps": 250,
    "records": False,
    "renderer": "egl",
    "acting": {"name": "plan", "plural": "plans", "size": ""},
    "update": {"median_seconds": 6.0},
    "plan": {"median_seconds": 0.6},
    "environment_step": {"median_seconds": 0.002, "at_once": 1},
    "rendering": {"egl": {"median_seconds": 0.01}, "warp": {"median_seconds": 9.0}},
}


def test_episode_cost():
    cost = bench.episode_cost(REPORT, preset("paper"))
    parts = cost["parts"]
    assert {name: part["count"] for name, part in parts.items()} == {
        "updates": 100,
        "plans": 250,
        "environment steps": 250,
        "images": 251,
    }
    assert cost["seconds"] == pytest.approx(600 + 150 + 0.5 + 2.51)
    assert parts["updates"]["percent"] == pytest.approx(100 * 600 / cost["seconds"])
    # Of 1,000 episodes five are random; their updates are those of one.
    hours = (996 * 600 + 995 * 150 + 1000 * (0.5 + 2.51)) / 3600
    assert (cost["episodes"], cost["run_hours"]) == (1000, pytest.approx(hours))


def test_cost_of_a_round_of_games():
    """All games of a round move at once; the first ones are played with searches, too."""
    report = REPORT | {
        "episode_steps": 9,
        "records": True,
        "acting": {"name": "search", "plural": "searches", "size": ""},
        "search": {"median_seconds": 0.1},
        "environment_step": {"median_seconds": 0.001, "at_once": 256},
        "renderer": "none",
        "rendering": {},
    }
    sizes = {"collection.side_by_side": 256, "collection.seed_episodes": 256, "episodes": 25600}
    config = changed(TINY_GAME, sizes | {"training.collect_interval": 40})
    cost = bench.episode_cost(report, config)
    assert {name: part["count"] for name, part in cost["parts"].items()} == {
        "updates": 40,
        "searches": 9,
        "moves of all games": 9,
    }
    assert cost["seconds"] == pytest.approx(40 * 6.0 + 9 * 0.1 + 9 * 0.001)
    assert (cost["side_by_side"], cost["episodes"]) == (256, 25600)
    assert cost["run_hours"] == pytest.approx(100 * cost["seconds"] / 3600)


def test_cost_of_environments_side_by_side():
    """A search is of all eight, but they step one after another."""
    report = REPORT | {
        "records": True,
        "acting": {"name": "search", "plural": "searches", "size": ""},
        "search": {"median_seconds": 0.1},
        "renderer": "none",
    }
    sizes = {"collection.side_by_side": 8, "collection.seed_episodes": 8, "episodes": 80}
    parts = bench.episode_cost(report, changed(TINY_MUZERO, sizes))["parts"]
    counts = {name: part["count"] for name, part in parts.items()}
    assert counts == {"updates": 6, "searches": 250, "environment steps": 8 * 250}


@pytest.mark.parametrize(("task", "steps"), [("tic_tac_toe", range(5, 10)), ("toys:lamps", [1000])])
def test_muzero_is_measured(task, steps, capsys):
    """A game as rounds of self-play, another task as environments: their searches are counted."""
    argv = ["--quick", "--agent", "muzero", "--preset", "small", "--task", task, "--json"]
    assert command.run(argv) == 0
    report = json.loads(capsys.readouterr().out)
    episode = report["episode"]
    at_once = preset("small", "muzero", task).collection.side_by_side
    assert episode["side_by_side"] == at_once
    assert episode["steps"] in steps
    # Of one search: h and f of the root, and g and f of each of three simulations.
    config = command._config(command.Arguments("muzero", "small", task, quick=True))
    agent = make_agent(config, Spec.from_dict(report["spec"]))
    network, actions = agent.init(jax.random.key(0)).network, agent.spec.action.size
    categories = 1 if agent.is_game else config.network.categories
    inputs = sum(math.prod(field.shape) for field in agent.spec.vectors.values())
    dense = [[inputs, 8, 64], [64 + actions, 8, 64], [64, 8, actions], [64, 8, categories]]
    h, g, policy, value = (2 * sum(a * b for a, b in itertools.pairwise(n)) for n in dense)
    reward = 0 if network.reward is None else value + 2 * categories
    value += 2 * categories * (not agent.is_game)  # its expectation
    counted = h + policy + value + 3 * (g + reward + policy + value)
    assert report["search"]["gflop"] * 1e9 == pytest.approx(at_once * counted)
    report["environment_step"]["with_image"] = False
    text = command.table(report, config)
    assert f"search (3 simulations, {at_once} at once)" in text
    assert f"A round of {at_once} episodes of {episode['steps']} actions costs" in text
    assert (f"move in each of {at_once} games" in text) == (task == "tic_tac_toe")


def test_episode_cost_of_an_agent_that_learns_several_tasks():
    """An episode of each is collected for the updates of all, and takes as many as elsewhere."""
    several = dataclasses.replace(preset("paper"), task="cheetah-run,reacher-easy")
    one, cost = (bench.episode_cost(REPORT, config) for config in (preset("paper"), several))
    assert cost["parts"] == one["parts"]
    assert cost["episodes"] == 2000
    assert cost["run_hours"] == pytest.approx(2 * one["run_hours"])


def test_another_model_and_overshooting_are_what_is_measured():
    arguments = command.Arguments(dynamics="drnn", overshooting=3, precision="bfloat16", quick=True)
    config = command._config(arguments)
    assert (config.model.dynamics, config.objective.overshooting) == ("drnn", 3)
    assert config.model.precision == "bfloat16"
    assert config.model.hidden == 8
    plain = command._config(command.Arguments(quick=True))
    assert update_flop(config) > update_flop(plain)


def test_an_option_of_others_is_refused(monkeypatch):
    monkeypatch.setattr(command, "preset", lambda name, agent, *of_task: Config(agent=agent))
    for option in (("dynamics", "ssm"), ("overshooting", 2)):
        with pytest.raises(UsageError, match=f"--{option[0]} is given, but other has no"):
            command._config(command.Arguments(agent="other", **dict([option])))
    assert command._config(command.Arguments(agent="other", quick=True)).training.batch_size == 2


def test_timing():
    timing = Timing((0.4, 0.1, 0.2), flop=10**9)
    numbers = timing.as_dict(matrix_rate=20e9)
    assert (numbers["best_seconds"], numbers["median_seconds"]) == (0.1, 0.2)
    assert numbers["per_second"] == pytest.approx(5)
    assert numbers["gflop_per_second"] == pytest.approx(10)
    assert numbers["fraction_of_matrix_rate"] == pytest.approx(0.5)
    assert numbers["median_fraction_of_matrix_rate"] == pytest.approx(0.25)


def test_timed_leaves_out_the_first_call_and_waits():
    pauses = iter([0.2, *[0.01] * 100])
    timing = timed(lambda: time.sleep(next(pauses)), 2, at_least=0.1)
    assert max(timing.seconds) < 0.15
    assert sum(timing.seconds) >= 0.1


def test_matrix_rate_is_the_largest_of_the_sizes():
    rates = bench.matrix_rates(("float32",), (16, 512), 3)
    assert rates["float32"] > 3 * bench.matrix_rates(("float32",), (16,), 3)["float32"]


def test_presets_are_measured_as_they_are():
    config = command._config(command.Arguments())
    assert config.model == preset("paper").model
    assert config.training == preset("paper").training
    assert config.environment.renderer == "auto"
    assert command._config(command.Arguments(preset="small")).planner == preset("small").planner


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--repeats", "0"], "repeats is 0"),
        (["--preset", "papre"], "papre"),
        (["--quick", "--task", "cheetah-rn"], "cheetah-run"),
        (["--agent", "dremer"], "dreamer"),
        (["--agent", "dreamer", "--simulators", "all"], "dreamer does not plan"),
    ],
)
def test_wrong_requests(argv, message):
    with pytest.raises(UsageError, match=message):
        command.run(argv)


@pytest.mark.slow
def test_a_task_of_the_suite(capsys):
    argv = ["--quick", "--renderer", "warp", "--task", "cartpole-balance"]
    assert command.run([*argv, "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["action_repeat"] == 8
    assert report["renderer"] == "warp"
    assert report["rendering"]["warp"]["repeats"] == 100
    step = report["environment_step"]
    assert step["simulator_steps_per_second"] == pytest.approx(8 / step["median_seconds"])
    assert report["episode"]["parts"]["plans"]["count"] == 125
    assert "measuring: update" in captured.err


@pytest.mark.slow
def test_table(quick):
    report, config = quick
    text = command.table(report, config)
    assert "update (B=2, L=4)" in text
    rows = {
        "planet": ["plan (J=10, I=2, H=3), ", " plans "],
        "dreamer": ["  behaviour (8 starts, H=3), ", "act, ", " actions "],
    }
    for row in rows[config.agent]:
        assert row in text
    assert ("plan" in text) == (config.agent == "planet")
    assert "Peak memory" in text
