"""Sweeps: values are read as options are, and a stopped sweep ends as one that was not."""

import json
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import imageio.v3 as imageio
import pytest
from matplotlib.figure import Figure

from armillary.cli import sweep as command
from armillary.cli import train
from armillary.config import Config
from armillary.config.typed import options
from armillary.errors import ArmillaryError, NumericalError, RunError, StorageError, UsageError
from armillary.studies import remote, sweeping, swept
from armillary.studies.cluster import Needs, Outcome
from armillary.studies.proposals import JOURNAL, Proposals, Trial
from armillary.studies.space import Setting, setting
from armillary.studies.sweep import Sweep, check, score
from armillary.studies.workers import WorkerError
from armillary.training.run import Run
from conftest import Command
from settings import TINY_MUZERO

RATE = Setting("optimizer.learning_rate", (1e-4, 1e-1), log=True)
WIDTH = Setting("network.hidden", (4, 8, 16), ("4", "8", "16"))
DEPTH = Setting("network.blocks", (1, 9))
OVER = (RATE, WIDTH, DEPTH)


def _read(name: str, text: str) -> Any:
    return {"a.int": int, "a.float": float, "a.bool": lambda x: x == "on"}.get(name, str)(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.int=1:9", Setting("a.int", (1, 9))),
        ("--a.int=1:64:log", Setting("a.int", (1, 64), log=True)),
        ("a.float=1e-4:1", Setting("a.float", (1e-4, 1.0))),
        ("a.float=-1:1", Setting("a.float", (-1.0, 1.0))),
        ("a.int=16,32", Setting("a.int", (16, 32), ("16", "32"))),
        ("a.bool=on,off", Setting("a.bool", (True, False), ("on", "off"))),
        ("a-b.c-d=rssm,my:Own", Setting("a_b.c_d", ("rssm", "my:Own"), ("rssm", "my:Own"))),
    ],
)
def test_what_is_tried(text: str, expected: Setting) -> None:
    found = setting(text, _read)
    assert found == expected
    assert [type(end) for end in found.ends] == [type(end) for end in expected.ends]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.int", "expected NAME=LOW:HIGH"),
        ("a.int=", "expected NAME=LOW:HIGH"),
        ("a.int=9:1", "9 is not less than 1"),
        ("a.int=0:8:log", "no logarithm of 0"),
        ("a.int=0:8:2", "expected log, not '2'"),
        ("a.int=3", "two or more different values"),
        ("a.int=3,03", "two or more different values"),
        ("a.bool=off:on", "is no number"),
        ("a.name=x:y", "is no number"),
        ("seed=0,1", "the same in all trials"),
        ("evaluation.every=1:5", "the same in all trials"),
    ],
)
def test_what_cannot_be_tried(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        setting(text, _read)


def test_values_that_do_not_fit_each_other(tmp_path: Path) -> None:
    episodes = Setting("episodes", (2, 8))
    seeds = Setting("collection.seed_episodes", (1, 4))
    for over, words in (
        (
            (episodes, seeds),
            r"episodes 2, collection.seed_episodes 4 cannot be: episodes is 2, few",
        ),
        ((Setting("search.simulations", (0, 4)),), "search.simulations is 0, but the policy"),
        ((episodes, episodes), "given twice for episodes"),
        ((), "no --over"),
    ):
        with pytest.raises(UsageError, match=words):
            check(Sweep(TINY_MUZERO, over, tmp_path / "sweep"))
    point = replace(TINY_MUZERO, task="MountainCarContinuous-v0")
    with pytest.raises(UsageError, match="muzero searches over discrete actions"):
        check(Sweep(point, (DEPTH,), tmp_path / "sweep"))
    check(Sweep(TINY_MUZERO, OVER, tmp_path / "sweep"))
    assert not (tmp_path / "sweep").exists()


def _proposals(folder: Path, **given: Any) -> Proposals:
    settings = {"sampler": "tpe", "seed": 3, "prune": False, "described": {"a": [1, 2]}}
    return Proposals(folder, given.pop("over", OVER), **(settings | given))


def _paid(trial: Trial) -> float:
    """A smooth score: highest at a learning rate of 1e-3, 16 units and 5 blocks."""
    import math

    rate = math.log10(trial.values["optimizer.learning_rate"]) + 3
    return trial.values["network.hidden"] - rate**2 - (trial.values["network.blocks"] - 5) ** 2


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_stopped_sweep_proposes_what_it_would_have(tmp_path: Path, sampler: str) -> None:
    """Opened anew for each of 13 trials, or once for all; the estimator begins with the 11th."""
    whole, stopped = [], []
    proposals = _proposals(tmp_path / "whole", sampler=sampler)
    for number in range(13):
        trial = proposals.propose()
        assert trial.number == number
        whole.append(trial.values)
        proposals.end(trial, [_paid(trial)], score=_paid(trial))
    for _ in range(13):
        _proposals(tmp_path / "stopped", sampler=sampler).propose()  # and killed
        again = _proposals(tmp_path / "stopped", sampler=sampler)
        (trial,) = [one for one in again.trials if one.state == "open"]
        trial = again.complete(trial)
        stopped.append(trial.values)
        again.end(trial, [_paid(trial)], score=_paid(trial))
    assert whole == stopped
    assert len({json.dumps(values) for values in whole}) == 13
    assert all(1e-4 <= values["optimizer.learning_rate"] <= 1e-1 for values in whole)
    assert {values["network.hidden"] for values in whole} == {4, 8, 16}
    assert all(isinstance(values["network.blocks"], int) for values in whole)
    scores = [trial.score for trial in proposals.trials]
    assert scores == [_paid(trial) for trial in proposals.trials]


def test_the_estimator_learns_where_scores_are_high(tmp_path: Path) -> None:
    found = {}
    for sampler in ("tpe", "random"):
        proposals = _proposals(tmp_path / sampler, sampler=sampler)
        for _ in range(24):
            trial = proposals.propose()
            proposals.end(trial, score=_paid(trial))
        found[sampler] = mean(_paid(trial) for trial in proposals.trials[14:])
    assert found["tpe"] > found["random"] + 1


def test_what_is_kept_of_trials(tmp_path: Path) -> None:
    proposals = _proposals(tmp_path)
    trials = [proposals.propose() for _ in range(5)]
    proposals.end(trials[0], [1.0, 3.0], score=2.0)
    proposals.end(trials[1], why="no", bad=True)
    proposals.end(trials[2], why="broken")
    proposals.end(trials[3], [0.5])
    proposals.end_as(trials[4], replace(trials[0], score=2.0, scores=(1.0, 3.0)))
    again = _proposals(tmp_path).trials
    assert [t.state for t in again] == ["done", "failed", "failed", "pruned", "done"]
    assert [t.score for t in again] == [2.0, None, None, None, 2.0]
    assert [list(t.scores) for t in again] == [[1.0, 3.0], [], [], [0.5], [1.0, 3.0]]
    assert [t.why for t in again] == ["", "no", "broken", "", ""]
    assert [t.folder_number for t in again] == [0, 1, 2, 3, 0]
    assert [t.values for t in again] == [t.values for t in trials]
    best = swept.best(again)
    assert best is not None
    assert best.number == 0


def test_a_journal_that_was_half_written(tmp_path: Path) -> None:
    proposals = _proposals(tmp_path)
    trial = proposals.propose()
    proposals.end(trial, score=1.0)
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole + b'{"op_code": 6, "trial')  # the power went
    again = _proposals(tmp_path)
    assert [t.score for t in again.trials] == [1.0]
    assert again.propose().number == 1
    assert len(_proposals(tmp_path).trials) == 2
    (tmp_path / JOURNAL).write_bytes(b"nothing\n" + whole)
    with pytest.raises(RunError, match="is damaged"):
        _proposals(tmp_path)


