"""Files are whole or absent, whatever happens while they are written."""

import errno
import fcntl
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import time

import pytest

from armillary.errors import StorageError
from armillary.files import (
    Locked,
    lock,
    open_regular,
    read_json,
    remove_stale,
    write_atomically,
)


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "file"
    for content in (b"one", b"two"):
        write_atomically(path, lambda file, content=content: file.write(content))
        assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_failure_of_the_writer_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_errors_of_the_system_say_what_and_why(tmp_path, code):
    path = tmp_path / "file"

    def write(file):
        raise OSError(code, os.strerror(code))

    with pytest.raises(StorageError) as caught:
        write_atomically(path, write)
    message = str(caught.value)
    for part in (str(path), os.strerror(code), "MiB free", "nothing saved before was lost"):
        assert part in message
    assert os.listdir(tmp_path) == []


def test_a_real_limit_in_the_middle_of_a_write(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = tmp_path / "file"
    path.write_bytes(b"old")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
        with pytest.raises(StorageError, match="too large"):
            write_atomically(path, lambda file: file.write(bytes(1 << 20)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_vanishes_or_is_a_file(tmp_path):
    folder = tmp_path / "folder"

    def write(file):
        for name in os.listdir(folder):
            os.unlink(folder / name)
        folder.rmdir()

    with pytest.raises(StorageError, match="No such file"):
        write_atomically(folder / "file", write)
    folder.write_text("in the way")
    with pytest.raises(StorageError, match="could not write"):
        write_atomically(folder / "file", lambda file: None)


def test_killed_writers_never_leave_half_a_file(tmp_path):
    program = textwrap.dedent("""
        import sys
        from armillary.files import write_atomically
        n = 0
        while True:
            write_atomically(sys.argv[1], lambda file: [file.write(bytes([n % 256]) * 65536) for _ in range(16)])
            n += 1
            print(n, flush=True)
    """)  # noqa: E501
    path = tmp_path / "file"
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(0.02)
        child.kill()
        child.wait()
        child.stdout.close()
        content = path.read_bytes()
        assert len(content) == 1 << 20
        assert len(set(content)) == 1


def test_only_old_temporary_files_are_removed(tmp_path):
    for name, age in ((".a.1.tmp", 3600), (".b.2.tmp", 0), ("c.tmp", 3600)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    remove_stale(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".b.2.tmp", "c.tmp"]


def test_a_killed_writers_file_is_removed_at_once_and_a_living_ones_is_not(tmp_path):
    left = tmp_path / ".left.0123abcd.tmp"
    left.touch()
    os.utime(left, (time.time() + 3600,) * 2)  # the clock was set back since
    ages = (time.time() - 60,) * 2

    def write(file):
        os.utime(file.name, ages)
        remove_stale(tmp_path)
        assert os.path.exists(file.name)

    write_atomically(tmp_path / "file", write)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("text", [b"{", b"", b"\xff", b"[" * 100_000, b" " * (2**24 + 1)])
def test_what_is_not_json_is_one_kind_of_error(tmp_path, text):
    (tmp_path / "file").write_bytes(text)
    with pytest.raises(ValueError, match=r"."):
        read_json(tmp_path / "file")


@pytest.mark.parametrize("path", ["/dev/zero", "pipe", "."])
def test_only_ordinary_files_are_read(tmp_path, path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not an ordinary file"):
        open_regular(tmp_path / path)


def test_a_file_system_that_locks_no_folders_locks_a_file(tmp_path, monkeypatch):
    real = fcntl.flock

    def flock(descriptor, how):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        return real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock(tmp_path) as check:
        with pytest.raises(Locked, match="another process"), lock(tmp_path):
            pass
        check()
        (tmp_path / ".lock").unlink()
        with pytest.raises(Locked, match="deleted"):
            check()
        with lock(tmp_path), pytest.raises(Locked, match="replaced"):
            check()
