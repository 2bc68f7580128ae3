"""How much stronger one player is than another, by how their games ended."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from armillary.training.judges.outcomes import Tally

_Z = 1.959964
"""Standard deviations on either side within which a normal variable is 95% of the time."""


@dataclass(frozen=True)
class Elo:
    """A difference of Elo ratings, by the share of points s: 400 log10(s / (1 - s)).

    A win is a point, a draw half of one. The interval of s is Wilson's (1927), as if points were
    won or not: draws make the true one narrower, and so do pairs of games in which who begins wins.

    Attributes:
        share: of the points, 0 to 1.
        difference: of the ratings; infinite if all points were won, or none.
        low: of 95%; minus infinite if no point was won.
        high: of 95%; infinite if all points were won.
    """

    share: float
    difference: float
    low: float
    high: float

    @classmethod
    def of(cls, tally: Tally) -> Elo:
        """Returns the difference that at least one game speaks for."""
        n = tally.games
        share = (tally.wins + tally.draws / 2) / n
        middle = share + _Z**2 / (2 * n)
        half = _Z * math.sqrt(share * (1 - share) / n + (_Z / (2 * n)) ** 2)
        whole = 1 + _Z**2 / n
        low = 0.0 if share == 0 else (middle - half) / whole
        high = 1.0 if share == 1 else (middle + half) / whole
        return cls(share, *map(_difference, (share, low, high)))

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, ready for JSON: None for what is infinite."""
        low, high, difference = (
            x if math.isfinite(x) else None for x in (self.low, self.high, self.difference)
        )
        return {"score": self.share, "elo": difference, "elo_interval": [low, high]}

    def __str__(self) -> str:
        why = {0.0: ", for no point was won", 1.0: ", for every point was won"}.get(self.share, "")
        return f"Elo {_text(self.difference)}{why} (95%: {_text(self.low)} to {_text(self.high)})"


def _difference(share: float) -> float:
    if share in (0, 1):
        return math.inf if share else -math.inf
    return 400 * math.log10(share / (1 - share))


def _text(x: float) -> str:
    return f"{x:+.0f}" if math.isfinite(x) else f"{'+' if x > 0 else '-'}infinite"
