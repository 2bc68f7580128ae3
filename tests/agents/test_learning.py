"""The whole of Algorithm 1 learns to steer, and does not when one of its parts is broken.

Measured: the agent 20 and more, random actions 2 (30 steps, at most about 27). By hand, each alone:
a transition model that does not see the action, a planner that returns the worst candidates, and a
reward model that is not trained all stay below 8, see docs/results.md.
"""

from pathlib import Path

import pytest

from armillary.training.loop import train
from settings import LEARNING


@pytest.mark.slow
def test_a_tiny_agent_learns_to_steer(tmp_path: Path) -> None:
    results = train(LEARNING, tmp_path / "run")
    assert results["random"]["mean"] < 5
    assert results["agent"]["mean"] > 14
    assert min(results["agent"]["scores"]) > results["random"]["mean"]
