"""Open-loop video predictions beside the truth (PlaNet, Figure 10; Dreamer, Figure 5)."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from armillary.dynamics.prediction import CONTEXT, LENGTH
from armillary.errors import UsageError
from armillary.files import write_atomically
from armillary.replay.episode import Episode
from armillary.replay.episodes import EpisodeStore
from armillary.studies.heldout import HELD_OUT, load_models, record, training_of
from armillary.studies.prediction import Comparison, compare, mean_training_image
from armillary.studies.quality import HIGHEST_PSNR, MEASURES
from armillary.studies.report import frames_per_second
from armillary.training.packed import refuse
from armillary.training.run import Run
from armillary.video import write_video

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 10
"""Predicted frames in a row of the picture, beside the context."""
_TITLES = {
    "mse": "mean squared error (of 255²)",
    "psnr": f"PSNR in dB (at most {HIGHEST_PSNR:g})",
    "ssim": "SSIM",
}
_BASELINE_STYLES = ((0, (5, 3)), (0, (1, 2)))


def run(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    labels: Sequence[str] | None = None,
    task: str | None = None,
    episodes: int = 10,
    shown: int = 3,
    context: int = CONTEXT,
    length: int = LENGTH,
    seed: int = 0,
    held_out: str | os.PathLike[str] | None = None,
    figure: int = 10,
    trust: bool = False,
    announce: Callable[[str], None] = lambda text: None,
) -> dict[str, Path]:
    """Compares what models predict from a few frames and the actions with what then happened.

    All models see the same stretches of the same episodes: those in `held_out`, or else episodes
    that the first run's agent plays with action noise, which are kept under `out`.

    Args:
        runs: run folders of one task, or one.
        out: folder to write into.
        labels: of the runs. None: the names of their dynamics.
        task: one that all runs learned; None: the first one of each.
        episodes: how many are judged by; a stretch of each.
        shown: how many of them are drawn.
        context: frames that the models see.
        length: frames in all, the context included; fewer if an episode is shorter.
        seed: of the episodes, the stretches and the sampled states.
        held_out: folder of episodes as a run keeps them, that no run was trained on.
        figure: the number that the files have.
        trust: whether code that a run folder names may be run (docs/trust.md).
        announce: is told what there is to play.

    Returns:
        `picture` (PNG: truth, then each model, for some episodes), `curves` (PNG: MSE, PSNR and
        SSIM at each step ahead), `video` (MP4) and `json`.

    Raises:
        UsageError: numbers out of range, runs of different tasks, or episodes too short or too few.
        RunError: a folder is not a run with a checkpoint.
        Stopped: by a signal; finished episodes are kept.
    """
    if min(episodes, shown, context) < 1 or length <= context:
        raise UsageError(
            f"episodes {episodes}, shown {shown} and context {context} must be at least 1, and "
            f"length {length} greater than the context"
        )
    out = Path(out)
    players = load_models(runs, labels, task=task, trust=trust)
    folders = [runs] if isinstance(runs, (str, os.PathLike)) else list(runs)
    refuse(str(folders[0]), "episodes, of which the first of several runs gives the mean image")
    first, player = Run(Path(folders[0])), next(iter(players.values()))
    task, tasks = player.task(task), player.config.tasks
    store = EpisodeStore(first.episodes)
    own = [i for i in store.indices if tasks[store.round_of(i) % len(tasks)] == task]
    mean_image = mean_training_image(store, own)
    if held_out is None:
        found = record(player, out / HELD_OUT, episodes, task=task, seed=seed, announce=announce)
        played = [recording.episode for recording in found]
    else:
        played = _stored(Path(held_out), episodes)
    comparison = compare(
        players, played, mean_image=mean_image, context=context, length=length, seed=seed
    )
    files = {
        "picture": out / f"figure{figure}.png",
        "curves": out / f"figure{figure}-quality.png",
        "video": out / f"figure{figure}.mp4",
        "json": out / f"figure{figure}.json",
    }
    draw_frames(comparison, files["picture"], shown)
    draw_quality(comparison, files["curves"])
    content: dict[str, Any] = {"figure": figure, "task": task, "seed": seed}
    content |= comparison.as_dict()
    for (label, model), folder in zip(players.items(), folders, strict=True):
        content["models"][label] |= {"run": str(folder), "trained": training_of(model)}
    text = json.dumps(content, indent=1).encode()
    write_atomically(files["json"], lambda file: file.write(text))
    fps = frames_per_second(player.config, task) / 2  # last: it needs ffmpeg
    write_video(files["video"], mosaic(comparison, shown), fps=fps, scale=1)
    return files


def draw_frames(comparison: Comparison, path: Path, shown: int = 3, columns: int = COLUMNS) -> Path:
    """Draws the context and some predicted frames: a block of rows for each episode.

    Args:
        comparison: what was predicted.
        path: a PNG.
        shown: how many episodes.
        columns: predicted frames, evenly spaced, the first and the last among them.
    """
    from matplotlib.figure import Figure

    context, time = comparison.context, comparison.true.shape[1]
    ahead = np.unique(np.linspace(context, time - 1, columns).round().astype(int))
    chosen = [*range(max(0, context - CONTEXT), context), *map(int, ahead)]
    rows = {"truth": comparison.true, **comparison.models}
    shown = min(shown, len(comparison.true))
    size, gap = comparison.true.shape[2], 3
    cell = size + gap
    line = sum(t < context for t in chosen) * cell + gap  # a wider gap after the context
    block = len(rows) * cell + 2 * gap
    wide, high = len(chosen) * cell + gap, shown * block - 2 * gap
    canvas = np.full((high, wide, 3), 255, np.uint8)
    places: list[tuple[float, str]] = []
    for episode in range(shown):
        for row, (label, frames) in enumerate(rows.items()):
            top = episode * block + row * cell
            places.append((top + size / 2, label))
            for column, t in enumerate(chosen):
                left = column * cell + (gap if t >= context else 0)
                canvas[top : top + size, left : left + size] = frames[episode, t]
    scale = 1 / 64
    figure = Figure(figsize=(wide * scale + 1.3, high * scale + 0.7), dpi=128, facecolor="white")
    axis = figure.add_axes(
        (
            1.2 / figure.get_figwidth(),
            0.1 / figure.get_figheight(),
            wide * scale / figure.get_figwidth(),
            high * scale / figure.get_figheight(),
        )
    )
    axis.imshow(canvas, interpolation="nearest", extent=(0, wide, high, 0), aspect="auto")
    axis.axvline(line - gap / 2, color="black", linewidth=1)
    names = [textwrap.fill(label, 17) for _, label in places]
    axis.set_yticks([y for y, _ in places], names, fontsize=8)
    lefts = [i * cell + (gap if t >= context else 0) + size / 2 for i, t in enumerate(chosen)]
    axis.set_xticks(lefts, [f"{t + 1}" for t in chosen], fontsize=8)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.text(0, -0.32 * size, "seen", fontsize=8, va="bottom")
    axis.text(line, -0.32 * size, "predicted from the actions alone →", fontsize=8, va="bottom")
    write_atomically(path, lambda file: figure.savefig(file, format="png"))
    return path


def draw_quality(comparison: Comparison, path: Path) -> Path:
    """Draws MSE, PSNR and SSIM against steps ahead, the mean over episodes.

    Of up to three models also the percentiles 5 to 95; of more they would hide each other. The
    baselines begin with the first predicted frame.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.1), dpi=128, layout="constrained", facecolor="white")
    axes: Any = figure.subplots(1, len(MEASURES))
    for axis, measure in zip(axes, MEASURES, strict=True):
        _curves(axis, comparison, measure)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=6, fontsize=9, edgecolor="none")
    drawn = "mean and percentiles 5 to 95" if _with_bands(comparison) else "mean"
    count = len(comparison.true)
    figure.suptitle(f"Open-loop prediction: {drawn} over {count} held-out episodes", fontsize=10)
    write_atomically(path, lambda file: figure.savefig(file, format="png"))
    return path


