"""A checkpoint restores every bit, or says clearly why not."""

import hashlib
import io
import json
import os
import subprocess
import sys
import textwrap
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from armillary.errors import RunError, StorageError
from armillary.training import checkpoint


def make(seed: int = 0, width: int = 4) -> dict:
    model = eqx.nn.MLP(3, 2, width, 2, key=jax.random.key(seed))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    return {
        "model": model,
        "optimizer": optimizer.init(eqx.filter(model, eqx.is_array)),
        "half": jnp.arange(5, dtype=jnp.bfloat16) / (3 + seed),
        "special": jnp.array([jnp.nan, jnp.inf, -0.0, 1e-42 * seed]),
        "numpy": np.random.default_rng(seed).normal(size=3),
        "number": 0.1 + seed,
        "count": 2**40 + seed,
        "flag": seed == 0,
    }


def bits(tree) -> list:
    leaves = jax.tree.leaves(tree)
    return [
        (type(leaf), np.asarray(leaf).dtype, np.shape(leaf), np.asarray(leaf).tobytes())
        for leaf in leaves
        if eqx.is_array_like(leaf)
    ]


def test_every_bit_comes_back(tmp_path):
    tree, meta = make(1), {"updates": 12, "seconds": 1 / 3, "config": {"task": "a-b"}}
    path = checkpoint.save(tmp_path, tree, meta)
    like = make(0)
    assert bits(like) != bits(tree)
    for source in (tmp_path, path, str(path)):
        loaded, found = checkpoint.load(source, like)
        assert found == meta
        assert bits(loaded) == bits(tree)
        assert jax.tree.structure(loaded) == jax.tree.structure(like)
    assert checkpoint.read_meta(tmp_path) == meta
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(loaded["model"](x), tree["model"](x))


def test_shapes_are_enough_to_load_into(tmp_path):
    model = make(1)["model"]
    checkpoint.save(tmp_path, model, {})
    like = eqx.filter_eval_shape(lambda: eqx.nn.MLP(3, 2, 4, 2, key=jax.random.key(0)))
    loaded, _ = checkpoint.load(tmp_path, like)
    assert bits(loaded) == bits(model)


def test_another_process_restores_it(tmp_path):
    tree = make(1)["model"]
    checkpoint.save(tmp_path, tree, {"updates": 1})
    program = """
        import sys, equinox as eqx, jax, numpy as np
        from armillary.training import checkpoint
        model, meta = checkpoint.load(sys.argv[1], eqx.nn.MLP(3, 2, 4, 2, key=jax.random.key(9)))
        assert meta == {"updates": 1}
        sys.stdout.buffer.write(b"".join(np.asarray(a).tobytes() for a in jax.tree.leaves(eqx.filter(model, eqx.is_array))))
    """  # noqa: E501
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    arrays = jax.tree.leaves(eqx.filter(tree, eqx.is_array))
    assert output == b"".join(np.asarray(array).tobytes() for array in arrays)


def test_the_last_two_are_kept(tmp_path):
    for number in range(5):
        checkpoint.save(tmp_path, make(number), {"number": number})
    names = sorted(os.listdir(tmp_path))
    assert names == ["checkpoint-000003.armillary", "checkpoint-000004.armillary"]
    assert checkpoint.read_meta(tmp_path) == {"number": 4}


@pytest.mark.parametrize("damage", ["cut", "empty", "header", "payload", "digest"])
def test_a_damaged_newest_falls_back_with_its_name(tmp_path, caplog, damage):
    for number in range(2):
        path = checkpoint.save(tmp_path, make(number), {"number": number})
    content = bytearray(path.read_bytes())
    if damage in ("cut", "empty"):
        content = content[: len(content) // 2 if damage == "cut" else 0]
    else:
        place = {"header": content.index(b'"number": 1') + 10, "payload": -5, "digest": 30}[damage]
        content[place] ^= 1
    path.write_bytes(content)
    tree, meta = checkpoint.load(tmp_path, make(7))
    assert meta == {"number": 0}
    assert bits(tree) == bits(make(0))
    assert str(path) in caplog.text
    assert len(caplog.records) == 1
    checkpoint.save(tmp_path, make(2), {"number": 2})  # the sound one must outlive the damaged
    assert [checkpoint.read_meta(tmp_path / n)["number"] for n in sorted(os.listdir(tmp_path))] == [
        0,
        2,
    ]


def _forged(line: bytes, payload: bytes = b"") -> bytes:
    body = line + b"\n" + payload
    return b"armillary-checkpoint " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _hostile_array() -> bytes:
    """A leaf that promises an exabyte."""
    file = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**58,)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"5",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"format": null, "meta": {}, "leaves": []}',
        b'{"format": "1", "meta": {}, "leaves": []}',
        b'{"format": 1, "meta": [], "leaves": []}',
        b'{"format": 1, "meta": {}, "leaves": null}',
        b'{"format": 1, "meta": {}, "leaves": [5]}',
        b'{"format": 1, "meta": {}}',
    ],
)
def test_what_is_malformed_behind_a_right_checksum_is_passed_over(tmp_path, caplog, line):
    checkpoint.save(tmp_path, make(1), {"number": 1})
    path = tmp_path / "checkpoint-000009.armillary"
    path.write_bytes(_forged(line))
    assert checkpoint.load(tmp_path, make(0))[1] == {"number": 1}
    assert f"{path} is damaged" in caplog.text


