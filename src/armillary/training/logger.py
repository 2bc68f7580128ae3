"""What a run writes down: `metrics.jsonl` and TensorBoard."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from armillary.advice import extra
from armillary.errors import UsageError
from armillary.files import open_regular, parse_json, storage_error, write_atomically

log = logging.getLogger(__name__)


class Logger:
    """Appends scalars to `metrics.jsonl` and scalars, pictures and videos to TensorBoard.

    The JSON lines are synchronised to the disk one by one. TensorBoard's x-axis is environment
    (simulator) steps. A resumed run hands in the `position` that its checkpoint recorded: lines
    after it are cut off, lines before it that are no longer there are written again, with a
    warning, and TensorBoard is told to forget what came after it, because the run will log it
    again.

    Args:
        folder: the run folder; the event files go to its subfolder `tensorboard`.
        resume_at: `position` as it was when the checkpoint was saved. None: from the beginning.
        wandb: a project of Weights & Biases to which the scalars are mirrored, if any.
        config: the configuration that Weights & Biases shows.

    Raises:
        StorageError: the files cannot be written.
        UsageError: `wandb` is asked for but not installed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        resume_at: Mapping[str, Any] | None = None,
        *,
        wandb: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        from tensorboardX.event_file_writer import EventsWriter  # writes at once, in this thread

        folder = Path(folder)
        self._wandb = _start_wandb(wandb, folder, config or {}) if wandb else None
        self._path = folder / "metrics.jsonl"
        self._events_folder = folder / "tensorboard"
        try:
            self._events_folder.mkdir(parents=True, exist_ok=True)
            earlier = self._earlier()
            self._text = bytearray(_kept(self._path, earlier, resume_at))
            if earlier is None or not earlier.startswith(self._text):
                write_atomically(self._path, lambda file: file.write(self._text))
            self._lines = open(self._path, "ab")  # noqa: SIM115 (closed by `close`)
            self._lines.truncate(len(self._text))
            self._events = EventsWriter(str(self._events_folder / _next(self._events_folder)))
        except OSError as error:
            raise storage_error(folder, error) from error
        self._step = resume_at["environment_steps"] if resume_at else 0
        if resume_at or earlier:
            self._purge(self._step + 1 if resume_at else 0)

    def _earlier(self) -> bytes | None:
        try:
            with open_regular(self._path) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def scalars(self, counters: Mapping[str, float], values: Mapping[str, Any]) -> None:
        """Logs values at one moment of the run.

        Args:
            counters: `episode`, `environment_steps`, `updates` and `seconds` since the run began.
            values: numbers, arrays or lists of them by name (`loss/image`). NaN and infinities
                become null in the JSON line; only single numbers go to TensorBoard.

        Raises:
            StorageError: a file could not be written.
        """
        from tensorboardX.proto.summary_pb2 import Summary

        row = {name: _plain(value) for name, value in {**counters, **values}.items()}
        line = json.dumps(row, allow_nan=False).encode() + b"\n"
        try:
            self._lines.write(line)
            self._lines.flush()
            os.fsync(self._lines.fileno())
        except OSError as error:
            raise storage_error(self._path, error) from error
        self._text += line
        self._step = int(counters["environment_steps"])
        single = {name: value for name, value in values.items() if np.ndim(value) == 0}
        summary = Summary(
            value=[Summary.Value(tag=name, simple_value=float(v)) for name, v in single.items()]
        )
        self._write(summary, self._step)
        if self._wandb:
            numbers = {name: float(value) for name, value in single.items()}
            self._wandb.log({**counters, **numbers}, step=self._step)

    def image(self, name: str, image: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Logs a picture at an environment step.

        Raises:
            StorageError: it could not be written.
        """
        from tensorboardX.summary import image as make_image

        self._write(make_image(name, np.asarray(image), dataformats="HWC"), step)

    def video(
        self,
        name: str,
        frames: UInt8[np.ndarray, "time height width 3"],
        step: int,
        fps: float = 20.0,
    ) -> None:
        """Logs a video (as TensorBoard shows it: a GIF) at an environment step.

        Args:
            name: the tag.
            frames: the pictures.
            step: the environment step.
            fps: frames per second, at most 50 in a GIF.

        Raises:
            StorageError: it could not be written.
        """
        import imageio.v3 as imageio
        from tensorboardX.proto.summary_pb2 import Summary

        _, height, width, _ = frames.shape
        duration = max(20, round(1000 / fps))
        gif = imageio.imwrite("<bytes>", frames, extension=".gif", duration=duration, loop=0)
        picture = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=bytes(gif)
        )
        self._write(Summary(value=[Summary.Value(tag=name, image=picture)]), step)

    @property
    def position(self) -> dict[str, int | str]:
        """Where the log ends now and what it says until there, for a checkpoint to record."""
        return {
            "metrics_bytes": len(self._text),
            "environment_steps": self._step,
            "metrics": self._text.decode(),
        }

    def close(self) -> None:
        """Ends the files.

        Raises:
            StorageError: what was still to be written could not be.
        """
        try:
            self._lines.close()
            self._events.close()
        except OSError as error:
            raise storage_error(self._path.parent, error) from error
        if self._wandb:
            self._wandb.finish()

    def __enter__(self) -> Logger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _purge(self, step: int) -> None:
        """Tells TensorBoard that everything from `step` on is logged anew."""
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._write_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def _write(self, summary: Any, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._write_event(Event(step=int(step), summary=summary))

    def _write_event(self, event: Any) -> None:
        event.wall_time = time.time()
        try:
            self._events.write_event(event)
            self._events.flush()
        except OSError as error:
            raise storage_error(self._events_folder, error) from error


def _kept(path: Path, earlier: bytes | None, resume_at: Mapping[str, Any] | None) -> bytes:
    """Returns the lines with which the log of a resumed run begins; warns if they were not there.

    They are in the position; in that of an older version there is only their length.
    """
    if resume_at is None:
        return b""
    earlier = earlier or b""
    if "metrics" in resume_at:
        kept = str(resume_at["metrics"]).encode()
        if not earlier.startswith(kept):
            log.warning(
                "%s was changed or is missing: its %d rows until the last checkpoint are written "
                "again from there",
                path,
                kept.count(b"\n"),
            )
        return kept
    lines = earlier[: resume_at["metrics_bytes"]].splitlines(keepends=True)
    kept = b"".join(line for line in lines if line.endswith(b"\n") and _is_json(line))
    if len(kept) < resume_at["metrics_bytes"]:
        log.warning(
            "%s has lost rows: %d of %d bytes until the last checkpoint are left, and the learning "
            "curve will lack the others",
            path,
            len(kept),
            resume_at["metrics_bytes"],
        )
    return kept


def _is_json(line: bytes) -> bool:
    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def _next(folder: Path) -> str:
    """Returns how the next event file begins: TensorBoard reads them in the order of their names.

    The rest of a name is the time, but a clock may be set back. `events.run` comes after the
    `events.out` of older versions.
    """
    matches = (re.match(r"events\.run-(\d+)\.", path.name) for path in folder.iterdir())
    number = max((int(match[1]) for match in matches if match), default=0) + 1
    return f"events.run-{number:06d}"


def _plain(value: Any) -> Any:
    """Returns a value that JSON can hold: numbers and nested lists of them, null for NaN."""
    if isinstance(value, str | None):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if not isinstance(value, bool | int | float):
        return _plain(np.asarray(value).tolist())
    return value if math.isfinite(value) else None


def _start_wandb(project: str, folder: Path, config: Mapping[str, Any]) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise UsageError(
            "Weights & Biases was asked for but is not installed: "
            f"`{extra('wandb')}`, or leave it out"
        ) from error
    path = str(folder.resolve())
    return wandb.init(
        project=project,
        name=folder.name,
        id=f"{folder.name}-{zlib.crc32(path.encode()):08x}",
        dir=path,
        config=dict(config),
        resume="allow",
    )
