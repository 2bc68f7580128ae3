"""What is logged can be read by others, and a resumed run's log is that of one run."""

import io
import json
import os
import re
import struct
import sys
import time
import types

import imageio.v3 as imageio
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from armillary.advice import extra
from armillary.errors import StorageError, UsageError
from armillary.training.logger import Logger


def counters(step: int) -> dict:
    return {
        "episode": step // 10,
        "environment_steps": step,
        "updates": 2 * step,
        "seconds": step / 4,
    }


def rows(folder) -> list[dict]:
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def events(folder) -> list[Event]:
    """Reads TFRecord files: length, its checksum, the record, its checksum."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir()):  # as TensorBoard does
        content = io.BytesIO(path.read_bytes())
        while header := content.read(12):
            (length,) = struct.unpack("<Q4x", header)
            found.append(Event.FromString(content.read(length)))
            content.read(4)
    return found


def scalars_in(folder) -> dict[str, list[tuple[int, float]]]:
    """The scalars as TensorBoard shows them: a START forgets what came from its step on."""
    shown: dict[str, list[tuple[int, float]]] = {}
    for event in events(folder):
        if event.session_log.status == SessionLog.START:
            for tag, points in shown.items():
                shown[tag] = [point for point in points if point[0] < event.step]
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                shown.setdefault(value.tag, []).append((event.step, value.simple_value))
    return shown


def test_scalars_reach_both(tmp_path):
    with Logger(tmp_path) as logger:
        logger.scalars(counters(10), {"loss/image": np.float32(0.5), "collect/return": 3})
        logger.scalars(counters(20), {"loss/image": jnp.float32(0.25), "evaluate/scores": [1, 2.5]})
        assert len(rows(tmp_path)) == 2  # written at once, not when closed
    assert rows(tmp_path) == [
        counters(10) | {"loss/image": 0.5, "collect/return": 3},
        counters(20) | {"loss/image": 0.25, "evaluate/scores": [1, 2.5]},
    ]
    assert scalars_in(tmp_path) == {
        "loss/image": [(10, 0.5), (20, 0.25)],
        "collect/return": [(10, 3)],
    }


def test_nan_and_infinity_are_valid_json(tmp_path):
    values = {"a": float("nan"), "b": jnp.inf, "c": np.array([1.0, -np.inf]), "d": [np.nan, 2]}
    with Logger(tmp_path) as logger:
        logger.scalars(counters(1), values)
    assert rows(tmp_path) == [
        counters(1) | {"a": None, "b": None, "c": [1.0, None], "d": [None, 2]}
    ]
    assert np.isnan(scalars_in(tmp_path)["a"][0][1])


def test_a_resumed_log_is_that_of_one_run(tmp_path):
    for folder in (tmp_path / "whole", tmp_path / "resumed"):
        folder.mkdir()
    with Logger(tmp_path / "whole") as logger:
        for step in range(0, 100, 10):
            logger.scalars(counters(step), {"loss/total": step + 0.5})

    logger = Logger(tmp_path / "resumed")
    for step in range(0, 70, 10):
        logger.scalars(counters(step), {"loss/total": step + 0.5 if step < 50 else -1.0})
        if step == 40:
            position = json.loads(json.dumps(logger.position))
    with open(tmp_path / "resumed" / "metrics.jsonl", "ab") as file:
        file.write(b'{"episode": 7, "envir')  # killed in the middle of a line
    with Logger(tmp_path / "resumed", position) as logger:
        assert logger.position == position
        for step in range(50, 100, 10):
            logger.scalars(counters(step), {"loss/total": step + 0.5})

    whole, resumed = (
        (tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "resumed")
    )
    assert whole == resumed
    assert scalars_in(tmp_path / "whole") == scalars_in(tmp_path / "resumed")


@pytest.mark.parametrize("damage", ["zeros", "cut", "gone", "changed"])
def test_rows_that_a_checkpoint_knows_are_written_again(tmp_path, caplog, damage):
    path = tmp_path / "metrics.jsonl"
    with Logger(tmp_path) as logger:
        for step in range(3):
            logger.scalars(counters(step), {"x": step})
    whole, position = path.read_bytes(), json.loads(json.dumps(logger.position))
    if damage == "gone":
        path.unlink()
    else:
        changed = {"zeros": bytes(len(whole)), "cut": whole[:20], "changed": b"9" + whole[1:]}
        path.write_bytes(changed[damage])
    Logger(tmp_path, position).close()
    assert path.read_bytes() == whole
    assert f"{path} was changed or is missing: its 3 rows" in caplog.text


def test_rows_that_an_older_checkpoint_only_counts_are_missed(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    with Logger(tmp_path) as logger:
        for step in range(3):
            logger.scalars(counters(step), {"x": step})
    position = {n: v for n, v in logger.position.items() if n != "metrics"}
    Logger(tmp_path, position).close()
    assert not caplog.records
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\xff" * (len(lines[1]) - 1) + b"\n" + lines[2])
    Logger(tmp_path, position).close()
    assert f"{path} has lost rows" in caplog.text
    assert [row["environment_steps"] for row in rows(tmp_path)] == [0, 2]


def test_event_files_are_in_order_whatever_the_clock_says(tmp_path, monkeypatch):
    older = tmp_path / "tensorboard" / "events.out.tfevents.1700000000.host.1700000000000000000"
    older.parent.mkdir()
    older.touch()
    position = None
    for number, clock in enumerate((1.8e9, 1.6e9, 1.7e9)):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        with Logger(tmp_path, position) as logger:
            logger.scalars(counters(number), {"x": number})
        position = logger.position
    assert min((tmp_path / "tensorboard").iterdir()) == older
    assert scalars_in(tmp_path) == {"x": [(0, 0), (1, 1), (2, 2)]}


def test_each_row_is_synchronised_to_the_disk(tmp_path, monkeypatch):
    synchronised = []
    with Logger(tmp_path) as logger:
        number = logger._lines.fileno()
        monkeypatch.setattr(os, "fsync", synchronised.append)
        logger.scalars(counters(0), {"x": 1})
        assert number in synchronised


def test_a_run_without_a_checkpoint_begins_its_log_again(tmp_path):
    for value in (1.0, 2.0):
        with Logger(tmp_path) as logger:
            logger.scalars(counters(0), {"x": value})
    assert rows(tmp_path) == [counters(0) | {"x": 2.0}]
    assert scalars_in(tmp_path) == {"x": [(0, 2.0)]}


def test_a_log_that_lost_its_end_has_it_again(tmp_path, caplog):
    with Logger(tmp_path) as logger:
        logger.scalars(counters(0), {"x": 1.0})
        logger.scalars(counters(1), {"x": 1.0})
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    with Logger(tmp_path, logger.position) as again:
        again.scalars(counters(2), {"x": 3.0})
    assert "its 2 rows until the last checkpoint are written again" in caplog.text
    assert [row["environment_steps"] for row in rows(tmp_path)] == [0, 1, 2]


def test_pictures_and_videos(tmp_path):
    rng = np.random.default_rng(0)
    picture = rng.integers(256, size=(20, 30, 3), dtype=np.uint8)
    frames = np.zeros((7, 16, 24, 3), np.uint8)
    frames[np.arange(7), :, np.arange(7)] = 255
    with Logger(tmp_path) as logger:
        logger.image("strip", picture, 5)
        logger.video("agent", frames, 6, fps=10)
    found = {
        value.tag: (e.step, value.image) for e in events(tmp_path) for value in e.summary.value
    }
    step, image = found["strip"]
    assert step == 5
    np.testing.assert_array_equal(imageio.imread(image.encoded_image_string), picture)
    step, video = found["agent"]
    assert (step, video.height, video.width) == (6, 16, 24)
    np.testing.assert_array_equal(imageio.imread(video.encoded_image_string, index=...), frames)
    metadata = imageio.immeta(video.encoded_image_string, extension=".gif")
    assert metadata["duration"] == 100
    assert metadata["loop"] == 0


def test_no_space(tmp_path, monkeypatch):
    logger = Logger(tmp_path)
    logger.scalars(counters(0), {"x": 1.0})
    position = logger.position
    logger._lines.close()
    logger._lines = open("/dev/full", "ab", buffering=0)  # noqa: SIM115
    with pytest.raises(StorageError, match=r"metrics\.jsonl: No space left on device"):
        logger.scalars(counters(1), {"x": 1.0})
    assert logger.position == position
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="could not write"):
        Logger(tmp_path / "file")


def test_weights_and_biases(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match=re.escape(f"not installed: `{extra('wandb')}`")):
        Logger(tmp_path, wandb="planets")
    calls = []
    run = types.SimpleNamespace(
        log=lambda values, step: calls.append((step, values)), finish=lambda: calls.append("finish")
    )
    module = types.ModuleType("wandb")
    module.init = lambda **arguments: calls.append(arguments) or run
    monkeypatch.setitem(sys.modules, "wandb", module)
    with Logger(tmp_path, wandb="planets", config={"seed": 1}) as logger:
        logger.scalars(counters(4), {"x": np.float32(1.5), "many": [1, 2]})
    assert calls[0]["project"] == "planets"
    assert calls[0]["config"] == {"seed": 1}
    assert calls[1:] == [(4, counters(4) | {"x": 1.5}), "finish"]
