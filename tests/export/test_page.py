"""The page that dreams, opened from disk in a real browser without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from armillary.config import EnvironmentConfig, ModelConfig
from armillary.export.page import assembled, write_page
from armillary.replay.episodes import EpisodeStore
from armillary.training.player import load
from conftest import Command
from folders import untrained
from settings import TINY_DISCRETE

RunOf = Callable[[str], Path]

STEPS = 10
ADVANCE = """(actions) => actions.map((action) => {
  armillary.advance(action);
  const { reward, pixels } = armillary.dream;
  return [reward, Array.from(pixels)];
})"""


@contextmanager
def opened(browser: Browser, path: Path, **options: Any) -> Iterator[Page]:
    """Opens a page from disk; nothing else may be asked for, and nothing may fail."""
    context = browser.new_context(offline=True, **options)
    tab, asked, failed = context.new_page(), [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: failed.append(str(error)))
    tab.on("console", lambda message: failed.append(message.text))
    tab.goto(path.as_uri())
    wait(tab, "window.armillary")
    yield tab
    assert asked == [path.as_uri()]
    assert not failed
    context.close()


def wait(tab: Page, condition: str) -> None:
    """Waits without `eval`, which the page forbids."""
    for _ in range(600):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"not within half a minute: {condition}")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a Dreamer with the networks of the preset `small`, without episodes."""
    config = replace(
        TINY_DISCRETE,
        environment=EnvironmentConfig(observe="cameras/front"),
        model=ModelConfig(deterministic=128, hidden=128, depth=16),
    )
    return untrained(config, tmp_path_factory.mktemp("small") / "run", shaken=0.02)


