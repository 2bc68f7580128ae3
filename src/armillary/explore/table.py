"""A board game between the reader and an agent, which says what it thinks."""

from __future__ import annotations

from typing import Any

from armillary.envs.drawing import SIDES
from armillary.errors import UsageError
from armillary.explore.frames import Answer
from armillary.explore.library import Loaded
from armillary.explore.plans import tree
from armillary.training.match import Match, Thought, rules_of


class Table:
    """A game that begins.

    Args:
        loaded: the agent.
        side: the reader's: 0 begins, 1 is the other.

    Raises:
        UsageError: the agent plays no board game; or the run folder names a Python module as its
            game, and is not trusted.
    """

    def __init__(self, loaded: Loaded, side: int = 0) -> None:
        player = loaded.player
        self.loaded = loaded
        self.match = Match(player.agent, player.state, rules_of(player, loaded.shown.folder))
        self.thought: Thought | None = None
        self.by: str = ""
        self.side = self._checked(side)
        self._answer()

    def _checked(self, side: Any) -> int:
        if side not in (0, 1):
            raise UsageError(f"side is {side!r}, expected 0, who begins, or 1")
        return int(side)

    def play(self, name: Any) -> None:
        """Makes the reader's move, by its name, and the agent's answer.

        Raises:
            UsageError: it is not legal, or the game is over.
        """
        if self.match.over:
            raise UsageError("the game is over: begin another one, or take a move back")
        move = self.match.face.find(self.match.state, str(name))
        if move is None:
            legal = ", ".join([*self.match.face.moves(self.match.state)][:12])
            raise UsageError(f"{str(name)[:20]!r} is no legal move here: {legal} are")
        self.match.play(move)
        self.thought = None
        self._answer()

    def undo(self) -> None:
        """Goes back to the reader's last turn; at the beginning nothing happens."""
        undone = self.match.undo()
        while undone and self.match.mover != self.side and self.match.moves:
            self.match.undo()
        self.thought = None
        self._answer()

    def swap(self) -> None:
        """Changes sides: the agent goes on in the reader's place."""
        self.side = 1 - self.side
        self._answer()

    def hint(self) -> None:
        """Lets the agent think in the reader's place; nothing is played."""
        if self.match.over:
            raise UsageError("the game is over: there is nothing to think of")
        self.thought, self.by = self.match.think(), "hint"

    def _answer(self) -> None:
        while not self.match.over and self.match.mover != self.side:
            self.thought, self.by = self.match.respond(), "move"

    def tree(self) -> Answer:
        """Returns the search of the position.

        Raises:
            UsageError: the game is over, or the agent searches no tree.
        """
        return tree(self.match.tree(), players=2)

    def view(self) -> Answer:
        """Returns the board, the moves, and what the agent thought last."""
        match, face = self.match, self.match.face
        legal = [] if match.over else list(face.moves(match.state))
        result = match.result * (1 if self.side == 0 else -1)
        thought = self.thought
        return Answer(
            {
                "task": self.loaded.player.task(),
                "trained": self.loaded.episodes,
                "look": face.look,
                "cells": face.cells(match.state).tolist(),
                "files": list(face.files),
                "ranks": list(face.ranks),
                "beside": face.beside(match.state),
                "sides": list(SIDES[face.look]),
                "side": self.side,
                "mover": match.mover,
                "legal": legal,
                "moves": list(match.names),
                "over": match.over,
                "result": result if match.over else None,
                "thought": thought
                and {
                    "by": self.by,
                    "move": thought.name,
                    "value": thought.value,
                    "visits": [list(pair) for pair in thought.visits],
                    "variation": list(thought.variation),
                },
            }
        )
