"""What is compiled is there at the next start, and no fault of the folder reaches a run."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

import settings
from armillary import load, seeding, train
from armillary.agents.registry import make_agent
from armillary.config import Config
from armillary.envs.build import spec_of
from armillary.training import program_cache, saving

HITS, ASKED = (f"/jax/compilation_cache/{x}" for x in ("cache_hits", "compile_requests_use_cache"))


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that has begun, and compiled something, before it is told to keep programs."""
    monkeypatch.delenv(program_cache.THEIRS)
    monkeypatch.setenv(program_cache.PLACE, str(tmp_path / "cache"))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    begin_again()
    jax.jit(lambda x: x * 3)(1.0)
    yield
    begin_again()
    for name, value in before.items():
        jax.config.update(name, value)


def begin_again() -> None:
    """Forgets what only this process knows."""
    jax.config.update("jax_compilation_cache_dir", None)
    jax.clear_caches()
    compilation_cache.reset_cache()
    program_cache.keep.cache_clear()


@pytest.fixture
def events() -> Iterator[Counter[str]]:
    """How often each of JAX's events has happened."""
    counted: Counter[str] = Counter()

    def count(event: str, **_: str | int) -> None:
        counted[event] += 1

    jax.monitoring.register_event_listener(count)
    yield counted
    jax.monitoring.unregister_event_listener(count)


def compute() -> tuple[float, float]:
    """Two programs, of which one is called like the other one's beginning."""
    x = jnp.arange(8.0)

    def total(x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(x) ** 2)

    def product(x: jax.Array) -> jax.Array:
        return jnp.prod(1 + x)

    return float(jax.jit(total)(x)), float(jax.jit(product)(x))


def entries() -> list[Path]:
    folder = program_cache.place().folder
    assert folder is not None
    return sorted(folder.glob("*-cache"))