@pytest.fixture(scope="module")
def page(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a PlaNet with four episodes."""
    path = tmp_path_factory.mktemp("page") / "dream.html"
    before = sorted(trained.rglob("*"))
    assert len(write_page(load(trained), trained, path)["starts"]) == 4
    assert sorted(trained.rglob("*")) == before  # it may be training
    return path


def frames_of(tab: Page, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = tab.evaluate(ADVANCE, actions.tolist())
    rewards = np.array([reward for reward, _ in found])
    return rewards, np.array([pixels for _, pixels in found]).reshape(len(found), 64, 64, 3)


def same_frames(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert np.abs(ours - theirs.astype(int)).max() <= 1
    assert (ours != theirs).mean() < 1e-3


def test_its_frames_are_the_world_models(trained: Path, page: Path, browser: Browser) -> None:
    """From every state in which a dream begins, which are those of the recorded episodes."""
    player, store = load(trained), EpisodeStore(trained / "episodes")
    model: Any = player.world_model
    random = np.random.default_rng(0)
    with opened(browser, page) as tab:
        labels = tab.evaluate("armillary.data.starts.map((start) => start.label)")
        places = [[int(n) for n in re.findall(r"\d+", label)] for label in labels]
        assert [number for number, _ in places] == [1, 2, 3, 4]
        rows = 1 + min(row for _, row in places)
        for index, (number, row) in enumerate(places):
            episode, seen = store.load(number - 1), slice(row + 1 - rows, row + 1)
            start = model.encode(episode.image[seen], episode.action[seen])
            actions = random.uniform(-1, 1, (STEPS, model.action_size)).astype(np.float32)
            states, rewards = model.rollout(start, actions)
            tab.evaluate("(index) => armillary.begin(index)", index)
            first = np.array(tab.evaluate("Array.from(armillary.dream.pixels)"))
            same_frames(first.reshape(64, 64, 3), model.decode(start))
            dreamed, frames = frames_of(tab, actions)
            np.testing.assert_allclose(dreamed, rewards, atol=1e-4)
            same_frames(frames, model.decode(states))
        assert "plans" in tab.inner_text("#no-agent")
        assert not tab.is_visible("#agent")


def test_it_is_steered_from_the_keyboard(page: Path, browser: Browser) -> None:
    steps = "armillary.dream.steps"
    state = "Array.from(armillary.dream.state.deterministic.data)"
    with opened(browser, page, viewport={"width": 390, "height": 800}) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        tab.wait_for_timeout(100)
        assert tab.evaluate(steps) == 0  # it waits for its reader
        tab.keyboard.press(".")
        assert tab.evaluate(steps) == 1
        still = tab.evaluate(state)
        tab.keyboard.press("r")
        assert tab.evaluate(steps) == 0
        tab.keyboard.down("ArrowRight")
        wait(tab, f"{steps} >= 1")
        assert tab.inner_text("#controls output") == "1.00"
        tab.keyboard.press(" ")
        tab.keyboard.up("ArrowRight")
        assert tab.inner_text("#controls output") == "0.00"
        held = tab.evaluate(steps)
        tab.wait_for_timeout(200)
        assert tab.evaluate(steps) == held
        tab.keyboard.press("r")
        tab.keyboard.down("ArrowLeft")  # which goes on again
        wait(tab, f"{steps} >= 1")
        tab.keyboard.press(" ")
        tab.keyboard.up("ArrowLeft")
        assert np.abs(np.subtract(tab.evaluate(state), still)).max() > 1e-3
        tab.focus("#starts button:nth-child(3)")
        tab.keyboard.press("Enter")
        assert tab.evaluate("armillary.dream.start") == 2
        assert tab.get_attribute("#starts button:nth-child(3)", "aria-pressed") == "true"
        names = tab.eval_on_selector_all(
            "button, input, select, canvas[role]",
            "all => all.map(x => x.ariaLabel || x.innerText || x.labels?.[0]?.innerText || '')",
        )
        assert all(name.strip() for name in names), names


def test_the_agent_steers_at_ten_frames_a_second(
    armillary: Command, small: Path, tmp_path: Path, browser: Browser
) -> None:
    """With the networks of the preset `small`; the best of a few, for the machine may be busy."""
    done = armillary("export", small, "--to", "html", "--out", tmp_path / "dream.html")
    assert done.returncode == 0, done.stderr
    assert "dreams that begin in 1 state;" in done.stdout
    model: Any = load(small).world_model
    state, _ = model.step(model.model.dynamics.initial(), np.zeros(model.action_size))
    with opened(browser, tmp_path / "dream.html") as tab:
        for _ in range(3):
            action = np.array(tab.evaluate("armillary.chosen()"))
            assert np.argmax(action) == model.plan(state)
            state, reward = model.step(state, action)
            ((dreamed,), (frame,)) = frames_of(tab, action[None])
            np.testing.assert_allclose(dreamed, reward, atol=1e-4)
            (shown,) = model.observation(state).values()
            same_frames(frame, shown)
            value = tab.evaluate("armillary.dream.value")
            np.testing.assert_allclose(value, model.value(state), atol=1e-4)
        seconds = tab.evaluate("""() => Array.from({ length: 12 }, () => {
            const start = performance.now();
            armillary.advance(armillary.chosen());
            return (performance.now() - start) / 1000;
        })""")
        assert min(seconds) < 0.1, seconds
        tab.keyboard.press("g")
        wait(tab, "armillary.dream.steps > 20")
        assert tab.is_checked("#agent")
        tab.keyboard.press("1")  # and the reader takes over
        assert not tab.is_checked("#agent")
        chosen = [f"#controls button:nth-child({i})" for i in (1, 2)]
        assert [tab.get_attribute(x, "aria-pressed") for x in chosen] == ["false", "true"]


def test_what_cannot_be_dreamed_is_said(armillary: Command, run_of: RunOf, tmp_path: Path) -> None:
    for name, words in (
        ("cartpole", "this world model has no decoder"),
        ("game", "muzero predicts rewards, values and policies, not what is seen"),
    ):
        done = armillary("export", run_of(name), "--to", "html", "--out", tmp_path / "x.html")
        assert done.returncode == 2
        assert words in done.stderr
        assert not (tmp_path / "x.html").exists()


def test_a_strangers_names_are_text() -> None:
    """What a run folder names cannot become part of the page."""
    bad = "</script><img src=x onerror=alert(1)>@@weights@@"
    content = assembled({"task": bad, "run": bad}, b"").decode()
    plain = assembled({"task": "", "run": ""}, b"").decode()
    assert "<img" not in content
    assert content.count("</script>") == plain.count("</script>")
    data = re.search(r'id="data">(.*?)</script>', content, re.DOTALL)
    assert data is not None
    assert json.loads(data[1]) == {"task": bad, "run": bad}
