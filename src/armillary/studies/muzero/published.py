"""Published scores on Atari: random actions, a human, and MuZero, for each of 57 games.

The numbers are those of the slides: of Table S1, and of Table 1 what MuZero came to over all games.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from armillary.errors import UsageError, nearest
from armillary.studies.comparisons import Published


class Row(NamedTuple):
    """Mean scores on one game: returns without clipping."""

    random: float
    human: float
    muzero: float


SOURCE = (
    "Schrittwieser et al. (2020), Table S1 (MuZero after 20 thousand million frames), in Straka's "
    "lecture slides"
)

_SCORES: dict[str, tuple[float, float, float]] = {
    "alien": (227.75, 7127.80, 741812.63),
    "amidar": (5.77, 1719.53, 28634.39),
    "assault": (222.39, 742.00, 143972.03),
    "asterix": (210.00, 8503.33, 998425.00),
    "asteroids": (719.10, 47388.67, 678558.64),
    "atlantis": (12850.00, 29028.13, 1674767.20),
    "bank heist": (14.20, 753.13, 1278.98),
    "battle zone": (2360.00, 37187.50, 848623.00),
    "beam rider": (363.88, 16926.53, 454993.53),
    "berzerk": (123.65, 2630.42, 85932.60),
    "bowling": (23.11, 160.73, 260.13),
    "boxing": (0.05, 12.06, 100.00),
    "breakout": (1.72, 30.47, 864.00),
    "centipede": (2090.87, 12017.04, 1159049.27),
    "chopper command": (811.00, 7387.80, 991039.70),
    "crazy climber": (10780.50, 35829.41, 458315.40),
    "defender": (2874.50, 18688.89, 839642.95),
    "demon attack": (152.07, 1971.00, 143964.26),
    "double dunk": (-18.55, -16.40, 23.94),
    "enduro": (0.00, 860.53, 2382.44),
    "fishing derby": (-91.71, -38.80, 91.16),
    "freeway": (0.01, 29.60, 33.03),
    "frostbite": (65.20, 4334.67, 631378.53),
    "gopher": (257.60, 2412.50, 130345.58),
    "gravitar": (173.00, 3351.43, 6682.70),
    "hero": (1026.97, 30826.38, 49244.11),
    "ice hockey": (-11.15, 0.88, 67.04),
    "jamesbond": (29.00, 302.80, 41063.25),
    "kangaroo": (52.00, 3035.00, 16763.60),
    "krull": (1598.05, 2665.53, 269358.27),
    "kung fu master": (258.50, 22736.25, 204824.00),
    "montezuma revenge": (0.00, 4753.33, 0.00),
    "ms pacman": (307.30, 6951.60, 243401.10),
    "name this game": (2292.35, 8049.00, 157177.85),
    "phoenix": (761.40, 7242.60, 955137.84),
    "pitfall": (-229.44, 6463.69, 0.00),
    "pong": (-20.71, 14.59, 21.00),
    "private eye": (24.94, 69571.27, 15299.98),
    "qbert": (163.88, 13455.00, 72276.00),
    "riverraid": (1338.50, 17118.00, 323417.18),
    "road runner": (11.50, 7845.00, 613411.80),
    "robotank": (2.16, 11.94, 131.13),
    "seaquest": (68.40, 42054.71, 999976.52),
    "skiing": (-17098.09, -4336.93, -29968.36),
    "solaris": (1236.30, 12326.67, 56.62),
    "space invaders": (148.03, 1668.67, 74335.30),
    "star gunner": (664.00, 10250.00, 549271.70),
    "surround": (-9.99, 6.53, 9.99),
    "tennis": (-23.84, -8.27, 0.00),
    "time pilot": (3568.00, 5229.10, 476763.90),
    "tutankham": (11.43, 167.59, 491.48),
    "up n down": (533.40, 11693.23, 715545.61),
    "venture": (0.00, 1187.50, 0.40),
    "video pinball": (0.00, 17667.90, 981791.88),
    "wizard of wor": (563.50, 4756.52, 197126.00),
    "yars revenge": (3092.91, 54576.93, 553311.46),
    "zaxxon": (32.50, 9173.30, 725853.90),
}
SCORES: Mapping[str, Row] = {game: Row(*scores) for game, scores in _SCORES.items()}
"""Of each game by the slides' name for it."""

OVER_GAMES: Mapping[str, tuple[float, float]] = {
    "Ape-X": (434.1, 1695.6),
    "R2D2": (1920.6, 4024.9),
    "MuZero": (2041.1, 4999.2),
    "MuZero Reanalyze": (731.1, 2168.9),
}
"""Median and mean over the games of human-normalised scores in percent, of Table 1: of each agent
after as many frames as it was given, 200 million of MuZero Reanalyze."""

_TASK = re.compile(r"ALE/(\w+)-v\d+")


def game_of(task: str) -> str | None:
    """Returns the slides' name of the game that a task is; None: no game of their table.

    Args:
        task: `ALE/BankHeist-v5`, say.
    """
    found = _TASK.fullmatch(task)
    name = re.sub(r"(?<!^)(?=[A-Z])", " ", found[1]).lower() if found else ""
    return name if name in SCORES else None


def normalized(game: str, score: float) -> float:
    """Returns a human-normalised score in percent: 0 is random actions', 100 the human's.

    Args:
        game: by the slides' name, `bank heist`, or by that of a task, `ALE/BankHeist-v5`.
        score: the mean return of some episodes, unclipped.

    Raises:
        UsageError: the table has no such game.
    """
    row = SCORES.get(game_of(game) or game)
    if row is None:
        raise UsageError(
            f"no published scores of {game!r}, expected one of the {len(SCORES)} games of MuZero's "
            "Table S1 (`bank heist`, or the task `ALE/BankHeist-v5`)." + nearest(game, SCORES)
        )
    return 100 * (score - row.random) / (row.human - row.random)


@dataclass(frozen=True)
class Normalized:
    """A score on an Atari game, beside the published ones."""

    game: str
    score: float

    @property
    def percent(self) -> float:
        """The human-normalised score."""
        return normalized(self.game, self.score)

    def as_dict(self) -> dict[str, Any]:
        """Returns it and what it is normalised by, ready for JSON."""
        return {"percent": self.percent, **SCORES[self.game]._asdict(), "source": SOURCE}

    def __str__(self) -> str:
        row = SCORES[self.game]
        return (
            f"human-normalised: {self.percent:.1f}% (published: random {row.random:g}, human "
            f"{row.human:g}, MuZero {row.muzero:g}, which is "
            f"{normalized(self.game, row.muzero):.1f}%)"
        )


def _over_games(agent: str) -> str:
    median, mean = OVER_GAMES[agent]
    return f"{agent} median {median}%, mean {mean}%"


PUBLISHED = Published(
    scores={
        f"ALE/{game.title().replace(' ', '')}-v5": {
            "random actions": row.random,
            "a human": row.human,
            "MuZero": row.muzero,
        }
        for game, row in SCORES.items()
    },
    sources=dict.fromkeys(("random actions", "a human", "MuZero"), SOURCE),
    note="Human-normalised over 57 games of Atari (Table 1): "
    f"{_over_games('MuZero')} after 20 thousand million frames; "
    f"{_over_games('MuZero Reanalyze')} after 200 million.",
)
