"""The judge of connect four: how often an actor makes a best move, by an exact solver.

The solver is bitbully, which computes the score of every move: who wins with best play, and how
soon. It is no dependency of this package (its licence is the AGPL) and imported only here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from armillary.advice import install
from armillary.agents.base import Actor
from armillary.errors import UsageError
from armillary.training.judges.table import BATCH, Table

if TYPE_CHECKING:
    import pgx

SOLVER = "bitbully"
"""The package that solves connect four."""
STAGES = {"opening": range(12), "middle": range(12, 24), "end": range(24, 42)}
"""The parts of a game, by the moves that were made."""


@dataclass(frozen=True)
class Share:
    """Moves that were judged, and how many were good.

    Attributes:
        positions: how many there are.
        optimal: share of moves with the best score: that win soonest, or lose last.
        outcome: share of moves that keep what best play leads to: a win, a draw.
        random: share of optimal moves that uniformly random play would have.
    """

    positions: int
    optimal: float
    outcome: float
    random: float


@dataclass(frozen=True)
class OptimalMoves:
    """The moves of one actor in random positions, judged by an exact solver.

    Attributes:
        total: of all positions.
        stages: of each part of a game.
    """

    total: Share
    stages: dict[str, Share]

    @property
    def score(self) -> float:
        """Share of optimal moves in all positions."""
        return self.total.optimal

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, ready for JSON."""
        return vars(self.total) | {name: dict(vars(share)) for name, share in self.stages.items()}

    def __str__(self) -> str:
        total = self.total
        parts = ", ".join(f"{name} {share.optimal:.1%}" for name, share in self.stages.items())
        return (
            f"optimal moves: {total.optimal:.1%} ({parts}) of {total.positions} positions, random "
            f"moves {total.random:.1%}; {total.outcome:.1%} keep the outcome"
        )


def optimal_moves(
    actor: Actor, state: Any, rules: pgx.Env, *, positions: int = 300, seed: int = 0
) -> OptimalMoves:
    """Judges the moves that an actor makes, without exploration, in positions of random play.

    It sees each position alone, as if a game began there. Positions differ, and in each some move
    is better than another. The parts of a game have equally many of them.

    Args:
        actor: who is judged.
        state: its parameters.
        rules: of connect four.
        positions: how many. The solver takes about half a minute for 300.
        seed: of the positions.

    Raises:
        UsageError: the solver is not installed.
    """
    table, scores = _positions(rules, max(1, positions // len(STAGES)), seed)
    beliefs = jax.device_get(actor.initial_belief(state, BATCH))
    beliefs = jax.tree.map(lambda x: np.repeat(np.asarray(x)[:1], len(table), axis=0), beliefs)
    _, moves = table.believing(beliefs).act(actor, state, jax.random.key(seed), 0)
    best = scores.max(axis=1)
    made = scores[np.arange(len(table)), moves]
    optimal, outcome = made == best, np.sign(made) == np.sign(best)
    chance = np.sum(scores == best[:, None], axis=1) / np.sum(table.legal, axis=1)
    length = np.array([len(moves) for moves in table.moves])

    def share(chosen: Any) -> Share:
        rows = np.flatnonzero(chosen)
        return Share(len(rows), *(float(x[rows].mean()) for x in (optimal, outcome, chance)))

    stages = {name: share(np.isin(length, list(part))) for name, part in STAGES.items()}
    return OptimalMoves(share(np.ones(len(table))), stages)


@cache
def _positions(rules: pgx.Env, each: int, seed: int) -> tuple[Table, np.ndarray]:
    """Returns positions of random play, as many of each stage, and the score of every move.

    Scores have the shape (position, action); of an illegal move it is -infinity.
    """
    solve = solver()
    generator = np.random.default_rng(seed)
    counts = dict.fromkeys(STAGES, 0)
    found: list[Table] = []
    scores: list[np.ndarray] = []
    seen: set[bytes] = set()
    while min(counts.values()) < each:
        table = Table.begin(rules, BATCH)
        lengths = generator.integers(0, 42, len(table))
        for length in range(42):
            here = table.take(np.flatnonzero((lengths == length) & ~table.over))
            stage = next(name for name, part in STAGES.items() if length in part)
            for i in range(len(here)):
                board = here.states.observation[i].tobytes()
                if counts[stage] == each or board in seen:
                    continue
                score = solve(here.moves[i])
                if np.ptp(score[here.legal[i]]) > 0:
                    seen.add(board)
                    counts[stage] += 1
                    found.append(here.take(np.array([i])))
                    scores.append(score)
            chance = generator.random(table.legal.shape) * table.legal
            table = table.play(np.argmax(chance, axis=1))
    states = jax.tree.map(lambda *x: np.concatenate(x), *(table.states for table in found))
    moves = tuple(table.moves[0] for table in found)
    return Table(rules, states, moves), np.stack(scores)


def solver() -> Any:
    """Returns a function of a position's moves that gives the score of each move, shape (7,).

    Raises:
        UsageError: the solver is not installed.
    """
    try:
        from bitbully import BitBully, Board
    except ImportError as error:
        raise UsageError(
            f"optimal moves of connect four are judged by {SOLVER}, which is not installed: "
            f"`{install(SOLVER)}` (it has the AGPL as its licence)"
        ) from error
    own = BitBully()

    def solve(moves: tuple[int, ...]) -> np.ndarray:
        scores = np.full(7, -np.inf)
        for column, score in own.score_all_moves(Board(list(moves))).items():
            scores[column] = score
        return scores

    return solve
