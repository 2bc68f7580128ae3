"""What an agent costs on this machine: an update, an action, an image, a step of the simulator.

Every rate comes with the machine's own matrix rate, measured in the same run before and after, so
that a fraction says how well the machine is used, not how good the machine is. The batches are
random: the time does not depend on what is learned.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp

from armillary import __version__, seeding
from armillary.agents.base import Agent, Records
from armillary.agents.registry import make_agent
from armillary.config import Config, planner_of
from armillary.config.schedule import all_rounds, seed_rounds, updates_due
from armillary.envs import action_repeat
from armillary.envs.build import spec_of
from armillary.envs.catalogue import names
from armillary.envs.games import is_game
from armillary.machine import resources
from armillary.machine.agent import (
    acting,
    time_act,
    time_copy,
    time_parts,
    time_update,
    window_rows,
)
from armillary.machine.games import measure_game
from armillary.machine.rollouts import measure_simulator
from armillary.machine.seeds import measure_seeds
from armillary.machine.timing import Timing, measure_environment, timed
from armillary.spec import Spec
from armillary.training.program_cache import keep
from armillary.training.saving import init

PRECISIONS = {
    "float32": (jnp.float32, jax.lax.Precision.HIGHEST),
    "default": (jnp.float32, jax.lax.Precision.DEFAULT),
    "bfloat16": (jnp.bfloat16, jax.lax.Precision.DEFAULT),
}
"""Of matrix products. `default` is JAX's, with which the agent computes: TF32 on an NVIDIA card,
float32 itself on a CPU (where only that is measured)."""


def measure(
    config: Config,
    *,
    repeats: int = 5,
    every_renderer: bool = False,
    sizes: tuple[int, ...] | None = None,
    seeds: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measures the agent of a configuration on this machine; plain numbers, ready for JSON.

    Args:
        config: The agent, its task and its renderer.
        repeats: Repetitions of an update and of a matrix product; an action gets twice and the
            environment a hundred times as many.
        every_renderer: Measure every back end that works here, not only the chosen one.
        sizes: Of the square matrices for the matrix rate. None: those that suit the device.
        seeds: How many to measure as one, beside one by one; 0: none.
        say: Is told what is being measured.

    Raises:
        UsageError: The task is unknown.
        RenderingError: No back end works here, or not the one asked for.
    """
    keep()
    config = _with_repeat(config)
    first = dataclasses.replace(config, task=config.tasks[0])  # of several, which is simulated
    say("environment and rendering")
    games = is_game(first.task, first.environment.kwargs)
    if games:
        environment = measure_game(first, repeats)
    else:
        environment = measure_environment(first, repeats, every_renderer)
    spec = Spec.from_dict(environment.pop("spec"))
    if len(config.tasks) > 1:
        spec = spec_of(config.tasks, config.environment)
    precisions = ("float32",) if jax.default_backend() == "cpu" else tuple(PRECISIONS)
    sizes = sizes or ((1024, 2048, 4096) if len(precisions) == 1 else (4096, 8192, 16384))
    say("matrix rate")
    rates = matrix_rates(precisions, sizes, repeats)
    agent = make_agent(config, spec)
    action = acting(agent)
    state = init(agent, seeding.key(0, "bench"))
    say(action.name)
    act = time_act(agent, config, state, 2 * repeats)
    update: Timing | None = None
    parts: dict[str, Timing] = {}
    if isinstance(agent, Agent):  # not one that only acts
        say("update")
        update = time_update(agent, config, state, repeats)
        parts = time_parts(agent, config, state, repeats)
    several = None
    if seeds:
        say(f"{seeds} seeds")
        several = measure_seeds(cast(Agent, agent), config, seeds, repeats, games)
    simulator = None
    planner = planner_of(config)
    if planner is not None and first.task in names():
        say("plan on the true simulator")
        simulator = measure_simulator(
            first.task, planner, config.environment.action_repeat, repeats
        )
    say("matrix rate, again")
    again = matrix_rates(precisions, sizes, repeats)
    rates = {name: max(rate, again[name]) for name, rate in rates.items()}
    rate = rates.get("default", rates["float32"])  # of what the agent's products are computed with
    report: dict[str, Any] = {
        "agent": config.agent,
        "preset": config.preset,
        "task": config.task,
        "spec": spec.as_dict(),
        "action_size": spec.action.size,
        "action_repeat": config.environment.action_repeat,
        "machine": describe(),
        "matrix_gflop_per_second": {name: rate / 1e9 for name, rate in rates.items()},
        "update": update and update.as_dict(rate),
        "batch": [config.training.batch_size, window_rows(config, agent)[0]],
        "parts": {name: part.as_dict(rate) for name, part in parts.items()},
        "acting": action._asdict(),
        "records": isinstance(agent, Records),
        action.name: act.as_dict(rate),
        "simulator": simulator,
        "seeds": several and several.as_dict(rate),
        **environment,
        "peak_memory_bytes": resources.peak_memory(),
    }
    if jax.default_backend() != "cpu":
        report["batch_to_device"] = time_copy(agent, config, repeats).as_dict()
        report["peak_device_memory_bytes"] = _device_memory()
    return report | {"episode": episode_cost(report, config)}


