"""The guard between an environment that may do anything and everybody else."""

from __future__ import annotations

import contextlib
import signal
import time
from fractions import Fraction
from typing import Any

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest

from armillary import waiting
from armillary.config import EnvironmentConfig
from armillary.envs import guard, make, side_by_side
from armillary.errors import EnvironmentFailure, UsageError
from fake_envs import IMAGE, Counter, returning

ZERO = np.zeros(2, np.float32)


@pytest.mark.parametrize("one", [np.bool_(True), np.array([True]), jnp.array(1.0), Fraction(1)])
def test_numbers_of_any_library(one: Any) -> None:
    env = make(returning(step=(IMAGE, one, one, np.bool_(False), {})))
    env.reset()
    assert env.step(ZERO)[1:4] == (1.0, True, False)


def _raises(error: BaseException) -> Any:
    def method(*_: Any, **__: Any) -> None:
        raise error

    return method


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), RuntimeError("x")])
@pytest.mark.parametrize("method", ["reset", "step", "render"])
def test_nothing_that_is_raised_ends_the_program(error: BaseException, method: str) -> None:
    env = Counter(shape=(5,), dtype=np.float32, render_mode="rgb_array")
    wrapped = make(env)
    wrapped.reset()
    setattr(env, method, _raises(error))
    with pytest.raises(EnvironmentFailure, match=f"Counter .*{type(error).__name__}"):
        wrapped.reset() if method == "reset" else wrapped.step(ZERO)


@pytest.mark.parametrize("error", [SystemExit(0), RuntimeError("no port"), KeyError()])
def test_closing_never_fails(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    env = Counter()
    env.close = _raises(error)  # type: ignore[method-assign]
    wrapped = make(env)
    wrapped.close()
    wrapped.close()  # a second time does nothing
    assert caplog.text.count(f"Counter could not be closed: {type(error).__name__}") <= 1
    assert make(env).close() is None


def test_an_environment_without_action_space_or_metadata() -> None:
    class Bare(Counter):
        metadata = None  # type: ignore[assignment]

    assert make(Bare()).metadata == {}
    assert make(Bare).reset()[0].shape == (64, 64, 3)
    assert side_by_side(Bare, None, 2).reset()[0].shape == (2, 64, 64, 3)
    env = Bare()
    del env.action_space
    with pytest.raises(UsageError, match="Bare has no action_space: give it one"):
        make(env)
    env = Bare()
    del env.observation_space
    with pytest.raises(UsageError, match="gives no images"):
        make(env)


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_step_that_hangs_is_given_up(stubborn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_REPEAT", 0.1)
    env = Counter()
    wrapped = make(env, EnvironmentConfig(step_timeout=0.2))
    wrapped.reset()

    def hang(action: Any) -> Any:
        while True:
            with contextlib.suppress(Exception if stubborn else ZeroDivisionError):
                time.sleep(60)

    env.step = hang  # type: ignore[method-assign]
    with pytest.raises(
        EnvironmentFailure, match=r"waited 0.2 seconds for Counter at step 1.*step-"
    ):
        wrapped.step(ZERO)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_making_and_closing_that_hang_are_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def sleeps() -> Counter:
        time.sleep(60)
        return Counter()

    with pytest.raises(EnvironmentFailure, match=r"sleeps to be made"):
        make(sleeps, EnvironmentConfig(step_timeout=0.2))
    monkeypatch.setattr(guard, "_CLOSING", 0.2)
    env = Counter()
    env.close = sleeps  # type: ignore[assignment]
    make(env).close()
    assert "waited 0.2 seconds for Counter to close" in caplog.text


def test_somebody_elses_alarm_is_left_alone() -> None:
    previous = signal.signal(signal.SIGALRM, handler := lambda *_: None)
    try:
        env = make(Counter(), EnvironmentConfig(step_timeout=5))
        env.reset()
        env.step(ZERO)
        assert signal.getsignal(signal.SIGALRM) is handler
    finally:
        signal.signal(signal.SIGALRM, previous)


def test_what_another_package_advises_fits_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("armillary.advice.install", lambda *names: "uv pip install ")
    with (
        pytest.raises(EnvironmentFailure, match='run `uv pip install "gymnasium'),
        guard.failures(lambda: "it could not be drawn:"),
    ):
        raise gymnasium.error.DependencyNotInstalled('run `pip install "gymnasium[toy]"`')
