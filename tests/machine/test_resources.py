"""Limits of control groups, read from folders made here as the kernel makes them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from armillary.machine import resources


@pytest.fixture
def make(tmp_path: Path):
    """Writes a tree of files and returns the folders of the control groups and of processes."""

    def write(groups: str, files: dict[str, str]) -> tuple[Path, Path]:
        root, proc = tmp_path / "cgroup", tmp_path / "proc"
        files = {f"cgroup/{name}": text for name, text in files.items()}
        for name, text in (files | {"proc/self/cgroup": groups}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text + "\n")
        root.mkdir(exist_ok=True)
        return root, proc

    return write


def test_cpu_quota_version_2_is_the_tightest_on_the_way_up(make):
    files = {"cpu.max": "max 100000", "a/cpu.max": "150000 100000", "a/b/cpu.max": "400000 100000"}
    assert resources.cpu_quota(*make("0::/a/b", files)) == 1.5


def test_cpu_quota_version_1(make):
    files = {"cpu/x/cpu.cfs_quota_us": "200000", "cpu/x/cpu.cfs_period_us": "50000"}
    groups = "9:name=systemd:/\n2:cpuacct:/\n1:cpu:/x\n0::/"
    assert resources.cpu_quota(*make(groups, files)) == 4.0


@pytest.mark.parametrize(
    "files", [{}, {"cpu.max": "max 100000"}, {"cpu.cfs_quota_us": "-1"}], ids=str
)
def test_no_cpu_quota(make, files):
    assert resources.cpu_quota(*make("0::/", files)) is None


def test_memory_limit_version_2_does_not_count_cached_files(make):
    files = {
        "memory.max": "max",
        "a/memory.max": "1000000",
        "a/memory.current": "700000",
        "a/memory.stat": "anon 200000\ninactive_file 500000",
    }
    assert resources.memory_limit(*make("0::/a", files)) == (1_000_000, 200_000)


def test_memory_limit_version_1(make):
    files = {
        "memory/memory.limit_in_bytes": str(2**63 - 4096),
        "memory/x/memory.limit_in_bytes": "800",
        "memory/x/memory.usage_in_bytes": "300",
    }
    assert resources.memory_limit(*make("4:memory:/x\n0::/", files)) == (800, 300)


def test_no_memory_limit(make):
    files = {"memory/memory.limit_in_bytes": str(2**63 - 4096)}
    assert resources.memory_limit(*make("4:memory:/x", files)) == (None, 0)
    assert resources.memory_limit(*make("0::/", {"memory.max": "max"})) == (None, 0)


def test_this_machine():
    cores, memory = resources.cores(), resources.memory()
    assert 0 < cores.usable <= cores.allowed <= cores.machine
    assert 0 < memory.available <= memory.machine
    assert 10 * 2**20 < resources.peak_memory() < memory.machine


def test_quota_counts():
    assert resources.Cores(8, 4, 1.5).usable == 1.5
    assert resources.Cores(8, 4, None).usable == 4
    assert resources.Cores(8, 4, 6.0).usable == 4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_freed_memory_is_given_back() -> None:
    code = """
import sys
from armillary.machine.resources import give_back_memory
def resident():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
pieces = [bytes(20_000) for _ in range(4_000)]
last = bytes(20_000)  # behind them, so that the heap cannot shrink by itself
full = resident()
del pieces
freed = resident()
give_back_memory()
print(full - freed, full - resident())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    freed, given_back = map(int, done.stdout.split())
    assert freed < 20_000  # kilobytes: it takes the call
    assert given_back > 60_000
