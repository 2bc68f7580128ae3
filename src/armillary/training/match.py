"""One board game that an actor plays, move by move: what the command line is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from armillary import seeding
from armillary.agents.base import Actor
from armillary.envs.faces import Face, face_of
from armillary.envs.games import BOARD, GAMES, game
from armillary.envs.games import compiled as compiled_rules
from armillary.errors import UsageError
from armillary.search.nodes import Node
from armillary.spec import MASK
from armillary.training.rollout import compiled
from armillary.training.trees import named, searched

if TYPE_CHECKING:
    import pgx

    from armillary.training.player import Player


@dataclass(frozen=True)
class Thought:
    """What an actor thinks of a position, as far as it says.

    Attributes:
        move: what it would play.
        name: of that move.
        value: of the position, for who is to move; None: it does not say.
        visits: how often its search visited each move, by name, the most first.
        variation: how it expects the game to go on, by names.
    """

    move: int
    name: str
    value: float | None = None
    visits: tuple[tuple[str, int], ...] = ()
    variation: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [] if self.value is None else [f"value {self.value:+.2f}"]
        if self.visits:
            parts.append("visits " + ", ".join(f"{name} {n}" for name, n in self.visits[:5]))
        if self.variation:
            parts.append("expects " + " ".join(self.variation))
        return self.name + (f" ({'; '.join(parts)})" if parts else "")


class _Position(NamedTuple):
    """A position of a game, and what the actor believes when it is reached."""

    state: Any
    belief: Any
    thoughts: int
    """How many of the moves before it were the actor's."""


class Match:
    """A game in which moves are made by hand, and thought of by an actor, without exploration.

    Args:
        actor: of the game's spec.
        state: its parameters.
        rules: of the game.
        seed: of what the actor draws.
        start: pgx's state that it begins from; None: that of the rules.
    """

    def __init__(
        self, actor: Actor, state: Any, rules: pgx.Env, seed: int = 0, start: Any = None
    ) -> None:
        self.rules = rules
        self.face: Face = face_of(rules)
        self._actor, self._state = actor, state
        self._seed, self._key = seed, seeding.key(seed, "play")
        self.moves: list[int] = []
        """What was played."""
        init, _ = compiled_rules(rules)
        start = init(jax.random.key(0)) if start is None else start
        self._positions = [_Position(start, actor.initial_belief(state, 1), 0)]

    def another(self, start: Any = None) -> Match:
        """Returns a new match of the same actor, from that state of pgx or the beginning."""
        return Match(self._actor, self._state, self.rules, self._seed, start)

    @property
    def state(self) -> Any:
        """pgx's state."""
        return self._positions[-1].state

    @property
    def names(self) -> tuple[str, ...]:
        """What was played, by names."""
        before = [position.state for position in self._positions]
        return tuple(self.face.move(s, m) for s, m in zip(before, self.moves, strict=False))

    @property
    def mover(self) -> int:
        """Who is to move: 0 who began, 1 the other."""
        return int(self.state.current_player != self._positions[0].state.current_player)

    @property
    def over(self) -> bool:
        """Whether the game has ended."""
        return bool(self.state.terminated | self.state.truncated)

    @property
    def result(self) -> float:
        """What the last move paid to who began: 1, 0 or -1 at the end."""
        return float(self.state.rewards[self._positions[0].state.current_player])

    def play(self, move: int) -> None:
        """Makes a move.

        Raises:
            UsageError: it is not legal, or the game is over.
        """
        self._play(move, self._positions[-1].belief, 0)

    def think(self) -> Thought:
        """Returns what the actor thinks of the position, for who is to move; nothing is played."""
        return self._think()[0]

    def respond(self) -> Thought:
        """Lets the actor move, and returns what it thought."""
        thought, belief = self._think()
        self._play(thought.move, belief, 1)
        return thought

    def tree(self) -> tuple[Node, ...]:
        """Returns the search from which the actor would move, with its moves by their names.

        Raises:
            UsageError: the actor searches no tree, or the game is over.
        """
        observation, belief, thoughts = self._asked()
        nodes = searched(self._actor, self._state, belief, observation, self._key, thoughts)
        return named(nodes, self.rules, self.state)

    def undo(self) -> bool:
        """Takes the last move back; False: there is none."""
        if not self.moves:
            return False
        self.moves.pop()
        self._positions.pop()
        return True

    def _play(self, move: int, belief: Any, thoughts: int) -> None:
        if self.over:
            raise UsageError("the game is over: no more moves can be made")
        legal = np.asarray(self.state.legal_action_mask)
        if not 0 <= move < len(legal) or not legal[move]:
            raise UsageError(f"the move {move} is not legal here")
        _, step = compiled_rules(self.rules)
        before = self._positions[-1].thoughts
        after = _Position(step(self.state, np.int32(move)), belief, before + thoughts)
        self._positions.append(after)
        self.moves.append(move)

    def _asked(self) -> tuple[dict[str, Any], Any, int]:
        """Returns what the actor sees, its belief, and how often it has moved."""
        if self.over:
            raise UsageError("the game is over: there is nothing to think of")
        state, belief, thoughts = self._positions[-1]
        observation = {BOARD: state.observation[None], MASK: state.legal_action_mask[None]}
        return observation, belief, thoughts

    def _think(self) -> tuple[Thought, Any]:
        observation, belief, thoughts = self._asked()
        belief, action, known = compiled(self._actor)(
            self._state, belief, observation, self._key, thoughts, explore=False
        )
        move = int(self._actor.spec.own_action(action)[0])
        names = {number: name for name, number in self.face.moves(self.state).items()}
        visits: list[tuple[str, int]] = []
        if "visits" in known:
            counts = np.asarray(known["visits"])[0]
            order = np.argsort(-counts, kind="stable").tolist()
            visits = [(names[a], int(counts[a])) for a in order if counts[a] > 0 and a in names]
        return Thought(
            move,
            names[move],
            float(known["value"][0]) if "value" in known else None,
            tuple(visits),
            self._named(known["variation"][0]) if "variation" in known else (),
        ), belief

    def _named(self, actions: Any) -> tuple[str, ...]:
        """Returns the names of moves from here on, as far as they can be made; -1 ends them."""
        _, step = compiled_rules(self.rules)
        state, names = self.state, []
        for action in np.asarray(actions).tolist():
            legal = 0 <= action < len(state.legal_action_mask) and state.legal_action_mask[action]
            if not legal or state.terminated:
                break
            names.append(self.face.move(state, action))
            state = step(state, np.int32(action))
        return tuple(names)


def rules_of(player: Player, folder: object) -> pgx.Env:
    """Returns the game that a trained agent plays.

    Args:
        player: the agent.
        folder: of its run, for messages.

    Raises:
        UsageError: it plays no board game; or one that the run folder names as a Python module, and
            the agent was loaded without trust in it.
    """
    task = player.task()
    if player.agent.spec.players != 2:
        raise UsageError(
            f"{str(folder)!r} is a run of {task}, which is no board game: give a run of one "
            f"({', '.join(GAMES)})"
        )
    player.check_trust((task,))
    return game(task, player.config.environment.kwargs)
