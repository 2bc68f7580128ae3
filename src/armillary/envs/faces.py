"""What board games look like to people: the board as cells, and the moves by their names.

Names are the customary ones: `e2e4` and `e7e8n` in chess (UCI), `D4` and `pass` in Go (GTP), `7g7f`
and `P*5e` in shogi (USI), a column in connect four, and a letter with a number elsewhere. A game of
one's own has numbers, or what its rules give as an attribute `face`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from armillary.envs.games import spec_of_game

if TYPE_CHECKING:
    import pgx

FIRST, SECOND, EMPTY = "X", "O", ""
"""Cells with a stone of who began, with one of the other player, and without."""

Look = Literal["marks", "discs", "stones", "reversi", "hexagons", "chess", "shogi"]
Cells = np.ndarray
"""Texts, (rows, columns) from the top left: stones, or letters of pieces, capitals of who began."""


@dataclass(frozen=True)
class Face:
    """How a game is shown and its moves are called.

    Attributes:
        look: how it is drawn.
        cells: returns the board of a state of pgx.
        move: returns the name of a move in a state.
        files: what the columns are called, from the left.
        ranks: what the rows are called, from the top.
        beside: returns what else is to be said of a state: pieces in hand.
        protocol: in which programs play this game, with these names of moves; None: in none that
            is known here.
    """

    look: Look
    cells: Callable[[Any], Cells]
    move: Callable[[Any, int], str]
    files: tuple[str, ...]
    ranks: tuple[str, ...]
    beside: Callable[[Any], str] = lambda state: ""
    protocol: Literal["uci", "gtp"] | None = None

    def moves(self, state: Any) -> dict[str, int]:
        """Returns the legal moves by their names."""
        legal = np.flatnonzero(np.asarray(state.legal_action_mask))
        return {self.move(state, action): action for action in legal.tolist()}

    def find(self, state: Any, text: str) -> int | None:
        """Returns the legal move of that name, however it is written; None: there is none."""
        moves = self.moves(state)
        if text in moves:
            return moves[text]
        return {name.lower(): action for name, action in moves.items()}.get(text.lower())

    def text(self, state: Any) -> str:
        """Returns the board in letters, several lines."""
        cells = self.cells(state)
        texts = [*cells.ravel().tolist(), *self.files]
        width = max(2, *(len(text) + 1 for text in texts))
        margin = max(map(len, self.ranks))
        shift = " " if self.look == "hexagons" else ""
        lines = []
        for row, rank in enumerate(self.ranks):
            line = "".join((cell or ".").rjust(width) for cell in cells[row].tolist())
            lines.append(f"{shift * row}{rank.rjust(margin)}{line}")
        files = "".join(name.rjust(width) for name in self.files)
        below = f"{shift * len(lines)}{' ' * margin}{files}"
        beside = self.beside(state)
        return "\n".join([*lines, below, *([beside] if beside else [])])


@cache
def face_of(rules: pgx.Env) -> Face:
    """Returns the face of a game: its rules' own `face`, one of those here, or numbers."""
    own = getattr(rules, "face", None)
    if isinstance(own, Face):
        return own
    make = _FACES.get(type(rules).__name__) if type(rules).__module__.startswith("pgx.") else None
    return make(rules) if make else _numbers(rules)


def mover(state: Any) -> int:
    """Returns who is to move: 0 who began, 1 the other."""
    return int(state._step_count) % 2


def _letters(count: int, letters: str = "abcdefghijklmnopqrst") -> tuple[str, ...]:
    return tuple(letters[:count])


def _upward(count: int) -> tuple[str, ...]:
    """Returns the names of rows that are counted from below."""
    return tuple(str(row) for row in range(count, 0, -1))


def _downward(count: int) -> tuple[str, ...]:
    return tuple(str(row) for row in range(1, count + 1))


def _stones(signs: np.ndarray) -> Cells:
    """Returns stones of an array that is positive for who began, and negative for the other."""
    return np.select([signs > 0, signs < 0], [FIRST, SECOND], EMPTY)


