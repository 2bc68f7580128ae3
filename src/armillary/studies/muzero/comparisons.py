"""What each figure of MuZero compares, and at which scales.

The slides show Figures 3 and S3 without numbers, and of Table 1 the scores over all games: the
numbers of simulations and the tasks are chosen here.

MuZero Reanalyze is to draw 2.0 samples of each state in place of 0.1, twenty times as many. How
many a run draws follows from its updates a round, its batch and the length of its episodes
(`docs/muzero.md`), so the scales say it in updates: at `paper` Reanalyze makes twenty times as many
as MuZero. At `small` MuZero of the preset draws more than 2.0 already, so Reanalyze makes a quarter
of its updates there (each takes many times as long), and MuZero is there twice: with as many as the
preset, and with as many as Reanalyze. So is Reanalyze, with the preset's n and with its own of 5.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from armillary.config import EnvironmentConfig, MuZeroConfig, preset
from armillary.config.muzero import (
    DescentConfig,
    JudgedConfig,
    NetworkConfig,
    SearchConfig,
    SelfPlayConfig,
    StepsConfig,
    TargetConfig,
)
from armillary.studies.comparisons import Comparison, Paper, Scale, Variant
from armillary.studies.muzero.published import PUBLISHED


def _simulations(*numbers: int, usual: int) -> tuple[Variant, ...]:
    """Returns MuZero with each number of simulations in training; `usual` is the scale's."""
    return tuple(
        Variant(
            f"{number} simulation{'s' if number > 1 else ''}",
            {} if number == usual else {"search.simulations": number},
            agent="muzero",
        )
        for number in numbers
    )


def _reanalyze(usual: int, other: int | None = None) -> dict[str, Any]:
    """Returns the variants of Table 1, as a field of `Comparison`.

    Args:
        usual: updates of a round, of the scale.
        other: those of Reanalyze; None: the scale's.
    """
    updates = {} if other is None else {_UPDATES: other}
    label = f"Reanalyze, {other or usual} updates a round"
    reanalyze = Variant(label, {"reanalyze": True} | updates, agent="muzero")
    return {"variants": (Variant(f"MuZero, {usual} updates a round", agent="muzero"), reanalyze)}


_UPDATES, _STEPS = "training.collect_interval", "target.steps"
_FEWER = {_UPDATES: 50}
_SMALL = (
    Variant("MuZero, 200 updates a round", agent="muzero"),
    Variant("MuZero, 50 updates a round", _FEWER, agent="muzero"),
    Variant("Reanalyze, 50 updates a round", {"reanalyze": True} | _FEWER, agent="muzero"),
    Variant("Reanalyze, 50 updates a round, n = 5", {"reanalyze": True, _STEPS: 5} | _FEWER,
            agent="muzero"),
)  # fmt: skip
"""Table 1 on CartPole-v1, of which the preset sums 50 rewards before it bootstraps."""


COMPARISONS: dict[str, Comparison] = {
    "figure3": Comparison(
        "Simulations in training",
        _simulations(2, 5, 25, usual=25),
        last_tests=3,
        scales={
            "smoke": {"variants": _simulations(1, 3, usual=3)},
            "paper": {"variants": _simulations(5, 8, 20, 50, usual=50)},
        },
    ),
    "table1": Comparison(
        "MuZero and MuZero Reanalyze, by environment steps",
        _SMALL,
        against="steps",
        last_tests=3,
        table=True,
        published=PUBLISHED,
        scales={"smoke": _reanalyze(2), "paper": _reanalyze(1, 20)},
    ),
}


def smoke() -> Scale:
    """Seconds for each run: to see that everything works. The scores mean nothing."""
    base = MuZeroConfig(
        preset="small",
        episodes=6,
        environment=EnvironmentConfig(observe="vector", time_limit=30),
        network=NetworkConfig(state=8, hidden=16, categories=21),
        search=SearchConfig(simulations=3),
        target=TargetConfig(unroll=2, steps=3),
        optimizer=DescentConfig(method="adam", learning_rate=3e-3),
        collection=SelfPlayConfig(side_by_side=2, seed_episodes=2),
        training=StepsConfig(collect_interval=2, batch_size=8),
        evaluation=JudgedConfig(every=1, episodes=2, final_episodes=2),
    )
    return Scale(base, ("CartPole-v1",), seeds=1)


def small() -> Scale:
    """The preset `small` on one task, three seeds: minutes for a run on two cores.

    Those of Reanalyze take longer, since four updates of five search a whole batch again.
    """
    base = preset("small", "muzero", "CartPole-v1")
    return Scale(base, ("CartPole-v1",), seeds=3)


def paper() -> Scale:
    """The paper's network and search on one game of Atari, some 200 million frames, three seeds.

    As the slides' Reanalyze in frames, and not as their MuZero, which has a hundred times as many.
    An update with 1,024 states for each episode of some 2,500 is 0.4 samples a state.
    """
    base = preset("paper", "muzero", "ALE/MsPacman-v5")
    training = replace(base.training, collect_interval=1)
    evaluation = replace(base.evaluation, every=500)
    base = replace(base, episodes=20_000, training=training, evaluation=evaluation)
    return Scale(base, (base.task,), seeds=3)


PAPER = Paper("study-muzero", COMPARISONS, {"smoke": smoke, "small": small, "paper": paper})
