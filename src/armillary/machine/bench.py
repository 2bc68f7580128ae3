"""What an agent costs on this machine: an update, a plan, an image, a step of the simulator.

Every rate comes with the machine's own matrix rate, measured in the same run before and after, so
that a fraction says how well the machine is used, not how good the machine is. The batches are
random: the time does not depend on what is learned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from armillary import __version__, seeding
from armillary.agents.base import Agent
from armillary.agents.registry import make_agent
from armillary.config import EnvironmentConfig, PlanetConfig
from armillary.envs import action_repeat, tasks
from armillary.envs.catalogue import names
from armillary.machine import resources
from armillary.machine.flop import plan_flop, update_flop
from armillary.machine.rollouts import measure_simulator
from armillary.machine.timing import Timing, measure_environment, timed
from armillary.replay.sampler import Batch
from armillary.training.rollout import compiled

PRECISIONS = {
    "float32": (jnp.float32, jax.lax.Precision.HIGHEST),
    "default": (jnp.float32, jax.lax.Precision.DEFAULT),
    "bfloat16": (jnp.bfloat16, jax.lax.Precision.DEFAULT),
}
"""Of matrix products. `default` is JAX's, with which the agent computes: TF32 on an NVIDIA card,
float32 itself on a CPU (where only that is measured)."""


def measure(
    config: PlanetConfig,
    *,
    repeats: int = 5,
    every_renderer: bool = False,
    sizes: tuple[int, ...] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measures the agent of a configuration on this machine; plain numbers, ready for JSON.

    Args:
        config: The agent, its task and its renderer.
        repeats: Repetitions of an update and of a matrix product; a plan gets twice and the
            environment a hundred times as many.
        every_renderer: Measure every back end that works here, not only the chosen one.
        sizes: Of the square matrices for the matrix rate. None: those that suit the device.
        say: Is told what is being measured.

    Raises:
        UsageError: The task is unknown.
        RenderingError: No back end works here, or not the one asked for.
    """
    config = _with_repeat(config)
    say("environment and rendering")
    environment = measure_environment(config, repeats, every_renderer)
    precisions = ("float32",) if jax.default_backend() == "cpu" else tuple(PRECISIONS)
    sizes = sizes or ((1024, 2048, 4096) if len(precisions) == 1 else (4096, 8192, 16384))
    say("matrix rate")
    rates = matrix_rates(precisions, sizes, repeats)
    agent = make_agent(config, environment["action_size"])
    state = jax.jit(agent.init)(seeding.key(0, "bench"))
    say("plan")
    plan = time_plan(agent, config, state, 2 * repeats)
    say("update")
    update, copy = time_update(agent, config, state, repeats)
    simulator = None
    if config.task in names():
        say("plan on the true simulator")
        simulator = measure_simulator(
            config.task, config.planner, config.environment.action_repeat, repeats
        )
    say("matrix rate, again")
    again = matrix_rates(precisions, sizes, repeats)
    rates = {name: max(rate, again[name]) for name, rate in rates.items()}
    rate = rates.get("default", rates["float32"])  # of what the agent's products are computed with
    report: dict[str, Any] = {
        "preset": config.preset,
        "task": config.task,
        "action_size": environment.pop("action_size"),
        "action_repeat": config.environment.action_repeat,
        "machine": describe(),
        "matrix_gflop_per_second": {name: rate / 1e9 for name, rate in rates.items()},
        "update": update.as_dict(rate),
        "plan": plan.as_dict(rate),
        "simulator": simulator,
        **environment,
        "peak_memory_bytes": resources.peak_memory(),
    }
    if jax.default_backend() != "cpu":
        report["batch_to_device"] = copy.as_dict()
        report["peak_device_memory_bytes"] = _device_memory()
    return report | {"episode": episode_cost(report, config)}


def describe() -> dict[str, Any]:
    """Returns what the numbers were measured on."""
    device = jax.devices()[0]
    cores = resources.cores()
    return {
        "armillary": __version__,
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


def time_update(
    agent: Agent, config: PlanetConfig, state: Any, repeats: int
) -> tuple[Timing, Timing]:
    """Times one update of B chunks of L steps, as the training loop makes them.

    Returns:
        The update, of a batch that is on the device, and the copying of a batch to it.
    """
    batch = _batch(agent, config)
    copy = timed(lambda: jax.block_until_ready(jax.device_put(batch)), repeats)
    resident = jax.device_put(batch)
    update = jax.jit(agent.update, donate_argnums=0)
    # The loop donates the state; the caller's stays whole.
    states = [jax.tree.map(jnp.array, state)]
    key = seeding.key(0, "update")

    def once() -> None:
        states[0], metrics = update(states[0], resident, key)
        jax.block_until_ready((states[0], metrics))

    return timed(once, repeats, flop=update_flop(config, agent.action_size)), copy


def time_plan(agent: Agent, config: PlanetConfig, state: Any, repeats: int) -> Timing:
    """Times one action for one environment: the belief, the plan and the noise (Algorithm 2)."""
    size = config.environment.size
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    act, key = compiled(agent), seeding.key(0, "act")
    belief = agent.initial_belief(state, 1)

    def once() -> None:
        jax.block_until_ready(act(state, belief, image, key, 0, explore=True))

    return timed(once, repeats, flop=plan_flop(config, agent.action_size))


def episode_cost(report: dict[str, Any], config: PlanetConfig) -> dict[str, Any]:
    """Returns what one episode of training costs, by part, from the median times of a report.

    C updates, a plan and an image for each action (and an image for the reset), and the
    simulator's steps.
    """
    steps = next((t.episode_steps for t in tasks() if t.name == config.task), None) or 1000
    actions = -(-steps // report["action_repeat"])
    frame = report["rendering"].get(report["renderer"])
    costs = {
        "updates": (config.training.collect_interval, report["update"]),
        "plans": (actions, report["plan"]),
        "environment steps": (actions, report["environment_step"]),
    }
    if frame:
        costs["images"] = (actions + 1, frame)
    seconds = {name: count * timing["median_seconds"] for name, (count, timing) in costs.items()}
    total = sum(seconds.values())
    return {
        "parts": {
            name: {
                "count": costs[name][0],
                "seconds": value,
                "percent": 100 * value / total,
            }
            for name, value in seconds.items()
        },
        "seconds": total,
        "episodes": config.episodes,
        "run_hours": config.episodes * total / 3600,
    }


def _batch(agent: Agent, config: PlanetConfig) -> Batch:
    generator = np.random.default_rng(0)
    shape = (config.training.batch_size, config.training.chunk_length)
    size = config.environment.size
    return Batch(
        image=generator.integers(0, 256, (*shape, size, size, 3), np.uint8),
        action=generator.uniform(-1, 1, (*shape, agent.action_size)).astype(np.float32),
        reward=generator.uniform(0, 1, shape).astype(np.float32),
        terminal=np.zeros(shape, bool),
    )


def _with_repeat(config: PlanetConfig) -> PlanetConfig:
    repeat = config.environment.action_repeat or action_repeat(config.task)
    environment: EnvironmentConfig = dataclasses.replace(config.environment, action_repeat=repeat)
    return dataclasses.replace(config, environment=environment)


def _device_memory() -> int | None:
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
