"""What is written on the pages: their code, their links, and what their headings are called."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OF_ROOT = ("README.md", "CONTRIBUTING.md")
_FENCE = re.compile(r"^( *)(`{3,}|~{3,})(\w*)[^\n]*\n(.*?)^\1\2 *$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`(armillary [^`]*)`")
_LINK = re.compile(r"(?<!\\)\[[^]]*\]\(([^)\s]+)\)|^\[[^]]+\]: *(\S+)", re.MULTILINE)


def pages() -> list[Path]:
    """Returns every page of `docs/`, and those of the root that have commands."""
    return [*sorted(DOCS.rglob("*.md")), *(ROOT / name for name in OF_ROOT)]


def called(page: Path) -> str:
    """Returns how a message names a page."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[str]:
    """Returns the fenced code of a page in these languages."""
    found = _FENCE.finditer(page.read_text())
    return [_dedented(match[4], match[1]) for match in found if match[3] in languages]


def prose(page: Path) -> str:
    """Returns a page without its fenced code."""
    return _FENCE.sub("", page.read_text())


def links(page: Path) -> Iterator[str]:
    """Yields the address of each link and picture, but for those of code."""
    text = re.sub(r"`+[^`\n]*`+(?!\])", lambda m: "" if "](" in m[0] else m[0], prose(page))
    yield from (first or second for first, second in _LINK.findall(text))


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as code hosts make them."""
    found: set[str] = set()
    for title in re.findall(r"^#+ +(.*?) *$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).replace("`", "")
        anchor = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 0
        while (numbered := f"{anchor}-{number}" if number else anchor) in found:
            number += 1
        found.add(numbered)
    return found


def commands(page: Path) -> list[str]:
    """Returns every command of ours on a page as it would be typed, `armillary plot RUN` say."""
    text = page.read_text()
    lines = [line for block in blocks(page, "bash", "sh") for line in _lines(block)]
    lines += re.findall(r"^ {4}(armillary .*)", _FENCE.sub("", text), re.MULTILINE)
    lines += [" ".join(found.split()) for found in _INLINE.findall(_FENCE.sub("", text))]
    ours = (line for line in lines if "armillary" in line and "import" not in line)
    return [command for line in ours for command in _ours(line)]


def _lines(block: str) -> list[str]:
    return re.sub(r"\\\n\s*", "", block).splitlines()


def _ours(line: str) -> Iterator[str]:
    """Yields the commands of ours in a line of a shell, those in quotes too."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.commenters = "#"
    lexer.wordchars += ":,=*$[]{}?+%"
    words: list[str] | None = None
    for word in [*lexer, ";"]:
        if word == "armillary" and words is None:
            words = []
        elif words is not None and set(word) <= set("();<>|&"):
            yield shlex.join(words)
            words = None
        elif words is not None:
            words.append(word)
        elif word.startswith("armillary "):
            yield from _ours(word)


def _dedented(code: str, indent: str) -> str:
    return re.sub(f"^{indent}", "", code, flags=re.MULTILINE) if indent else code
