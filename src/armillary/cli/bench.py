"""`armillary bench`: what an agent costs on this machine."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from armillary.cli.options import is_game_of, parse
from armillary.cli.stdout import own_stdout, say, show
from armillary.config import Backend, Config, changed, flatten, planner_of, preset, to_dict
from armillary.errors import UsageError

QUICK = {
    "model.stochastic": 4,
    "model.deterministic": 8,
    "model.hidden": 8,
    "model.depth": 2,
    "objective.image_steps": None,
    "planner.horizon": 3,
    "planner.iterations": 2,
    "planner.candidates": 10,
    "planner.elites": 2,
    "behavior.horizon": 3,
    "behavior.hidden": 8,
    "network.hidden": 8,
    "network.channels": 2,
    "network.blocks": 1,
    "network.history": 2,
    "search.simulations": 3,
    "training.batch_size": 2,
    "training.chunk_length": 4,
}
"""What `--quick` changes, of the fields that the agent has."""

LABEL = 48
"""Characters of the first column."""


@dataclass(frozen=True)
class Arguments:
    """Measure an update, an action, rendering and the simulator on this machine.

    Rates stand beside the machine's own rate of matrix products, measured in the same run. Let
    nothing else run meanwhile; `taskset -c 0,1` in front limits it to two cores.
    """

    agent: str = "planet"
    """The agent: planet, dreamer, explorer or muzero."""
    preset: str = "paper"
    """Its size: small, medium or paper."""
    task: str | None = None
    """The task. Default: the preset's."""
    dynamics: Literal["rssm", "ssm", "rnn", "drnn"] | None = None
    """The transition model, of an agent that has one. Default: the preset's."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Of the products in the image networks, likewise."""
    act: Literal["policy", "plan"] | None = None
    """Who chooses the actions, of an agent that has the choice. Default: the preset's."""
    overshooting: int | None = None
    """D of latent overshooting (PlaNet, Eq. 7), likewise. Default: the preset's, 1."""
    simulators: tuple[str, ...] = ()
    """Tasks (`all`: PlaNet's six): measure nothing but planning with their true simulators."""
    repeats: int = 5
    """Repetitions of an update; the shorter things are repeated more often."""
    renderer: Backend = "auto"
    """Rendering back end. auto: the first that works."""
    every_renderer: bool = False
    """Measure every rendering back end that works here."""
    seeds: int = 0
    """Measure so many seeds as one, beside one by one (`armillary train --seeds`)."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""
    against: Path | None = None
    """An earlier report, as `--json` prints it: what has become slower or faster since."""
    quick: bool = False
    """A tiny agent, once: to see that everything works. The numbers mean nothing."""


def run(argv: list[str]) -> int:
    """Measures and prints the table."""
    arguments = parse(Arguments, argv, "armillary bench")
    if arguments.repeats < 1:
        raise UsageError(f"repeats is {arguments.repeats}, but it must be at least 1")
    if arguments.seeds < 0 or arguments.seeds == 1:
        raise UsageError(f"seeds is {arguments.seeds}, but it must be at least 2 (or 0: none)")
    config = _config(arguments)
    if arguments.against and arguments.simulators:
        raise UsageError("--against compares agents: leave --simulators out")
    if arguments.simulators:
        return _simulators(arguments, config)
    from armillary.machine.bench import measure
    from armillary.machine.comparison import check_same, compare, lines, read_report

    earlier = read_report(arguments.against) if arguments.against else None
    if earlier:  # before minutes of measuring
        of = {"agent": config.agent, "preset": config.preset, "task": config.task}
        check_same(earlier, of)
    with own_stdout() as out:
        report = measure(
            config,
            repeats=1 if arguments.quick else arguments.repeats,
            every_renderer=arguments.every_renderer,
            sizes=(256,) if arguments.quick else None,
            seeds=arguments.seeds,
            say=lambda text: say(f"measuring: {text}"),
        )
        changes = compare(report, earlier) if earlier else []
        if arguments.json:
            against = {"against": {c.name: c.as_dict() for c in changes}} if earlier else {}
            show(json.dumps(report | against), out)
            return 0
        show(table(report, config), out)
        if earlier:
            show(
                "\n".join([f"\nBeside {arguments.against}:", *lines(changes, report, earlier)]), out
            )
    return 0


def _simulators(arguments: Arguments, config: Config) -> int:
    from armillary.envs import PLANET
    from armillary.machine.bench import describe
    from armillary.machine.rollouts import measure_simulator

    planner = planner_of(config)
    if planner is None:
        raise UsageError(
            f"--simulators measures planning with the cross-entropy method, but {config.agent} "
            "does not plan so: leave --agent out"
        )
    repeats = 1 if arguments.quick else arguments.repeats
    tasks = PLANET if arguments.simulators == ("all",) else arguments.simulators
    with own_stdout() as out:
        reports = []
        for task in tasks:
            say(f"measuring: plan on the true simulator of {task}")
            reports.append(measure_simulator(task, planner, None, repeats))
        if arguments.json:
            show(json.dumps({"machine": describe(), "simulators": reports}), out)
            return 0
        for report in reports:
            show("\n".join([report["task"], *simulator_rows(report)]), out)
    return 0


def simulator_rows(report: dict[str, Any]) -> list[str]:
    """Returns the rows of a plan on the true simulator and of the simulation alone."""
    rate = f"{report['physics_steps_per_second']:,.0f} steps/s"
    ratio = f"{report['plan_over_rollout']:.2f} times"
    return [
        _row(f"true simulator, plan ({report['size']})", report["plan"], "", ratio),
        _row(f"  mujoco.rollout of it, {report['threads']} threads", report["rollout"], rate),
    ]


def seeds_rows(report: dict[str, Any], acting: str) -> list[str]:
    """Returns the rows of several seeds: one by one, and as one."""
    count, rows = report["count"], []
    for name, turns in (("update", report["update"]), (acting, report["action"])):
        if turns:
            rows += [
                _work(f"{name} of {count} seeds, one by one", turns["alone"]),
                _work(f"{name} of {count} seeds, as one", turns["together"]),
                f"  as one takes {turns['ratio']:.2f} of the time one by one, and "
                f"{turns['cpu_ratio']:.2f} of the processor's",
            ]
    return [*rows, f"  parameters after an update differ by {report['difference']:.1e} at most"]


def _config(arguments: Arguments) -> Config:
    config = preset(arguments.preset, arguments.agent, arguments.task, is_game_of(()))
    environment = dataclasses.replace(config.environment, renderer=arguments.renderer)
    config = dataclasses.replace(
        config, task=arguments.task or config.task, environment=environment
    )
    fields = flatten(to_dict(config))
    given = {
        "act": arguments.act,
        "model.dynamics": arguments.dynamics,
        "model.precision": arguments.precision,
        "objective.overshooting": arguments.overshooting,
    }
    given = {name: value for name, value in given.items() if value is not None}
    for name in given.keys() - fields.keys():
        raise UsageError(
            f"--{name.rpartition('.')[2]} is given, but {config.agent} has no {name}: leave it out"
        )
    config = changed(config, given)
    if not arguments.quick:
        return config
    return changed(config, {name: value for name, value in QUICK.items() if name in fields})


def table(report: dict[str, Any], config: Config) -> str:
    """Returns the report for people."""
    of, acting = report["machine"], report["acting"]
    cores = f"{of['cores']:g} of {of['cores_of_machine']} cores"
    processor = f"{of['processor'] or 'unknown processor'}, {cores}"
    device = processor if of["platform"] == "cpu" else f"{of['device']} ({processor})"
    rows = [
        f"armillary {of['armillary']}, jax {of['jax']}, {device}",
        f"{report['agent']}, preset {report['preset']}, {report['task']}: "
        f"{report['action_size']} actions, action repeat {report['action_repeat']}",
        "",
        f"{'':<{LABEL}}{'best':>11}{'median':>11}{'rate':>18}{'of matrix rate':>16}",
    ]
    for name, rate in report["matrix_gflop_per_second"].items():
        rows.append(_row(f"matrix product, {name}", None, f"{rate:,.0f} GFLOP/s"))
    at_once = report["episode"]["side_by_side"]
    sizes = [acting["size"]] * bool(acting["size"]) + [f"{at_once} at once"] * (at_once > 1)
    size = f"({', '.join(sizes)})" if sizes else ""
    if report["update"]:
        label = "update (B={}, L={})".format(*report["batch"])
        rows.append(_work(label, report["update"]))
    rows += [
        *(_work(f"  {name}", timing) for name, timing in report["parts"].items()),
        _work(f"{acting['name']} {size}".strip(), report[acting["name"]]),
    ]
    if report["seeds"]:
        rows += seeds_rows(report["seeds"], acting["name"])
    if report["simulator"]:
        rows += simulator_rows(report["simulator"])
    if "batch_to_device" in report:
        rows.append(_row("batch to the device", report["batch_to_device"]))
    for name, timing in report["rendering"].items():
        rows.append(_row(f"image, {name}", timing, f"{timing['per_second']:,.0f} frames/s"))
    step = report["environment_step"]
    label = f"environment step ({report['action_repeat']} simulator steps)"
    label += " and an image" if step["with_image"] else ""
    label = f"move in each of {step['at_once']} games" if step["at_once"] > 1 else label
    rows.append(_row(label, step, f"{step['simulator_steps_per_second']:,.0f} steps/s"))
    rows += report["renderers_that_do_not_work"].values()
    episode = report["episode"]
    what = "An episode of" if at_once == 1 else f"A round of {at_once} episodes of"
    rows += ["", f"{what} {episode['steps']} actions costs, by the median times:"]
    for name, part in episode["parts"].items():
        rows.append(
            f"  {part['count']:>5} {name:<18}{part['seconds']:>10.2f} s{part['percent']:>7.1f}%"
        )
    rows += [
        f"  {'together':<24}{episode['seconds']:>10.2f} s, so {episode['episodes']} episodes take "
        f"{_long(episode['run_hours'])}",
        "",
        f"Peak memory {report['peak_memory_bytes'] / 2**30:.2f} GiB"
        + _device_memory(report.get("peak_device_memory_bytes")),
    ]
    return "\n".join(rows)


def _work(name: str, timing: dict[str, Any]) -> str:
    """Returns the row of something whose operations are counted."""
    gflop = timing["gflop"]
    count = f"{gflop:,.1f} GFLOP" if gflop >= 0.1 else f"{1e3 * gflop:,.1f} MFLOP"
    count = count if gflop >= 1e-4 else f"{1e6 * gflop:,.1f} kFLOP"
    fraction = f"{100 * timing['fraction_of_matrix_rate']:.0f}%"
    rate = f"{timing['gflop_per_second']:,.{0 if timing['gflop_per_second'] >= 10 else 1}f} GFLOP/s"
    return _row(f"{name}, {count}", timing, rate, fraction)


def _row(
    label: str, timing: dict[str, Any] | None = None, rate: str = "", fraction: str = ""
) -> str:
    times = [_seconds(timing[key]) for key in ("best_seconds", "median_seconds")] if timing else []
    best, median = times or ("", "")
    return f"{label:<{LABEL}}{best:>11}{median:>11}{rate:>18}{fraction:>16}".rstrip()


def _long(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"


def _seconds(value: float) -> str:
    return f"{value:.3f} s" if value >= 1 else f"{1e3 * value:.3f} ms"


def _device_memory(size: int | None) -> str:
    return "" if size is None else f", on the device {size / 2**30:.2f} GiB"
