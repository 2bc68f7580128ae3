"""Board games: what pgx gives, seen from this side of the boundary."""

from __future__ import annotations

from itertools import pairwise

import jax
import numpy as np
import pytest

from armillary.envs.faces import face_of
from armillary.envs.games import GAMES, compiled, game, is_game, spec_of_game
from armillary.errors import EnvironmentFailure, UsageError
from plain_games import after, four, legal, over, to_move, winner


@pytest.mark.parametrize("name", GAMES)
def test_the_table_is_pgx(name: str) -> None:
    spec = spec_of_game(game(name))
    assert spec.fields["board"].shape == GAMES[name].board
    assert spec.fields["mask"].shape == (GAMES[name].actions,) == (spec.action.size,)
    assert spec.players == 2
    assert spec.discrete
    assert spec.masked


def test_a_game_is_one_object_and_hashable() -> None:
    assert game("hex") is game("hex")
    assert hash(game("hex")) == hash(game("hex"))
    small = game("pgx.go:Go", {"size": 3, "komi": 0.5})
    assert small is game("pgx.go:Go", {"komi": 0.5, "size": 3})
    assert small is not game("pgx.go:Go", {"size": 4})
    assert spec_of_game(small).fields["board"].shape == (3, 3, 17)


def test_what_is_a_game() -> None:
    assert is_game("chess")
    assert is_game("pgx.tic_tac_toe:TicTacToe")
    assert not is_game("cheetah-run")
    assert not is_game("CartPole-v1")
    assert not is_game("toys:lamps")
    assert not is_game(print)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("conect_four", "no board game.*Did you mean 'connect_four'"),
        ("toys:lamps", "no board game"),
        ("pgx.backgammon:Backgammon", "draws at random when a move is made"),
        ("pgx.play2048:Play2048", "a game of 1 players"),
    ],
)
def test_what_is_refused(task: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        game(task)


def test_keyword_arguments_are_checked() -> None:
    with pytest.raises(UsageError, match="takes none"):
        game("chess", {"size": 9})
    with pytest.raises(UsageError, match="keyword arguments"):
        game("pgx.go:Go", {"width": 9})
    with pytest.raises(EnvironmentFailure, match="could not be made"):
        game("pgx.go:Go", {"size": 2.5})


def _play(name: str, choose: object, **kwargs: object) -> list:
    """Returns the states of a game of random moves, or of those that are named."""
    rules = game(name, kwargs)
    init, step = compiled(rules)
    states = [init(jax.random.key(1))]
    moves = iter(choose) if isinstance(choose, list) else None
    generator = np.random.default_rng(choose if moves is None else 0)
    while not states[-1].terminated:
        if moves is None:
            action = generator.choice(np.flatnonzero(states[-1].legal_action_mask))
        elif (text := next(moves, None)) is None:
            break
        else:
            action = face_of(rules).find(states[-1], text)
            assert action is not None, text
        states.append(step(states[-1], np.int32(action)))
    return states


@pytest.mark.parametrize("seed", range(12))
def test_tic_tac_toe_is_the_plain_game(seed: int) -> None:
    states = _play("tic_tac_toe", seed)
    began = int(states[0].current_player)
    cells = (0,) * 9
    for before, state in pairwise(states):
        assert np.flatnonzero(before.legal_action_mask).tolist() == legal(cells)
        mine, theirs = (to_move(cells), 3 - to_move(cells))
        board = np.asarray(before.observation).reshape(9, 2)
        np.testing.assert_array_equal(board[:, 0], np.equal(cells, mine))
        np.testing.assert_array_equal(board[:, 1], np.equal(cells, theirs))
        shown = face_of(game("tic_tac_toe")).cells(state).ravel().tolist()
        (move,) = (i for i in range(9) if shown[i] != ["", "X", "O"][cells[i]])
        cells = after(cells, move)
        assert bool(state.terminated) == over(cells)
    outcome = {0: 0, 1: 1, 2: -1}[winner(cells)]
    assert states[-1].rewards.tolist() == (
        [outcome, -outcome] if began == 0 else [-outcome, outcome]
    )
    assert all(not np.any(state.rewards) for state in states[:-1])


@pytest.mark.parametrize("seed", range(6))
def test_connect_four_is_the_plain_game(seed: int) -> None:
    states = _play("connect_four", seed)
    for number, state in enumerate(states):
        cells = face_of(game("connect_four")).cells(state)
        last = four(cells == "XO"[(number + 1) % 2])  # who has just moved
        full = number == 42
        assert bool(state.terminated) == (last or full)
        if not state.terminated:
            np.testing.assert_array_equal(state.legal_action_mask, cells[0] == "")
        stones = np.asarray(state.observation)
        np.testing.assert_array_equal(stones[..., 0], cells == "XO"[number % 2])
    if last:
        assert float(states[-1].rewards[states[-2].current_player]) == 1


def test_two_passes_end_a_game_of_go_and_the_board_is_counted() -> None:
    states = _play("pgx.go:Go", ["B2", "pass", "pass"], size=3, komi=2.5)
    assert [bool(s.terminated) for s in states] == [False, False, False, True]
    black = states[0].current_player
    assert float(states[-1].rewards[black]) == 1  # nine points to two and a half
    assert face_of(game("pgx.go:Go", {"size": 3, "komi": 2.5})).text(states[-1]) == (
        "3 . . .\n2 . X .\n1 . . .\n  A B C"
    )


def test_chess_has_the_moves_of_another_library_and_ends_as_it_does() -> None:
    chess = pytest.importorskip("chess")
    rules = game("chess")
    face, (init, step) = face_of(rules), compiled(rules)
    for names in (
        ["f2f3", "e7e5", "g2g4", "d8h4"],  # mate
        ["e2e4", "d7d5", "e4e5", "f7f5", "e5f6", "d5d4", "f6g7", "e8d7", "g7h8n", "d4d3", "g1f3",
         "d3c2", "f1c4", "c2d1q"],
    ):  # fmt: skip
        board, state = chess.Board(), init(jax.random.key(0))
        for name in names:
            moves = face.moves(state)
            assert set(moves) == {move.uci() for move in board.legal_moves}
            shown = face.cells(state)
            for square in chess.SQUARES:
                piece = board.piece_at(square)
                row, column = 7 - chess.square_rank(square), chess.square_file(square)
                assert shown[row, column] == (piece.symbol() if piece else "")
            state = step(state, np.int32(moves[name]))
            board.push_uci(name)
            assert bool(state.terminated) == board.is_game_over()
        if board.is_checkmate():
            assert float(state.rewards[state.current_player]) == -1


def test_moves_of_shogi_and_of_small_shogi_have_their_names() -> None:
    init, _ = compiled(game("shogi"))
    pawns = {f"{file}g{file}f" for file in range(1, 10)}
    gold = {f"{file}i{to}h" for file, to in ((4, 3), (4, 4), (4, 5), (6, 5), (6, 6), (6, 7))}
    silver = {"3i3h", "3i4h", "7i6h", "7i7h"}
    rook = {f"2h{file}h" for file in (1, 3, 4, 5, 6, 7)}
    king = {"5i4h", "5i5h", "5i6h"}
    lance = {"1i1h", "9i9h"}
    assert set(face_of(game("shogi")).moves(init(jax.random.key(0)))) == (
        pawns | gold | silver | rook | king | lance
    )
    states = _play("animal_shogi", ["2c2b", "2a2b", "P*2c"])
    assert face_of(game("animal_shogi")).text(states[-1]).endswith("in hand: nothing; p")


def test_hex_swaps_and_othello_passes_by_name() -> None:
    states = _play("hex", ["b3", "swap"])
    assert [c for c in face_of(game("hex")).cells(states[-1]).ravel() if c] == ["O"]
    assert face_of(game("othello")).move(None, 64) == "pass"
    assert set(face_of(game("othello")).moves(_play("othello", [])[0])) == {"d3", "c4", "f5", "e6"}
