"""A packed agent is the run's, bit for bit, without what only learning needs."""

from __future__ import annotations

import json
import shlex
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load as tensors_of

import armillary
from armillary.agents.base import trimmed
from armillary.agents.random import Random
from armillary.agents.registry import make_agent
from armillary.cli import train as train_command
from armillary.cli.options import parse
from armillary.config import Config, changed
from armillary.config.typed import options
from armillary.envs import side_by_side
from armillary.errors import RunError, UsageError
from armillary.spec import Spec
from armillary.training import checkpoint, packed
from armillary.training.card import card, shown
from armillary.training.evaluation import evaluate
from armillary.training.packing import pack
from armillary.training.player import load
from armillary.training.sources import opened
from folders import forged, untrained
from settings import TINY, TINY_DREAMER, TINY_EXPLORER, TINY_GAME, TINY_MUZERO


def tensors(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        return tensors_of(archive.read(packed.WEIGHTS))


def text(path: Path, member: str) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read(member).decode()


def bits(tree: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def test_a_run_and_its_pack_act_the_same(trained: Path, tmp_path: Path) -> None:
    run, given = load(trained), load(pack(trained, tmp_path / "given.armillary"))
    assert given.config == run.config
    assert bits(given.state.model) == bits(run.state.model)
    assert given.state.optimizer is None
    env = run.make_env()
    observation, _ = env.reset(seed=0)
    for _ in range(3):
        action = run.act(observation)
        np.testing.assert_array_equal(given.act(observation), action)
        observation, *_ = env.step(action)
    latent = run.latent
    np.testing.assert_array_equal(given.latent.deterministic, latent.deterministic)
    np.testing.assert_array_equal(given.world_model.decode(latent), run.world_model.decode(latent))
    assert given.counters["updates"] == run.counters["updates"] == 18


@pytest.mark.parametrize(
    ("config", "left"),
    [
        (TINY_DREAMER, {".slow_value", ".optimizers"}),
        (TINY_EXPLORER, {".ensemble", ".optimizer", ".dreamer.slow_value", ".dreamer.optimizers"}),
        (changed(TINY_MUZERO, {"reanalyze": True}), {".target", ".optimizer"}),
    ],
    ids=["dreamer", "explorer", "muzero"],
)
def test_what_only_learning_needs_is_left_out(
    tmp_path: Path, config: Config, left: set[str]
) -> None:
    """All else is there, and it acts: with the parts that were left out it cannot."""
    path = pack(untrained(config, tmp_path / "run"), tmp_path / "given.armillary")
    source = opened(tmp_path / "run")
    agent = make_agent(source.config, Spec.from_dict(source.counters.spec))
    state, _ = source.restore(agent)
    everything = {
        jax.tree_util.keystr(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }
    found = tensors(path)
    assert {n for n in everything if not n.startswith(tuple(left))} == set(found)
    assert all(any(name.startswith(part) for name in everything) for part in left)
    for name, tensor in found.items():
        np.testing.assert_array_equal(tensor, everything[name])
    given = load(path)
    observation = {
        name: np.ones((1, *field.shape), field.dtype)
        for name, field in given.agent.spec.fields.items()
    }
    belief = agent.initial_belief(state, 1)
    act = jax.jit(agent.act, static_argnames="explore")
    key = jax.random.key(0)
    for explore in (False, True):
        of_run = act(state, belief, observation, key, explore=explore)[1]
        of_pack = act(given.state, belief, observation, key, explore=explore)[1]
        np.testing.assert_array_equal(of_run, of_pack)


def test_packed_twice_is_the_same_file(trained: Path, tmp_path: Path) -> None:
    """Also from a pack; and nothing of the folder's place is in it."""
    first = pack(trained, tmp_path / "a" / "given.armillary", made={"note": "once"})
    again = pack(trained, tmp_path / "b" / "given.armillary", made={"note": "once"})
    assert again.read_bytes() == first.read_bytes()
    from_pack = pack(first, tmp_path / "c" / "given.armillary")
    assert from_pack.read_bytes() == first.read_bytes()
    assert b"/tmp" not in first.read_bytes()
    assert str(trained).encode() not in first.read_bytes()
    other = pack(first, tmp_path / "d" / "given.armillary", made={"note": "twice"})
    assert "| note | twice |" in text(other, packed.CARD)
    assert bits(load(other).state) == bits(load(first).state)


def test_what_tells_of_a_machine_stays_there(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    content = json.loads((run / "config.json").read_text())
    content["config"] |= {"source": "/home/me/secret/explored", "wandb": "my-project"}
    (run / "config.json").write_text(json.dumps(content))
    for file in (run / "checkpoints").glob("checkpoint-*"):
        state, meta = checkpoint.load(file, load(trained).state)
        file.unlink()
        checkpoint.save(run / "checkpoints", state, meta | {"config": None})
    given = pack(run, tmp_path / "given.armillary")
    for word in (b"secret", b"my-project", b"/home"):
        assert word not in given.read_bytes()
    config = opened(given).config
    assert (config.source, config.wandb) == ("explored", None)
    assert "--source explored" in text(given, packed.CARD)


def test_its_scores_are_those_of_evaluate(trained: Path, tmp_path: Path) -> None:
    """The oracle plays itself, and with random actions, in the same episodes."""
    path = pack(trained, tmp_path / "given.armillary", episodes=3, seed=4)
    found = opened(path).evaluation
    assert found is not None
    player = load(trained)
    own = player.evaluate(3, seed=4)
    scores = found["tasks"]["toys:short"]
    assert scores["agent"] == own.as_dict()
    envs = side_by_side("toys:short", player.config.environment, 3)
    random, _ = evaluate(envs, Random(player.agent.spec), None, episodes=3, seed=4)
    assert scores["random"] == random.as_dict()
    assert own.scores != random.scores
    page = text(path, packed.CARD)
    assert f"| score | {own.mean:.1f} ± {own.std:.1f} over 3 noise-free episodes |" in page
    assert f"| random actions | {random.mean:.1f} ± " in page
    # Packed again without episodes, the scores stay; of a run without a test at the end none are.
    assert opened(pack(path, tmp_path / "again.armillary")).evaluation == found
    run = untrained(TINY_GAME, tmp_path / "run")
    assert "| score | not stated |" in text(pack(run, tmp_path / "new.armillary"), packed.CARD)


def _tokens(page: str, verb: str) -> list[str]:
    (line,) = (line for line in page.splitlines() if line.startswith(f"armillary {verb} "))
    return shlex.split(line)[2:]


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        TINY_GAME,
        changed(TINY, {"environment.kwargs": {"size": 3, "name": "a b"}}),
        changed(TINY, {"planner.horizon": 5, "model.dynamics": "drnn", "seed": 7}),
        replace(armillary.preset("paper", "dreamer"), task="walker-walk,cheetah-run"),
        armillary.preset("small", "muzero", "connect_four"),
        armillary.preset("small", "explorer"),
    ],
    ids=["tiny", "game", "kwargs", "drnn", "paper", "connect_four", "explorer"],
)
def test_the_command_on_the_card_makes_the_same_configuration(config: Config) -> None:
    """As `armillary train` reads it."""
    argv = options(config)
    default = train_command.default_config(argv)
    arguments = parse(
        train_command.Arguments[type(default)],  # type: ignore[misc]
        argv,
        "armillary train",
        default=train_command.Arguments(default),
    )
    assert arguments.config == config


def test_the_card_says_what_is_in_the_file(trained: Path, tmp_path: Path) -> None:
    made = {"licence": "CC-BY-4.0", "commit": "abc1234", "hardware": "a | b\nc", "note": None}
    path = pack(trained, tmp_path / "given.armillary", made=made)
    page = text(path, packed.CARD)
    head, body = page.split("---\n")[1:3]
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    assert json.loads(fields["license"]) == "cc-by-4.0"
    assert json.loads(fields["tags"]) == [
        "reinforcement-learning",
        "world-model",
        "planet",
        TINY.task,
    ]
    for row in (
        "| task | `toys:short` |",
        "| agent | `planet` (rssm) |",
        "| trained for | 4 episodes, 48 environment steps, 18 updates, ",
        f"| armillary | {armillary.__version__}, commit abc1234 |",
        "a \\| b c |",
        "| licence | CC-BY-4.0 |",
    ):
        assert row in body
    assert _tokens(page, "train") == options(TINY)
    assert "| note |" not in page
    assert "armillary evaluate given.armillary --trust" in page  # the task is somebody's module
    assert 'armillary.load("given.armillary", trust=True)' in page
    results = json.loads((trained / "results.json").read_text())
    assert f"| score | {results['agent']['mean']:.1f} ± " in body
    for_hub = card(opened(path), "short", "hf:me/short")
    assert 'armillary.load("hf:me/short", trust=True)' in for_hub
    assert shown("a\x1b[2Jb\n\tc\x07\x9b") == "a[2Jb\n\tc"


def test_a_pack_is_trusted_no_more_than_a_run(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is a module is not played unasked; an agent that is one not even loaded."""
    monkeypatch.setenv("ARMILLARY_TRUST", "")
    path = pack(trained, tmp_path / "given.armillary")
    with pytest.raises(UsageError, match=r"given\.armillary.*of the task 'toys:short'.*--trust"):
        load(path).make_env()
    load(path, trust=True).make_env()
    with pytest.raises(UsageError, match="--trust"):
        pack(path, tmp_path / "more.armillary", episodes=1)
    run = forged(trained, tmp_path / "run", environment={})
    content = json.loads((run / "config.json").read_text())
    content["config"]["agent"] = "evil_module:Agent"
    (run / "config.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="imports the Python module 'evil_module'"):
        pack(run, tmp_path / "evil.armillary")
    members = {name: text(path, name).encode() for name in (packed.COUNTERS, packed.CARD)}
    with zipfile.ZipFile(path) as archive:
        members[packed.WEIGHTS] = archive.read(packed.WEIGHTS)
    members[packed.CONFIG] = json.dumps(content).encode()
    packed.write(tmp_path / "evil.armillary", members, {})
    with pytest.raises(UsageError, match="imports the Python module 'evil_module'"):
        load(tmp_path / "evil.armillary")


def test_without_a_checkpoint_there_is_nothing_to_pack(tmp_path: Path, trained: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(trained / "config.json", run)
    with pytest.raises(RunError, match="no checkpoint yet"):
        pack(run, tmp_path / "x.armillary")
    with pytest.raises(RunError, match="is not a run folder"):
        pack(tmp_path / "nothing", tmp_path / "x.armillary")
    assert not (tmp_path / "x.armillary").exists()


def test_an_agent_that_does_not_say_what_it_needs_keeps_all() -> None:
    state = (np.ones(2), {"moments": np.zeros(3)})
    assert trimmed(Random(Spec.of({}, None)), state) is state  # type: ignore[arg-type]
