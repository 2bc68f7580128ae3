"""docs/games.md as it is written: a game of one's own is trained, played and looked at."""

import io
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from armillary.cli import play, train
from armillary.config import preset
from armillary.envs.faces import face_of
from armillary.envs.games import game, is_game
from armillary.errors import UsageError
from armillary.training.run import Run

PAGE = (Path(__file__).parents[1] / "docs" / "games.md").read_text()
GAME, FACE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SMALL = {
    "collection.side-by-side": 8,
    "collection.seed-episodes": 8,
    "episodes": 16,
    "training.batch-size": 8,
    "training.collect-interval": 2,
    "search.simulations": 4,
    "network.hidden": 8,
    "network.state": 8,
    "evaluation.final-episodes": 2,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, with the page's module."""
    (tmp_path / "my_game.py").write_text(GAME + FACE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_trained_and_played(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """By the page's commands; the preset is that of a game, whatever the game is called."""
    small = [text for name, value in SMALL.items() for text in (f"--{name}", str(value))]
    (of_page,) = re.findall(r"armillary train (.*my_game.*)\n", PAGE)
    assert train.run([*of_page.split(), *small]) == 0
    capsys.readouterr()
    config = Run("runs/matches", trust=True).config
    known = preset("small", "muzero", "connect_four")
    assert (config.replay, config.collection.openings) == (known.replay, known.collection.openings)

    monkeypatch.setattr("sys.stdin", io.StringIO("take4\ntake3\nmoves\nquit\n"))
    (of_page,) = re.findall(r"armillary play (runs/matches.*)\n", PAGE)
    assert play.run(of_page.split()) == 0
    said = capsys.readouterr().out
    assert "'take4' is no legal move here" in said
    assert re.search(r"the agent plays take[123] \(value [+-]\d", said)
    assert "take1 take2 take3" in said


def test_the_rules_of_the_page(folder: Path) -> None:
    """Three, three, three, three: the second player takes the last match."""
    assert is_game("my_game:create")
    assert is_game("my_game:Matches")
    rules = game("my_game:create")
    state = rules.init(jax.random.key(0))
    first = int(state.current_player)
    for left in (9, 6, 3, 0):
        assert not state.terminated
        state = rules.step(state, jnp.int32(2))
        assert state.matches == left
    assert state.terminated
    assert state.rewards[1 - first] == 1
    assert state.rewards[first] == -1
    state = rules.init(jax.random.key(0)).replace(matches=jnp.int32(3))
    after = rules.step(state, jnp.int32(0))
    assert after.legal_action_mask.tolist() == [True, True, False]
    assert "take2" in face_of(rules).moves(after)


def test_a_game_without_a_face_has_the_numbers_of_its_planes(folder: Path) -> None:
    """Columns of more than one figure stay in line."""
    (folder / "plain_game.py").write_text(GAME)
    rules = game("plain_game:create")
    state = rules.init(jax.random.key(0)).replace(matches=jnp.int32(10))
    lines = face_of(rules).text(rules.step(state, jnp.int32(1))).splitlines()
    assert lines == [
        "0" + "  1" * 8 + "  0" * 4,
        " " + "".join(f"{i:3}" for i in range(12)),
    ]


def test_a_game_that_is_not_there_is_said_before_its_preset_is_chosen(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no 'creat' in 'my_game'.*'create'"):
        train.run(["--agent", "muzero", "--task", "my_game:creat", "--help"])
    assert not (folder / "runs").exists()
