"""Published scores on the twenty tasks of Dreamer: a small table of numbers with their sources.

Where the papers show curves alone (PlaNet with R = 2, no value, the other representations and
action repeats) there is no number to write down, and none stands here.
"""

from __future__ import annotations

from armillary.studies.comparisons import Published

_AGENTS = ("A3C", "D4PG", "Dreamer, 1M steps", "Dreamer, 2M steps", "PlaNet")
_SCORES: dict[str, tuple[float | None, ...]] = {
    "acrobot-swingup": (41.9, 91.7, 410, 483, None),
    "ball_in_cup-catch": (104.7, 980.5, 967, 943, 930),
    "cartpole-balance": (951.6, 992.8, 988, 974, None),
    "cartpole-balance_sparse": (857.4, 1000, 1000, 985, None),
    "cartpole-swingup": (558.4, 862, 855, 857, 821),
    "cartpole-swingup_sparse": (179.8, 482, 797, 771, None),
    "cheetah-run": (213.9, 523.8, 713, 790, 662),
    "finger-spin": (129.4, 985.7, 515, 463, 700),
    "finger-turn_easy": (167.3, 971.4, 781, 859, None),
    "finger-turn_hard": (88.7, 966, 726, 907, None),
    "hopper-hop": (0.5, 242, 266, 348, None),
    "hopper-stand": (27.9, 929.9, 907, 930, None),
    "pendulum-swingup": (48.6, 680.9, 828, 819, None),
    "quadruped-run": (None, None, 388, 659, None),
    "quadruped-walk": (None, None, 446, 821, None),
    "reacher-easy": (95.6, 967.4, 603, 857, 832),
    "reacher-hard": (39.7, 957.1, 169, 594, None),
    "walker-run": (191.8, 567.2, 718, 767, None),
    "walker-stand": (378.4, 985.2, 960, 965, None),
    "walker-walk": (311, 968.3, 956, 969, 951),
}
_CURVES = (
    "mean over five seeds of the test at {:,} environment steps, of the curves published with "
    "Dreamer's code; their hyperparameters are slightly earlier ones than the paper's"
)

PUBLISHED = Published(
    scores={
        task: {
            agent: score
            for agent, score in zip(_AGENTS, scores, strict=True)
            if score is not None
        }
        for task, scores in _SCORES.items()
    },
    sources={
        "A3C": "Tassa et al. (2018), from states instead of images, after 100 million steps (of "
        "reacher-easy PlaNet's Table 1 has 285)",
        "D4PG": "Tassa et al. (2018), from images, after 100 million steps (as PlaNet's paper says "
        "and the published table; Dreamer's text says a thousand million)",
        "Dreamer, 1M steps": _CURVES.format(1_005_000),
        "Dreamer, 2M steps": _CURVES.format(2_005_000),
        "PlaNet": "Hafner et al. (2019), Table 1, after 1,000 episodes, with its own action repeat "
        "for each task",
    },
    drawn={"A3C": "0.7", "D4PG": "0.5", "PlaNet": "0.3", "Dreamer, 2M steps": "0"},
    note="Means over tasks in Dreamer's text: of Dreamer 802 and of PlaNet (R = 2) 312, after two "
    "million steps; of D4PG 786, as here without the two of the quadruped.",
)  # fmt: skip