@pytest.mark.slow
def test_a_second_start_compiles_nothing_and_learns_the_same(
    start: None, events: Counter[str], tmp_path: Path
) -> None:
    config = replace(settings.TINY_GAME, episodes=8)
    trained = []
    for name in ("first", "second"):
        begin_again()
        events.clear()
        train(config, tmp_path / name)
        trained.append(jax.device_get(load(tmp_path / name).state))
    assert events[ASKED] == events[HITS] > 5
    for one, other in zip(*map(jax.tree.leaves, trained), strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_can_be_switched_off(start: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(program_cache.PLACE, "off")
    program_cache.keep()
    assert jax.config.jax_compilation_cache_dir is None
    assert program_cache.empty() == (None, 0)


def test_who_has_told_jax_where_is_left_alone(
    start: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its variable, or in Python."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "a-cache").write_bytes(b"1")
    monkeypatch.setenv(program_cache.THEIRS, str(theirs))
    program_cache.keep()
    assert jax.config.jax_compilation_cache_dir is None  # set by JAX as it starts, not by us
    assert program_cache.place().folder == theirs
    assert program_cache.empty() == (None, 0)
    assert (theirs / "a-cache").exists()

    monkeypatch.delenv(program_cache.THEIRS)
    jax.config.update("jax_compilation_cache_dir", str(theirs))
    program_cache.keep.cache_clear()
    program_cache.keep()
    assert jax.config.jax_compilation_cache_dir == str(theirs)


def test_a_folder_that_cannot_be_written_is_said_once(
    start: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(program_cache.PLACE, str(tmp_path / "file"))
    program_cache.keep()
    program_cache.keep()
    compute()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{tmp_path / 'file'}" in record.message
    assert program_cache.PLACE in record.message


@pytest.mark.parametrize("damage", [b"", b"no program at all", None])
def test_damaged_programs_are_compiled_again_and_mended(
    start: None, events: Counter[str], caplog: pytest.LogCaptureFixture, damage: bytes | None
) -> None:
    program_cache.keep()
    expected = compute()
    assert len(entries()) >= 2
    for path in entries():
        path.write_bytes(path.read_bytes()[:-20] if damage is None else damage)
    begin_again()
    events.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program_cache.keep()
        assert compute() == expected
    assert not events[HITS]
    (record,) = caplog.records
    assert "could not be read and is compiled again" in record.message

    caplog.clear()
    begin_again()
    events.clear()
    program_cache.keep()
    assert compute() == expected
    assert events[HITS] == events[ASKED] >= 2
    assert not caplog.records


def test_a_full_disk_leaves_no_half_of_a_program(
    start: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    theirs = importlib.import_module("jax._src.path").Path  # of etils, where that is installed

    def full(path: Path, data: bytes) -> int:
        with Path(path).open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    program_cache.keep()
    monkeypatch.setattr(type(theirs(tmp_path)), "write_bytes", full)
    compute()
    assert entries() == []
    (record,) = caplog.records
    assert "could not be written" in record.message
    assert "No space left" in record.message


def test_other_warnings_are_shown_as_ever(start: None) -> None:
    shown: list[str] = []
    warnings.showwarning = lambda message, *_: shown.append(str(message))
    program_cache.keep()
    warnings.warn("another one", stacklevel=1)
    assert shown == ["another one"]


def test_the_longest_unused_go_first(tmp_path: Path) -> None:
    for name, used in (("old", 100), ("new", 300), ("middle", 200)):
        (tmp_path / "kind").mkdir(exist_ok=True)
        (tmp_path / "kind" / name).write_bytes(bytes(10))
        os.utime(tmp_path / "kind" / name, (used, 50))  # read, written
    assert program_cache.size(tmp_path) == 30
    program_cache.prune(tmp_path, 30)
    assert program_cache.size(tmp_path) == 30
    program_cache.prune(tmp_path, 29)
    assert {path.name for path in (tmp_path / "kind").iterdir()} == {"new", "middle"}
    program_cache.prune(tmp_path, 10)
    assert {path.name for path in (tmp_path / "kind").iterdir()} == {"new"}


def test_each_kind_of_machine_has_its_own_folder(
    start: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JAX's key has neither the number of cores nor, on a CPU, certainly its instructions."""
    here = program_cache.place().folder
    assert program_cache.place().folder == here
    with monkeypatch.context() as patch:
        patch.setattr(program_cache, "_processor", lambda: ["flags\t\t: fpu sse"])
        other = program_cache.place().folder
    with monkeypatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda pid: set(range(977)), raising=False)
        patch.setattr(os, "cpu_count", lambda: 977)
        larger = program_cache.place().folder
    assert len({here, other, larger}) == 3


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(program_cache.THEIRS)
    monkeypatch.delenv(program_cache.PLACE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for cache, root in (
        ("/somewhere", Path("/somewhere/armillary/programs")),
        ("relative", tmp_path / ".cache/armillary/programs"),  # the XDG rule: to be ignored
        ("", tmp_path / ".cache/armillary/programs"),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
        folder = program_cache.place().folder
        assert folder is not None
        assert folder.parent == root
    monkeypatch.setenv(program_cache.PLACE, "~/mine")
    folder = program_cache.place().folder
    assert folder is not None
    assert folder.parent == tmp_path / "mine" / "programs"


def test_emptying(start: None) -> None:
    program_cache.keep()
    compute()
    assert entries()
    root, count = program_cache.empty()
    assert root is not None
    assert count > 0
    assert not root.exists()


@pytest.mark.parametrize(
    "config", [settings.TINY, settings.TINY_MUZERO], ids=lambda config: config.agent
)
def test_first_parameters_are_those_of_the_whole_compiler(config: Config) -> None:
    agent = make_agent(config, spec_of(config.tasks, config.environment))
    key = seeding.key(0, "init")
    whole = jax.jit(agent.init, compiler_options={"xla_backend_optimization_level": 3})(key)
    for one, other in zip(
        jax.tree.leaves(whole), jax.tree.leaves(saving.init(agent, key)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
