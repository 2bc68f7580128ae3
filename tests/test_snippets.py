"""The code on the pages: all Python is run by a test, all our commands are understood."""

import ast
import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

import armillary
from armillary.agents import registry
from armillary.cli import evaluate
from armillary.cli.main import COMMANDS
from armillary.config import CONFIGS, PRESETS
from armillary.dynamics.world_model import DYNAMICS
from pages import DOCS, ROOT, blocks, called, commands, pages

RUN_BY = {
    "README.md": "test_readme.py",
    "docs/export.md": "export/test_programs.py",
    "docs/extending.md": "test_extending.py",
    "docs/games.md": "test_games_page.py",
    "docs/planning.md": "test_readme.py",
    "docs/sharing.md": "test_sharing_page.py",
    "docs/studies.md": "test_readme.py",
    "docs/tutorials/environment.md": "test_snippets.py",
    "docs/tutorials/reading-a-run.md": "test_snippets.py",
    "docs/world-model.md": "test_world_model_page.py",
}
"""Which test runs the Python of a page."""

ONLY_READ = {"docs/dreamer.md"}
"""Pages whose Python needs a run that takes long; their calls are held to the signatures."""

MODULES = {
    "balanced": ("docs/extending.md", "class Balanced(", "class BalancedConfig("),
    "residual": ("docs/extending.md", "class Residual("),
    "boat": ("docs/tutorials/environment.md", "class Boat("),
    "rudder": ("docs/tutorials/environment.md", "class Rudder("),
    "my_environment": ("README.md", "class Lamp("),
    "my_game": ("docs/games.md", "class Matches("),
}
"""Modules that commands on the pages name, and the code of which they consist."""

MEANT = {
    "N": "1",
    "S": "0",
    "NAME": "planet",
    "TASK": "cheetah-run",
    "$seed": "0",
    "$nats": "0",
    "cheetah-run-planet-small-seed0.armillary": "demo:cheetah-run",
    "hf:OWNER/NAME": "demo:tic_tac_toe",
}
"""What a word of a command on a page stands for."""


class UnderstoodError(Exception):
    """A command has understood its options."""


@pytest.mark.parametrize("page", pages(), ids=called)
def test_all_python_is_held(page: Path) -> None:
    """It compiles, imports what there is of ours, and calls it as it can be called."""
    code = blocks(page, "python")
    if code and called(page) not in ONLY_READ:
        assert called(page) in RUN_BY, (
            f"no test runs the Python of {called(page)}: run it as tests/test_readme.py does, and "
            "name that test in RUN_BY here"
        )
        assert page.name in (ROOT / "tests" / RUN_BY[called(page)]).read_text()
    for block in code:
        tree = ast.parse(block)
        for name in _imported(tree):
            assert _exists(name), f"there is no {name}"
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("armillary."):
                name = ast.unparse(call.func).removeprefix("armillary.")
                function = attrgetter(name)(armillary)
                named = {word.arg: None for word in call.keywords if word.arg}
                inspect.signature(function).bind(*call.args, **named)


def _imported(tree: ast.AST) -> Iterator[str]:
    """Yields the dotted names that code imports of the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "armillary":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _exists(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    found = hasattr(importlib.import_module(module), attribute)
    return found or find_spec(name) is not None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a user who has written the pages' modules, which nobody knows yet."""
    for module, (page, *parts) in MODULES.items():
        code = [block for block in blocks(ROOT / page, "python") if any(p in block for p in parts)]
        (tmp_path / f"{module}.py").write_text("\n".join(code))
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    tables: tuple[dict[str, Any], ...] = (registry.AGENTS, CONFIGS, PRESETS, DYNAMICS)
    before = [dict(table) for table in tables]
    yield tmp_path
    for table, names in zip(tables, before, strict=True):
        table.clear()
        table.update(names)
    for module in MODULES:
        sys.modules.pop(module, None)


