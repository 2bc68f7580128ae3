"""Where the time of an update or of an action goes on a CPU, by the kind of operation.

    uv run python benchmarks/operations.py --preset paper
    uv run python benchmarks/operations.py --preset small --agent dreamer
    uv run python benchmarks/operations.py --preset paper --part act

XLA's own trace, in which operations that do not depend on each other run at the same time: their
times add up to more or less than the time that passes. Beside it stand the operations that the
mathematics asks for and the machine's matrix rate, as in `armillary bench`.
"""

from __future__ import annotations

import argparse
import collections
import glob
import gzip
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax

from armillary import preset, seeding
from armillary.agents.base import Agent
from armillary.agents.registry import make_agent
from armillary.envs.build import spec_of
from armillary.machine.agent import example_batch, example_observation
from armillary.machine.bench import matrix_rates
from armillary.machine.flop import matrix_flop
from armillary.training.saving import init

KINDS = {
    "matrix products": r"^(ynn_fusion|dot|.*gemm|.*matmul)",
    "random bits": r"u32\[",
    "copies of images to batch-last": r"^(?!.*bitcast_concatenate).*(copy|transpose)",
    "copies of patches": r"concatenate|pad|slice",
    "loops": r"^while",
}
"""By the name and the result of an operation; whatever is left is element by element."""

REST = "element by element"
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = (\S+)")


def main() -> None:
    """Profiles one program."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agent", default="planet")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--part", choices=("update", "act"), default="update")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--top", type=int, default=0, help="single operations to list")
    arguments = parser.parse_args()
    config = preset(arguments.preset, arguments.agent, "cheetah-run")
    agent = make_agent(config, spec_of(config.tasks, config.environment))
    assert isinstance(agent, Agent)
    state, key = init(agent, seeding.key(0, "bench")), seeding.key(0, "update")
    function: Callable[..., Any]
    if arguments.part == "update":
        function, given = agent.update, (state, jax.device_put(example_batch(config, agent)), key)
    else:
        belief = agent.initial_belief(state, 1)
        function = partial(agent.act, explore=True)
        given = (state, belief, example_observation(agent.spec, (1,)), key)
    flop = matrix_flop(function, *given)
    compiled = jax.jit(function).lower(*given).compile()
    results = dict(_results(compiled.as_text()))
    jax.block_until_ready(compiled(*given))
    seconds = float("inf")
    for _ in range(arguments.repeats):
        began = time.perf_counter()
        jax.block_until_ready(compiled(*given))
        seconds = min(seconds, time.perf_counter() - began)
    spent = _traced(lambda: jax.block_until_ready(compiled(*given)), arguments.repeats)
    rate = matrix_rates(("float32",), (1024, 2048), 5)["float32"]
    share = flop / seconds / rate
    print(
        f"{arguments.part}: {seconds:.3f} s, {flop / 1e9:.1f} GFLOP, {flop / seconds / 1e9:.0f} "
        f"GFLOP/s, {share:.0%} of {rate / 1e9:.0f}"
    )
    of_kinds: collections.Counter[str] = collections.Counter()
    for name, each in spent.items():
        if name in results:
            of_kinds[_kind(name, results[name])] += each
    whole = sum(of_kinds.values())
    for kind, each in of_kinds.most_common():
        print(f"| {kind} | {1e3 * each:.1f} ms | {each / whole:.0%} |")
    known = {name: each for name, each in spent.items() if name in results}
    for name, each in collections.Counter(known).most_common(arguments.top):
        print(f"{1e3 * each:9.2f} ms  {name}  {results[name]}")


def _results(program: str) -> Iterator[tuple[str, str]]:
    """Yields each operation of a compiled program, and the type of its result."""
    for line in program.splitlines():
        if found := _INSTRUCTION.match(line):
            yield found[1], found[2]


def _kind(name: str, result: str) -> str:
    for kind, pattern in KINDS.items():
        if re.search(pattern, result if kind == "random bits" else name):
            return kind
    return REST


def _traced(once: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Returns the seconds of each operation in one repetition, by its name."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(repeats):
                once()
        (file,) = glob.glob(f"{folder}/**/*.trace.json.gz", recursive=True)
        with gzip.open(file) as stream:
            events = json.load(stream)["traceEvents"]
    spent: collections.Counter[str] = collections.Counter()
    for event in events:
        if event.get("ph") == "X":
            spent[event["name"]] += event["dur"] / 1e6 / repeats
    return dict(spent)


if __name__ == "__main__":
    main()
