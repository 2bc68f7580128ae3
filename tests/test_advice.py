"""Advice is what can be typed here: quoted for a shell, with uv where there is no pip."""

import re
import shlex
from pathlib import Path

import pytest

import armillary
from armillary.advice import command, extra, fitted, install, tool

SOURCE = Path(armillary.__file__).parent


@pytest.fixture(params=["uv run", "no pip", "pip"])
def how(request, monkeypatch):
    monkeypatch.delenv("UV", raising=False)
    if request.param == "uv run":
        monkeypatch.setenv("UV", "/usr/bin/uv")
    found = None if request.param == "no pip" else "pip"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    return request.param


def test_each_way_of_starting_gets_its_own_command(how):
    uv = how != "pip"
    assert install("tensorboard") == ("uv pip " if uv else "pip ") + "install tensorboard"
    advised = install("--no-deps", "dm_control>=1.0.50,<1.1")
    assert shlex.split(advised)[-3:] == ["install", "--no-deps", "dm_control>=1.0.50,<1.1"]
    others = fitted("run `pip install swig`, then `pip install x`")
    prefix = "uv pip" if uv else "pip"
    assert others == f"run `{prefix} install swig`, then `{prefix} install x`"
    shown = tool("tensorboard", "--logdir", Path("a b"))
    if how == "uv run":
        assert shown == "uv run --with tensorboard tensorboard --logdir 'a b'"
    else:
        assert shown == f"tensorboard --logdir 'a b'    # {install('tensorboard')}"
    run = "uv run " if how == "uv run" else ""
    assert command("plot", Path("a b/it's")).startswith(run + "armillary plot ")
    assert shlex.split(command("plot", Path("a b/it's")))[-1] == "a b/it's"
    expected = {
        "uv run": "uv run --extra cuda armillary ...",
        "no pip": 'uv pip install "armillary[cuda]"',
        "pip": 'pip install "armillary[cuda]"',
    }
    assert extra("cuda") == expected[how]


def test_no_message_says_it_by_itself():
    found = {
        path.name
        for path in SOURCE.rglob("*.py")
        if path.name != "advice.py" and re.search(r"[`\"'# ]pip install", path.read_text())
    }
    assert not found