def _with_bands(comparison: Comparison) -> bool:
    return len(comparison.models) <= 3


def _curves(axis: Axes, comparison: Comparison, measure: str) -> None:
    steps, context = comparison.steps, comparison.context
    for number, label in enumerate(comparison.models):
        values = comparison.quality[label][measure]
        axis.plot(steps, values.mean(0), color=f"C{number}", linewidth=2, label=label)
        if _with_bands(comparison):
            low, high = np.percentile(values, (5, 95), axis=0)
            axis.fill_between(steps, low, high, color=f"C{number}", alpha=0.15, linewidth=0)
    for label, style in zip(comparison.baselines, _BASELINE_STYLES, strict=True):
        values = comparison.quality[label][measure][:, context:].mean(0)
        axis.plot(steps[context:], values, color="0.3", linestyle=style, label=label)
    axis.axvspan(steps[0], 0.5, color="0.93", zorder=0, linewidth=0)
    axis.set_xlim(steps[0], steps[-1])
    axis.set_xlabel("steps ahead (0 and below: seen)", fontsize=9)
    axis.set_title(_TITLES[measure], fontsize=10)
    if measure == "mse":
        axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)


def mosaic(
    comparison: Comparison, shown: int = 3, scale: int = 2
) -> UInt8[np.ndarray, "time high wide 3"]:
    """Returns frames of a video: a row for the truth and each model, a column for each episode.

    A bar above the models' frames is grey while they see, and red while they predict.
    """
    rows = {"truth": comparison.true, **comparison.models}
    shown, time = min(shown, len(comparison.true)), comparison.true.shape[1]
    bar = np.full((time, 4, scale * 64 * shown, 3), 255, np.uint8)
    seen = np.arange(time)[:, None, None] < comparison.context
    marked = np.broadcast_to(np.where(seen[..., None], (170, 170, 170), (220, 40, 40)), bar.shape)
    bands = []
    for label, frames in rows.items():
        wide = np.concatenate(list(frames[:shown]), axis=2)
        wide = wide.repeat(scale, axis=1).repeat(scale, axis=2)
        above = bar if label == "truth" else marked.astype(np.uint8)
        band = np.concatenate([above, wide], axis=1)
        bands.append(np.concatenate([_text(label, band.shape[:2]), band], axis=2))
    return np.concatenate(bands, axis=1)


def _text(text: str, shape: tuple[int, int], wide: int = 96) -> UInt8[np.ndarray, "time high 96 3"]:
    """Returns a white column with a line of text, for each frame."""
    from PIL import Image, ImageDraw

    time, high = shape
    image = Image.new("RGB", (wide, high), "white")
    ImageDraw.Draw(image).text((6, high // 2 - 6), text[:15], fill="black")
    return np.broadcast_to(np.asarray(image), (time, high, wide, 3))


def _stored(folder: Path, count: int) -> list[Episode]:
    """Returns the first episodes of a folder.

    Raises:
        UsageError: there are not so many.
    """
    indices = EpisodeStore(folder).indices[:count] if folder.is_dir() else []
    if len(indices) < count:
        raise UsageError(
            f"{str(folder)!r} holds {len(indices)} episodes, but {count} were asked for: ask for "
            "fewer, or give another folder of held-out episodes"
        )
    return [EpisodeStore(folder).load(index) for index in indices]
