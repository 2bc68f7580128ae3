"""Videos of an agent at work, and pictures of what its model predicts."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from armillary.errors import UsageError
from armillary.files import storage_error, write_atomically


def write_video(
    path: str | os.PathLike[str],
    frames: UInt8[np.ndarray, "time height width 3"],
    fps: float,
    scale: int = 4,
) -> Path:
    """Writes an MP4 (H.264), or a GIF if the path says so.

    Args:
        path: ends in `.mp4` or `.gif`.
        frames: at least one picture.
        fps: frames per second; in a GIF at most 50.
        scale: each pixel becomes a square of this many (nearest neighbour).

    Returns:
        The path.

    Raises:
        UsageError: another ending, no frames or wrong shape, or no encoder on this machine.
        StorageError: the file could not be written.
    """
    path = Path(path)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise UsageError(
            f"a video needs uint8 frames of shape (T, H, W, 3), got {frames.dtype}"
            f"{list(frames.shape)}"
        )
    if fps <= 0 or scale < 1:
        raise UsageError(f"fps is {fps} and scale {scale}, but both must be greater than zero")
    if path.suffix.lower() not in (".mp4", ".gif"):
        raise UsageError(f"cannot write a video to {path}: its name must end in .mp4 or .gif")
    encode = _gif if path.suffix.lower() == ".gif" else _mp4
    content = encode(frames.repeat(scale, axis=1).repeat(scale, axis=2), fps)
    write_atomically(path, lambda file: file.write(content))
    return path


def difference(
    true: UInt8[np.ndarray, "*batch height width 3"],
    predicted: UInt8[np.ndarray, "*batch height width 3"],
) -> UInt8[np.ndarray, "*batch height width 3"]:
    """Returns the error of predicted pictures: grey where right, brighter where too bright.

    Raises:
        UsageError: the shapes differ.
    """
    if true.shape != predicted.shape or true.dtype != np.uint8 or predicted.dtype != np.uint8:
        raise UsageError(
            f"true frames are {true.dtype}{list(true.shape)} and predicted ones {predicted.dtype}"
            f"{list(predicted.shape)}: both must be uint8 of the same shape"
        )
    return ((predicted.astype(np.int16) - true + 255) // 2).astype(np.uint8)


def side_by_side(
    true: UInt8[np.ndarray, "time height width 3"],
    predicted: UInt8[np.ndarray, "time height width 3"],
    gap: int = 2,
) -> UInt8[np.ndarray, "time height wide 3"]:
    """Returns frames that show truth, model and difference from left to right.

    Raises:
        UsageError: the shapes differ.
    """
    error = difference(true, predicted)
    between = np.full((*true.shape[:2], gap, 3), 255, np.uint8)
    return np.concatenate([true, between, predicted, between, error], axis=2)


def strip(
    true: UInt8[np.ndarray, "time height width 3"],
    predicted: UInt8[np.ndarray, "time height width 3"],
    path: str | os.PathLike[str] | None = None,
    *,
    steps: Sequence[int] | None = None,
    context: int = 0,
) -> UInt8[np.ndarray, "high wide 3"]:
    """Draws true frames, predicted frames and their difference in three labelled rows.

    Args:
        true: what the environment showed.
        predicted: what the model decoded.
        path: a PNG to write.
        steps: which time steps become columns; None: ten, evenly spaced, the last one included.
        context: of the T frames the first this many were seen by the model, the others predicted
            from actions alone. A line is drawn between the two.

    Returns:
        The picture.

    Raises:
        UsageError: the shapes differ, or a step is outside the frames.
        StorageError: the file could not be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    error = difference(true, predicted)
    if steps is None:
        steps = sorted(set(np.linspace(0, len(true) - 1, 10).round().astype(int).tolist()))
    if not steps or min(steps) < 0 or max(steps) >= len(true):
        raise UsageError(f"steps {list(steps)} were asked for, but there are {len(true)} frames")
    columns = len(steps)
    figure = Figure(figsize=(1.0 + columns, 3.5), dpi=128, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    rows = (("truth", true), ("model", predicted), ("difference", error))
    axes = figure.subplots(3, columns, squeeze=False)
    figure.subplots_adjust(0.85 / (1 + columns), 0.01, 0.995, 0.9, wspace=0.04, hspace=0.04)
    for row, (name, frames) in enumerate(rows):
        for column, step in enumerate(steps):
            axis = axes[row, column]
            axis.imshow(frames[step], interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if row == 0:
                seen = step < context
                axis.set_title(f"t = {step}", fontsize=9, color="0.5" if seen else "black")
        axes[row, 0].set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")
    seen_columns = sum(step < context for step in steps)
    if 0 < seen_columns < columns:
        left, right = (axes[0, seen_columns + i].get_position() for i in (-1, 0))
        x = (left.x1 + right.x0) / 2
        bottom = axes[2, 0].get_position().y0
        figure.add_artist(Line2D([x, x], [bottom, 0.985], color="black", linewidth=1.2))
        figure.text(x + 0.004, 0.985, "predicted from here →", fontsize=8, ha="left", va="top")
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    if path is not None:
        write_atomically(path, lambda file: figure.savefig(file, format="png"))
    return picture


def _gif(frames: UInt8[np.ndarray, "time height width 3"], fps: float) -> bytes:
    import imageio.v3 as imageio

    duration = max(20, round(1000 / fps))
    return bytes(imageio.imwrite("<bytes>", frames, extension=".gif", duration=duration, loop=0))


def _mp4(frames: UInt8[np.ndarray, "time height width 3"], fps: float) -> bytes:
    import imageio_ffmpeg

    height, width = frames.shape[1:3]  # the encoder needs even sizes
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # JAX warns of every fork; the one that starts ffmpeg executes it at once.
        warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")
        file = Path(folder) / "video.mp4"
        try:
            writer = imageio_ffmpeg.write_frames(
                str(file),
                (frames.shape[2], frames.shape[1]),
                fps=fps,
                codec="libx264",
                quality=8,
                macro_block_size=2,
                output_params=["-movflags", "+faststart"],
            )
            writer.send(None)
            for frame in frames:
                writer.send(np.ascontiguousarray(frame))
            writer.close()
            return file.read_bytes()
        except OSError as error:
            raise storage_error(file, error) from error
        except RuntimeError as error:  # imageio-ffmpeg found no ffmpeg
            raise UsageError(
                f"no MP4 can be written here ({error}): write a .gif, or install ffmpeg"
            ) from error
