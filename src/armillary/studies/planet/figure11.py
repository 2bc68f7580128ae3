"""Open-loop state diagnostics beside the truth (PlaNet, Appendix I, Figure 11)."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from armillary.dynamics.prediction import CONTEXT, LENGTH
from armillary.dynamics.world_model import WorldModel
from armillary.errors import UsageError
from armillary.files import write_atomically
from armillary.studies.heldout import HELD_OUT, load_models, record, training_of, world_model_config
from armillary.studies.planet.diagnostics import Diagnosis, diagnose
from armillary.studies.planet.probes import ProbeConfig
from armillary.studies.states import ReadState
from armillary.training.player import Player

_COLUMNS = 4


def run(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    labels: Sequence[str] | None = None,
    task: str | None = None,
    train_episodes: int = 10,
    test_episodes: int = 5,
    context: int = CONTEXT,
    length: int = LENGTH,
    seed: int = 0,
    state: ReadState | None = None,
    probe: ProbeConfig | None = None,
    trust: bool = False,
    announce: Callable[[str], None] = lambda text: None,
) -> dict[str, Path]:
    """Shows how well the simulator's state can be told from what models imagine.

    The first run's agent plays the episodes, with action noise and seeds of their own; they are
    kept under `out`. All models are looked into on the same ones.

    Args:
        runs: run folders of one task, or one.
        out: folder to write into.
        labels: of the runs. None: the names of their dynamics.
        task: one that all runs learned; None: the first one of each.
        train_episodes: from whose posterior states the probes learn.
        test_episodes: others, cut into stretches of `length`.
        context: rows that a model sees at the beginning of a stretch.
        length: rows of a stretch, the context included; fewer if an episode is shorter.
        seed: of the episodes, the sampled states and the probes.
        state: returns the state of an environment (as `make` returns it), where it is not of the
            control suite and gives no `info["state"]`: numbers and vectors by name. The part of a
            name before a slash groups the quantities, as in `position/left knee`.
        probe: settings of the small networks.
        trust: whether code that a run folder names may be run (docs/trust.md).
        announce: is told what there is to play and to fit.

    Returns:
        `picture` (PNG: a panel for each quantity, the truth and what is told of a held-out
        stretch), `errors` (PNG: R^2 and error at each step ahead) and `json`.

    Raises:
        UsageError: numbers out of range, runs of different tasks, a model without latent states, or
            an environment that does not tell its state.
        RunError: a folder is not a run with a checkpoint.
        Stopped: by a signal; finished episodes are kept.
    """
    if min(train_episodes, test_episodes, context) < 1 or length <= context:
        raise UsageError(
            f"train_episodes {train_episodes}, test_episodes {test_episodes} and context {context} "
            f"must be at least 1, and length {length} greater than the context"
        )
    out, probe = Path(out), probe or ProbeConfig()
    players = load_models(runs, labels, task=task, trust=trust)
    models = {label: world_model(player) for label, player in players.items()}
    folders = [runs] if isinstance(runs, (str, os.PathLike)) else list(runs)
    first = next(iter(players.values()))
    recordings = record(
        first,
        out / HELD_OUT,
        train_episodes + test_episodes,
        task=task,
        seed=seed,
        state=state,
        needs_state=True,
        announce=announce,
    )
    found: dict[str, Diagnosis] = {}
    for label, model in models.items():
        announce(f"fitting probes to {label}")
        found[label] = diagnose(
            model,
            world_model_config(players[label]).objective.bits,
            recordings[:train_episodes],
            recordings[train_episodes:],
            context=context,
            length=length,
            seed=seed,
            config=probe,
        )
    files = {
        "picture": out / "figure11.png",
        "errors": out / "figure11-errors.png",
        "json": out / "figure11.json",
    }
    draw_curves(found, files["picture"])
    draw_errors(found, files["errors"])
    content = {
        "figure": 11,
        "task": first.task(task),
        "seed": seed,
        "train_episodes": train_episodes,
        "test_episodes": test_episodes,
        "probe": asdict(probe),
        **as_dict(found),
    }
    for (label, player), folder in zip(players.items(), folders, strict=True):
        content["models"][label] |= {"run": str(folder), "trained": training_of(player)}
    text = json.dumps(content, indent=1).encode()
    write_atomically(files["json"], lambda file: file.write(text))
    return files


def world_model(player: Player) -> WorldModel:
    """Returns an agent's world model.

    Raises:
        UsageError: it has none.
    """
    model = getattr(player.state, "model", None)
    if not isinstance(model, WorldModel):
        raise UsageError(
            f"the agent {player.config.agent!r} has no latent dynamics model to look into: give "
            "the run of one that has, such as planet"
        )
    return model


def as_dict(found: dict[str, Diagnosis]) -> dict[str, Any]:
    """Returns what the probes told, ready for JSON."""
    first = next(iter(found.values()))
    stretches, time = first.true.shape[:2]
    return {
        "conventions": {
            "error": "root mean squared over stretches, in standard deviations of the quantity",
            "r2": "1 - squared error / squared error of the training mean",
            "steps": "1 is the first imagined row",
        },
        "context": first.context,
        "stretches": stretches,
        "steps": list(range(1, time - first.context + 1)),
        "models": {label: {"quantities": d.as_dict()} for label, d in found.items()},
    }


def draw_curves(found: dict[str, Diagnosis], path: Path, stretch: int = 0) -> Path:
    """Draws each quantity of one held-out stretch: the truth, what is told, the training mean.

    The shaded part is what the model sees.
    """
    from matplotlib.figure import Figure

    first = next(iter(found.values()))
    count, time = len(first.names), first.true.shape[1]
    rows = -(-count // _COLUMNS)
    size = (3.1 * _COLUMNS, 1.75 * rows + 1.0)
    figure = Figure(figsize=size, dpi=110, layout="constrained", facecolor="white")
    axes: Any = figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True)
    ahead = np.arange(time) - first.context + 1
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    for number, (axis, name) in enumerate(zip(axes.flat, first.names, strict=False)):
        axis.plot(ahead, first.true[stretch, :, number], color="black", linewidth=2, label="truth")
        for color, (label, diagnosis) in enumerate(found.items()):
            values = diagnosis.predicted[stretch, :, number]
            axis.plot(ahead, values, color=f"C{color}", linewidth=1.4, label=label)
        axis.axhline(
            first.mean[number], color="0.5", linestyle=(0, (4, 3)), linewidth=1,
            label="training mean",
        )  # fmt: skip
        axis.axvspan(ahead[0], 0.5, color="0.93", zorder=0, linewidth=0)
        scores = ", ".join(f"{d.overall_r2()[number]:.2f}" for d in found.values())
        axis.set_title(f"{name.replace('/', ': ')}   R² {scores}", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.set_xlim(ahead[0], ahead[-1])
        axis.spines[["top", "right"]].set_visible(False)
        if number >= count - _COLUMNS:
            axis.set_xlabel("steps ahead (0 and below: seen)", fontsize=7)
            axis.tick_params(labelbottom=True)
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=6, fontsize=9, edgecolor="none")
    write_atomically(path, lambda file: figure.savefig(file, format="png"))
    return path


def draw_errors(found: dict[str, Diagnosis], path: Path) -> Path:
    """Draws R^2 (above) and the error (below) at each step ahead, a column for each group.

    The thick line is the median over the group's quantities, a thin one a quantity.
    """
    from matplotlib.figure import Figure

    first = next(iter(found.values()))
    groups = list(dict.fromkeys(name.partition("/")[0] for name in first.names))
    size = (3.6 * len(groups) + 0.6, 6.2)
    figure = Figure(figsize=size, dpi=110, layout="constrained", facecolor="white")
    axes: Any = figure.subplots(2, len(groups), squeeze=False, sharex=True, sharey="row")
    steps = np.arange(1, first.true.shape[1] - first.context + 1)
    for column, group in enumerate(groups):
        members = [i for i, name in enumerate(first.names) if name.partition("/")[0] == group]
        for color, (label, diagnosis) in enumerate(found.items()):
            for row, values in enumerate((diagnosis.r2(), diagnosis.error())):
                axis, own = axes[row, column], values[:, members]
                if len(members) > 1:
                    axis.plot(steps, own, color=f"C{color}", linewidth=0.6, alpha=0.45)
                axis.plot(steps, _median(own), color=f"C{color}", linewidth=2.2, label=label)
        base = _median(first.error(baseline=True)[:, members])
        style = {"color": "0.3", "linestyle": (0, (4, 3)), "label": "training mean"}
        axes[0, column].axhline(0, **style)
        axes[1, column].plot(steps, base, **style)
        many = f" ({len(members)})" if len(members) > 1 else ""
        axes[0, column].set_title(f"{group}{many}", fontsize=10)
        axes[1, column].set_xlabel("steps ahead", fontsize=9)
    axes[0, 0].set_ylim(-1, 1.02)
    axes[0, 0].set_ylabel("R²", fontsize=9)
    axes[1, 0].set_ylim(bottom=0)
    axes[1, 0].set_ylabel("error in standard deviations", fontsize=9)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=6, fontsize=9, edgecolor="none")
    write_atomically(path, lambda file: figure.savefig(file, format="png"))
    return path


def _median(values: np.ndarray) -> np.ndarray:
    """Returns the median over quantities, NaN where none of them varied."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        return np.nanmedian(values, axis=1)
