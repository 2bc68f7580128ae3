"""A board game as a Gymnasium environment: one side of it, against random moves."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.seeding import np_random
from jaxtyping import UInt8

from armillary.envs.drawing import draw
from armillary.envs.faces import face_of
from armillary.envs.games import BOARD, spec_of_game
from armillary.errors import UsageError
from armillary.spec import MASK, Spec

if TYPE_CHECKING:
    import pgx

DRAWN = -1
"""In place of a move: one that is drawn uniformly of those that are legal."""


class Turn(NamedTuple):
    """What is known when it is the agent's turn, or the game is over."""

    board: np.ndarray
    mask: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


class BoardGame(gymnasium.Env):
    """A board game against an opponent who plays uniformly random legal moves.

    Observations are `{"board", "mask"}` as `spec_of_game` has them: the board as the player to move
    sees it (at the end, the one who would be to move), and which moves are legal. The reward is 0
    but at the end: +1, 0 or -1, from the agent's view. `reset(seed=)` determines who begins, which
    `info["first"]` says, and all moves of the opponent.

    Args:
        rules: of the game, see `games.game`; environments of the same rules share their programs.
    """

    def __init__(self, rules: pgx.Env) -> None:
        self.rules = rules
        self.render_mode = "rgb_array"
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 2}
        fields = self.agent_spec.fields
        self.observation_space = gymnasium.spaces.Dict(
            {
                BOARD: Box(-np.inf, np.inf, fields[BOARD].shape, np.float32)
                if fields[BOARD].dtype == "float32"
                else Box(0, 1, fields[BOARD].shape, np.dtype(fields[BOARD].dtype).type),
                MASK: Box(0, 1, fields[MASK].shape, np.bool_),
            }
        )
        self.action_space = Discrete(self.agent_spec.action.size)
        self._turn: Turn | None = None
        self.state: Any = None
        """pgx's state of the game."""

    @property
    def agent_spec(self) -> Spec:
        """What an agent of this game is made from."""
        return spec_of_game(self.rules)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins a game, and plays the opponent's first move if it is his turn."""
        super().reset(seed=seed)
        first = _first(self.np_random)  # before all else, see `begins`
        begin, _ = _programs(self.rules)
        self.state, self._player = begin(self._seed(), first)
        return self._play(DRAWN), {"first": first}

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Plays a move, and the opponent's reply.

        Raises:
            UsageError: the move is not legal.
            gymnasium.error.ResetNeeded: no game is going on.
        """
        turn = self._turn
        if turn is None or turn.terminated or turn.truncated:
            raise gymnasium.error.ResetNeeded("the game is over, or none began: call reset()")
        if not self.action_space.contains(action) or not turn.mask[action]:
            legal = np.flatnonzero(turn.mask)
            listed = ", ".join(map(str, legal[:20])) + (", ..." if len(legal) > 20 else "")
            raise UsageError(
                f"the move {action!s:.50} is not legal here: the legal ones are {listed}; the "
                "observation's 'mask' says which"
            )
        observation = self._play(int(action))
        assert self._turn is not None
        reward, terminated, truncated = (x.item() for x in self._turn[2:])
        return observation, reward, terminated, truncated, {}

    def _play(self, action: int) -> dict[str, np.ndarray]:
        _, play = _programs(self.rules)
        self.state, turn = play(self.state, self._player, action, self._seed())
        self._turn = Turn(*map(np.asarray, turn))
        return {BOARD: self._turn.board.copy(), MASK: self._turn.mask.copy()}

    def _seed(self) -> np.integer:
        return self.np_random.integers(2**32, dtype=np.uint32)

    def render(self) -> UInt8[np.ndarray, "height width 3"]:
        """Returns a picture of the board, who begins at the bottom.

        Raises:
            gymnasium.error.ResetNeeded: no game was begun.
        """
        if self.state is None:
            raise gymnasium.error.ResetNeeded("there is no game to draw: call reset()")
        face = face_of(self.rules)
        return draw(face.look, face.cells(self.state))


def begins(seed: int) -> bool:
    """Whether the agent moves first in the game that `reset(seed=seed)` begins."""
    return _first(np_random(seed)[0])


def _first(generator: np.random.Generator) -> bool:
    return bool(generator.integers(2))


@cache
def _programs(rules: pgx.Env) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Returns the beginning of a game, and a move with all replies, compiled once for a game."""
    import jax
    import jax.numpy as jnp

    def begin(seed: Any, first: Any) -> tuple[Any, Any]:
        state = rules.init(jax.random.key(seed))
        return state, jnp.where(first, state.current_player, 1 - state.current_player)

    def play(state: Any, player: Any, action: Any, seed: Any) -> tuple[Any, Turn]:
        """Moves until it is the player's turn; his own move first, unless it is `DRAWN`."""

        def going_on(carry: Any) -> Any:
            state, action, _, _ = carry
            over = state.terminated | state.truncated
            return ~over & ((action != DRAWN) | (state.current_player != player))

        def move(carry: Any) -> Any:
            state, action, key, reward = carry
            key, drawing = jax.random.split(key)
            chances = jnp.where(state.legal_action_mask, 0.0, -jnp.inf)
            reply = jax.random.categorical(drawing, chances)
            state = rules.step(state, jnp.where(action == DRAWN, reply, action).astype(jnp.int32))
            return state, jnp.int32(DRAWN), key, reward + state.rewards[player]

        start = (state, jnp.int32(action), jax.random.key(seed), jnp.float32(0))
        state, _, _, reward = jax.lax.while_loop(going_on, move, start)
        turn = Turn(
            state.observation,
            state.legal_action_mask,
            reward,
            state.terminated,
            state.truncated,
        )
        return state, turn

    return jax.jit(begin), jax.jit(play)
