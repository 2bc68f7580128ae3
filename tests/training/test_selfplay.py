"""Games against oneself, held against the rules of tic-tac-toe written plainly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.agents.random import Random, uniform
from armillary.envs.games import game, spec_of_game
from armillary.errors import UsageError
from armillary.replay.episode import Episode
from armillary.replay.episodes import EpisodeStore
from armillary.spec import Spec
from armillary.training.counters import Counters
from armillary.training.offline import source_spec
from armillary.training.selfplay import self_play
from armillary.training.stored import check_episodes

LINES = [
    *((3 * i, 3 * i + 1, 3 * i + 2) for i in range(3)),
    *((i, i + 3, i + 6) for i in range(3)),
    (0, 4, 8),
    (2, 4, 6),
]


@dataclass(frozen=True)
class Noting:
    """Random moves; notes how many empty points it saw, as both of the records."""

    spec: Spec

    @property
    def records(self) -> tuple[str, ...]:
        return ("empty",)

    def initial_belief(self, state: Any, environments: int) -> jax.Array:
        return jnp.zeros(environments)

    def act(self, state: Any, belief: Any, observation: Any, key: Any, explore: bool) -> Any:
        assert explore
        count = len(belief)
        action = uniform(self.spec, observation, count, key)
        return belief + 1, action, {"empty": observation["mask"].sum(axis=-1), "other": belief}


def _games(openings: int, count: int = 64, seed: int = 0) -> list[Episode]:
    rules = game("tic_tac_toe")
    actor = Noting(spec_of_game(rules))
    key = jax.random.key(seed)
    return self_play(rules, actor, None, key, count=count, openings=openings)


def _winner(board: np.ndarray) -> int:
    """0: nobody; else 1 or 2."""
    return next((board[a] for a, b, c in LINES if board[a] and board[a] == board[b] == board[c]), 0)


@pytest.mark.parametrize("openings", [0, 4])
def test_games_are_what_the_rules_make_of_their_moves(openings: int) -> None:
    decided = set()
    for episode in _games(openings):
        planes = episode.observation["board"].reshape(-1, 9, 2)
        begun = int(planes[0].sum())  # stones of the opening
        assert begun <= openings
        mover = 1 + begun % 2
        board = np.zeros(9, int)
        board[planes[0, :, 0]], board[planes[0, :, 1]] = mover, 3 - mover
        first_board, movers = board.copy(), [mover]
        for row in range(1, len(episode.reward)):
            move = int(episode.action[row].argmax())
            assert episode.action[row].sum() == 1
            assert board[move] == 0
            board[move] = mover
            won = _winner(board) == mover
            assert episode.reward[row] == float(won)
            mover = 3 - mover
            movers.append(mover)
            np.testing.assert_array_equal(planes[row, :, 0], board == mover)
            np.testing.assert_array_equal(planes[row, :, 1], board == 3 - mover)
            over = won or (board != 0).all()
            assert over == (row == len(episode.reward) - 1)
        assert episode.terminal
        assert _winner(first_board) == 0
        winner = _winner(board)
        decided.add(winner)
        outcome = [0.0 if not winner else 1.0 if winner == m else -1.0 for m in movers]
        np.testing.assert_array_equal(episode.records["outcome"], outcome)
        empty = [*range(9 - begun, 9 - begun - len(outcome) + 1, -1), 0]
        np.testing.assert_array_equal(episode.records["empty"], empty)
        assert set(episode.records) == {"empty", "outcome"}
    assert decided == {0, 1, 2}


def test_openings_are_drawn_for_each_game_and_games_by_the_key() -> None:
    begun = [int(episode.observation["board"][0].sum()) for episode in _games(4, 256)]
    counts = np.bincount(begun, minlength=5) / len(begun)
    assert np.abs(counts - 0.2).max() < 0.08
    again, other = _games(4, 256), _games(4, 256, seed=1)
    first = [episode.action.argmax(axis=1).tolist() for episode in _games(4, 256)]
    assert first == [episode.action.argmax(axis=1).tolist() for episode in again]
    assert first != [episode.action.argmax(axis=1).tolist() for episode in other]


def test_a_random_actor_has_nothing_to_note() -> None:
    rules = game("tic_tac_toe")
    episodes = self_play(
        rules, Random(spec_of_game(rules)), None, jax.random.key(0), count=64, openings=0
    )
    assert set(episodes[0].records) == {"outcome"}


class _Twice:
    """Tic-tac-toe in which the first player always moves."""

    def __init__(self) -> None:
        self.rules = game("tic_tac_toe")

    def init(self, key: Any) -> Any:
        return self.rules.init(key)

    def step(self, state: Any, action: Any) -> Any:
        return self.rules.step(state, action).replace(current_player=state.current_player)


def test_a_game_in_which_one_moves_twice_is_refused() -> None:
    actor = Random(spec_of_game(game("tic_tac_toe")))
    with pytest.raises(UsageError, match="twice in a row"):
        self_play(_Twice(), actor, None, jax.random.key(0), count=2, openings=0)  # type: ignore[arg-type]


class _Paying(_Twice):
    """Tic-tac-toe that pays otherwise."""

    def __init__(self, each: float, last: float) -> None:
        super().__init__()
        self.each, self.last = each, last

    def step(self, state: Any, action: Any) -> Any:
        after = self.rules.step(state, action)
        paid = jnp.where(after.terminated, self.last * after.rewards, self.each)
        return after.replace(rewards=paid)


@pytest.mark.parametrize(("each", "last"), [(0.5, 1.0), (0.0, 10.0)])
def test_a_game_that_pays_otherwise_than_for_its_outcome_is_refused(
    each: float, last: float
) -> None:
    actor = Random(spec_of_game(game("tic_tac_toe")))
    rules: Any = _Paying(each, last)
    with pytest.raises(UsageError, match="what counts is who wins"):
        self_play(rules, actor, None, jax.random.key(0), count=8, openings=0)


class _Over(_Twice):
    """Tic-tac-toe that is over before it begins."""

    def init(self, key: Any) -> Any:
        return self.rules.init(key).replace(terminated=jnp.bool_(True))


def test_a_game_without_a_move_is_refused() -> None:
    actor = Random(spec_of_game(game("tic_tac_toe")))
    rules: Any = _Over()
    with pytest.raises(UsageError, match="before its first move"):
        self_play(rules, actor, None, jax.random.key(0), count=2, openings=0)


def test_how_many_moves_a_call_makes_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from armillary.training import selfplay

    quick = _games(4)
    monkeypatch.setattr(selfplay, "PATIENCE", 0.0)
    for one, other in zip(quick, _games(4), strict=True):
        np.testing.assert_array_equal(one.action, other.action)
        np.testing.assert_array_equal(one.records["outcome"], other.records["outcome"])


def test_the_longest_games_of_many_go_on_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are still those that they were, and what the actor carries along is theirs."""
    from armillary.training import selfplay

    assert [selfplay.fewer(count) for count in (256, 64, 63, 8)] == [64, 16, 0, 0]
    sizes: list[int] = []
    among = selfplay._among

    def noting(row: np.ndarray, who: np.ndarray, count: int) -> np.ndarray:
        sizes.append(len(who))
        return among(row, who, count)

    monkeypatch.setattr(selfplay, "_among", noting)
    games = _games(4)
    assert set(sizes) == {64, 16}
    lengths = {len(game.action) - 1 for game in games}
    assert len(lengths) > 2
    for one in games:
        before, after = one.observation["board"][:-1], one.observation["board"][1:]
        points = (before.sum(axis=(1, 2, 3)), after.sum(axis=(1, 2, 3)))
        np.testing.assert_array_equal(points[0] + 1, points[1])  # each move adds a stone
        empty = 9 - points[0]
        np.testing.assert_array_equal(one.records["empty"][:-1], empty)
        np.testing.assert_array_equal(one.observation["mask"][:-1].sum(axis=1), empty)


def test_a_folder_of_games_says_that_it_is_one(tmp_path: Path) -> None:
    EpisodeStore(tmp_path).write(0, *_games(0, 2))
    assert source_spec(tmp_path) == spec_of_game(game("tic_tac_toe"))


def test_a_damaged_round_is_not_said_to_be_lost_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, games = EpisodeStore(tmp_path), _games(0, 4)
    for first in (0, 2):
        store.write(first, *games[first : first + 2])
    (tmp_path / "episode-000002.npz").write_bytes(b"not an episode")
    spec = spec_of_game(game("tic_tac_toe"))
    counters = Counters(spec.as_dict(), episodes=4)
    store = EpisodeStore(tmp_path)
    assert "damaged" in caplog.text
    caplog.clear()
    check_episodes(store, counters, spec, round_size=2)
    assert caplog.text == ""
    check_episodes(store, counters, spec)
    assert "1 of the 4 episodes" in caplog.text
