"""The page in a real browser: Debian's `chromium`, driven by Playwright."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from armillary.explore.server import Served
from tabs import page as serve

from .conftest import BLIND, DREAMER, GAME, PLANET

PATIENCE = 120_000
"""Milliseconds: a model is compiled meanwhile."""


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    yield context
    context.close()


@pytest.fixture
def tab(context: BrowserContext) -> Iterator[Page]:
    """A tab of which every error and every request to another host is a failure."""
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: faults.extend(_foreign(request.url)))
    yield page
    assert not faults


def _foreign(url: str) -> list[str]:
    inside = url.startswith(("data:", "blob:")) or urlparse(url).hostname == "127.0.0.1"
    return [] if inside else [url]


def view(page: Page, served: Served, name: str, run: int) -> None:
    page.goto(f"{served.address}#view={name}&run={run}")
    page.locator("main h1").wait_for()
    expect(page.locator("main .waiting[role=status]")).to_have_count(0, timeout=PATIENCE)


def asked(page: Page, what: str) -> Any:
    """Returns what the page's own state says."""
    return page.evaluate(f"() => window.armillary.{what}")


def pixels(page: Page, label: str) -> list[int]:
    """Returns what is drawn on a canvas."""
    return page.get_by_role("img", name=label, exact=True).evaluate(
        "(c) => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )


def stepped(page: Page, least: int) -> None:
    page.locator("main", has_text=re.compile(rf"Step \d*{least}\b")).first.wait_for()


def acting(page: Page, who: str) -> None:
    """Chooses who acts, and goes back to where keys steer."""
    page.get_by_label("Who acts in both").select_option(who)
    page.locator("main").focus()


def reached(page: Page, step: int) -> None:
    for _ in range(100):
        if asked(page, "dreaming.answer.step") >= step:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"step {step} was not reached")


def test_a_dream_is_steered_by_keys_alone(tab: Page, served: Served) -> None:
    view(tab, served, "dream", PLANET)
    tab.keyboard.press(".")
    stepped(tab, 1)
    assert asked(tab, "dreaming.answer.step") == 1
    tab.keyboard.down("ArrowRight")  # the first entry of the action, as long as it is held
    assert tab.get_by_label("Who acts in both").input_value() == "you"
    tab.keyboard.press(".")
    stepped(tab, 2)
    assert asked(tab, "dreaming.answer.action") == [1, 0]
    tab.keyboard.up("ArrowRight")
    tab.keyboard.press(".")
    stepped(tab, 3)
    assert asked(tab, "dreaming.answer.action") == [0, 0]
    truth = pixels(tab, "Truth")
    assert truth != pixels(tab, "Dream")
    tab.keyboard.press("b")
    expect(tab.get_by_role("button", name="End second dream")).to_be_visible()
    assert pixels(tab, "Second dream") == pixels(tab, "Dream")
    tab.keyboard.press("r")
    expect(tab.get_by_role("button", name="Branch into")).to_be_visible()
    assert asked(tab, "dreaming.answer.asleep") == 0
    assert pixels(tab, "Truth") == truth


def test_a_dream_runs_at_ten_frames_a_second_and_stops(tab: Page, served: Served) -> None:
    view(tab, served, "dream", PLANET)
    tab.get_by_label("Frames a second").fill("30")
    acting(tab, "random")
    tab.keyboard.press(".")
    stepped(tab, 1)
    began = time.monotonic()
    tab.keyboard.press(" ")
    tab.locator("main", has_text="The episode is over").first.wait_for()
    steps = asked(tab, "dreaming.answer.step") - 1
    assert steps / (time.monotonic() - began) > 10
    assert tab.get_by_role("button", name="Step").is_disabled()
    tab.keyboard.press("n")
    stepped(tab, 0)


def test_sliders_move_both(tab: Page, served: Served) -> None:
    view(tab, served, "dream", PLANET)
    acting(tab, "you")
    tab.get_by_label("Action 2").fill("-0.5")
    tab.get_by_role("button", name="Step").click()
    stepped(tab, 1)
    assert asked(tab, "dreaming.answer.action") == [0, -0.5]


def test_a_broken_socket_comes_back_while_it_plays(tab: Page, served: Served) -> None:
    view(tab, served, "dream", PLANET)
    acting(tab, "still")
    tab.get_by_label("Frames a second").fill("4")  # an episode is short
    for _ in range(2):
        before = asked(tab, "dreaming.answer.step")
        tab.get_by_role("button", name="Play").click()
        tab.evaluate("() => window.armillary.link.drop()")
        expect(tab.locator("#link-state")).to_have_text("connected")
        reached(tab, before + 2)
        tab.get_by_role("button", name="Pause").click()


def test_two_tabs_do_not_mix(context: BrowserContext, served: Served) -> None:
    one, other = context.new_page(), context.new_page()
    for page in (one, other):
        view(page, served, "dream", PLANET)
    for count in range(1, 4):  # a key that is pressed while a step is made is not another step
        one.keyboard.press(".")
        stepped(one, count)
    other.keyboard.press(".")
    stepped(one, 3)
    stepped(other, 1)


