"""What the views show, held to the library's own functions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import armillary
from armillary.explore import plans
from armillary.explore.library import Library
from armillary.explore.recorded import spread
from armillary.explore.runs import shown
from armillary.explore.server import Served
from armillary.explore.table import Table
from armillary.replay.episodes import EpisodeStore
from armillary.training.packing import pack
from folders import forged, untrained
from settings import TINY_MUZERO
from tabs import Tab, page

from .conftest import BLIND, DREAMER, GAME, PLANET

MOVES = np.random.default_rng(0).uniform(-1, 1, (4, 2)).astype(np.float32)


def you(action: np.ndarray) -> dict[str, object]:
    return {"by": "you", "action": action.tolist()}


def test_a_dream_is_the_rollout_of_the_world_model(tab: Tab, trained: Path) -> None:
    """And its truth is the environment: both are gone through again without the page."""
    agent = armillary.load(trained)
    env, model = agent.make_env(), agent.world_model
    image, _ = env.reset(seed=5)
    state = model.encode(image[None], np.zeros((0, 2), np.float32))
    states, rewards = model.rollout(state, MOVES)
    frames = model.decode(states)
    values, images = tab.ask("dream.open", run=PLANET, seed=5)
    assert values["facts"]["names"] == ["1", "2"]
    np.testing.assert_array_equal(images["truth"], image)
    assert np.abs(images["dream"].astype(int) - model.decode(state)).max() <= 1
    total = 0.0
    for move, frame, reward in zip(MOVES, frames, rewards, strict=True):
        values, images = tab.ask("dream.step", driver=you(move))
        image, paid, *_ = env.step(move)
        total += float(paid)
        np.testing.assert_array_equal(images["truth"], image)
        assert np.abs(images["dream"].astype(int) - frame).max() <= 1
        assert values["dream_reward"] == pytest.approx(float(reward), abs=1e-5)
        assert values["reward"] == pytest.approx(float(paid))
        apart = np.abs(images["dream"].astype(float) - image).mean() / 255
        assert values["dream_difference"] == pytest.approx(apart)
    assert values["scores"]["truth"] == pytest.approx(total)
    assert values["scores"]["dream"] == pytest.approx(float(rewards.sum()), abs=1e-4)
    assert "dream_value" not in values  # PlaNet learns none
    env.close()


def test_a_dream_is_set_to_what_was_seen_meanwhile(tab: Tab, trained: Path) -> None:
    agent = armillary.load(trained)
    env, model = agent.make_env(), agent.world_model
    seen = [env.reset(seed=0)[0]]
    tab.ask("dream.open", run=PLANET)
    for move in MOVES:
        seen.append(env.step(move)[0])
        tab.ask("dream.step", driver=you(move))
    values, images = tab.ask("dream.wake")
    assert (values["asleep"], values["step"]) == (0, 4)
    assert values["scores"] == {"truth": 0, "dream": 0, "branch": 0}
    believed = model.encode(np.stack(seen), MOVES)
    assert np.abs(images["dream"].astype(int) - model.decode(believed)).max() <= 1
    env.close()


def test_a_branch_goes_its_own_way(tab: Tab) -> None:
    tab.ask("dream.open", run=PLANET)
    tab.ask("dream.step", driver=you(MOVES[0]))
    values, images = tab.ask("dream.fork")
    assert values["branched"]
    np.testing.assert_array_equal(images["branch"], images["dream"])
    values, images = tab.ask("dream.step", driver=you(MOVES[1]), other={"by": "same"})
    assert values["branch_reward"] == pytest.approx(values["dream_reward"])
    values, images = tab.ask("dream.step", driver=you(MOVES[2]), other=you(-MOVES[2]))
    np.testing.assert_allclose(values["branch_action"], -MOVES[2])
    assert values["branch_reward"] != pytest.approx(values["dream_reward"], abs=1e-9)
    assert "branch" not in tab.ask("dream.join")[1]


def test_chance_is_asked_for(tab: Tab) -> None:
    """Twice the same seed and actions: alike with means, and with the same samples."""
    found = []
    for sampled in (False, False, True, True):
        tab.ask("dream.open", run=PLANET)
        driver = you(MOVES[0])
        found.append(tab.ask("dream.step", driver=driver, sampled=sampled)[0]["dream_reward"])
    assert found[0] == found[1] != found[2] == found[3]


@pytest.mark.parametrize("run", [PLANET, DREAMER])
def test_the_agent_acts_by_its_plan(tab: Tab, runs: list[Path], run: int) -> None:
    agent = armillary.load(runs[run])
    env, model = agent.make_env(), agent.world_model
    state = model.encode(env.reset(seed=0)[0][None], np.zeros((0, 2), np.float32))
    tab.ask("dream.open", run=run)
    values, _ = tab.ask("dream.step", driver={"by": "agent"})
    np.testing.assert_allclose(values["action"], model.plan(state, seed=0), atol=1e-4)
    env.close()


def test_a_plan_is_the_one_that_the_agent_takes(tab: Tab, trained: Path) -> None:
    agent = armillary.load(trained)
    planner = agent.config.planner
    tab.ask("dream.open", run=PLANET)
    plan, images = tab.ask("plan.think")
    values, _ = tab.ask("dream.step", driver={"by": "agent"})
    np.testing.assert_allclose(plan["action"], values["action"], atol=1e-5)
    returns = np.array(plan["returns"])
    assert returns.shape == (planner.iterations, planner.candidates)
    best = [one["return"] for one in plan["best"]]
    np.testing.assert_allclose(best, sorted(returns[-1])[::-1][: plans.BEST])
    env, model = agent.make_env(), agent.world_model
    state = model.encode(env.reset(seed=0)[0][None], np.zeros((0, 2), np.float32))
    states, rewards = model.rollout(state, np.array(plan["best"][0]["actions"]))
    np.testing.assert_allclose(plan["best"][0]["rewards"], rewards, atol=1e-4)
    assert np.abs(images["strip-0"].astype(int) - model.decode(states)).max() <= 1
    assert len(plan["std"]) == planner.iterations
    env.close()


def test_futures_of_an_actor(tab: Tab, runs: list[Path]) -> None:
    tab.ask("dream.open", run=DREAMER)
    found, images = tab.ask("plan.think")
    horizon = armillary.load(runs[DREAMER]).config.behavior.horizon
    assert np.shape(found["rewards"]) == (plans.FUTURES, horizon)
    assert np.shape(found["values"]) == (plans.FUTURES, horizon + 1)
    assert images["strip-5"].shape == (horizon + 1, 64, 64, 3)
    values, _ = tab.ask("dream.step", driver={"by": "agent"})
    assert values["dream_value"] is not None
    first = np.array(found["values"])[:, 0]
    np.testing.assert_allclose(first, first[0])  # all begin in one state
    assert np.ptp(np.array(found["rewards"])[:, -1]) > 0  # and part


def test_a_model_without_a_decoder_dreams_of_rewards(tab: Tab) -> None:
    values, images = tab.ask("dream.open", run=BLIND)
    assert not values["facts"]["draws"]
    assert set(images) == {"truth"}
    values, images = tab.ask("dream.step", driver={"by": "agent"})
    assert values["dream_reward"] is not None
    assert set(images) == {"truth"}
    assert not tab.ask("plan.think")[1]
    tab.ask("latent.open", run=BLIND)
    assert "decoded" not in tab.ask("latent.look", number=0)[1]
    assert "predicts no frames" in tab.error("run.prediction", run=BLIND)


def test_the_map_is_of_recorded_states(tab: Tab, trained: Path) -> None:
    agent = armillary.load(trained)
    model = agent.world_model
    values, _ = tab.ask("latent.open", run=PLANET)
    store = EpisodeStore(trained / "episodes")
    episodes = [store.load(index) for index in store.indices]
    every = [model.encode(e.observation, e.action, every=True) for e in episodes]
    table = np.concatenate([np.concatenate([s.deterministic, s.stochastic], -1) for s in every])
    assert len(values["points"]) == len(table)
    centred = table - table.mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    ours, theirs = np.array(values["points"]), centred @ directions[:2].T
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=2e-3)  # up to their signs
    shares = singular**2 / (singular**2).sum()
    np.testing.assert_allclose(values["shares"], shares[: len(values["shares"])], atol=1e-3)

    number = len(episodes[0].reward) + 2  # the third row of the second episode
    assert values["places"][number] == [1, 2]
    seen, images = tab.ask("latent.look", number=number)
    state = jax.tree.map(lambda x: x[2], every[1])
    np.testing.assert_array_equal(images["frame"], episodes[1].image[2])
    assert np.abs(images["decoded"].astype(int) - model.decode(state)).max() <= 1
    assert seen["predicted_reward"] == pytest.approx(float(model.reward(state)), abs=1e-4)

    size = state.deterministic.size
    at = values["coordinates"][0]
    moved = {"kind": "coordinate", "number": at, "by": 2}
    _, images = tab.ask("latent.look", number=number, moved=moved)
    part = "deterministic" if at < size else "stochastic"
    numbers = np.array(getattr(state, part))
    numbers[at if at < size else at - size] += 2 * table.std(axis=0)[at]
    other = model.decode(state._replace(**{part: numbers}))
    assert np.abs(images["decoded"].astype(int) - other).max() <= 1
    far = {"kind": "direction", "number": 0, "by": 3.0}
    assert (tab.ask("latent.look", number=number, moved=far)[1]["decoded"] != other).any()


def test_neighbours_are_mapped(tab: Tab) -> None:
    values, _ = tab.ask("latent.open", run=PLANET, method="tsne")
    assert np.isfinite(values["points"]).all()
    assert np.ptp(values["points"]) > 0


def test_a_game_is_played_and_thought_of(tab: Tab) -> None:
    values, _ = tab.ask("game.open", run=GAME)
    assert (values["mover"], values["side"], values["over"]) == (0, 0, False)
    assert values["legal"] == ["a3", "b3", "c3", "a2", "b2", "c2", "a1", "b1", "c1"]
    values, _ = tab.ask("game.play", move="b2")
    assert values["moves"][0] == "b2"
    assert values["cells"][1][1] == "X"
    assert values["moves"][1] == values["thought"]["move"]
    assert sum(visits for _, visits in values["thought"]["visits"]) == 4
    assert "no legal move here" in tab.error("game.play", move="b2")
    hint = tab.ask("game.hint")[0]
    assert (hint["thought"]["by"], hint["moves"]) == ("hint", values["moves"])
    root, *nodes = tab.ask("game.tree")[0]["nodes"]
    assert root["visits"] == 5
    children = [node for node in nodes if node["parent"] == 0]
    assert {node["name"] for node in children} <= set(values["legal"])
    assert sum(node["visits"] for node in children) == 4
    swapped = tab.ask("game.swap")[0]
    assert (swapped["side"], len(swapped["moves"])) == (1, 3)
    assert len(tab.ask("game.undo")[0]["moves"]) == 1
    assert len(tab.ask("game.open", run=GAME, side=1)[0]["moves"]) == 1
    assert "nothing is dreamed" in tab.error("plan.think")
    assert "is a game of two players" in tab.error("dream.open", run=GAME)
    assert "which is no board game" in tab.error("game.open", run=PLANET)


def test_a_game_ends(runs: list[Path]) -> None:
    table = Table(Library(shown(runs, trust=False)).load(GAME))
    while not table.match.over:
        table.play(table.view().values["legal"][0])
    end = table.view().values
    assert end["over"]
    assert end["legal"] == []
    assert end["result"] in (-1, 0, 1)
    for refused in (table.hint, table.tree, lambda: table.play("a1")):
        with pytest.raises(armillary_error(), match="over"):
            refused()


def armillary_error() -> type[Exception]:
    from armillary.errors import UsageError

    return UsageError


def test_the_latent_space_of_a_game(tab: Tab) -> None:
    values, _ = tab.ask("latent.open", run=GAME)
    assert not values["draws"]
    seen, images = tab.ask("latent.look", number=1)
    assert set(images) == {"frame"}
    assert sum(seen["policy"]) == pytest.approx(1, abs=1e-5)
    assert -1 <= seen["value"] <= 1


def test_a_search_in_an_environment(tmp_path: Path) -> None:
    run = untrained(TINY_MUZERO, tmp_path / "lamps", shaken=0.3)
    with page(run) as served:
        tab = Tab(served.address)
        values, _ = tab.ask("dream.open", run=0)
        assert values["facts"]["discrete"]
        assert len(values["facts"]["names"]) == len(tab.ask("plan.think")[0]["nodes"][0:1]) + 2
        taken = tab.ask("dream.step", driver={"by": "you", "action": 1})[0]["action"]
        assert taken == [0, 1, 0]
        root = tab.ask("plan.think")[0]["nodes"][0]
        assert root["visits"] == TINY_MUZERO.search.simulations + 1
        assert "expected a number below 3" in tab.error(
            "dream.step", driver={"by": "you", "action": 3}
        )
        tab.close()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"driver": {"by": "you", "action": [1]}}, "expected 2 numbers"),
        ({"driver": {"by": "you", "action": [1, None]}}, "expected 2 numbers"),
        ({"driver": {"by": "you", "action": "left"}}, "expected 2 numbers"),
        ({"driver": {"by": "you"}}, "expected 2 numbers"),
        ({"driver": {"by": "me"}}, "'me' cannot act"),
        ({"driver": 3}, "is a JSON object"),
    ],
)
def test_actions_that_are_none_are_refused(tab: Tab, message: dict[str, object], text: str) -> None:
    tab.ask("dream.open", run=PLANET)
    assert text in tab.error("dream.step", **message)
    assert tab.ask("dream.step", driver={"by": "still"})[0]["step"] == 1


@pytest.mark.parametrize(
    ("what", "given", "text"),
    [
        ("dream.open", {"run": 9}, "there is no run 9"),
        ("dream.open", {"run": "../x"}, "there is no run"),
        ("dream.open", {"run": 0, "seed": -1}, "the seed is -1"),
        ("dream.open", {"run": 0, "task": "os:abort"}, "this agent learned toys:short"),
        ("latent.open", {"run": 0, "method": "umap"}, "expected one of pca, tsne"),
        ("latent.look", {"number": 0}, "there is no map yet"),
        ("game.play", {"move": "a1"}, "no game has begun"),
        ("run.episode", {"run": 0, "which": "/etc"}, "expected test or collected"),
    ],
)
def test_what_is_not_there_is_said(
    tab: Tab, what: str, given: dict[str, object], text: str
) -> None:
    assert text in tab.error(what, **given)


def test_an_episode_ends(tab: Tab) -> None:
    tab.ask("dream.open", run=PLANET)
    over = False
    while not over:
        over = tab.ask("dream.step", driver={"by": "still"})[0]["over"]
    assert "the episode is over" in tab.error("dream.step", driver={"by": "still"})
    assert not tab.ask("dream.open", run=PLANET)[0]["over"]


def test_recorded_frames_and_their_prediction(tab: Tab, trained: Path) -> None:
    values, images = tab.ask("run.episode", run=PLANET)
    store = EpisodeStore(trained / "test")
    episode = store.load(store.indices[-1])
    np.testing.assert_array_equal(images["truth"], episode.image)
    assert values["return"] == pytest.approx(float(episode.reward.sum()))
    values, images = tab.ask("run.prediction", run=PLANET)
    assert images["truth"].shape == images["dream"].shape == images["difference"].shape
    assert values["context"] == 5


@pytest.fixture
def bad(trained: Path, tmp_path: Path) -> Iterator[tuple[Served, dict[str, int]]]:
    """A page of runs each of which has something wrong."""
    names = ("damaged", "newer", "broken", "empty", "stranger", "whole")
    folders = {name: tmp_path / name for name in names}
    for name in ("damaged", "newer", "broken", "empty", "whole"):
        shutil.copytree(trained, folders[name])
    (folders["damaged"] / "config.json").write_text("{")
    content = json.loads((folders["newer"] / "config.json").read_text())
    (folders["newer"] / "config.json").write_text(json.dumps(content | {"format": 99}))
    for file in (folders["broken"] / "checkpoints").iterdir():
        file.write_bytes(file.read_bytes()[:-100])
    shutil.rmtree(folders["empty"] / "checkpoints")
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    forged(trained, folders["stranger"], environment={}, task="evil:env")
    with page(*folders.values()) as served:
        yield served, {name: number for number, name in enumerate(names)}


def test_runs_with_something_wrong_are_said_to_be(
    bad: tuple[Served, dict[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    monkeypatch.syspath_prepend(str(tmp_path))
    served, number = bad
    facts = httpx.get(f"{served.address}api/runs", trust_env=False).json()
    assert "is damaged" in facts[number["damaged"]]["error"]
    assert "newer than this one" in facts[number["newer"]]["error"]
    assert facts[number["damaged"]]["views"] == ["run"]
    tab = Tab(served.address)
    for name, text in (
        ("damaged", "is damaged"),
        ("newer", "newer than this one"),
        ("broken", "damaged"),
        ("empty", "has no checkpoint yet"),
        ("stranger", "--trust"),
    ):
        assert text in tab.error("dream.open", run=number[name]), name
    assert not (tmp_path / "ran").exists()
    assert tab.ask("dream.open", run=number["whole"])[0]["step"] == 0
    tab.close()


def test_a_run_that_has_learned_more_is_loaded_anew(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    _, newer = sorted((run / "checkpoints").glob("checkpoint-*"))
    kept = newer.read_bytes()
    newer.unlink()
    library = Library(shown([run], trust=False))
    first = library.load(0)
    assert library.load(0) is first
    newer.write_bytes(kept)
    second = library.load(0)
    assert second is not first
    assert second.player.counters["updates"] >= first.player.counters["updates"]
    assert library.load(0) is second


def test_episodes_are_taken_from_all_over_a_run(trained: Path) -> None:
    store = EpisodeStore(trained / "episodes")
    found = spread(trained / "episodes", 2)
    np.testing.assert_array_equal(found[-1].reward, store.load(store.indices[-1]).reward)
    np.testing.assert_array_equal(found[0].reward, store.load(store.indices[1]).reward)


def test_settings_of_runs_may_be_of_any_agent(tmp_path: Path) -> None:
    config = replace(TINY_MUZERO, task="toys:lamps")
    run = untrained(config, tmp_path / "lamps")
    (found,) = shown([run], trust=False)
    facts = found.facts()
    assert facts["views"] == ["run", "dream", "plan", "latent"]
    assert facts["config"]["search.simulations"] == 4
    assert facts["unread"]


def test_a_packed_agent_dreams_and_has_no_log(trained: Path, tmp_path: Path) -> None:
    """As its run does, but for what is not in the file."""
    import httpx

    given = pack(trained, tmp_path / "given.armillary")
    damaged = tmp_path / "damaged.armillary"
    damaged.write_bytes(given.read_bytes()[:-100])
    with page(given, trained, damaged) as served:
        facts = httpx.get(f"{served.address}api/runs", trust_env=False).json()
        assert [one["views"] for one in facts[:2]] == [
            ["dream", "plan"],
            ["run", "dream", "plan", "latent"],
        ]
        same = ("task", "agent", "seed", "episode", "updates", "config", "checkpoint", "finished")
        assert {key: facts[0][key] for key in same} == {key: facts[1][key] for key in same}
        assert "damaged" in facts[2]["error"]
        tab = Tab(served.address)
        shown = [tab.ask("dream.open", run=number)[1]["dream"] for number in (0, 1)]
        np.testing.assert_array_equal(*shown)
        for what in ("latent.open", "run.episode", "run.prediction"):
            assert "is a packed agent" in tab.error(what, run=0)
        tab.close()
