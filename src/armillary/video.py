"""Videos of an agent at work, and pictures of what its model predicts."""

from __future__ import annotations

import errno
import os
import signal
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from armillary.advice import install
from armillary.config import Config
from armillary.envs.catalogue import action_repeat
from armillary.errors import EncodingError, UsageError
from armillary.files import write_atomically

_ENCODING_SECONDS = 1800.0
"""After which an encoder that has not ended is taken for one that hangs."""


def frames_per_second(config: Config, task: str | None = None) -> float:
    """Returns the rate at which the control suite is shown at about its true speed."""
    repeat = config.environment.action_repeat or action_repeat(task or config.tasks[0])
    return max(10.0, 100.0 / repeat)


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
        UsageError: another ending, no frames or wrong shape.
        EncodingError: there is no working encoder on this machine.
        StorageError: the file could not be written. Whatever fails, an older file stays.
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
    scaled = frames if scale == 1 else frames.repeat(scale, axis=1).repeat(scale, axis=2)
    write_atomically(path, lambda file: encode(scaled, fps, file))
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


def comparison(
    true: UInt8[np.ndarray, "time height width 3"],
    predicted: UInt8[np.ndarray, "time height width 3"],
    context: int,
    scale: int = 4,
) -> UInt8[np.ndarray, "time high wide 3"]:
    """Returns `side_by_side` enlarged, with a line of labels above each frame.

    Args:
        true: what the environment showed.
        predicted: what the model decoded.
        context: the first this many frames were seen by the model; the labels say so.
        scale: each pixel becomes a square of this many.

    Raises:
        UsageError: the shapes differ.
    """
    frames = side_by_side(true, predicted).repeat(scale, axis=1).repeat(scale, axis=2)
    wide, third = frames.shape[2], true.shape[2] * scale
    labelled = []
    for step, frame in enumerate(frames):
        texts = (f"truth, t = {step}", SEES if step < context else DREAMS, "difference")
        labelled.append(np.concatenate([labels(texts, third, wide), frame]))
    return np.stack(labelled)


SEES, DREAMS = "model, sees the truth", "model, predicts"
"""What stands above what a model decodes."""


def labels(texts: Sequence[str], column: int, wide: int) -> UInt8[np.ndarray, "high wide 3"]:
    """Draws a line of labels to stand above pictures; `DREAMS` is bold.

    Args:
        texts: one for each picture.
        column: pixels that a picture is wide.
        wide: pixels of the whole line, so that the last picture ends where it does.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide / 128, 36 / 128), dpi=128, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    for number, text in enumerate(texts):
        middle = (column / 2 + number * (wide - column) / max(1, len(texts) - 1)) / wide
        bold = "bold" if text == DREAMS else "normal"
        figure.text(middle, 0.5, text, ha="center", va="center", fontsize=9, weight=bold)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :wide, :3].copy()


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


def _gif(frames: UInt8[np.ndarray, "time height width 3"], fps: float, file: BinaryIO) -> None:
    import imageio.v3 as imageio

    duration = max(20, round(1000 / fps))
    file.write(imageio.imwrite("<bytes>", frames, extension=".gif", duration=duration, loop=0))


def _mp4(frames: UInt8[np.ndarray, "time height width 3"], fps: float, file: BinaryIO) -> None:
    """Lets ffmpeg write into the open file, by its name, and makes sure that it did.

    The encoder goes back to the beginning of what it writes, so a pipe will not do. Nothing goes to
    a folder for temporary files, which may be full or missing.
    """
    height, width = frames.shape[1:3]  # the encoder needs even sizes
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", f"{fps:.6g}", "-i", "-"]
    coded = ["-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "10", "-v", "error"]
    target = ["-f", "mp4", "-movflags", "+faststart", "-y", f"file:{file.name}"]
    try:
        done = subprocess.run(
            [_ffmpeg(), *raw, *coded, *target],
            input=np.ascontiguousarray(frames).data,
            capture_output=True,
            timeout=_ENCODING_SECONDS,
            process_group=0,  # Ctrl-C is for this process, which then ends that one
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise _encoding_error(str(error)) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        if done.returncode == -signal.SIGXFSZ:
            said = os.strerror(errno.EFBIG)
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            if os.strerror(number) in said:
                raise OSError(number, os.strerror(number))
        last = said.splitlines()[-1][:300] if said else "it said nothing"
        raise _encoding_error(f"ffmpeg ended with {done.returncode}: {last}")
    written = _frames_in(Path(file.name).read_bytes())
    if written != len(frames):
        raise _encoding_error(f"ffmpeg wrote {written} of {len(frames)} frames")


def _ffmpeg() -> str:
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise _encoding_error(str(error)) from error


def _encoding_error(reason: str) -> EncodingError:
    exe = os.environ.get("IMAGEIO_FFMPEG_EXE")
    advice = (
        f"unset IMAGEIO_FFMPEG_EXE, which is {exe!r}, or let it name an ffmpeg with libx264"
        if exe
        else f"`{install('--force-reinstall', 'imageio-ffmpeg')}`, or install ffmpeg"
    )
    return EncodingError(
        f"no MP4 can be written here ({reason.rstrip('.')})",
        f"{advice}; or write a .gif, which needs none",
    )


def _frames_in(content: bytes) -> int:
    """Returns how many frames an MP4 with one track has: 0 unless all of its boxes are whole."""
    boxes, at = {}, 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        if size == 1 and at + 16 <= len(content):  # a size of 64 bits follows
            (size,) = struct.unpack_from(">Q", content, at + 8)
        if size < 8:
            return 0
        boxes[kind] = content[at : at + size]
        at += size
    _, found, sizes = boxes.get(b"moov", b"").partition(b"stsz")
    if at != len(content) or not found or b"mdat" not in boxes or len(sizes) < 12:
        return 0
    return int(struct.unpack_from(">I", sizes, 8)[0])
