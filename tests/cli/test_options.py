"""What `--help` shows: whole sentences, true defaults, the important first, and all on demand."""

import dataclasses
import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from armillary.cli import bench, distill, doctor, evaluate, plot, study, tasks, train, video
from armillary.cli.options import parse
from armillary.config import CONFIGS, PRESETS, flatten, preset, to_dict
from armillary.errors import UsageError


def shown(run, *argv: str, capsys: pytest.CaptureFixture) -> str:
    with pytest.raises(SystemExit) as end:
        run(list(argv))
    assert end.value.code == 0
    return capsys.readouterr().out


def options(text: str) -> list[str]:
    return re.findall(r"^  (?:--[a-z-]+, )*--([a-z.-]+)", text, re.MULTILINE)


TRAINED = [agent for agent, config in CONFIGS.items() if config.made_by == "train"]


@pytest.mark.parametrize("agent", TRAINED)
def test_train_shows_twelve_first_and_all_on_demand(agent, capsys, monkeypatch):
    """All of the chosen agent, and nothing of the others."""
    monkeypatch.setenv("COLUMNS", "80")
    first = shown(train.run, "--agent", agent, "--help", capsys=capsys)
    names = {name.replace("_", "-") for name in flatten(to_dict(preset("small", agent)))}
    expected = train.first_options(preset("small", agent))
    assert set(expected) <= {*names, "run"}
    assert options(first) == expected
    assert len(expected) == 12
    assert first.count("\n") < 75
    every = shown(train.run, "--agent", agent, "--help-all", capsys=capsys)
    assert set(expected) < set(options(every))
    others = {
        "run",
        "seeds",
        "hosts",
        "trust",
        "environment.kwargs",
    }  # the last is empty, and so has no name
    assert names | others == set(options(every))
    assert f"--help-all` shows all {len(names | others)} options" in " ".join(first.split())
    assert max(map(len, every.splitlines())) <= 80


@pytest.mark.parametrize(
    ("agent", "name"), [(agent, name) for agent in TRAINED for name in PRESETS[agent]]
)
def test_defaults_are_those_of_the_preset(agent, name, capsys):
    text = shown(train.run, "--help-all", "--agent", agent, "--preset", name, capsys=capsys)
    for option, value in flatten(to_dict(preset(name, agent))).items():
        option = option.replace("_", "-")
        (about,) = re.findall(rf"--{re.escape(option)}(?: .*)?\n((?:      .*\n?)+)", text)
        typed = {"False": "off", "True": "on"}.get(str(value), str(value))
        if isinstance(value, tuple):
            typed = " ".join(map(str, value))
        assert f"(default: {typed})" in about, option


@pytest.mark.parametrize(
    ("run", "argv"),
    [
        (train.run, ["--help-all"]),
        (study.run, ["planet/figure4", "-h"]),
        (study.run, ["dreamer/figure5", "-h"]),
        (study.run, ["muzero/figureS3", "-h"]),
        (study.run, ["figure12", "--help"]),
        *(
            (command.run, ["--help"])
            for command in (bench, distill, doctor, evaluate, plot, tasks, video)
        ),
    ],
)
def test_no_sentence_is_broken_in_the_middle(run, argv, capsys, monkeypatch):
    """Each line is as full as it can be, and each option is explained."""
    monkeypatch.setenv("COLUMNS", "76")
    lines = shown(run, *argv, capsys=capsys).splitlines()
    for line, after in itertools.pairwise(lines):
        if line.startswith("      ") and after.startswith("      "):
            word = re.match(r"\(default: \S+|\S+", after.strip())
            assert word is not None
            assert len(line) + 1 + len(word[0]) > 76, line
        if line.startswith("  -"):
            assert after.startswith("      "), line


@dataclass(frozen=True)
class Painter:
    """How to paint."""

    colour: Literal["red", "blue"] = "red"
    """What colour
    - of two - it is."""


@dataclass(frozen=True)
class Singer:
    """How to sing."""

    loud: bool = True
    """Whether it is heard."""


@dataclass(frozen=True)
class Arguments:
    """Do something."""

    what: Annotated[Path, tyro.conf.Positional]
    """Of what."""
    agent: Painter | Singer = field(default_factory=Painter)


def test_an_agent_of_other_settings_brings_its_own_section(capsys):
    def run(argv):
        default = dataclasses.replace(Arguments(Path()), agent=agent)
        parse(Arguments, argv, "x", default=default, first=["agent.loud"])

    agent: Painter | Singer = Painter()
    text = shown(run, "--help-all", capsys=capsys)
    assert "usage: x WHAT [options]" in text
    assert "agent: How to paint." in text
    assert "  --agent.colour red|blue\n      What colour - of two - it is. (default: red)" in text
    assert "agent.loud" not in text
    agent = Singer()
    text = shown(run, "-h", capsys=capsys)
    assert "  --agent.loud\n      Whether it is heard. (default: on)" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--agent", "planet", "--act", "plan"],
            "option of dreamer.*agent here is planet",
        ),
        (["--behavior.horizon=4"], "option of dreamer.*own sections are model.*planner"),
        (["--agent", "distilled"], "not trained on a task.*armillary distill RUN"),
        (["--agent", "dreemer"], "Did you mean 'dreamer'"),
        (["--agent=dreamer", "--preset", "tiny"], "unknown preset 'tiny' of dreamer"),
    ],
)
def test_options_of_another_agent_are_refused(argv, message):
    with pytest.raises(UsageError, match=message):
        train.run(argv)
