"""Pages of the site that are not in `docs/`: the code that a page links to, and files of the root.

Pages link as they would on a code host, `../src/armillary/dynamics/rssm.py`, and the site shows the
file itself. A link to a folder shows a list of its modules. `CONTRIBUTING.md` and `CHANGELOG.md`
are pages as they are.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Markdown of the root, and the name of its page."""
ELSEWHERE = {"README.md": "index.md"}
"""What has a page that says the same."""
LINK = re.compile(r"(\]\(|^\[[^]]+\]: *)(?![a-z]+:|#|/)([^)#\s]+)(#[^)\s]*)?", re.MULTILINE)
"""A relative link to a file: what is before its address, the address, and the anchor."""
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages, those of code for each file that any page links to."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text()))
    wanted: set[str] = set()
    for file in files.documentation_pages():
        for target in _targets(file.content_string, origin(file.src_uri)):
            wanted |= {target, *_modules(target)}
    for target in sorted(wanted):
        content = _listing(target) if (ROOT / target).is_dir() else _code(target)
        files.append(File.generated(config, place(target), content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Points links to files of the repository to their pages."""
    here = origin(page.file.src_uri)
    if page.file.src_uri.startswith("source/"):
        return markdown

    def point(match: re.Match[str]) -> str:
        before, address, anchor = match[1], match[2], match[3] or ""
        target = _resolve(address, here)
        if target is None:
            return match[0]
        return before + posixpath.relpath(target, posixpath.dirname(page.file.src_uri)) + anchor

    parts, start = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(point, markdown[start : fence.start()]), fence[0]]
        start = fence.end()
    return "".join([*parts, LINK.sub(point, markdown[start:])])


def origin(src_uri: str) -> str:
    """Returns where a page of the site lies in the repository."""
    of_root = {page: path for path, page in PAGES.items()}
    return of_root.get(src_uri, f"docs/{src_uri}")


def place(path: str) -> str:
    """Returns the page that shows a file or a folder of the repository."""
    inside = path.removeprefix("src/")
    return f"source/{inside}/index.md" if (ROOT / path).is_dir() else f"source/{inside}.md"


def _resolve(address: str, here: str) -> str | None:
    """Returns the page of a link's address; None of what MkDocs itself knows, or nobody."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(here), address))
    if path in PAGES or path in ELSEWHERE:
        return (PAGES | ELSEWHERE)[path]
    if path.startswith("docs/"):  # from a page of the root
        return path.removeprefix("docs/")
    return place(path) if not path.startswith("..") and (ROOT / path).exists() else None


def _targets(markdown: str, here: str) -> Iterator[str]:
    """Yields the files and folders of code that a page links to."""
    for match in LINK.finditer(FENCE.sub("", markdown)):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), match[2]))
        known = path.startswith(("docs/", "..")) or path in PAGES or path in ELSEWHERE
        if not known and (ROOT / path).exists():
            yield path


def _modules(path: str) -> list[str]:
    """Returns the modules and packages in a folder, and in those."""
    if not (ROOT / path).is_dir():
        return []
    inside = [p for p in sorted((ROOT / path).iterdir()) if _has_code(p)]
    names = [p.relative_to(ROOT).as_posix() for p in inside]
    return [*names, *(name for folder in names for name in _modules(folder))]


def _has_code(path: Path) -> bool:
    return path.suffix == ".py" if path.is_file() else any(path.glob("*.py"))


def _listing(path: str) -> str:
    """Returns a page that lists the modules of a folder with what they say of themselves."""
    here = posixpath.dirname(place(path))
    lines = [f"# `{path}`", ""]
    for child in sorted((ROOT / path).iterdir()):
        if not _has_code(child):
            continue
        module = child / "__init__.py" if child.is_dir() else child
        text = module.read_text() if module.exists() else ""
        about = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0].replace("\n", " ")
        link = posixpath.relpath(place(child.relative_to(ROOT).as_posix()), here)
        lines.append(f"- [`{child.name}{'/' if child.is_dir() else ''}`]({link}): {about}")
    return _hidden("\n".join(lines))


def _code(path: str) -> str:
    """Returns a page that shows a file."""
    language = {".py": "python", ".cff": "yaml", ".yml": "yaml", ".toml": "toml", ".sh": "bash"}
    kind = language.get(Path(path).suffix, "text")
    numbers = ' linenums="1"' if kind == "python" else ""
    text = (ROOT / path).read_text().rstrip("\n")
    return _hidden(f"# `{path}`\n\n``````{kind}{numbers}\n{text}\n``````\n")


def _hidden(markdown: str) -> str:
    """Returns a page that a search does not find: code would hide what is written about it."""
    return f"---\nsearch:\n  exclude: true\nhide:\n  - toc\n---\n\n{markdown}"
