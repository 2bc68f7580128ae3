"""Signals that ask a process to stop: none is lost, none is answered where that does harm."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FunctionType

import pytest

from armillary.training import signals
from armillary.training.signals import Stopped, stop_request, whole_command
from armillary.waiting import Ended, waiting_for
from conftest import environment

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def _send(number: int) -> None:
    os.kill(os.getpid(), number)


def _send_and_work(number: int, seconds: float = 10) -> None:
    _send(number)
    time.sleep(seconds)


def _handlers() -> list:
    return [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> None:
    before = _handlers()
    yield
    assert _handlers() == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@BOTH
def test_a_command_that_never_asks_is_stopped_at_once(number: int) -> None:
    with whole_command(), pytest.raises(Ended) as ended:
        _send_and_work(number)
    assert ended.value.error.exit_code == 128 + number


@BOTH
def test_a_loop_is_stopped_where_it_asks(number: int) -> None:
    with whole_command(), stop_request() as stop:
        _send(number)
        time.sleep(0.5)  # longer than the next try
        with pytest.raises(Stopped) as stopped:
            stop.check()
    assert stopped.value.exit_code == 128 + number


def _inside(module: str, name: str) -> FunctionType:
    """A function of another module that sends a signal, works on and notes that it has ended."""
    code = compile(
        f"def {name}(self=None):\n    send()\n    end = time() + 0.5\n"
        "    while time() < end:\n        pass\n    done.append(1)",
        "elsewhere",
        "exec",
    )
    scope = {"__name__": module, "send": lambda: _send(2), "time": time.monotonic, "done": []}
    exec(code, scope)
    return scope[name]


@pytest.mark.parametrize(
    ("module", "name"), [("jax._src.lib", "_xla_gc_callback"), ("jaxlib", "f"), ("x", "__del__")]
)
def test_a_signal_waits_where_an_exception_would_be_lost(module: str, name: str) -> None:
    function = _inside(module, name)

    def body() -> None:
        function()
        time.sleep(10)

    with whole_command(), pytest.raises(Ended):
        body()
    assert function.__globals__["done"]


def test_a_signal_that_was_swallowed_is_found_by_the_next_check() -> None:
    with whole_command():
        with contextlib.suppress(BaseException):  # as a callback from C does
            _send_and_work(signal.SIGINT)
        with stop_request() as stop, pytest.raises(Stopped):
            stop.check()


class _Exit(BaseException):
    pass


@pytest.mark.parametrize("watched", [True, False])
def test_a_second_sigint_ends_a_command(watched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> None:
        raise _Exit(code)

    def body() -> None:
        with contextlib.suppress(Ended):
            _send_and_work(signal.SIGINT, 0.2)
        time.sleep(0.1)
        _send_and_work(signal.SIGINT)

    monkeypatch.setattr(os, "_exit", leave)
    with whole_command() as request:
        request._watchers += watched
        with pytest.raises(_Exit, match="130"):
            body()


def test_the_same_signal_delivered_twice_is_one() -> None:
    with whole_command(), stop_request() as stop:
        _send(signal.SIGINT)
        _send(signal.SIGINT)
        with pytest.raises(Stopped):
            stop.check()


def test_outside_a_command_a_second_sigint_interrupts() -> None:
    with stop_request(), pytest.raises(KeyboardInterrupt):
        [_send_and_work(signal.SIGINT, seconds) for seconds in (0.2, 10)]


@BOTH
@pytest.mark.parametrize("stubborn", [False, True])
def test_a_hanging_environment_is_not_waited_for(
    number: int, stubborn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_GRACE", 0.3)

    @waiting_for(lambda: "step 7 of x")
    def hang() -> None:
        _send(number)
        while True:
            try:
                time.sleep(60)
            except Exception:
                if not stubborn:
                    raise

    with stop_request(), pytest.raises(Stopped, match=r"while waiting for step 7 of x") as stopped:
        hang()
    assert stopped.value.exit_code == 128 + number


def test_an_environment_that_returns_in_time_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_GRACE", 0.3)
    with stop_request() as stop:
        with waiting_for(lambda: "a quick step"):
            _send(signal.SIGINT)
        time.sleep(0.6)  # in code of our own, which is not interrupted
        with pytest.raises(Stopped):
            stop.check()


def test_threads_catch_nothing() -> None:
    def body() -> None:
        with whole_command(), stop_request() as stop:
            stop.check()
            seen.append(_handlers())

    seen: list = []
    before = _handlers()
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "number"), [(0.4, signal.SIGINT), (1.2, signal.SIGTERM), (2.5, signal.SIGINT)]
)
def test_a_command_is_stopped_from_its_first_second(
    seconds: float, number: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "armillary", "evaluate", "--agent", "random"]
    command += ["--task", "toys:short", "--episodes", "1000000"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=tmp_path
    )
    time.sleep(seconds)
    process.send_signal(number)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number, errors
    assert out == b""
    assert b"Traceback" not in errors
    assert errors.count(b"armillary: ") == 1
