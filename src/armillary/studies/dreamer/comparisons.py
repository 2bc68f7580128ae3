"""What each figure of Dreamer compares, and at which scales.

What the paper's text does not give is chosen here: the horizons of Figure 4, the tasks of Figures
4, 7, 8 and 11, and the action repeats of Figure 11 other than 2.
"""

from __future__ import annotations

from dataclasses import replace

from armillary.config import (
    BehaviorConfig,
    CollectionConfig,
    DreamerConfig,
    EnvironmentConfig,
    EvaluationConfig,
    ModelConfig,
    ObjectiveConfig,
    TrainingConfig,
    preset,
)
from armillary.envs.catalogue import DREAMER
from armillary.studies.comparisons import Comparison, Paper, Scale, Variant
from armillary.studies.dreamer.published import PUBLISHED

SOME = ("acrobot-swingup", "hopper-hop", "hopper-stand", "walker-run", "walker-walk")
"""The tasks of which the caption of Figure 7 speaks: acrobot and hopper need foresight, the walker
does not."""
_SEVERAL = {"small": {"tasks": ("cheetah-run", "cartpole-swingup", "reacher-easy")}}
_SOME = {"paper": {"tasks": SOME}}

_DREAMER = Variant("Dreamer", agent="dreamer")
_NO_VALUE = Variant("no value", {"behavior.estimate": "rewards"}, agent="dreamer")
_PLANET = Variant("PlaNet", agent="planet")
_WAYS_TO_ACT = (_DREAMER, _NO_VALUE, _PLANET)
_REPRESENTATIONS = (
    Variant("reconstruction", agent="dreamer"),
    Variant("contrastive", {"objective.representation": "contrastive"}, agent="dreamer"),
    Variant("reward only", {"objective.representation": "reward"}, agent="dreamer"),
)


def _horizons(*horizons: int, usual: int) -> tuple[Variant, ...]:
    """Returns each way to act at each horizon.

    Args:
        horizons: in steps.
        usual: that of the scale's Dreamer, whose runs other figures have, too.
    """
    found = []
    for way in _WAYS_TO_ACT:
        field = "planner.horizon" if way.agent == "planet" else "behavior.horizon"
        for horizon in horizons:
            same = field == "behavior.horizon" and horizon == usual
            changes = way.changes if same else {**way.changes, field: horizon}
            found.append(replace(way, changes=changes, at=horizon))
    return tuple(found)


def _repeats(*repeats: int, usual: int | None = None) -> tuple[Variant, ...]:
    """Returns Dreamer with each action repeat; `usual` is that of the scale."""
    changes = {r: {} if r == usual else {"environment.action_repeat": r} for r in repeats}
    return tuple(Variant(f"R = {r}", changes[r], agent="dreamer") for r in repeats)


COMPARISONS: dict[str, Comparison] = {
    "figure4": Comparison(
        "Imagination horizons",
        _horizons(5, 10, 20, 40, usual=20),
        picture="points",
        axis="horizon",
        scales={
            **_SOME,
            "smoke": {"variants": _horizons(2, 3, usual=3)},
            "small": {"variants": _horizons(5, 15, 30, usual=15)},
        },
    ),
    "figure5": Comparison("Long-term predictions", (_DREAMER,)),
    "figure6": Comparison(
        "Final scores beside published ones",
        (_DREAMER, _PLANET),
        over_tasks=True,
        picture="bars",
        table=True,
        scales=_SEVERAL,
    ),
    "figure7": Comparison("Long-horizon behaviours", _WAYS_TO_ACT, table=True, scales=_SOME),
    "figure8": Comparison("Representations", _REPRESENTATIONS, scales=_SOME),
    "figure9": Comparison("Ways to act, all tasks", _WAYS_TO_ACT, table=True, scales=_SEVERAL),
    "figure10": Comparison("Representations, all tasks", _REPRESENTATIONS, scales=_SEVERAL),
    "figure11": Comparison(
        "Action repeat",
        _repeats(1, 2, 4),
        scales={"paper": {"variants": _repeats(1, 2, 4, usual=2), "tasks": SOME, "seeds": 2}},
    ),
}
COMPARISONS = {
    name: replace(one, published=PUBLISHED, last_tests=3) for name, one in COMPARISONS.items()
}


def smoke() -> Scale:
    """Seconds for each run: to see that everything works. The scores mean nothing."""
    base = DreamerConfig(
        preset="small",
        episodes=3,
        environment=EnvironmentConfig(renderer="warp", time_limit=80),
        model=ModelConfig(stochastic=4, deterministic=8, hidden=8, depth=2),
        objective=ObjectiveConfig(image_steps=4),
        behavior=BehaviorConfig(horizon=3, layers=1, hidden=8),
        training=TrainingConfig(collect_interval=2, batch_size=2, chunk_length=8),
        collection=CollectionConfig(seed_episodes=2),
        evaluation=EvaluationConfig(every=1, episodes=1, final_episodes=1),
    )
    return Scale(base, ("reacher-easy", "cartpole-swingup"), seeds=1)


def small() -> Scale:
    """The preset `small` on one task, three seeds: hours on a laptop.

    Scores swing more from one hundred updates to the next than between variants: a test after every
    second episode, so that the last three can be averaged.
    """
    base = preset("small", "dreamer")
    base = replace(base, evaluation=replace(base.evaluation, every=2, episodes=3))
    return Scale(base, ("cheetah-run",), seeds=3)


def paper() -> Scale:
    """The paper's: twenty tasks, three seeds, two million environment steps."""
    return Scale(preset("paper", "dreamer"), DREAMER, seeds=3)


PAPER = Paper("study-dreamer", COMPARISONS, {"smoke": smoke, "small": small, "paper": paper})
