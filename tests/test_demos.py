"""The agents that come with the package are what their cards say."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imageio.v3
import numpy as np
import pytest

from armillary.cli import train as train_command
from armillary.cli.options import parse
from armillary.errors import UsageError
from armillary.studies.dreams import beside, dreamed
from armillary.studies.report import one_episode
from armillary.training import demos, packed
from armillary.training.judges import JUDGES
from armillary.training.player import Player, load
from armillary.training.sources import opened

Run = Callable[..., subprocess.CompletedProcess[str]]

GAMES = [name for name in demos.names() if name in JUDGES]
MEGABYTES = 4.0


def test_there_are_some_and_they_are_small() -> None:
    assert {"cheetah-run", "connect_four", "tic_tac_toe"} <= {*demos.names()}
    assert sum(demos.path(name).stat().st_size for name in demos.names()) <= MEGABYTES * 1e6
    with pytest.raises(UsageError, match=r"no demo 'tic_tac_to'.*Did you mean 'tic_tac_toe'"):
        demos.path("tic_tac_to")
    with pytest.raises(UsageError, match=r"no demo '\.\./__init__'"):
        demos.path("../__init__")


@pytest.mark.parametrize("name", demos.names())
def test_its_card_is_of_it(name: str) -> None:
    """The command gives its settings; scores and amounts are those in the file."""
    source, where = opened(f"demo:{name}"), f"demo:{name}"
    card = packed.Packed(demos.path(name)).read(packed.CARD).decode()
    line = next(line for line in card.splitlines() if line.startswith("armillary train "))
    argv = shlex.split(line)[2:]
    default = train_command.default_config(argv)
    kind = train_command.Arguments[type(default)]  # type: ignore[misc]
    arguments = parse(kind, argv, "armillary train", default=train_command.Arguments(default))
    assert arguments.config == source.config
    counters, evaluation = source.counters, source.evaluation
    assert f"{counters.updates:,} updates" in card
    assert f"{counters.simulator_steps:,} environment steps" in card
    assert evaluation is not None
    (scores,) = evaluation["tasks"].values()
    assert scores["agent"]["episodes"] == scores["random"]["episodes"] == 10
    for who in ("agent", "random"):
        mean, std = np.mean(scores[who]["scores"]), np.std(scores[who]["scores"])
        assert f"| {mean:.1f} ± {std:.1f} over 10 noise-free episodes |" in card
    assert re.search(r"\| armillary \| \S+, commit [0-9a-f]{10} \|", card)
    assert "| licence | Apache-2.0 |" in card
    assert f'armillary.load("{where}")' in card


@pytest.mark.parametrize("name", GAMES)
def test_a_game_is_played_as_well_as_it_says(name: str) -> None:
    """On another machine a few moves may differ."""
    judge = JUDGES[name]
    if not judge.works:
        pytest.skip(f"{judge.needs} is not installed")
    player, evaluation = load(f"demo:{name}"), opened(f"demo:{name}").evaluation
    assert evaluation is not None
    told = evaluation["tasks"][name]["judged"][judge.name]
    found = judge.verdict(name, player.agent, player.state, {}).score
    allowed = 0.03 if 0 < told["agent"]["score"] < 1 else 3
    assert found == pytest.approx(told["agent"]["score"], abs=allowed)
    assert abs(told["random"]["score"] - found) > 5 * allowed


def test_an_episode_and_the_dream_of_it(armillary: Run, tmp_path: Path) -> None:
    """As the command shows it: the score that the card has, and a video that can be read."""
    done = armillary("demo", "cheetah-run")
    assert done.returncode == 0, done.stderr
    evaluation = opened("demo:cheetah-run").evaluation
    assert evaluation is not None
    scores = evaluation["tasks"]["cheetah-run"]
    found = re.search(r"250 steps, score ([\d.]+);", done.stdout)
    assert found is not None
    mean, std = scores["agent"]["mean"], scores["agent"]["std"]
    assert float(found[1]) == pytest.approx(mean, abs=max(4 * std, 0.25 * mean))
    assert float(found[1]) > 3 * scores["random"]["mean"]
    frames = imageio.v3.imread(tmp_path / "cheetah-run.mp4")
    assert len(frames) == 251
    height, width = frames.shape[1:3]
    assert width == pytest.approx(4 * (3 * 64 + 2 * 2), abs=16)
    assert height == pytest.approx(4 * 64 + 36, abs=16)
    truth, dream = frames[200, -250:, :250], frames[200, -250:, 270:510]
    assert truth.std() > 10
    assert dream.std() > 10


@pytest.fixture(scope="module")
def player(trained: Path) -> Player:
    return load(trained)


def test_a_dream_sees_five_frames_of_fifty(player: Player) -> None:
    """What is changed where it does not look changes nothing, and where it does it does."""
    _, episode = one_episode(player, player.task(), 0)
    frames = dreamed(player, episode)
    assert frames.shape == episode.image.shape

    def other(rows: slice) -> np.ndarray:
        image = episode.image.copy()
        image[rows] = 255 - image[rows]
        return dreamed(player, replace(episode, observation={"image": image}))

    np.testing.assert_array_equal(other(slice(5, None)), frames)
    assert (other(slice(4, 5))[4:] != frames[4:]).any(axis=(1, 2, 3)).all()
    model = player.world_model
    state = model.encode(episode.image[:5], episode.action[:5])
    imagined, _ = model.rollout(state, episode.action[5:])
    difference = np.abs(model.decode(imagined).astype(int) - frames[5:])
    assert difference.max() <= 1
    pictures = beside(episode.image, frames)
    large = episode.image[7].repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_array_equal(pictures[7, -256:, :256], large)
    assert (pictures[4, :36] != pictures[5, :36]).any()
    np.testing.assert_array_equal(pictures[5, :36], pictures[12, :36])


def test_the_list(armillary: Run) -> None:
    done = armillary("demo")
    assert done.returncode == 0, done.stderr
    rows = json.loads(armillary("demo", "--json").stdout)["demos"]
    assert [row["name"] for row in rows] == demos.names()
    for row in rows:
        assert row["name"] in done.stdout
        assert row["bytes"] == demos.path(row["name"]).stat().st_size
        for text in row["scores"].values():
            assert text in done.stdout
    assert armillary("demo", "walk").returncode == 2
    assert armillary("demo", "tic_tac_toe", "--out", "x.mp4").returncode == 2


class Terminal(io.StringIO):
    """Typed text, from a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_game_in_a_terminal_and_without_one(
    armillary: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Commands take the name as they take a folder; their files go into the working folder."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    done = armillary("demo", "tic_tac_toe")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("a draw")  # neither side errs
    assert done.stdout.count("\n3 ") == 10
    for command in (("demo", "tic_tac_toe"), ("play", "demo:tic_tac_toe")):
        monkeypatch.setattr("sys.stdin", Terminal("tree\nquit\n"))
        done = armillary(*command, "--side", "second")
        assert done.returncode == 0, done.stderr
        assert "the agent plays " in done.stdout
        assert "your move (O)" in done.stdout
        drawn = tmp_path / "tic_tac_toe-tree-1.png"
        assert drawn.exists()
        drawn.unlink()
    done = armillary("tree", "demo:tic_tac_toe", "--moves", "b2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tic_tac_toe-tree-1.png").exists()
    games = ("demo:tic_tac_toe", "demo:tic_tac_toe", "--games", 4, "--openings", 0)
    done = armillary("arena", *games)
    assert "4 games of tic_tac_toe: 0 won, 4 drawn, 0 lost" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"tic_tac_toe-tree-1.png"}