def _grid(
    look: Look,
    signs: Callable[[Any], np.ndarray],
    files: tuple[str, ...],
    ranks: tuple[str, ...],
    last: str = "",
) -> Face:
    """Returns the face of a game in which a move is the cell of a stone.

    Args:
        look: how it is drawn.
        signs: see `_stones`, of a state.
        files: what the columns are called.
        ranks: what the rows are called.
        last: the name of the move after those of the cells.
    """

    def move(state: Any, action: int) -> str:
        row, column = divmod(action, len(files))
        return f"{files[column]}{ranks[row]}" if row < len(ranks) else last

    def cells(state: Any) -> Cells:
        return _stones(np.asarray(signs(state)).reshape(len(ranks), len(files)))

    return Face(look, cells, move, files, ranks)


def _colours(state: Any) -> np.ndarray:
    """Returns the signs of a board that holds -1, 0 and 1 for nobody and the two players."""
    board = np.asarray(state._x.board)
    return np.select([board == 0, board == 1], [1, -1], 0)


def _tic_tac_toe(rules: Any) -> Face:
    return _grid("marks", _colours, _letters(3), _upward(3))


def _connect_four(rules: Any) -> Face:
    def cells(state: Any) -> Cells:
        return _stones(_colours(state).reshape(6, 7))

    files = tuple("1234567")
    return Face("discs", cells, lambda state, action: files[action], files, ("",) * 6)


def _go(rules: Any) -> Face:
    size = rules._game.size
    letters = _letters(size, "ABCDEFGHJKLMNOPQRST")
    face = _grid("stones", lambda s: np.asarray(s._x.board), letters, _upward(size), "pass")
    return replace(face, protocol="gtp")


def _othello(rules: Any) -> Face:
    def signs(state: Any) -> np.ndarray:
        return np.asarray(state._x.board) * (1 - 2 * mover(state))

    return _grid("reversi", signs, _letters(8), _downward(8), "pass")


def _hex(rules: Any) -> Face:
    def signs(state: Any) -> np.ndarray:
        return np.asarray(state._x.board) * (1 - 2 * mover(state))

    size = rules._game.size
    return _grid("hexagons", signs, _letters(size), _downward(size), "swap")


def _chess(rules: Any) -> Face:
    from pgx._src.games.chess import FROM_PLANE

    face = _chessmen(8, 73, np.asarray(FROM_PLANE), lambda state: state._x.board)
    return replace(face, protocol="uci")


def _gardner_chess(rules: Any) -> Face:
    from pgx._src.gardner_chess_utils import TO_MAP

    return _chessmen(5, 49, np.asarray(TO_MAP), lambda state: state._board)


