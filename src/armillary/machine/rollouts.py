"""What a plan on the true simulator costs beside the simulation itself."""

from __future__ import annotations

import time
from typing import Any

import mujoco
import numpy as np
from mujoco.rollout import Rollout

from armillary.config import EnvironmentConfig, PlannerConfig
from armillary.envs.build import control
from armillary.envs.catalogue import action_repeat
from armillary.machine.timing import Timing
from armillary.planners.rollout import plan
from armillary.planners.simulator import Simulator, SimulatorState


class _Remembering:
    """A simulator that keeps the candidates it was asked about."""

    on_host = True

    def __init__(self, simulator: Simulator) -> None:
        self.simulator, self.action_size = simulator, simulator.action_size
        self.asked: list[np.ndarray] = []

    def returns(self, state: SimulatorState, candidates: np.ndarray, key: Any = None) -> np.ndarray:
        self.asked.append(candidates)
        return self.simulator.returns(state, candidates, key)


def measure_simulator(
    task: str, planner: PlannerConfig, repeat: int | None, repeats: int
) -> dict[str, Any]:
    """Times a plan on the true simulator, and `mujoco.rollout` of the very same sequences.

    The two take turns. The bare rollout gets its inputs ready-made and does nothing with its
    outputs.

    Args:
        task: a task that can be simulated.
        planner: the planner's settings.
        repeat: R; None: the paper's for the task.
        repeats: how often.

    Returns:
        `size` (J, I and H in words), `plan`, `rollout` (times), `plan_over_rollout` (of the best
        times), `threads`, `physics_steps_per_second` (of the bare rollout).

    Raises:
        UsageError: the task has no simulator to plan with.
    """
    repeat = repeat or action_repeat(task)
    env = control(task, EnvironmentConfig(action_repeat=repeat), draw=False)
    try:
        simulator = Simulator.of(env, action_repeat=repeat)
        env.reset(seed=0)
        state = simulator.state()
        remembering = _Remembering(simulator)
        plan(remembering, state, 0, config=planner)  # compiles
        batches = [
            np.repeat(simulator.control(c), simulator.steps_per_action, axis=1)
            for c in remembering.asked
        ]
        plans, bare = [], []
        data = [mujoco.MjData(state.model) for _ in range(simulator.threads)]
        with Rollout(nthread=simulator.threads) as pool:
            for _ in range(repeats):
                started = time.perf_counter()
                plan(simulator, state, 0, config=planner)
                plans.append(time.perf_counter() - started)
                started = time.perf_counter()
                for controls in batches:
                    pool.rollout(
                        state.model,
                        data,
                        np.tile(state.physics, (len(controls), 1)),
                        controls,
                        initial_warmstart=np.tile(state.warmstart, (len(controls), 1)),
                    )
                bare.append(time.perf_counter() - started)
        steps = sum(controls.shape[0] * controls.shape[1] for controls in batches)
        return {
            "task": task,
            "size": planner.size,
            "plan": Timing(tuple(plans)).as_dict(),
            "rollout": Timing(tuple(bare)).as_dict(),
            "plan_over_rollout": min(plans) / min(bare),
            "threads": simulator.threads,
            "physics_steps_per_second": steps / min(bare),
        }
    finally:
        env.close()