@pytest.mark.parametrize("payload", [b"", b"nothing", _hostile_array()])
def test_a_payload_malformed_behind_a_right_checksum_is_passed_over(tmp_path, caplog, payload):
    line = checkpoint.save(tmp_path, make(1), {"number": 1}).read_bytes().split(b"\n", 2)[1]
    path = tmp_path / "checkpoint-000009.armillary"
    path.write_bytes(_forged(line, payload))
    tree, meta = checkpoint.load(tmp_path, make(0))
    assert (meta, bits(tree)) == ({"number": 1}, bits(make(1)))
    assert f"{path} is damaged" in caplog.text


@pytest.mark.parametrize("kind", ["folder", "dangling link", "endless device", "pipe"])
def test_what_is_no_file_hides_no_sound_checkpoint(tmp_path, caplog, kind):
    checkpoint.save(tmp_path, make(1), {"number": 1})
    path = tmp_path / "checkpoint-000009.armillary"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "endless device" else tmp_path / "nowhere")
    assert checkpoint.load(tmp_path, make(0))[1] == {"number": 1}
    assert str(path) in caplog.text
    checkpoint.save(tmp_path, make(2), {"number": 2})
    assert sorted(os.listdir(tmp_path)) == [
        "checkpoint-000000.armillary",
        "checkpoint-000010.armillary",
    ]


def test_a_folder_that_is_a_file_does_not_count_as_empty(tmp_path):
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(RunError, match="cannot be read"):
        checkpoint.exists(tmp_path / "checkpoints")


def test_nothing_sound_is_left(tmp_path):
    for number in range(2):
        checkpoint.save(tmp_path, make(number), {}).write_bytes(b"nothing")
    for number in range(2):
        (tmp_path / f"checkpoint-{number:06d}.armillary").write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"no sound checkpoint.*000001.*000000"):
        checkpoint.load(tmp_path, make())


def test_there_is_none(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert not checkpoint.exists(folder)
        with pytest.raises(RunError, match="there is no checkpoint in"):
            checkpoint.load(folder, make())


def test_another_model_is_named(tmp_path):
    checkpoint.save(tmp_path, make(0), {})
    with pytest.raises(RunError, match=r"float32 \[4, 3\] where .* float32 \[8, 3\] was expected"):
        checkpoint.load(tmp_path, make(0, width=8))
    with pytest.raises(RunError, match=r"nothing where \['unknown'\]"):
        checkpoint.load(tmp_path, make(0) | {"unknown": jnp.zeros(2)})
    with pytest.raises(RunError, match=r"\['special'\].* where nothing"):
        checkpoint.load(tmp_path, {k: v for k, v in make(0).items() if k != "special"})
    with pytest.raises(RunError, match=r"bfloat16 \[5\] where \['half'\] float32"):
        checkpoint.load(tmp_path, make(0) | {"half": jnp.zeros(5)})


def test_a_newer_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    monkeypatch.setattr(checkpoint, "__version__", "99.1")
    checkpoint.save(tmp_path, make(0), {})
    monkeypatch.undo()
    with pytest.raises(RunError, match=r"written by armillary 99\.1, this is .*: upgrade"):
        checkpoint.load(tmp_path, make(0))


def test_a_failed_save_loses_nothing(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, make(1), {"number": 1})
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(StorageError, match="No space"):
        checkpoint.save(tmp_path, make(2), {"number": 2})
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["checkpoint-000000.armillary"]
    assert checkpoint.load(tmp_path, make(0))[1] == {"number": 1}
    with pytest.raises(TypeError):
        checkpoint.save(tmp_path, make(2), {"not json": object()})
    assert os.listdir(tmp_path) == ["checkpoint-000000.armillary"]


def test_the_header_can_be_read_with_a_pager(tmp_path):
    lines = checkpoint.save(tmp_path, make(1), {"updates": 3}).read_bytes().split(b"\n", 2)
    assert lines[0].startswith(b"armillary-checkpoint ")
    assert json.loads(lines[1])["meta"] == {"updates": 3}


def test_a_checkpoint_that_vanishes_while_it_is_read(tmp_path, monkeypatch):
    """A training that goes on has replaced both files since they were listed."""
    paths = [checkpoint.save(tmp_path, make(n), {"number": n}) for n in range(2)]
    listings = iter([[tmp_path / "checkpoint-000009.armillary"], paths[::-1]])
    monkeypatch.setattr(checkpoint, "_list", lambda folder: next(listings))
    assert checkpoint.read_meta(tmp_path) == {"number": 1}


def test_a_reader_never_meets_half_a_checkpoint(tmp_path, caplog):
    """One process saves without pause and is killed; this one reads all the while."""
    program = """
        import sys, numpy as np
        from armillary.training import checkpoint
        for n in range(10**6):
            checkpoint.save(sys.argv[1], np.full(300_000, n, np.int64), {"number": n})
            print(n, flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    child.stdout.readline()
    end = time.time() + 2
    while time.time() < end:
        array, meta = checkpoint.load(tmp_path, np.zeros(300_000, np.int64))
        assert (array == meta["number"]).all()
    child.kill()
    child.wait()
    child.stdout.close()
    array, meta = checkpoint.load(tmp_path, np.zeros(300_000, np.int64))
    assert (array == meta["number"]).all()
    assert meta["number"] > 3
    assert not caplog.records