def _chessmen(size: int, planes: int, targets: np.ndarray, board: Callable[[Any], Any]) -> Face:
    """Returns the face of chess.

    Args:
        size: of the board, whose squares are numbered upward from the left, as the mover sees it.
        planes: kinds of moves from a square.
        targets: where each leads, (squares, planes).
        board: returns the pieces of a state, those of the mover positive.
    """

    def square(state: Any, number: int) -> str:
        column, row = divmod(number, size)
        return _letters(size)[column] + str(1 + (size - 1 - row if mover(state) else row))

    def move(state: Any, action: int) -> str:
        start, plane = divmod(action, planes)
        name = square(state, start) + square(state, int(targets[start, plane]))
        if plane < 9:
            return name + "rbn"[plane // 3]
        promoted = start % size == size - 2 and int(np.asarray(board(state))[start]) == 1
        return name + "q" * promoted

    def cells(state: Any) -> Cells:
        pieces = np.asarray(board(state)).reshape(size, size)
        if mover(state):
            pieces = -pieces[:, ::-1]
        names = np.array(["", *"PNBRQK"])[np.abs(pieces)]
        return np.rot90(np.where(pieces < 0, np.char.lower(names), names))

    return Face("chess", cells, move, _letters(size), _upward(size))


_SHOGI = (*"PLNSBRGK", *("+P", "+L", "+N", "+S", "+B", "+R"))
_ANIMAL_SHOGI = tuple("PBRKG")


def _shogi(rules: Any) -> Face:
    import jax
    from pgx._src.games.shogi import Action

    @jax.jit
    def decoded(x: Any, action: Any) -> tuple[Any, ...]:
        found = Action._from_dlshogi_action(x, action)
        return found.is_drop, found.piece, found.from_, found.to, found.is_promotion

    def move(state: Any, action: int) -> str:
        is_drop, piece, start, to, promotes = (int(x) for x in decoded(state._x, action))
        square = _shogi_square(state, 9)
        if is_drop:
            return f"{_SHOGI[piece]}*{square(to)}"
        return square(start) + square(to) + "+" * promotes

    def hands(state: Any) -> np.ndarray:
        return np.asarray(state._x.hand)

    return _shogi_face(9, 9, _SHOGI, lambda s: s._x.board, hands, move)


def _animal_shogi(rules: Any) -> Face:
    def move(state: Any, action: int) -> str:
        kind, number = divmod(action, 12)
        square = _shogi_square(state, 4, 12)
        if kind >= 8:
            return f"{_ANIMAL_SHOGI[kind - 8]}*{square(number)}"
        steps = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
        x, y = steps[kind]
        return square(number) + square(number + 4 * x + y)

    return _shogi_face(4, 3, _ANIMAL_SHOGI, lambda s: s._board, lambda s: np.asarray(s._hand), move)


def _shogi_square(state: Any, rows: int, squares: int = 81) -> Callable[[int], str]:
    """Returns how a square is called: a file from the right and a rank from the top."""

    def name(number: int) -> str:
        column, row = divmod(squares - 1 - number if mover(state) else number, rows)
        return f"{column + 1}{'abcdefghi'[row]}"

    return name


def _shogi_face(
    rows: int,
    columns: int,
    names: tuple[str, ...],
    board: Callable[[Any], Any],
    hands: Callable[[Any], np.ndarray],
    move: Callable[[Any, int], str],
) -> Face:
    """Returns the face of shogi.

    Args:
        rows: of the board, whose squares are numbered from the top right, as the mover sees it.
        columns: of the board.
        names: of the pieces.
        board: returns the pieces of a state: -1, the mover's, and then the other player's.
        hands: returns the pieces in hand, the mover's and the other player's.
        move: returns the name of a move.
    """

    def cells(state: Any) -> Cells:
        pieces, kinds = np.asarray(board(state)), len(names)
        if mover(state):
            pieces = np.where(pieces < 0, -1, (pieces + kinds) % (2 * kinds))[::-1]
        texts = np.array([*names, *(name.lower() for name in names), ""])[pieces]
        return texts.reshape(columns, rows).T[:, ::-1]

    def beside(state: Any) -> str:
        of = hands(state)[:: -1 if mover(state) else 1]
        held = [
            " ".join(
                f"{name}{'' if n == 1 else n}" for name, n in zip(names, hand, strict=False) if n
            )
            for hand in of.tolist()
        ]
        return f"in hand: {held[0] or 'nothing'}; {held[1].lower() or 'nothing'}"

    files = tuple(str(column) for column in range(columns, 0, -1))
    return Face("shogi", cells, move, files, _letters(rows), beside)


def _numbers(rules: pgx.Env) -> Face:
    """Returns the face of a game of which nothing is known: the first two planes of its board.

    They are taken for the stones of who is to move and of the other; numbers where there is one.
    """
    shape = spec_of_game(rules).fields["board"].shape
    rows, columns = shape[:2] if len(shape) == 3 else (1, int(np.prod(shape)))

    def cells(state: Any) -> Cells:
        board = np.asarray(state.observation)
        if board.ndim != 3 or board.shape[2] < 2:
            return np.array([f"{x:g}" for x in board.ravel().tolist()]).reshape(rows, columns)
        mine, theirs = board[..., 0] > 0, board[..., 1] > 0
        return _stones((mine.astype(int) - theirs) * (1 - 2 * mover(state)))

    files, ranks = (tuple(str(i) for i in range(count)) for count in (columns, rows))
    return Face("marks", cells, lambda state, action: str(action), files, ranks)


_FACES: dict[str, Callable[[Any], Face]] = {
    "TicTacToe": _tic_tac_toe,
    "ConnectFour": _connect_four,
    "Go": _go,
    "Othello": _othello,
    "Hex": _hex,
    "Chess": _chess,
    "GardnerChess": _gardner_chess,
    "Shogi": _shogi,
    "AnimalShogi": _animal_shogi,
}
"""Faces by the class of pgx."""