def test_folders_of_something_else(tmp_path: Path) -> None:
    _proposals(tmp_path / "sweep")
    with pytest.raises(UsageError, match=r"(?s)another --run.*a: \[1, 2\] there, 'b' asked for"):
        _proposals(tmp_path / "sweep", described={"a": "b"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(RunError, match="is not the folder of a sweep"):
        _proposals(tmp_path / "mine")
    Run(tmp_path / "run").open(TINY_MUZERO)
    with pytest.raises(RunError, match="is a run, not a sweep"):
        sweeping.run(Sweep(TINY_MUZERO, OVER, tmp_path / "run"))
    from armillary.files import lock

    with lock(tmp_path / "sweep"), pytest.raises(RunError, match="another process runs the sweep"):
        sweeping.run(Sweep(TINY_MUZERO, OVER, tmp_path / "sweep"))


def test_without_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"Optuna, which is not installed: `.*sweep.*`"):
        _proposals(tmp_path)


class Trained:
    """In place of training: writes what a run leaves, three tests and its end.

    Attributes:
        runs: which were trained.
        fail: is called with a configuration before it ends, and may raise.
    """

    def __init__(self) -> None:
        self.runs: list[Config] = []
        self.fail: Callable[[Config], None] = lambda config: None

    def __call__(
        self,
        config: Config,
        folder: Path,
        on_metrics: Callable[[dict[str, Any]], None] = lambda row: None,
    ) -> None:
        assert isinstance(config, type(TINY_MUZERO))
        self.runs.append(config)
        folder.mkdir(exist_ok=True)
        Run(folder).open(config)
        final = config.network.blocks * 10.0 + config.seed
        (folder / "metrics.jsonl").unlink(missing_ok=True)
        for episode in (2, 3, 4):
            row = {"episode": episode, "evaluate/mean": final * episode / 4}
            with open(folder / "metrics.jsonl", "a") as file:
                file.write(json.dumps(row) + "\n")
            on_metrics(row)
        self.fail(config)
        results = {"episodes": config.episodes, "agent": {"mean": final}}
        Run(folder).results.write_text(json.dumps(results))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Trained:
    trained = Trained()
    monkeypatch.setattr("armillary.training.loop.train", trained)
    return trained


def test_the_scores_of_seeds(fake: Trained, tmp_path: Path) -> None:
    config = replace(TINY_MUZERO, seed=5)
    for which, share in (("final", 1.0), ("tests", mean([0.5, 0.75, 1.0]))):
        folder = tmp_path / which
        sweep = Sweep(config, (RATE, DEPTH), folder, 3, seeds=2, score=which)  # type: ignore[arg-type]
        trials = sweeping.run(sweep)
        for trial in trials:
            finals = [trial.values["network.blocks"] * 10.0 + seed for seed in (5, 6)]
            assert trial.scores == pytest.approx([share * final for final in finals])
            assert trial.score == pytest.approx(mean(trial.scores))
        names = [f"trial{n:03d}-seed{seed}" for n in range(3) for seed in (5, 6)]
        assert sorted(path.name for path in folder.glob("trial*-*")) == names
        rates = [run.optimizer.learning_rate for run in fake.runs[-6:]]  # type: ignore[attr-defined]
        assert rates == [t.values["optimizer.learning_rate"] for t in trials for _ in range(2)]
        assert score(sweep, folder / "trial001-seed6") == trials[1].scores[1]
    before = len(fake.runs)
    assert sweeping.run(sweep) == trials
    assert len(fake.runs) == before


def test_values_that_were_tried_are_not_trained_again(fake: Trained, tmp_path: Path) -> None:
    over = (Setting("network.blocks", (1, 2), ("1", "2")),)
    trials = sweeping.run(Sweep(TINY_MUZERO, over, tmp_path / "sweep", 6))
    assert len(fake.runs) == 2
    assert [t.score for t in trials] == [10.0 * t.values["network.blocks"] for t in trials]
    sweep = Sweep(TINY_MUZERO, over, tmp_path / "sweep")
    rows = swept.numbers(sweep, trials)["trials"]
    runs = {row["values"]["network.blocks"]: row["runs"] for row in rows}
    assert len({str(run) for run in runs.values()}) == 2
    assert all(Path(run).is_dir() for (run,) in runs.values())


def test_a_trial_that_fails_ends_no_other(fake: Trained, tmp_path: Path) -> None:
    def fail(config: Any) -> None:
        if config.network.blocks > 4:
            raise NumericalError("loss/total = nan")

    fake.fail = fail
    said: list[str] = []
    sweep = Sweep(TINY_MUZERO, (RATE, DEPTH), tmp_path / "sweep", 8)
    trials = sweeping.run(sweep, announce=said.append)
    for trial in trials:
        bad = trial.values["network.blocks"] > 4
        assert trial.state == ("failed" if bad else "done")
        assert trial.why == ("loss/total = nan" if bad else "")
    assert {t.state for t in trials} == {"failed", "done"}
    assert sum("failed: loss/total = nan" in line for line in said) == len(
        [t for t in trials if t.state == "failed"]
    )

    def full(config: Any) -> None:
        raise StorageError("no space")

    fake.fail = full
    with pytest.raises(StorageError):
        sweeping.run(replace(sweep, trials=9))
    assert _proposals_of(sweep).trials[-1].state == "open"
    fake.fail = lambda config: None
    assert sweeping.run(replace(sweep, trials=9))[-1].state == "done"


def _proposals_of(sweep: Sweep) -> Proposals:
    given = {"sampler": sweep.sampler, "seed": 0, "prune": sweep.prune}
    return Proposals(sweep.folder, sweep.over, described=sweep.described(), **given)  # type: ignore[arg-type]


def test_a_trial_below_the_median_is_pruned(fake: Trained, tmp_path: Path) -> None:
    """Optuna's rule, from the sixth trial on: by hand from the tests after two episodes."""
    sweep = Sweep(TINY_MUZERO, (RATE, DEPTH), tmp_path / "sweep", 14, sampler="random", prune=True)
    trials = sweeping.run(sweep)
    done: list[float] = []
    for trial in trials:
        half = trial.values["network.blocks"] * 10.0 * 2 / 4
        bad = len(done) >= 5 and half < median(done)
        assert trial.state == ("pruned" if bad else "done")
        assert Run(sweep.run_folder(trial, 0)).results.exists() == (not bad)
        done += [] if bad else [half]
    assert "pruned" in {trial.state for trial in trials}


class Machines:
    """In place of a cluster: each run is begun where there is room, and ends when it is asked for.

    A run that is stopped before has written its first two tests.
    """

    needs = Needs(1, 0)

    def __init__(self, train: Trained, slots: int) -> None:
        self.train, self.slots = train, slots
        self.work: dict[Any, tuple[Any, ...]] = {}
        self.most, self.stopped = 0, []  # type: ignore[var-annotated]
        self.announce = lambda text: None

    @property
    def open(self) -> list[Any]:
        return list(self.work)

    def on_each(self, function: Any, site: Any) -> list[remote.Look]:
        return [remote.Look("")]

    @contextmanager
    def stopping(self, announce: Any) -> Iterator[None]:
        yield

    def submit(self, key: Any, work: Any, arguments: tuple[Any, ...], progress: Any) -> None:
        assert work is remote.train
        self.work[key] = arguments
        self.most = max(self.most, len(self.work))
        if key[1] == 0:  # its tests are there before it has ended
            config, folder, *_ = arguments
            folder.mkdir()
            rows = [(2, config.network.blocks * 5.0), (3, config.network.blocks * 7.5)]
            text = "".join(json.dumps({"episode": n, "evaluate/mean": x}) + "\n" for n, x in rows)
            (folder / "metrics.jsonl").write_text(text)

    def ended(self, seconds: float) -> list[tuple[Any, Outcome]]:
        key = max(self.work)  # the last one first
        config, folder, *_ = self.work.pop(key)
        try:
            self.train(config, folder)
        except ArmillaryError as error:
            return [(key, Outcome("failed", str(error), 1, type(error).__name__))]
        return [(key, Outcome("done"))]

    def stop(self, keys: Any) -> None:
        self.stopped += keys
        for key in keys:
            del self.work[key]


def test_trials_side_by_side(fake: Trained, tmp_path: Path) -> None:
    """As many as there is room for, their seeds together; some fail, some are pruned."""
    machines = Machines(fake, 4)
    sweep = Sweep(
        TINY_MUZERO, (RATE, DEPTH), tmp_path / "sweep", 16, seeds=2, sampler="random", prune=True
    )

    def fail(config: Any) -> None:
        if config.network.blocks >= 8 and config.seed == 1:
            raise NumericalError("loss/total = nan")

    fake.fail = fail
    trials = sweeping.run(sweep, cluster=machines)  # type: ignore[arg-type]
    assert machines.most == 4
    assert len(trials) == 16
    in_turn = {t.number: t.values for t in sweeping.run(replace(sweep, folder=tmp_path / "other"))}
    assert {t.number: t.values for t in trials} == in_turn  # random ones depend on nothing
    states = {t.state for t in trials}
    assert states == {"done", "failed", "pruned"}
    for trial in trials:
        if trial.state == "done":
            blocks = trial.values["network.blocks"]
            assert trial.scores == (blocks * 10.0, blocks * 10.0 + 1)
            assert trial.score == blocks * 10.0 + 0.5
        elif trial.state == "failed":
            assert trial.values["network.blocks"] >= 8
            assert trial.why == "loss/total = nan"
    pruned = {t.number for t in trials if t.state == "pruned"}
    failed = {t.number for t in trials if t.state == "failed"}
    assert {number for number, _ in machines.stopped} >= pruned
    assert {number for number, _ in machines.stopped} <= pruned | failed

    def full(config: Any) -> None:
        raise StorageError("no space")

    fake.fail = full
    with pytest.raises(WorkerError, match=r"sweep/trial\d+-seed\d: failed: no space"):
        sweeping.run(replace(sweep, trials=18), cluster=machines)  # type: ignore[arg-type]


def test_what_is_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    def trial(number: int, rate: float, hidden: int, **given: Any) -> Trial:
        values = {"optimizer.learning_rate": rate, "network.hidden": hidden}
        return Trial(number, values, **given)

    trials = [
        trial(0, 1e-3, 4, state="done", score=5.0, scores=(5.0,)),
        trial(1, 1e-2, 16, state="done", score=9.0, scores=(9.0,)),
        trial(2, 2e-2, 8, state="pruned"),
        trial(3, 9e-2, 8, state="failed", why="loss/total = nan"),
        trial(4, 3e-3, 8),
    ]
    sweep = Sweep(TINY_MUZERO, (RATE, WIDTH), tmp_path)
    path = swept.draw(sweep, trials)
    assert imageio.imread(path).std() > 10
    rate, width = drawn[0].axes
    assert (rate.get_xscale(), rate.get_xlabel()) == ("log", "optimizer.learning_rate")
    assert [text.get_text() for text in width.get_xticklabels()] == ["4", "8", "16"]
    points = [one.get_offsets().tolist() for one in rate.collections]  # type: ignore[union-attr]
    assert points[:2] == [[[1e-3, 5.0], [1e-2, 9.0]], [[1e-2, 9.0]]]  # all of them, and the best
    assert [[x for x, _ in lost] for lost in points[2:]] == [[2e-2], [9e-2]]
    assert all(y < 5 for lost in points[2:] for _, y in lost)
    assert width.collections[0].get_offsets().tolist() == [[0, 5.0], [2, 9.0]]  # type: ignore[union-attr]
    rows = [line.split() for line in swept.table(sweep, trials).splitlines()]
    assert [row[:2] for row in rows[1:]] == [
        ["1", "9.0"], ["0", "5.0"], ["2", "pruned"], ["3", "failed"], ["4", "open"]
    ]  # fmt: skip
    assert rows[4][-3:] == ["loss/total", "=", "nan"]


ARGUMENTS = ("sweep", *options(replace(TINY_MUZERO, episodes=5)), "--seed", 1, "--trials", 2)
TRIED = ("--over", "training.collect-interval=4:20", "--over", "collection.seed-episodes=1,2")


@pytest.mark.slow
def test_a_stopped_sweep_ends_as_one_that_was_not(armillary: Command, tmp_path: Path) -> None:
    whole = armillary(*ARGUMENTS, *TRIED, "--run", "whole", "--json")
    assert whole.returncode == 0, whole.stderr
    found = json.loads(whole.stdout)
    second = tmp_path / "stopped" / "trial001-seed1" / "metrics.jsonl"

    def interrupt() -> None:
        deadline = time.monotonic() + 120
        while not (second.exists() and second.read_bytes().count(b"\n") >= 3):
            if time.monotonic() > deadline:
                return
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    stopped = armillary(*ARGUMENTS, *TRIED, "--run", "stopped")
    thread.join()
    assert stopped.returncode == 130, stopped.stderr
    assert "1 of 2 trials are done and the others saved: the same command" in stopped.stderr
    first = (tmp_path / "stopped" / "trial000-seed1" / "results.json").stat().st_mtime_ns
    ended = armillary(*ARGUMENTS, *TRIED, "--run", "stopped")
    assert ended.returncode == 0, ended.stderr
    assert "2 trials of muzero on toys:lamps in stopped, 1 of them done" in ended.stderr
    assert (tmp_path / "stopped/trial000-seed1/results.json").stat().st_mtime_ns == first
    other = json.loads((tmp_path / "stopped" / "sweep.json").read_text())
    for row in other["trials"]:
        row["runs"] = [run.replace("stopped", "whole") for run in row["runs"]]
    assert other == found
    for row in found["trials"]:
        results = json.loads((tmp_path / row["runs"][0] / "results.json").read_text())
        assert row["score"] == results["agent"]["mean"]
    best = max(found["trials"], key=lambda row: row["score"])
    assert found["best"] == best["number"]
    (line,) = [line for line in ended.stdout.splitlines() if "# the same once more" in line]
    words = shlex.split(line.partition("#")[0])
    words = words[words.index("train") + 1 :]
    config = Run(tmp_path / best["runs"][0]).config
    from armillary.cli.options import parse

    kind: Any = train.Arguments[type(config)]  # type: ignore[valid-type]
    default = train.Arguments(train.default_config(words))
    again = parse(kind, words, "armillary train", default=default)
    assert again.config == config
    assert again.run == Path("stopped/best")
    refused = armillary(*ARGUMENTS, *TRIED[:2], "--run", "stopped")
    assert refused.returncode == 2
    assert "holds a sweep of other settings" in refused.stderr


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "no --over: give one for each setting"),
        (("--over", "training.collect-interval=0:9"), "collect_interval is 0, but it must be"),
        (("--over", "training.collect-interval=a:9"), "invalid literal for int"),
        (("--over", "training.collect-intervall=1:9"), "--training.collect-interval INT"),
        (("--over", "planner.horizon=1:9"), "--planner.horizon is an option of planet"),
        (("--over", "network.kind=dense,thin"), "invalid choice 'thin'"),
        (("--over", "replay.capacity=1,2", "--trials", 0), "trials is 0"),
        (("--over", "replay.capacity=1,2", "--seeds-per-trial", 0), "seeds is 0"),
        (("--over", "batch-size=1,2"), "Unrecognized options: --batch-size"),
        (("--over", "network.kind=dense,residual", "--task", "nothing"), "nothing"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(
    armillary: Command, tmp_path: Path, given: tuple[object, ...], words: str
) -> None:
    refused = armillary(*ARGUMENTS, *given)
    assert refused.returncode == 2, refused.stderr
    said = " ".join(refused.stderr.replace("│", " ").split())
    assert words in said
    assert [*tmp_path.iterdir()] == []


def test_a_configuration_is_typed_as_it_is_read() -> None:
    from armillary.cli.options import parse
    from armillary.config import changed, preset

    base = preset("small", "dreamer", "cartpole-swingup")
    changes = {"objective.dequantize": False, "behavior.slow_value_every": None, "seed": 4,
               "optimizer.learning_rate": 1 / 3, "environment.kwargs": {"a": [1, "b"]}}  # fmt: skip
    config = replace(changed(base, changes), task="cartpole-swingup")
    words = command.typed(config)
    kind: Any = train.Arguments[type(config)]  # type: ignore[valid-type]
    default = train.Arguments(train.default_config(words))
    assert parse(kind, words, "armillary train", default=default).config == config
