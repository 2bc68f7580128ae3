"""Judges of strength at board games: pure functions of an actor, its parameters and a game.

`JUDGES` has one for each game that has one: `function(actor, state, rules)` returns a verdict with
`as_dict()` for JSON and a line of text. `outcomes` counts wins and losses of any game.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from armillary.agents.base import Actor
from armillary.envs.games import game
from armillary.training.judges.elo import Elo
from armillary.training.judges.lines import losing_lines
from armillary.training.judges.optimal import SOLVER, optimal_moves
from armillary.training.judges.outcomes import Outcomes, Tally, outcomes

__all__ = [
    "JUDGES",
    "Elo",
    "Judge",
    "Outcomes",
    "Tally",
    "Verdict",
    "losing_lines",
    "optimal_moves",
    "outcomes",
]


class Verdict(Protocol):
    """What a judge finds."""

    def as_dict(self) -> dict[str, Any]: ...

    @property
    def score(self) -> float:
        """The one number of it that curves show."""
        ...


@dataclass(frozen=True)
class Judge:
    """A judge of one game.

    Attributes:
        name: of its verdict, in JSON.
        shown: what its score is, in words.
        judge: `function(actor, state, rules)` that returns it.
        needs: the package without which it cannot judge; None: it needs none.
    """

    name: str
    shown: str
    judge: Callable[..., Verdict]
    needs: str | None = None

    @property
    def works(self) -> bool:
        """Whether what it needs is installed."""
        return self.needs is None or importlib.util.find_spec(self.needs) is not None

    def verdict(self, task: str, actor: Actor, state: Any, kwargs: Mapping[str, Any]) -> Verdict:
        """Returns what it finds of an actor with these parameters in a game as it was made."""
        return self.judge(actor, state, game(task, kwargs))


JUDGES: dict[str, Judge] = {
    "tic_tac_toe": Judge("losing_lines", "lost lines, of all against every reply", losing_lines),
    "connect_four": Judge(
        "optimal_moves", "share of optimal moves in random positions", optimal_moves, SOLVER
    ),
}
"""The judge of each game that has one."""
