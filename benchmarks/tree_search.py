"""Simulations a second of the tree search, beside its network's own cost and the matrix rate.

    taskset -c 1 python benchmarks/tree_search.py

A game of tic-tac-toe's size: nine actions, two players, a dense network that takes a state to the
next and to its policy and value. One search has `--simulations` simulations of every root; each
calls the network once, for all roots together. "network alone" is as many calls of it, one after
another, without a tree. Operations are those of the network's matrix products. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from armillary.config.muzero import SearchConfig
from armillary.nets.dense import Stack
from armillary.search.tree import Root, search

ACTIONS = 9
SIZES = {"7k": (32, 64), "23k": (64, 128)}
"""State and hidden units of networks of about so many parameters."""
Network = tuple[Stack, Stack]


def best_of(seconds: float, function: Callable[..., Any], *arguments: Any) -> float:
    """Returns the least time of a call in seconds, of as many as fit into some seconds."""
    jax.block_until_ready(function(*arguments))
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return min(times)


def matrix_rate(size: int = 2048) -> float:
    """Returns the rate of a float32 product of two square matrices, operations a second."""
    a = jax.random.normal(jax.random.key(0), (size, size))
    return 2 * size**3 / best_of(1.0, jax.jit(jnp.matmul), a, a)


def network(state: int, hidden: int) -> Network:
    """Returns the dynamics and the prediction function."""
    keys = jax.random.split(jax.random.key(0))
    dynamics = Stack([state + ACTIONS, hidden, state], "relu", key=keys[0])
    return dynamics, Stack([state, hidden, ACTIONS + 1], "relu", key=keys[1])


def model(parameters: Network, state: jax.Array, action: jax.Array) -> Any:
    """Returns the next states, no rewards, logits and values."""
    dynamics, prediction = parameters
    one_hot = jax.nn.one_hot(action, ACTIONS)
    state = jnp.tanh(dynamics(jnp.concatenate([state, one_hot], axis=-1)))
    out = prediction(state)
    return state, jnp.zeros(len(state)), out[:, 1:], jnp.tanh(out[:, 0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--simulations", type=int, default=50)
    parser.add_argument("--roots", type=int, nargs="+", default=[8, 256])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row, the best call")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count, limit = options.simulations, matrix_rate()
    print(f"{jax.devices()[0].device_kind}, {cores} cores, jax {jax.__version__}")
    print(f"matrix product: {limit / 1e9:.0f} GFLOP/s")
    for size, (units, hidden) in SIZES.items():
        parameters = network(units, hidden)
        weights = [layer.linear.weight.size for stack in parameters for layer in stack.layers]
        for roots in options.roots:
            state = jnp.tanh(jax.random.normal(jax.random.key(1), (roots, units)))
            out = parameters[1](state)
            root = Root(out[:, 1:], jnp.tanh(out[:, 0]), state)

            def alone(parameters: Network, state: jax.Array) -> Any:
                def body(carry: Any, _: None) -> Any:
                    state, logits = carry
                    state, _, logits, value = model(parameters, state, jnp.argmax(logits, -1))
                    return (state, logits), value

                return jax.lax.scan(body, (state, jnp.zeros((len(state), ACTIONS))), length=count)

            flop = 2 * sum(weights) * roots * count
            seconds = best_of(options.seconds, jax.jit(alone), parameters, state)
            _print(f"{size} {roots:4} roots, network alone", seconds, roots * count, flop, limit)
            for algorithm in ("muzero", "gumbel"):
                for normalization in ("tree", "node"):
                    settings = SearchConfig(
                        simulations=count, algorithm=algorithm, normalization=normalization
                    )
                    run = partial(search, model, settings=settings, players=2, explore=True)
                    compiled = jax.jit(lambda p, r, k, run=run: run(p, r, k)._replace(tree=None))
                    seconds = best_of(
                        options.seconds, compiled, parameters, root, jax.random.key(0)
                    )
                    name = f"{size} {roots:4} roots, {algorithm}, {normalization}"
                    _print(name, seconds, roots * count, flop, limit)


def _print(name: str, seconds: float, simulations: int, flop: float, limit: float) -> None:
    print(
        f"{name:34} {seconds * 1e3:8.2f} ms, {simulations / seconds:9,.0f} simulations/s, "
        f"{flop / seconds / 1e9:6.2f} GFLOP/s = {flop / seconds / limit:5.1%}",
        flush=True,
    )


if __name__ == "__main__":
    main()