def test_a_model_without_a_decoder_says_so(tab: Page, served: Served) -> None:
    view(tab, served, "dream", BLIND)
    expect(tab.get_by_text("This model has no decoder")).to_be_visible()
    tab.keyboard.press(".")
    stepped(tab, 1)


@pytest.mark.parametrize(
    ("run", "texts"),
    [
        (PLANET, ["Predicted return of every candidate", "What is left of the belief"]),
        (DREAMER, ["Predicted reward", "Value: what is to come", "The futures"]),
    ],
)
def test_a_plan_is_shown(tab: Page, served: Served, run: int, texts: list[str]) -> None:
    view(tab, served, "plan", run)
    for text in texts:
        expect(tab.get_by_text(text).first).to_be_visible()
    expect(tab.locator(".strip canvas").first).to_be_visible()
    tab.get_by_role("button", name="Take the agent's action").click()
    tab.locator("main", has_text="step 1,").first.wait_for()


def test_a_map_is_walked(tab: Page, served: Served) -> None:
    view(tab, served, "latent", PLANET)
    tab.get_by_text("Episode ").first.wait_for()
    canvas = tab.locator(".map canvas")
    canvas.click(position={"x": 40, "y": 40})
    chosen = int(tab.get_by_label("Point", exact=True).input_value())
    canvas.press("ArrowRight")
    assert tab.get_by_label("Point", exact=True).input_value() == str(chosen + 1)
    tab.wait_for_timeout(300)
    before = pixels(tab, "Decoded")
    tab.get_by_label("Move by standard deviations").fill("3")
    tab.get_by_text("moved by 3.0").wait_for()
    assert pixels(tab, "Decoded") != before


def test_a_game_is_played_by_keys_alone(tab: Page, served: Served) -> None:
    view(tab, served, "game", GAME)
    tab.locator(".board button").first.focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate("() => document.activeElement.dataset.square") == "b2"
    tab.keyboard.press("Enter")
    tab.get_by_text(re.compile("^Moves: b2 ")).wait_for()
    expect(tab.get_by_text("It played")).to_be_visible()
    tab.get_by_role("button", name="Show its search").click()
    root = tab.get_by_role("treeitem").first
    root.focus()
    shown = tab.get_by_role("treeitem").count()
    assert shown > 1
    tab.keyboard.press("ArrowLeft")
    expect(tab.get_by_role("treeitem")).to_have_count(1)
    tab.keyboard.press("ArrowRight")
    expect(tab.get_by_role("treeitem")).to_have_count(shown)
    tab.get_by_role("button", name="Take back").click()
    tab.get_by_text("No move yet").wait_for()
    tab.locator("nav").get_by_text("Plan").click()
    tab.get_by_text("at the beginning").wait_for()


def test_curves_grow_while_a_run_trains(tab: Page, trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    log = run / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:2]))
    with serve(run) as served:
        view(tab, served, "run", 0)
        curve = tab.get_by_role("img", name=re.compile("^Score while collecting"))
        curve.wait_for()
        before = curve.get_attribute("aria-label")
        row = json.loads(lines[2]) | {"collect/return": 123.0}
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        tab.get_by_role("img", name=re.compile("Score while collecting.*last 123.0")).wait_for()
        assert "123" not in str(before)
        tab.get_by_role("button", name="Last test episode", exact=True).click()
        tab.get_by_text("paid").first.wait_for()
        video = tab.locator("video").first
        expect(video).to_have_js_property("error", None)


def test_a_damaged_run_is_said_to_be(tab: Page, trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "config.json").write_text("{")
    with serve(run, trained) as served:
        tab.goto(served.address)
        tab.get_by_text("is damaged").wait_for()
        tab.get_by_label("Run").select_option("1")
        tab.get_by_role("heading", name="Curves").wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(browser: Browser, served: Served, theme: Any) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=theme)
    context.set_default_timeout(20_000)
    page = context.new_page()
    for name, run in (
        ("run", PLANET), ("dream", PLANET), ("plan", PLANET), ("latent", PLANET), ("game", GAME)
    ):  # fmt: skip
        view(page, served, name, run)
        page.wait_for_timeout(200)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390, name
    root = page.locator("html")
    assert root.get_attribute("data-theme") == theme
    paper = "() => getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(paper)
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate(paper) != before
    page.reload()
    page.locator("main h1").wait_for()
    assert root.get_attribute("data-theme") != theme  # the choice is kept
    context.close()


def test_all_that_is_fetched_is_small(context: BrowserContext, served: Served) -> None:
    page = context.new_page()
    sizes: list[int] = []
    page.on("response", lambda response: sizes.append(len(response.body())))
    view(page, served, "run", PLANET)
    page.wait_for_timeout(300)
    assert sum(sizes) < 2_000_000


def test_controls_have_names(tab: Page, served: Served) -> None:
    """Of every view: whoever hears the page knows what can be done."""
    for name, run in (("dream", PLANET), ("latent", PLANET), ("game", GAME), ("run", PLANET)):
        view(tab, served, name, run)
        for control in tab.locator("main :is(button, input, select):visible").all():
            named = control.evaluate(
                "(e) => e.getAttribute('aria-label') || e.innerText "
                "|| e.closest('label')?.innerText || ''"
            )
            assert str(named).strip(), control.evaluate("(e) => e.outerHTML")