def describe() -> dict[str, Any]:
    """Returns what the numbers were measured on."""
    device = jax.devices()[0]
    cores = resources.cores()
    return {
        "armillary": __version__,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "platform": device.platform,
        "device": device.device_kind,
        "processor": resources.processor(),
        "cores": cores.usable,
        "cores_of_machine": cores.machine,
    }


def matrix_rates(
    precisions: tuple[str, ...], sizes: tuple[int, ...], repeats: int
) -> dict[str, float]:
    """Returns the operations per second of the fastest square matrix product, by precision."""
    rates = {}
    for name in precisions:
        timings = [_matrix_product(name, size, repeats) for size in sizes]
        rates[name] = max(t.flop / t.best for t in timings if t.flop is not None)
    return rates


def _matrix_product(precision: str, size: int, repeats: int) -> Timing:
    dtype, xla_precision = PRECISIONS[precision]
    a, b = jax.random.normal(jax.random.key(size), (2, size, size), dtype)
    product = jax.jit(partial(jnp.matmul, precision=xla_precision))
    return timed(lambda: jax.block_until_ready(product(a, b)), repeats, 0.2, flop=2 * size**3)


def episode_cost(report: dict[str, Any], config: Config) -> dict[str, Any]:
    """Returns what a round of episodes costs, by part, and the run, from the median times.

    Mostly a round is one episode. There are the updates that are due, an action in all of its
    environments for each time step, and of each of them an image (and one for the reset) and the
    simulator's steps; a step in all games of self-play is one. Of the whole run the seed episodes
    need no agent, but where it keeps records of its actions; tests do not count.
    """
    steps, size = report["episode_steps"], config.round_size
    rounds = all_rounds(config) * len(config.tasks)
    acted = rounds if report["records"] else rounds - seed_rounds(config) * len(config.tasks)
    total = updates_due(config, all_rounds(config))
    frame = report["rendering"].get(report["renderer"])
    name, plural = report["acting"]["name"], report["acting"]["plural"]
    apart = size // report["environment_step"]["at_once"]  # one environment after another
    stepped = "moves of all games" if apart < size else "environment steps"
    interval = config.training.collect_interval
    learns = {"updates": (interval, total, report["update"])} if report["update"] else {}
    costs = learns | {
        plural: (steps, acted * steps, report[name]),
        stepped: (apart * steps, rounds * apart * steps, report["environment_step"]),
    }
    if frame:
        images = size * (steps + 1)
        costs["images"] = (images, rounds * images, frame)
    seconds = {
        part: of_round * timing["median_seconds"] for part, (of_round, _, timing) in costs.items()
    }
    of_round = sum(seconds.values())
    of_run = sum(count * timing["median_seconds"] for _, count, timing in costs.values())
    return {
        "parts": {
            part: {
                "count": costs[part][0],
                "seconds": value,
                "percent": 100 * value / of_round,
            }
            for part, value in seconds.items()
        },
        "seconds": of_round,
        "side_by_side": size,
        "steps": steps,
        "episodes": config.episodes * len(config.tasks),
        "run_hours": of_run / 3600,
    }


def _with_repeat(config: Config) -> Config:
    repeat = config.environment.action_repeat or action_repeat(config.tasks[0])
    environment = dataclasses.replace(config.environment, action_repeat=repeat)
    return dataclasses.replace(config, environment=environment)


def _device_memory() -> int | None:
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
