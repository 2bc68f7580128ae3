"""Is a task learned from episodes that were collected without its reward?

An explorer and random actions collect as many episodes of a corridor whose last room is paid; then
a Dreamer of the same size learns from either's episodes, without interaction. What is finished is
kept in `--runs`, so the same command goes on.

    PYTHONPATH=tests uv run python benchmarks/exploration.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path

from armillary.config import Config, DreamerConfig, changed
from armillary.replay.episodes import EpisodeStore
from armillary.training.loop import train
from settings import EXPLORING


def learner(source: Path, episodes: int) -> DreamerConfig:
    """Returns a Dreamer of the explorer's size that learns from its episodes."""
    shared = {field.name: getattr(EXPLORING, field.name) for field in fields(DreamerConfig)}
    return changed(
        DreamerConfig(**(shared | {"agent": "dreamer", "source": str(source)})),
        {"behavior.entropy_scale": 0.01, "episodes": episodes, "evaluation.final_episodes": 10},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--episodes", type=int, default=EXPLORING.episodes, help="to collect")
    parser.add_argument("--learning", type=int, default=13, help="rounds of 50 updates, and 2")
    parser.add_argument("--entropy-scale", type=float, default=EXPLORING.behavior.entropy_scale)
    parser.add_argument("--collect-only", action="store_true", help="learn no task")
    parser.add_argument("--runs", type=Path, default=Path("runs/exploration"))
    given = parser.parse_args()
    os.environ.setdefault("ARMILLARY_TRUST", "toys")
    settings = {"episodes": given.episodes, "behavior.entropy_scale": given.entropy_scale}
    for seed in given.seeds:
        for policy in ("agent", "random"):
            name = f"{policy}-{given.episodes}-{given.entropy_scale:g}-seed{seed}"
            config: Config = changed(
                EXPLORING, settings | {"seed": seed, "collection.policy": policy}
            )
            train(config, given.runs / name)
            store = EpisodeStore(given.runs / name / "episodes")
            paid = [int(store.load(index).reward.sum()) for index in store.indices]
            report = f"seed {seed}, {'explorer' if policy == 'agent' else 'random'}: paid {paid}"
            if not given.collect_only:
                config = changed(learner(given.runs / name, given.learning), {"seed": seed})
                results = train(config, given.runs / f"{name}-learned")
                agent, random = results["agent"], results["random"]
                report += (
                    f"; a Dreamer that learned from them {agent['mean']:.1f} ± {agent['std']:.1f}, "
                    f"random actions {random['mean']:.1f}"
                )
            print(report, flush=True)


if __name__ == "__main__":
    main()
