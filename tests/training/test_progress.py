"""Progress tells the truth about what is done, how fast, and how long it will still take."""

import io
import time

import pytest

from armillary.studies.bar import Bar
from armillary.training import progress as progress_module
from armillary.training.progress import PLAIN_SECONDS, Progress
from armillary.training.record import shown


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock():
    return Clock()


def run_an_episode(progress, clock, episode, seconds_each_frame=0.5, updates=100):
    for update in range(10, updates + 1, 10):
        clock.now += 2.0
        progress.update(updates * (episode - 1) + update, {"loss/image": 12.345678})
    for _ in range(20):
        clock.now += seconds_each_frame
        progress.frame(4)
    progress.episode(episode, 80 * episode, 17.25)


def test_the_line_says_everything(clock):
    progress = Progress(8, 800, io.StringIO(), clock=clock)
    for episode in (1, 2, 3):
        run_an_episode(progress, clock, episode)
    # 100 updates take 20 s and an episode 10 s: 5 of each are left
    assert progress.seconds_left() == pytest.approx(5 * 30)
    assert progress.line() == (
        "episode 3/8 · 240 steps · 300/800 updates · return 17.2 · image 12.35 · 5 updates/s · "
        "8 frames/s · 2:30 left"
    )


def test_time_left_counts_the_evaluations_and_forgets_the_quick_start(clock):
    progress = Progress(100, 9500, io.StringIO(), clock=clock)
    for episode in range(1, 6):  # seed episodes: no planning, no updates
        clock.now += 0.1
        progress.frame(80)
        progress.episode(episode, 80 * episode, 0.0)
    assert progress.seconds_left() is None
    assert "not known yet" in progress.line()
    for episode in range(6, 41):
        clock.now += 50.0
        progress.update(100 * (episode - 5), {})
        clock.now += 10.0
        progress.frame(80)
        if episode % 5 == 0:  # an evaluation of 50 s: 10 s for each episode collected
            clock.now += 50.0
            progress.frame(400)
        progress.episode(episode, 80 * episode, 0.0)
    assert progress.seconds_left() == pytest.approx(60 * (50 + 10 + 10))
    assert progress.line().endswith("1:10:00 left")


def test_compilation_does_not_count(clock):
    progress = Progress(1, 1000, io.StringIO(), clock=clock)
    clock.now += 60.0
    progress.update(10)
    clock.now += 1.0
    progress.update(20)
    progress.episode(1, 10, 0.0)
    assert progress.seconds_left() == pytest.approx(98.0)


def test_time_left_is_not_guessed_from_the_first_update(clock):
    """It loads and traces programs besides: hours would be left of a run of minutes."""
    progress = Progress(1, 1000, io.StringIO(), episodes=1, clock=clock)
    clock.now += 60.0
    progress.update(1)
    assert progress.seconds_left() is None
    assert progress.line().endswith("1/1,000 updates · time left not known yet")
    clock.now += 0.5
    progress.update(2)
    assert progress.seconds_left() == pytest.approx(499.0)


def test_seconds_of_compilation_are_not_of_the_pace(clock):
    """Wherever they come: in the first plan of an episode, in the first test episode."""
    compiled = 0.0
    progress = Progress(
        12, 1000, io.StringIO(), updates=1000, clock=clock, compiling=lambda: compiled
    )
    for frame in range(40):
        seconds = 30.0 if frame in (0, 20) else 0.0
        compiled += seconds
        clock.now += 0.25 + seconds
        progress.frame()
    progress.episode(1, 160, 0.0)
    assert progress.seconds_left() == pytest.approx(11 * 40 * 0.25)
    assert "4 frames/s" in progress.line()


def _compile(progress, clock, seconds=24.0):
    """A block in which the compiler is at work for so long, and the rest for another second."""
    with progress.compiling("the update"):
        clock.now += seconds + 1
        clock.compiled += seconds
        return progress._renderable().plain


