"""Environments of the control suite side by side: one after another, and together on one device.

    uv run python benchmarks/worlds.py
    uv run python benchmarks/worlds.py --task walker-walk --counts 1 64 1024

An action is drawn at random, repeated as the task repeats it, and followed by an image of each
environment, which is then on the host. Beside both engines stand the simulator's steps and the
images alone, which together are what a step cannot be faster than; and the machine's matrix rate.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import jax
import numpy as np

from armillary.config import EnvironmentConfig
from armillary.envs import side_by_side
from armillary.envs.catalogue import action_repeat
from armillary.envs.together import Together
from armillary.machine.bench import matrix_rates

MOST = 64
"""Environments that are stepped one after another: each has a model and a renderer of its own."""


def main() -> None:
    """Times each number of environments with each engine."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", default="cheetah-run")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    print("| environments | engine | a step of all | steps/s | simulation | images |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count in arguments.counts:
        for engine in ("mujoco", "warp")[count > MOST :]:
            print(row(arguments.task, engine, count, arguments.steps), flush=True)
    rate = matrix_rates(("float32",), (1024, 2048), 5)["float32"]
    print(f"\n{arguments.task}, {action_repeat(arguments.task)} simulator steps for each action; ")
    print(f"matrix rate of {jax.devices()[0].device_kind}: {rate / 1e9:.0f} GFLOP/s")


def row(task: str, engine: str, count: int, steps: int) -> str:
    """Returns a row of the table."""
    config = EnvironmentConfig(engine=engine, renderer="auto" if engine == "mujoco" else "warp")
    envs = side_by_side(task, config, count)
    envs.reset(seed=list(range(count)))
    envs.action_space.seed(0)
    whole = timed(lambda: envs.step(envs.action_space.sample()), steps)
    parts, name = ["", ""], engine
    if isinstance(envs, Together):
        worlds, control = envs._worlds, np.zeros((count, envs.action_space.shape[1]))
        simulation = timed(lambda: (worlds.step(control), worlds.states()), steps)
        images = timed(lambda: worlds.draw(envs._suite.camera, 64), steps)
        parts = [f"{1000 * x:.2f} ms" for x in (action_repeat(task) * simulation, images)]
        name = f"warp, on {envs.device}"
    envs.close()
    return (
        f"| {count} | {name} | {1000 * whole:.1f} ms | {count / whole:,.0f} | "
        f"{parts[0]} | {parts[1]} |"
    )


def timed(function: Callable[[], object], repeats: int) -> float:
    """Returns the median seconds of a call, after some that are not counted."""
    seconds = []
    for repeat in range(repeats + 2):
        began = time.perf_counter()
        function()
        if repeat >= 2:
            seconds.append(time.perf_counter() - began)
    return median(seconds)


if __name__ == "__main__":
    main()