def test_our_commands_on_all_pages_are_understood(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their own parsers; none of them is carried out. A bare name is only a mention."""

    def stop(real: Any) -> Any:
        def parse(*arguments: Any, **options: Any) -> None:
            real(*arguments, **options)
            raise UnderstoodError

        return parse

    for name in COMMANDS:
        module = importlib.import_module(f"armillary.cli.{name}")
        monkeypatch.setattr(module, "parse", stop(module.parse))
    seen: set[str] = set()
    for page in pages():
        for command in commands(page):
            if command not in seen:
                _understand(command, called(page))
            seen.add(command)
    assert len(seen) > 100


def _understand(command: str, page: str) -> None:
    words = [re.sub(r"\$(seed|nats)", "0", MEANT.get(word, word)) for word in shlex.split(command)]
    if not words or words[0] == "COMMAND" or words[0].startswith("-"):
        return
    assert words[0] in COMMANDS, f"{page} has `armillary {command}`: there is no such command"
    if len(words) == 1 or "PAPER/FIGURE" in words:
        return
    run = importlib.import_module(f"armillary.cli.{words[0]}").run
    asked = {"--help", "--help-all"} & set(words)
    try:
        with nullcontext() if asked else pytest.raises(UnderstoodError):
            run(words[1:])
    except SystemExit as end:
        if not asked:
            raise AssertionError(f"{page} has `armillary {command}`: not understood") from end
    except Exception as error:
        raise AssertionError(f"{page} has `armillary {command}`: {error}") from error


def test_the_boat_is_made_and_looked_at(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """docs/tutorials/environment.md up to its training."""
    page = DOCS / "tutorials" / "environment.md"
    _, look, numbers, rudder = blocks(page, "python")
    with pytest.warns(UserWarning, match="render modes"):  # Gymnasium would make it by its id
        exec(look, {})
    first, second = capsys.readouterr().out.splitlines()
    assert f"`{first}`" in page.read_text().replace("\n", " ")
    assert second.startswith("(64, 64, 3) ")
    exec(numbers, {})
    assert len(capsys.readouterr().out.strip("[] \n").split()) == 6
    found: dict[str, Any] = {}
    exec(rudder, found)
    env = found["Rudder"]()
    env.reset(seed=0)
    assert env.step(1)[0][2] > 0.005  # full power to the right
    command = next(c for c in commands(page) if "--kwargs" in c)
    assert evaluate.run([*shlex.split(command)[1:], "--episodes", "2"]) == 0
    assert "random on boat:Boat" in capsys.readouterr().out


def test_a_log_is_read(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/tutorials/reading-a-run.md, and every number of a run is explained there."""
    page = DOCS / "tutorials" / "reading-a-run.md"
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "cheetah-run-planet-small-seed0").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(*blocks(page, "python"), found)
    assert found["scores"]
    assert found["losses"]
    text = page.read_text()
    names = {name for row in found["rows"] for name in row}
    missing = {name for name in names if f"`{name}`" not in text} - {"random/std"}
    assert missing <= {f"random/{key}" for key in ("std", "episodes", "scores")}
    for path in trained.iterdir():
        assert f"`{path.name}{'/' if path.is_dir() else ''}`" in text or path.suffix == ".lock"


def test_every_loss_is_explained() -> None:
    """Those of all agents, as they stand in the code."""
    text = (DOCS / "tutorials" / "reading-a-run.md").read_text()
    source = Path(armillary.__file__).parent
    files = [*source.glob("agents/*.py"), *source.glob("objectives/*.py")]
    pattern = r'"((?:loss/\w+|\w+_gradient_norm|disagreement|fresh_policy|policy_entropy))"'
    names = {name for file in files for name in re.findall(pattern, file.read_text())}
    assert {"loss/image", "policy_entropy", "fresh_policy"} <= names
    unexplained = sorted(name for name in names if f"`{name}`" not in text)
    assert not unexplained, f"docs/tutorials/reading-a-run.md does not explain {unexplained}"
