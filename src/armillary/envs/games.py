"""Board games of two players who take turns: the rules of pgx, by name.

A game is pure and compiled: `game(name).init(key)` and `.step(state, action)`, as `pgx.Env` has
them. Two players, nothing hidden, no dice. pgx is imported only when a game is used.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from armillary.config import EnvironmentConfig
from armillary.envs import named
from armillary.envs.guard import failures
from armillary.errors import UsageError, nearest
from armillary.spec import MASK, Discrete, Field, Spec

if TYPE_CHECKING:
    import pgx

BOARD = "board"
"""The field of an observation that holds the board, as planes."""


@dataclass(frozen=True)
class Game:
    """What is known of a game without its rules.

    Attributes:
        name: as `make` takes it.
        board: rows, columns and planes of an observation.
        actions: how many moves there are, legal or not.
    """

    name: str
    board: tuple[int, int, int]
    actions: int


GAMES: dict[str, Game] = {
    name: Game(name, board, actions)
    for name, board, actions in (
        ("tic_tac_toe", (3, 3, 2), 9),
        ("connect_four", (6, 7, 2), 7),
        ("go_9x9", (9, 9, 17), 82),
        ("chess", (8, 8, 119), 4672),
        ("shogi", (9, 9, 119), 2187),
        ("othello", (8, 8, 2), 65),
        ("hex", (11, 11, 4), 122),
        ("gardner_chess", (5, 5, 115), 1225),
        ("animal_shogi", (4, 3, 194), 132),
        ("go_19x19", (19, 19, 17), 362),
    )
}
"""The games by name: a table, so that listing them imports nothing; the tests hold it to pgx."""


def is_game(task: object, kwargs: Mapping[str, Any] | None = None) -> bool:
    """Whether a task is a board game: one of `GAMES`, or `module:callable` that returns a pgx.Env.

    Such a callable is called, if it is a function; only a task that may be run is to be asked for.

    Args:
        task: whatever `make` takes.
        kwargs: the callable's keyword arguments.

    Raises:
        UsageError: the module or the callable is not there.
        EnvironmentFailure: it raised.
    """
    if not isinstance(task, str):
        return False
    return task in GAMES or (":" in task and _own(task, _key(kwargs)) is not None)


def game(task: str, kwargs: Mapping[str, Any] | None = None) -> pgx.Env:
    """Returns the rules of a game, the same object each time: so it is compiled once.

    Args:
        task: one of `GAMES`, or `module:callable` that returns a pgx.Env (`pgx.go:Go`).
        kwargs: the callable's keyword arguments (`{"size": 5, "komi": 0.5}`).

    Raises:
        UsageError: there is no such game, or not for two players without dice.
        EnvironmentFailure: the callable, or the rules, raised.
    """
    if task in GAMES:
        if kwargs:
            raise UsageError(f"kwargs are {dict(kwargs)}, but {task} takes none: leave them out")
        return _known(task)
    found = _own(task, _key(kwargs)) if ":" in task else None
    if found is None:
        raise UsageError(
            f"{task!r} is no board game: expected one of {', '.join(GAMES)}, or module:callable "
            f"that returns a pgx.Env.{nearest(task, GAMES)}"
        )
    return found


def check_settings(task: str, config: EnvironmentConfig) -> None:
    """Makes sure that nothing is asked of a game but what its rules have.

    Raises:
        UsageError: a move would be repeated, a game cut, or simulated as a body.
    """
    for name, value, nothing in (
        ("action_repeat", config.action_repeat, (None, 1)),
        ("time_limit", config.time_limit, (None,)),
        ("engine", config.engine, ("mujoco",)),
    ):
        if value not in nothing:
            raise UsageError(
                f"environment.{name} is {value}, but {task} is a board game, which its rules end "
                "and whose moves are made once: leave it out"
            )


@cache
def spec_of_game(env: pgx.Env) -> Spec:
    """Returns what an agent of a game is made from.

    The board as the player to move sees it, as pgx gives it, and a mask of the legal moves. (At
    the end of a game pgx's mask forbids nothing.)
    """
    import jax

    state = jax.eval_shape(env.init, jax.random.key(0))
    board, mask = state.observation, state.legal_action_mask
    fields = {BOARD: Field(board.shape, str(board.dtype)), MASK: Field(mask.shape, "bool")}
    return Spec.of(fields, Discrete(mask.shape[0]), players=2)


@cache
def compiled(rules: pgx.Env) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Returns `init(key)` and `step(state, action)` of one game, compiled once."""
    import jax

    return jax.jit(rules.init), jax.jit(rules.step)


@cache
def _known(name: str) -> pgx.Env:
    import pgx

    return pgx.make(name)


@lru_cache(maxsize=32)
def _own(task: str, kwargs: str) -> pgx.Env | None:
    """Returns the game that `module:callable` returns; None: it is no game."""
    if named.is_id(task):
        return None
    create = named.load(task, named.import_module(task))
    if create is None or (inspect.isclass(create) and not named.is_rules(create)):
        return None
    with failures(lambda: f"{task} could not be made:"):
        env = named.call(create, task, json.loads(kwargs))
    if named.is_rules(type(env)):
        return checked(env, task)
    if callable(close := getattr(env, "close", None)):  # an environment of another kind
        close()
    return None


def checked(env: pgx.Env, task: str) -> pgx.Env:
    """Returns a game's rules if they are of a kind that is played here.

    Raises:
        UsageError: they are for another number of players, or their moves need a random key.
        EnvironmentFailure: they raised.
    """
    import jax
    import jax.numpy as jnp

    if env.num_players != 2:
        raise UsageError(
            f"{task} is a game of {env.num_players} players, but board games are played by two"
        )
    with failures(lambda: f"the rules of {task} raised"):
        state = jax.eval_shape(env.init, jax.random.key(0))
        try:
            jax.eval_shape(env.step, state, jnp.int32(0))
        except Exception:
            jax.eval_shape(env.step, state, jnp.int32(0), jax.random.key(0))  # or it is broken
            raise UsageError(
                f"{task} draws at random when a move is made: games here have no dice"
            ) from None
    return env


def _key(kwargs: Mapping[str, Any] | None) -> str:
    return json.dumps(dict(kwargs or {}), sort_keys=True)
