"""The site is built with warnings as errors, and holds by itself: links, anchors, no other host."""

import html
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from mkdocs.utils.yaml import yaml_load

import armillary
from conftest import once
from pages import DOCS, ROOT, anchors, called, links, pages

PARTS = {"link": "href", "script": "src", "img": "src", "iframe": "src", "video": "src"}
"""What a page fetches by itself, and where it says so."""


class Page(HTMLParser):
    """The anchors, links and parts of a built page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.parts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        for name in (PARTS.get(tag, ""), "poster"):
            if name in given:
                self.parts.append(given[name])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""

    def build(folder: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        )
        assert done.returncode == 0, done.stderr + done.stdout

    return once(tmp_path_factory, "site", build)


@pytest.fixture(scope="module")
def built(site: Path) -> dict[Path, Page]:
    """Its pages."""
    return {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}


def test_links_and_anchors_lead_somewhere(site: Path, built: dict[Path, Page]) -> None:
    assert len(built) > len(list(DOCS.rglob("*.md")))
    broken = []
    for path, page in built.items():
        for address in [*page.links, *page.parts]:
            parts = urlsplit(address)
            if parts.scheme or path.name == "404.html":  # which any address may show
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            wanted = unquote(parts.fragment)
            there = target in built if target.suffix == ".html" else target.is_file()
            if not there or (wanted and wanted not in built[target].anchors | {"__consent"}):
                broken.append(f"{path.relative_to(site)}: {address}")
    assert not broken, broken


def test_nothing_comes_from_another_host(site: Path, built: dict[Path, Page]) -> None:
    """Neither what pages fetch, nor what their styles do; links that are clicked may."""
    foreign = [
        f"{path.relative_to(site)}: {address}"
        for path, page in built.items()
        for address in page.parts
        if urlsplit(address).netloc
    ]
    for style in site.rglob("*.css"):
        addresses = re.findall(
            r"(?:url\(|@import )['\"]?((?:https?:)?//[^)'\"]*)", style.read_text()
        )
        foreign += [f"{style.relative_to(site)}: {address}" for address in addresses]
    assert not foreign, foreign


def test_every_equation_is_drawn(site: Path) -> None:
    for name in ("planet", "dreamer", "muzero"):
        text = (site / f"{name}.html").read_text()
        assert text.count('<math alttext="') > 10
        assert "arithmatex" not in text
        assert "\\(" not in re.sub('alttext="[^"]*"', "", text)


def test_videos_play_in_the_page(site: Path) -> None:
    text = (site / "gallery.html").read_text()
    assert text.count("<video src=") == text.count(".mp4") >= 3


def test_the_code_is_shown(site: Path) -> None:
    """A link to a file of the repository leads to the file."""
    page = (site / "planet.html").read_text()
    assert 'href="source/armillary/dynamics/rssm.py.html"' in page
    shown = re.sub("<[^>]*>", "", (site / "source/armillary/dynamics/rssm.py.html").read_text())
    assert "class RSSM(Dynamics):" in shown
    listed = (site / "source/armillary/config/index.html").read_text()
    assert 'href="presets.py.html"' in listed


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"[\w/.-]+\.md", str(yaml_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    there = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    missing = sorted(there - set(listed))
    assert not missing, f"in no navigation, add them to `nav` in mkdocs.yml: {missing}"


def test_every_public_name_is_in_the_reference(built: dict[Path, Page]) -> None:
    found = {anchor for page in built.values() for anchor in page.anchors}
    missing = [
        name
        for name in armillary.__all__
        if name != "__version__"
        and not any(a == f"armillary.{name}" or a.endswith(f".{name}") for a in found)
    ]
    assert not missing, (
        f"not in the reference, add `::: armillary.NAME` to docs/reference/armillary.md: {missing}"
    )


def test_shapes_are_as_they_are_written(site: Path) -> None:
    assert 'embeddings: Float[Array, "time batch embedding"],' in _text(site, "dynamics")
    assert '-> Float[Array, "*batch features"]' in _text(site, "dynamics")
    assert '-> Float[Array, " candidates"]' in _text(site, "armillary")
    for page in (site / "reference").glob("*.html"):
        eaten = re.findall(r"<em>[^<]*\([^<]*</em>", page.read_text())
        assert not eaten, f"{page.name}: put `(*batch, A)` in backticks: {eaten}"


def _text(site: Path, name: str) -> str:
    """Returns the text of a page of the reference."""
    source = (site / "reference" / f"{name}.html").read_text()
    return html.unescape(re.sub("<[^>]*>", "", source)).replace("'", '"')


@pytest.mark.parametrize("page", pages(), ids=called)
def test_links_hold_on_a_code_host(page: Path) -> None:
    """As files of the repository, with the anchors that code hosts make."""
    broken = []
    for address in links(page):
        parts = urlsplit(address)
        if parts.scheme:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not target.exists() or (
            parts.fragment and target.suffix == ".md" and parts.fragment not in anchors(target)
        ):
            broken.append(address)
    assert not broken, f"{called(page)} has links that lead nowhere: {broken}"


@pytest.mark.parametrize("page", pages(), ids=called)
def test_lists_and_tables_stand_alone(page: Path) -> None:
    """With an empty line before them: code hosts draw them without, the site does not."""
    lines = re.sub(r"^( *)(`{3,}).*?^\1\2", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    item = re.compile(r"(?:[-*] |\d+\. |\|)")
    before = ""
    for line in lines.splitlines():
        starts = item.match(line) and before.strip() and not before.startswith(" ")
        assert not (starts and not item.match(before)), f"{called(page)}: {line}"
        before = line


def test_a_broken_page_is_noticed(tmp_path: Path) -> None:
    """Links, anchors, code and equations: each fault is a warning, and so an error."""
    for name in ("mkdocs.yml", "CHANGELOG.md", "CONTRIBUTING.md", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "website", tmp_path / "website")
    (tmp_path / "docs").mkdir()
    (tmp_path / "src").symlink_to(ROOT / "src")
    faults = {
        "nothing.md": "[a](nothing.md)",
        "#nowhere": "# A\n\n[a](#nowhere)",
        "src/none.py": "[a](../src/none.py)",
        r"\\nosuch": r"$\nosuch{x}$",
    }
    (tmp_path / "docs" / "index.md").write_text("\n\n".join(faults.values()))
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode != 0
    for fault in faults:
        assert fault in done.stderr, fault
