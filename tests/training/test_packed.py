"""The file of a packed agent, as it is and as somebody with bad intentions would make it."""

from __future__ import annotations

import hashlib
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load as tensors_of
from safetensors.numpy import save as tensors_from

from armillary.agents.registry import make_agent
from armillary.errors import ArmillaryError, RunError, UsageError
from armillary.spec import Spec
from armillary.training import packed
from armillary.training.packing import pack
from armillary.training.sources import opened
from folders import untrained
from settings import TINY_GAME

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound packed agent of a few kilobytes."""
    folder = tmp_path_factory.mktemp("packed")
    return pack(untrained(TINY_GAME, folder / "run", shaken=0.5), folder / "agent.armillary")


def read(path: Path) -> Any:
    """Reads all there is of an agent; returns its parameters."""
    source = opened(path)
    agent = make_agent(source.config, Spec.from_dict(source.counters.spec))
    _ = source.results, source.evaluation, source.made
    return source.restore(agent)[0]


def members(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def forge(
    path: Path,
    content: Members,
    manifest: Callable[[dict[str, Any]], object] = lambda values: None,
    how: int = zipfile.ZIP_STORED,
) -> Path:
    """Writes members with checksums that fit, as an attacker would."""
    values = json.loads(content[packed.MANIFEST])
    values["files"] = {
        name: {"sha256": hashlib.sha256(text).hexdigest(), "bytes": len(text)}
        for name, text in content.items()
        if name != packed.MANIFEST
    }
    manifest(values)
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, text in {**content, packed.MANIFEST: json.dumps(values).encode()}.items():
            archive.writestr(name, text)
    return path


def test_a_forger_can_make_a_sound_one(file: Path, tmp_path: Path) -> None:
    """Or else the tests below would show nothing."""
    forged = forge(tmp_path / "x.armillary", members(file))
    np.testing.assert_array_equal(
        *(
            np.concatenate([np.ravel(x) for x in jax.tree.leaves(read(path))])
            for path in (file, forged)
        )
    )


def test_damage_is_told_or_harmless(file: Path, tmp_path: Path) -> None:
    """Bits turned and ends cut off, most where the archive and its members begin and end."""
    content, sound = file.read_bytes(), jax.tree.leaves(read(file))
    damaged, draw, told = tmp_path / "damaged.armillary", random.Random(0), 0
    for number in range(120):
        near = (len(content), 900, 3000)[number % 3]
        place = draw.randrange(near)
        place = len(content) - 1 - place if number % 2 else place
        turned = bytes([content[place] ^ 1 << draw.randrange(8)])
        cut = content[:place] if number % 5 == 0 else content[:place] + turned
        damaged.write_bytes(cut if number % 5 == 0 else cut + content[place + 1 :])
        try:
            found = jax.tree.leaves(read(damaged))
        except RunError:
            told += 1
        else:
            assert all(np.array_equal(a, b) for a, b in zip(sound, found, strict=True))
    assert told > 80


def _config(content: Members, **changes: Any) -> Members:
    values = json.loads(content[packed.CONFIG])
    values["config"]["network"] |= changes
    return content | {packed.CONFIG: json.dumps(values).encode()}


def _weights(content: Members, change: Callable[[dict[str, Any]], object]) -> Members:
    tensors = tensors_of(content[packed.WEIGHTS])
    change(tensors)
    return content | {packed.WEIGHTS: tensors_from(tensors)}


def _first(tensors: dict[str, Any]) -> str:
    return min(name for name in tensors if tensors[name].dtype == np.float32)


def _as_half(tensors: dict[str, Any]) -> None:
    name = _first(tensors)
    tensors[name] = tensors[name].astype(np.float16)
    tensors["filler"] = np.zeros(tensors[name].nbytes, np.uint8)


FORGERIES: dict[str, tuple[Callable[[Members], Members], str]] = {
    "a path out of it": (lambda c: c | {"../../evil.py": b"1"}, "'../../evil.py', which is no"),
    "an absolute path": (lambda c: c | {"/tmp/evil": b"1"}, "no part of one"),
    "no weights": (lambda c: _without(c, packed.WEIGHTS), "has no weights.safetensors"),
    "no card": (lambda c: _without(c, packed.CARD), "has no README.md"),
    "a card of megabytes": (lambda c: c | {packed.CARD: b" " * (2**20 + 1)}, "1,048,577 bytes"),
    "deep JSON": (lambda c: c | {packed.COUNTERS: b"[" * 10**5}, "too deeply nested"),
    "no JSON": (lambda c: c | {packed.CONFIG: b"{"}, "damaged"),
    "a list": (lambda c: c | {packed.CONFIG: b"[1]"}, "damaged"),
    "no configuration": (lambda c: c | {packed.CONFIG: b'{"format": 3, "config": 1}'}, "no dict"),
    "no counters": (lambda c: c | {packed.COUNTERS: b"{}"}, "missing: spec"),
    "no results": (lambda c: c | {packed.RESULTS: b"[]"}, "holds no results"),
    "no scores": (lambda c: c | {packed.EVALUATION: b"7"}, "holds no scores"),
    "no tensors": (lambda c: c | {packed.WEIGHTS: bytes(len(c[packed.WEIGHTS]))}, "damaged"),
    "more than the model has": (
        lambda c: _weights(c, lambda t: t.update(more=np.zeros(2**19, np.float32))),
        "the weights have 2,",
    ),
    "less": (lambda c: _weights(c, lambda t: t.pop(_first(t))), "missing, where the model"),
    "hardly any": (lambda c: _weights(c, lambda t: t.clear()), "the weights have 16 bytes"),
    "a larger model": (lambda c: _config(c, hidden=10**6), "those of this model"),
    "another model": (lambda c: _config(c, state=9), "damaged"),
    "other types": (lambda c: _weights(c, _as_half), r"float16\[.*where the model has float32"),
    "other names": (
        lambda c: _weights(c, lambda t: t.update(other=t.pop(_first(t)))),
        "is missing, where the model has",
    ),
}


def _without(content: Members, name: str) -> Members:
    return {key: text for key, text in content.items() if key != name}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_refused(file: Path, tmp_path: Path, name: str) -> None:
    change, words = FORGERIES[name]
    forged = forge(tmp_path / "forged.armillary", change(members(file)))
    with pytest.raises(RunError, match=words):
        read(forged)
    assert {path.name for path in tmp_path.iterdir()} == {"forged.armillary"}


def test_a_bomb_does_not_go_off(file: Path, tmp_path: Path) -> None:
    """Nothing that grows when it is read is read, however well its checksum fits."""
    content = members(file) | {packed.CARD: bytes(2**20)}
    forged = forge(tmp_path / "bomb.armillary", content, how=zipfile.ZIP_DEFLATED)
    assert forged.stat().st_size < 2**16
    with pytest.raises(RunError, match="not stored as it is"):
        read(forged)


def test_a_member_twice_is_refused(file: Path, tmp_path: Path) -> None:
    forged = forge(tmp_path / "twice.armillary", members(file))
    with zipfile.ZipFile(forged, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(packed.CONFIG, b"{}")
    with pytest.raises(RunError, match=r"config\.json is there twice"):
        read(forged)


def test_a_wrong_checksum_is_told(file: Path, tmp_path: Path) -> None:
    def lie(values: dict[str, Any]) -> None:
        values["files"][packed.WEIGHTS]["sha256"] = "0" * 64

    with pytest.raises(RunError, match=r"weights\.safetensors has another checksum"):
        read(forge(tmp_path / "x.armillary", members(file), lie))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": packed.FORMAT + 1, "version": "9.9"}, "by armillary 9.9.*newer.*upgrade"),
        ({"kind": "recipe"}, "of another kind, 'recipe'"),
        ({"format": "x"}, "upgrade"),
        ({"files": {}}, "not those that its manifest lists"),
        ({"made": []}, "how it was made"),
    ],
)
def test_another_kind_or_a_newer_one(
    file: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(RunError, match=words):
        read(forge(tmp_path / "x.armillary", members(file), lambda values: values.update(change)))


def test_other_files_are_told_apart(tmp_path: Path, file: Path) -> None:
    other = tmp_path / "x.armillary"
    with pytest.raises(RunError, match=r"there is no .*x\.armillary"):
        opened(other)
    other.write_bytes(b"armillary-checkpoint 00")
    with pytest.raises(RunError, match="is a checkpoint of a run: give the run's folder"):
        opened(other)
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("photo.jpg", b"1")
    with pytest.raises(RunError, match=r"has no manifest\.json"):
        opened(other)
    for content in (b"", b"PK\3\4", b"hello", bytes(10**5)):
        other.write_bytes(content)
        with pytest.raises(RunError, match="is no packed agent, or damaged"):
            opened(other)
    renamed = tmp_path / "a.zip"  # by what is in it
    renamed.write_bytes(file.read_bytes())
    assert read(renamed) is not None


def test_what_is_there_is_not_overwritten(tmp_path: Path, file: Path) -> None:
    for name, words in (("notes.txt", "must end in"), ("notes.armillary", "no packed agent")):
        notes = tmp_path / name
        notes.write_text("precious")
        with pytest.raises(UsageError, match=words):
            pack(file, notes)
        assert notes.read_text() == "precious"
    (tmp_path / "dir.armillary").mkdir()
    with pytest.raises(ArmillaryError):
        pack(file, tmp_path / "dir.armillary")
    copy = pack(file, tmp_path / "agent.armillary")
    assert pack(file, copy).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("where", "name", "beside"),
    [
        ("runs/a", "a", "runs/a/x.png"),
        ("runs/a/", "a", "runs/a/x.png"),
        ("b.armillary", "b", "b-x.png"),
        ("sub/b.armillary", "b", "b-x.png"),
        ("demo:c", "c", "c-x.png"),
        ("hf:me/d", "d", "d-x.png"),
        ("hf:me/d@v1", "d", "d-x.png"),
    ],
)
def test_names(where: str, name: str, beside: str) -> None:
    assert packed.name_of(where) == name
    assert packed.beside(where, "x.png") == Path(beside)
    assert packed.is_packed(where) == ("/x" not in beside)