def test_compilation_of_the_update_is_said_as_such(clock):
    stream, clock.compiled = io.StringIO(), 0.0
    progress = Progress(8, 800, stream, clock=clock, compiling=lambda: clock.compiled)
    assert _compile(progress, clock).endswith(" · compiling the update ... 25 s")
    assert stream.getvalue() == "compiled the update in 24 s\n"
    assert "compiling" not in progress._renderable().plain
    assert "compiling" not in _compile(progress, clock)  # the second update has its program
    assert stream.getvalue() == "compiled the update in 24 s\n"


def test_a_program_that_was_kept_is_not_worth_a_word(clock):
    stream, clock.compiled = io.StringIO(), 0.0
    _compile(Progress(8, 800, stream, clock=clock, compiling=lambda: clock.compiled), clock, 0.5)
    assert stream.getvalue() == ""


def test_who_has_no_terminal_is_told_while_it_is_compiled(clock, monkeypatch):
    monkeypatch.setattr(progress_module, "PATIENCE", 0.01)
    stream = io.StringIO()
    with Progress(8, 800, stream, clock=clock).compiling("the update"):
        end = time.monotonic() + 20
        while "compiling the update ...\n" not in stream.getvalue():
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), BrokenPipeError()])
def test_a_stream_that_cannot_be_written_ends_nothing(clock, error):
    class Broken(io.StringIO):
        def write(self, text):
            raise error

    for stream in (Broken(), io.StringIO()):
        with Progress(8, 800, stream, clock=clock) as progress:
            run_an_episode(progress, clock, 1)
            progress.message("above")
        assert progress.line().startswith("episode 1/8")
    assert "above" in stream.getvalue()
    bar = Bar(10.0, stream=Broken())
    with bar:
        bar.update(5.0, "half", now=True)
        bar.message("above")


def test_a_resumed_run_counts_only_its_own_time(clock):
    progress = Progress(
        10, 1000, io.StringIO(), episodes=8, updates=800, environment_steps=640, clock=clock
    )
    assert "episode 8/10 · 640 steps · 800/1,000 updates" in progress.line()
    run_an_episode(progress, clock, 9)
    assert progress.seconds_left() == pytest.approx(30)
    run_an_episode(progress, clock, 10)
    assert progress.line().endswith("finishing")


def test_plain_lines_when_it_is_not_a_terminal(clock):
    stream = io.StringIO()
    with Progress(8, 800, stream, clock=clock) as progress:
        run_an_episode(progress, clock, 1)
        progress.message("evaluation: [12.0] of 3")
    lines = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue()
    assert lines[-1] == "evaluation: [12.0] of 3"
    assert lines[-2] == progress.line()
    # 30 s passed: a line after each ten and one for the episode
    assert len(lines) - 1 == 30 / PLAIN_SECONDS + 1 or len(lines) - 1 == 30 / PLAIN_SECONDS
    assert all(line.startswith("episode ") for line in lines[:-1])


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_the_terminal_is_given_back(monkeypatch, clock, error):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    stream = Terminal()
    try:
        with Progress(8, 800, stream, clock=clock) as progress:
            run_an_episode(progress, clock, 1)
            progress.message("above")
            if error:
                raise error
    except (KeyboardInterrupt, ValueError) as caught:
        assert type(caught) is error  # noqa: PT017
    shown = stream.getvalue()
    assert "above" in shown
    assert progress.line() in shown
    assert shown.count("\x1b[?25l") == 1  # the cursor is hidden once
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # and shown again
    assert shown.endswith("\n") or shown.endswith("\x1b[?25h")


def test_the_raw_divergence_is_shown():
    metrics = {"loss/image": 9.0, "loss/divergence": 3.0, "divergence": 0.4, "gradient_norm": 7.0}
    metrics |= {"loss/overshooting": 3.0, "overshooting": 0.6}
    assert shown(metrics) == {"loss/image": 9.0, "loss/divergence": 0.4, "loss/overshooting": 0.6}
