"""Exported programs, run by ONNX Runtime and by `jax.export`, against the world model itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np
import onnxruntime
import pytest

import armillary as library
from armillary.dynamics.base import LatentState
from armillary.nets.distributions import Normal
from armillary.spec import MASK
from armillary.training.player import Player, load
from conftest import Command

RunOf = Callable[[str], Path]
Run = Callable[[str, dict[str, Any]], dict[str, np.ndarray]]

COUNT = 3
"""Rows, which is not the number that anything was traced with."""
PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
ACT, DREAM = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def in_onnx(folder: Path) -> Run:
    """Runs programs as the ONNX files describe themselves."""

    def run(name: str, arrays: dict[str, Any]) -> dict[str, np.ndarray]:
        program = onnxruntime.InferenceSession(folder / f"{name}.onnx")
        feed = {x.name: np.asarray(arrays[x.name]) for x in program.get_inputs()}
        names = [x.name for x in program.get_outputs()]
        return dict(zip(names, program.run(None, feed), strict=True))

    return run


def in_stablehlo(folder: Path) -> Run:
    """Runs programs as the card describes them."""
    card = json.loads((folder / "card.json").read_text())
    programs = {program["name"]: program for program in card["programs"]}

    def run(name: str, arrays: dict[str, Any]) -> dict[str, np.ndarray]:
        content = (folder / programs[name]["file"]).read_bytes()
        program = jax.export.deserialize(bytearray(content))
        assert set(program.platforms) == {"cpu", "cuda", "tpu"}
        found = program.call(*(arrays[key] for key in programs[name]["inputs"]))
        return dict(zip(programs[name]["outputs"], map(np.asarray, found), strict=True))

    return run


FORMATS = {"onnx": in_onnx, "stablehlo": in_stablehlo}


def exported(armillary: Command, run: Path, to: str, tmp_path: Path) -> Run:
    """Exports a run as it is typed; returns what runs its programs."""
    done = armillary("export", run, "--to", to, "--out", tmp_path / to)
    assert done.returncode == 0, done.stderr
    return FORMATS[to](tmp_path / to)


def observations(player: Player) -> dict[str, np.ndarray]:
    """Two rows of whatever the agent observes, of several environments."""
    random, shape = np.random.default_rng(1), (2, COUNT)
    found = {}
    for name, field in player.agent.spec.fields.items():
        numbers = random.integers(0, 256, (*shape, *field.shape))
        kinds = {"uint8": numbers, "bool": numbers > 127}
        drawn = kinds.get(field.dtype, random.normal(size=numbers.shape))
        if name != MASK:
            found[name] = drawn.astype(field.dtype)
    return found


def actions(player: Player, rows: int) -> np.ndarray:
    random, size = np.random.default_rng(2), player.agent.spec.action.size
    if player.agent.spec.discrete:
        return np.eye(size, dtype=np.float32)[random.integers(0, size, (rows, COUNT))]
    return random.uniform(-1, 1, (rows, COUNT, size)).astype(np.float32)


def same(ours: Any, theirs: Any) -> None:
    assert np.shape(ours) == np.shape(theirs)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def named(state: LatentState) -> dict[str, np.ndarray]:
    arrays = {
        "deterministic": state.deterministic,
        "stochastic": state.stochastic,
        "mean": state.distribution.mean,
        "std": state.distribution.std,
    }
    return {name: np.asarray(x) for name, x in arrays.items() if x.shape[-1]}


def after(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    assert all(name.startswith("next_") for name in found)
    return {name.removeprefix("next_"): x for name, x in found.items()}


@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("discrete", "onnx"),
        ("ssm", "onnx"),
        ("rnn", "onnx"),
        ("drnn", "onnx"),
        ("planet", "stablehlo"),
    ],
)
def test_programs_are_the_world_model(
    armillary: Command, run_of: RunOf, tmp_path: Path, name: str, to: str
) -> None:
    """Two observations are filtered, then two actions imagined, and everything asked of the end."""
    run = exported(armillary, run_of(name), to, tmp_path)
    player = load(run_of(name))
    model: Any = player.world_model
    seen, taken = observations(player), actions(player, 4)
    states = model.encode(seen, taken[1:2], every=True)
    feed = {key: np.zeros_like(x[0]) for key, x in named(states).items()}
    feed |= {"action": np.zeros_like(taken[0])}
    for row in range(2):
        given = {key: x[row] for key, x in seen.items()}
        state = after(run("filter", feed | given))
        expected = {key: x[row] for key, x in named(states).items()}
        assert set(state) == set(expected)
        for key, array in expected.items():
            same(state[key], array)
        feed = state | {"action": taken[row + 1]}

    last = jax.tree.map(lambda x: x[-1], states)
    ahead, rewards = model.rollout(last, taken[2:])
    for row in range(2):
        state = after(run("transition", state | {"action": taken[row + 2]}))
        for key, array in named(ahead).items():
            same(state[key], array[row])
        same(run("reward", state)["reward"], rewards[row])
    last = jax.tree.map(lambda x: x[-1], ahead)
    same(run("goes_on", state)["goes_on"], model.goes_on(last))
    shown = run("decoder", state)
    for key, array in model.observation(last).items():
        assert shown[key].dtype == array.dtype
        if array.dtype != np.uint8:
            same(shown[key], array)
            continue
        means = model.model.decode(model.model.dynamics.features(last)).images
        same(shown[f"{key}_mean"], means[key])
        assert np.abs(shown[key].astype(int) - array).max() <= 1
        assert (shown[key] != array).mean() < 1e-3
    if name != "planet":
        same(run("value", state)["value"], model.value(last))
        chosen = run("actor", state)
        same(chosen["number"], model.plan(last))
        same(chosen["action"], np.eye(len(chosen["action"][0]))[chosen["number"]])


@pytest.mark.parametrize(
    ("name", "to"),
    [("muzero", "onnx"), ("game", "stablehlo"), ("frames", "onnx")],
)
def test_programs_are_muzeros_functions(
    armillary: Command, run_of: RunOf, tmp_path: Path, name: str, to: str
) -> None:
    run = exported(armillary, run_of(name), to, tmp_path)
    player = load(run_of(name))
    model: Any = player.world_model
    seen, taken = observations(player), actions(player, 3)
    state = model.encode(seen, taken[1:2])
    feed = {key: x[-1] for key, x in seen.items()}
    if name == "frames":
        feed = {key: np.moveaxis(x, 0, 1) for key, x in seen.items()}
        feed["action"] = np.stack([np.zeros_like(taken[0]), taken[1]], axis=1)
    found = run("representation", feed)
    same(found["state"], state)
    ahead, reward = model.step(state, taken[2])
    found = run("dynamics", found | {"action": taken[2]})
    same(found["next_state"], ahead)
    assert ("reward" in found) == (name != "game")
    same(found.get("reward", 0 * reward), reward)
    found = run("prediction", after({"next_state": found["next_state"]}))
    same(found["policy"], model.policy(ahead))
    same(found["value"], model.value(ahead))


def test_an_agent_in_twenty_lines_without_this_library(
    armillary: Command, run_of: RunOf, tmp_path: Path
) -> None:
    """The page's agent gets the score of ours in the same episode."""
    assert ACT.count("\n") - ACT.count("\n\n") <= 20
    folder = tmp_path / "runs" / "CartPole-v1-dreamer-small-seed0" / "onnx"
    assert armillary("export", run_of("cartpole"), "--to", "onnx", "--out", folder).returncode == 0
    absent = "import sys; sys.modules.update(armillary=None, jax=None)\n"
    done = subprocess.run(
        [sys.executable, "-c", absent + ACT], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

    agent = load(run_of("cartpole"))
    env, model = agent.make_env(), agent.world_model
    seen, _ = env.reset(seed=0)
    state, action, score, over = None, 0, 0.0, False
    while not over:
        led = [action] if state is not None else []
        state = model.encode(seen["vector"][None] if isinstance(seen, dict) else seen[None],
                             np.array(led, int), state=state)  # fmt: skip
        action = int(model.plan(state))
        seen, reward, terminated, truncated, _ = env.step(action)
        score, over = score + reward, terminated or truncated
    assert float(done.stdout) == score


def test_the_pages_dream(
    armillary: Command, run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs" / "CartPole-v1-dreamer-small-seed0" / "stablehlo"
    done = armillary("export", run_of("cartpole"), "--to", "stablehlo", "--out", folder)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    page: dict[str, Any] = {}
    exec(DREAM, page)
    agent = library.load(run_of("cartpole"))
    model: Any = agent.world_model
    start = model.model.dynamics.initial(5)
    start = start._replace(distribution=Normal(*(0 * x for x in start.distribution)))
    state, reward = model.step(start, np.zeros((5, 2)))
    same(page["run"]("reward", page["state"])["reward"], reward)
    same(page["state"]["deterministic"], state.deterministic)
