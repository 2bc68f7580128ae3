"""Which studies there are, by the paper and the figure.

A table, so that listing the studies imports nothing. The figures that are made of training runs are
declared in `armillary.studies.PAPER.comparisons`, which has a `PAPER`; a further paper is a folder
beside those, and its entries here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from armillary.errors import UsageError, nearest

if TYPE_CHECKING:
    from armillary.studies.comparisons import Paper

Kind = Literal["training", "prediction", "diagnostics", "planner", "search"]


@dataclass(frozen=True)
class Study:
    """A figure or a table of a paper.

    Attributes:
        paper: the agent that it is about.
        figure: `figure4`.
        shows: what it compares, in a few words.
        kind: how it is made. training: runs are trained and their scores compared. prediction,
            diagnostics: trained models are looked into. planner: the planner plays with the true
            simulator. search: trained runs play with other searches.
        of: the figure whose runs are looked into, or play.
    """

    paper: str
    figure: str
    shows: str
    kind: Kind = "training"
    of: str = ""

    @property
    def name(self) -> str:
        """What the command line calls it."""
        return f"{self.paper}/{self.figure}"

    def declarations(self) -> Paper:
        """Returns what the paper's figures compare."""
        module = importlib.import_module(f"armillary.studies.{self.paper}.comparisons")
        paper: Paper = module.PAPER
        return paper


def _by_name(studies: Iterable[Study]) -> dict[str, Study]:
    return {study.name: study for study in studies}


STUDIES = _by_name(
    [
        Study("planet", "figure4", "model designs: RSSM, SSM, RNN"),
        Study("planet", "figure5", "agent designs: PlaNet, random collection, random shooting"),
        Study("planet", "figure6", "one agent for all tasks, mean over the tasks"),
        Study("planet", "figure7", "one agent for all tasks, each task"),
        Study("planet", "figure8", "latent overshooting, on the RSSM and the DRNN"),
        Study("planet", "figure9", "activation functions, ReLU and ELU"),
        Study(
            *("planet", "figure10", "open-loop video prediction of the models"),
            kind="prediction",
            of="figure4",
        ),
        Study(
            *("planet", "figure11", "the simulator's state, told from the models' latent state"),
            kind="diagnostics",
            of="figure4",
        ),
        Study(
            *("planet", "figure12", "the planner's settings on the true simulator"), kind="planner"
        ),
        Study("planet", "table1", "final performance beside the paper's"),
        Study("dreamer", "figure4", "imagination horizons: Dreamer, no value model, PlaNet"),
        Study(
            *("dreamer", "figure5", "long-term predictions of a trained Dreamer"),
            kind="prediction",
            of="figure5",
        ),
        Study("dreamer", "figure6", "final scores on all tasks, beside published ones"),
        Study("dreamer", "figure7", "long-horizon tasks: Dreamer, no value model, PlaNet"),
        Study("dreamer", "figure8", "representations: reconstruction, contrastive, reward"),
        Study("dreamer", "figure9", "Dreamer, no value model, PlaNet, all tasks"),
        Study("dreamer", "figure10", "representations, all tasks"),
        Study("dreamer", "figure11", "action repeat: 1, 2, 4"),
        Study("muzero", "figure3", "fewer simulations in training"),
        Study(
            *("muzero", "figureS3", "the policy alone, and more simulations than in training"),
            kind="search",
            of="figure3",
        ),
        Study("muzero", "table1", "MuZero and MuZero Reanalyze after as many steps"),
    ]
)
"""Every study by its name."""


def find(name: str) -> Study:
    """Returns a study by its name; the figure's alone will do where one paper has it.

    Raises:
        UsageError: there is none, or several papers have such a figure.
    """
    if name in STUDIES:
        return STUDIES[name]
    found = [study.name for study in STUDIES.values() if study.figure == name]
    if len(found) == 1:
        return STUDIES[found[0]]
    if found:
        raise UsageError(f"several papers have a {name}: say {' or '.join(found)}")
    raise UsageError(
        f"unknown study {name!r}, expected a figure of a paper (planet/figure4, say); `armillary "
        f"study --help` lists them.{nearest(name, STUDIES)}"
    )
