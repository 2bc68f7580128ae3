"""Each thing that can be wrong is broken here, and its line and the exit code are looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest

from armillary.advice import install
from armillary.cli import doctor as command
from armillary.envs import rendering
from armillary.envs.rendering import Probe
from armillary.machine import checks, doctor, resources
from armillary.machine.checks import Check
from armillary.training import program_cache

EGL = Probe("egl", True, 0.004, device="Mesa: llvmpipe (LLVM 15)")
WARP = Probe("warp", True, 0.01, device="ray tracing on the CPU")
NO_EGL = Probe("egl", False, reason="the library libEGL was not found", advice="install libegl1")
NO_WARP = Probe("warp", False, reason="it crashed (SIGSEGV)", advice="reinstall mujoco-warp")

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def quick(monkeypatch):
    """Replaces what takes long: other processes, rendering, encoding."""
    monkeypatch.setattr(doctor, "check_jax", lambda: [Check("jax", "ok", "cpu: cpu")])
    monkeypatch.setattr(doctor, "check_simulator", lambda: Check("simulator", "ok", "stepped"))
    monkeypatch.setattr(doctor, "check_video", lambda: Check("video", "ok", "written"))
    monkeypatch.setattr(rendering, "probe", lambda: [EGL, WARP])
    monkeypatch.setattr(resources, "graphics_cards", list)
    monkeypatch.setattr(resources, "cpu_quota", lambda: None)


def statuses(found: list[Check]) -> list[tuple[str, str]]:
    return [(check.name, check.status) for check in found]


@pytest.mark.slow
def test_really_on_this_machine(tmp_path):
    script = "import sys; from armillary.cli.main import main; main(sys.argv[1:])"
    arguments = [sys.executable, "-c", script, "doctor", "--json"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.stdout.count("\n") == 1
    report = json.loads(done.stdout)
    found = {check["name"]: check for check in report["checks"]}
    assert done.returncode == (0 if report["can_train"] else 1)
    assert found["jax"]["facts"]["devices"]
    assert found["programs"]["facts"]["works"]
    assert found["packages"]["facts"]["numpy"] == __import__("numpy").__version__
    assert found["renderer warp"]["facts"]["frames_per_second"] > 1
    assert found["video"]["status"] == "ok"
    assert found["disk"]["facts"]["frames"] == found["disk"]["facts"]["free_bytes"] // 12288
    assert all(check["advice"] for check in report["checks"] if check["status"] != "ok")
    assert list(tmp_path.iterdir()) == []


def test_prints_a_line_for_each_and_advice_below(quick, monkeypatch, capsys):
    monkeypatch.setattr(rendering, "probe", lambda: [NO_EGL, WARP])
    assert command.run([]) == 0
    out = capsys.readouterr().out
    assert "warning  renderer egl     the library libEGL was not found\n" in out
    assert "-> install libegl1\n" in out
    assert "Training can work here" in out


def test_without_any_renderer_training_cannot_work(quick, monkeypatch, capsys):
    monkeypatch.setattr(rendering, "probe", lambda: [NO_EGL, NO_WARP])
    assert command.run(["--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["can_train"] is False
    failed = [check["name"] for check in report["checks"] if check["status"] == "failed"]
    assert failed == ["renderer egl", "renderer warp"]


def test_a_check_that_raises_does_not_end_the_others(quick, monkeypatch, tmp_path):
    def broken():
        print("noise")
        raise RuntimeError("on purpose")

    monkeypatch.setattr(doctor, "check_memory", broken)
    monkeypatch.setattr(doctor, "check_simulator", broken)
    found = {check.name: check for check in doctor.examine(tmp_path)}
    assert found["memory"].status == "warning"
    assert found["simulator"].status == "failed"
    assert found["simulator"].text == "RuntimeError: on purpose"
    assert found["video"].status == "ok"


def test_what_libraries_print_stays_out_of_the_json(quick, monkeypatch, capsys):
    def loud():
        print("noise")
        return Check("video", "ok", "written")

    monkeypatch.setattr(doctor, "check_video", loud)
    assert command.run(["--json"]) == 0
    captured = capsys.readouterr()
    json.loads(captured.out)
    assert "noise" in captured.err


def test_software_gl_is_named(quick, monkeypatch):
    egl, warp = doctor.check_rendering()
    assert egl.status == warp.status == "ok"
    assert "250 frames/s" in egl.text
    assert "software" in egl.text
    assert "software" not in warp.text
    monkeypatch.setattr(resources, "graphics_cards", lambda: ["NVIDIA H100"])
    egl, _ = doctor.check_rendering()
    assert egl.status == "warning"
    assert "NVIDIA_DRIVER_CAPABILITIES" in egl.advice


@pytest.mark.parametrize(
    ("platforms", "advice"), [(None, "--extra cuda"), ("cpu", "unset JAX_PLATFORMS")]
)
def test_an_idle_graphics_card(monkeypatch, platforms, advice):
    monkeypatch.setattr(resources, "graphics_cards", lambda: ["NVIDIA H100"])
    monkeypatch.setattr(doctor, "_JAX_TRIAL", 'print(\'{"backend": "cpu", "devices": []}\')')
    monkeypatch.setattr(doctor, "version_of", lambda name: None)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("UV", "/bin/uv")
    if platforms:
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
    jax, gpu = doctor.check_jax()
    assert (jax.status, gpu.status) == ("ok", "warning")
    assert "NVIDIA H100" in gpu.text
    assert advice in gpu.advice


@pytest.mark.parametrize("trial", ["raise OSError('no driver')", "import os; os.abort()"])
def test_a_broken_jax(monkeypatch, trial):
    monkeypatch.setattr(doctor, "_JAX_TRIAL", trial)
    (check,) = doctor.check_jax()
    assert check.status == "failed"
    assert check.text in ("OSError: no driver", "exit code -6")
    assert check.advice


def test_whether_compiled_programs_are_kept(monkeypatch, tmp_path):
    monkeypatch.delenv(program_cache.THEIRS)
    monkeypatch.setenv(program_cache.PLACE, str(tmp_path))
    folder = program_cache.place().folder
    folder.mkdir(parents=True)
    (folder / "jit_update-0-cache").write_bytes(bytes(3 * 2**20))
    check = doctor.check_programs(True)
    assert (check.status, check.text) == ("ok", f"3 MiB compiled in {folder}")
    assert check.facts == {"folder": str(folder), "bytes": 3 * 2**20, "works": True}
    check = doctor.check_programs(False)
    assert check.status == "warning"
    assert program_cache.PLACE in check.advice
    monkeypatch.setenv(program_cache.PLACE, "off")
    check = doctor.check_programs(False)
    assert (check.status, check.text) == ("ok", "not kept between starts: ARMILLARY_CACHE=off")


def test_compiled_programs_are_deleted_on_request(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv(program_cache.THEIRS)
    monkeypatch.setenv(program_cache.PLACE, str(tmp_path))
    (tmp_path / "programs" / "another-machine").mkdir(parents=True)
    (tmp_path / "programs" / "another-machine" / "a-cache").write_bytes(bytes(2**20))
    (tmp_path / "notes").touch()
    assert command.run(["--empty-cache"]) == 0
    assert "deleted 1 MiB of compiled programs" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_python_versions():
    assert checks.check_python().status == "ok"
    assert checks.check_python((3, 10)).status == "failed"
    assert checks.check_python((3, 14)).status == "failed"
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    (low, high) = checks.PYTHONS
    assert project["requires-python"] == f">={low[0]}.{low[1]},<{high[0]}.{high[1] + 1}"


def test_packages_missing_and_of_other_versions(monkeypatch):
    real = checks.version_of
    changed = {"optax": None, "rich": "99.0"}
    monkeypatch.setattr(
        checks, "version_of", lambda name: changed[name] if name in changed else real(name)
    )
    first, *wrong = checks.check_packages()
    assert "optax missing" in first.text
    assert statuses(wrong) == [("packages", "failed"), ("packages", "warning")]
    assert wrong[0].advice == install("optax<0.3,>=0.2.8")
    assert "rich 99.0" in wrong[1].text


def test_packages_here_are_right():
    assert statuses(checks.check_packages()) == [("packages", "ok")]


def test_missing_dm_control(monkeypatch):
    monkeypatch.setattr(doctor, "version_of", lambda name: None)
    check = doctor.check_simulator()
    assert check.status == "failed"
    assert "--no-deps" in check.advice
    project = tomllib.loads(Path("pyproject.toml").read_text())
    (required,) = [d for d in project["project"]["dependencies"] if d.startswith("dm_control")]
    assert required.split(";")[0] in check.advice


@pytest.mark.parametrize(
    ("cores", "status", "advice"),
    [
        (resources.Cores(8, 8, None), "ok", ""),
        (resources.Cores(8, 8, 2.0), "warning", "taskset -c 0-1"),
        (resources.Cores(8, 1, None), "warning", "allow"),
    ],
)
def test_cores(monkeypatch, cores, status, advice):
    monkeypatch.setattr(resources, "cores", lambda: cores)
    check = checks.check_cores()
    assert check.status == status
    assert advice in check.advice


def test_memory(monkeypatch):
    monkeypatch.setattr(resources, "memory", lambda: resources.Memory(2**34, 2**33, 2**33))
    assert checks.check_memory().status == "ok"
    assert "limited to 8.0 GiB" in checks.check_memory().text
    monkeypatch.setattr(resources, "memory", lambda: resources.Memory(2**34, 2**30, None))
    assert checks.check_memory().status == "warning"


@pytest.mark.parametrize(("free", "status"), [(2**34, "ok"), (2**29, "warning"), (2**20, "failed")])
def test_disk(monkeypatch, tmp_path, free, status):
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: Usage(free, 0, free))
    check = checks.check_disk(tmp_path)
    assert check.status == status
    assert check.facts["episodes"] == free // (251 * 64 * 64 * 3)


def test_folders_that_cannot_be_written(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    monkeypatch.setattr(checks.tempfile, "gettempdir", lambda: str(gone))
    temporary = checks.check_temporary()
    assert temporary.status == "failed"
    assert "TMPDIR" in temporary.advice
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: Usage(2**34, 0, 2**34))
    disk = checks.check_disk(gone)
    assert disk.status == "failed"
    assert "not writable" in disk.text


@pytest.mark.skipif(os.name != "posix", reason="a shell script stands for nvidia-smi")
def test_graphics_cards(monkeypatch, tmp_path):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'NVIDIA H100'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert resources.graphics_cards() == ["NVIDIA H100"]
