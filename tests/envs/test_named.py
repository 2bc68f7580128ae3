"""Names of tasks: what they may stand for, and whose code they may run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from armillary.config import Config, EnvironmentConfig, from_dict, to_dict
from armillary.config.keywords import parse
from armillary.envs import make
from armillary.envs.named import check_trust
from armillary.errors import EnvironmentFailure, UsageError
from armillary.training.loop import train
from armillary.training.player import load
from armillary.training.run import Run
from fake_envs import Counter, Named
from folders import forged
from settings import TINY

EVIL = "open({!r}, 'w').close()\ndef make(): raise SystemExit\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("evil", "leaves", "linked", "mypkg"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("os:abort", "'os' of Python's standard library"),
        ("sys:exit", "'sys' of Python's standard library"),
        ("builtins:exit", "standard library"),
        ("os.path:join", "standard library"),
        ("antigravity:fly", "standard library"),
        ("fake_envs:abort", "which makes no environment"),
        ("fake_envs:leave", "which makes no environment"),
        ("fake_envs:remove", r"shutil\.rmtree, which makes no environment"),
        ("fake_envs:os.abort", "which makes no environment"),
        ("fake_envs:calls_exit", "which makes no environment"),
        ("fake_envs:not_an_environment", "is the class builtins.dict"),
        ("fake_envs:Counter.reset", "missing a required argument"),
        ("fake_envs:Named", "missing a required argument: 'start'.*--environment.kwargs"),
        (":make", "names no module"),
        ("..fake_envs:make", "names no module"),
    ],
)
def test_what_makes_no_environment_is_not_called(task: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(task)


def test_a_factory_that_exits_is_an_error() -> None:
    with pytest.raises(EnvironmentFailure, match="could not be made: SystemExit: called"):
        make("fake_envs:exits")


def test_a_module_that_exits_is_an_error(here: Path) -> None:
    (here / "leaves.py").write_text("import sys; sys.exit(0)")
    with pytest.raises(EnvironmentFailure, match=r"importing 'leaves'.*SystemExit"):
        make("leaves:make")


@pytest.mark.parametrize("task", ["mypkg:lab/Vec-v0", "mypkg:Vec", "mypkg:Vec-v3"])
def test_an_id_that_a_module_registers(task: str, here: Path) -> None:
    name = task.partition(":")[2]
    text = f"import gymnasium\ngymnasium.register({name!r}, 'fake_envs:Named', max_episode_steps=3)"
    (here / "mypkg.py").write_text(text)
    try:
        env = make(task, EnvironmentConfig(kwargs={"start": 5}))
        assert env.reset()[0][0, 0, 0] == 5
        assert [env.step(np.zeros(2))[3] for _ in range(3)] == [False, False, True]
    finally:
        gymnasium.registry.pop(name)


def test_an_id_that_a_module_does_not_register(here: Path) -> None:
    with pytest.raises(UsageError, match="unknown task 'fake_envs:lab/Vec-v0'"):
        make("fake_envs:lab/Vec-v0")


@pytest.mark.parametrize("task", ["fake_envs:Named", Named])
def test_keyword_arguments(task: object) -> None:
    env = make(task, EnvironmentConfig(kwargs={"start": 7}))  # type: ignore[arg-type]
    assert env.reset()[0][0, 0, 0] == 7
    with pytest.raises(UsageError, match="unexpected keyword argument 'begin'"):
        make(task, EnvironmentConfig(kwargs={"start": 7, "begin": 1}))  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["cheetah-run", Counter()])
def test_keyword_arguments_for_what_takes_none(task: object) -> None:
    with pytest.raises(UsageError, match="leave them out"):
        make(task, EnvironmentConfig(kwargs={"start": 7}))  # type: ignore[arg-type]


def test_keyword_arguments_are_kept_in_the_configuration() -> None:
    kwargs = {"a": [1, {"b": None}], "text": "x", "number": 0.5}
    config = replace(TINY, environment=EnvironmentConfig(kwargs=kwargs))
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    assert config.environment.kwargs == kwargs
    assert EnvironmentConfig(kwargs={"a": (1, 2)}).kwargs == {"a": [1, 2]}  # as JSON gives it back
    for wrong in (
        {"a": object()},
        {"a": np.zeros(2)},
        {1: 2},
        {"a b": 1},
        [1],
        {"a": float("nan")},
    ):
        with pytest.raises(UsageError, match="kwargs is"):
            EnvironmentConfig(kwargs=wrong)  # type: ignore[arg-type]


def test_keyword_arguments_on_the_command_line() -> None:
    assert parse(['{"a": [1, 2], "b": {"c": null}}']) == {"a": [1, 2], "b": {"c": None}}
    assert parse(["a=1", "b=x=y", "c=[1]", "d=true"]) == {"a": 1, "b": "x=y", "c": [1], "d": True}
    assert parse([]) == {}
    for wrong in (["a"], ["=1"], ['{"a"'], ["a b=1"]):
        with pytest.raises(ValueError, match="JSON object"):
            parse(wrong)


def test_a_callable_as_the_task_is_kept_by_its_name() -> None:
    assert Config(task=Counter).task == "fake_envs:Counter"  # type: ignore[arg-type]
    assert replace(TINY, task=Counter).task == "fake_envs:Counter"
    for wrong in (lambda: Counter(), type("Main", (Counter,), {"__module__": "__main__"})):
        with pytest.raises(UsageError, match="cannot be found again by a name"):
            replace(TINY, task=wrong)


def _folder(trained: Path, here: Path, task: str, **environment: object) -> Path:
    """A stranger's run folder, under `runs` in the working folder."""
    return forged(trained, here / "runs" / "x", task=task, environment=environment)


def _uses(folder: Path) -> dict:
    """What plays the task of a run folder, by name."""
    from armillary.cli import evaluate, study, train, video

    looks = ["planet/figure10", "--runs", str(folder), "--episodes", "1"]
    return {
        "study": lambda *more: study.run([*looks, *more]),
        "evaluate": lambda *more: evaluate.run([str(folder), "--episodes", "1", *more]),
        "video": lambda *more: video.run([str(folder), *more]),
        "train": lambda *more: train.run(["--run", str(folder), "--episodes", "5", *more]),
        "make_env": lambda *more: load(folder, trust="--trust" in more).make_env(),
    }


@pytest.mark.parametrize("use", ["evaluate", "video", "train", "make_env", "study"])
def test_a_strangers_folder_runs_no_code_unasked(use: str, here: Path, trained: Path) -> None:
    mark = here / "mark"
    (here / "evil.py").write_text(EVIL.format(str(mark)))
    play = _uses(_folder(trained, here, "evil:make"))[use]
    with pytest.raises(UsageError, match=r"task 'evil:make'.*--trust.*--task evil:make"):
        play()
    assert not mark.exists()
    with pytest.raises(EnvironmentFailure, match="SystemExit"):
        play("--trust")
    assert mark.exists()


@pytest.mark.parametrize("task", ["runs.x.evil:make", "runs.x.evil:lab/Evil-v0"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_module_in_a_run_folder_is_never_run(
    task: str, inside: bool, here: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = here / "mark"
    folder = _folder(trained, here, task.replace("runs.x.", "") if inside else task)
    for name in ("evil.py", "__init__.py"):
        (folder / name).write_text(EVIL.format(str(mark)))
    if inside:
        monkeypatch.chdir(folder)
    for play in _uses(folder).values():
        with pytest.raises(UsageError, match="lies in the run folder"):
            play("--trust")
    with pytest.raises(UsageError, match="lies in the run folder"):
        make(Run(folder).config.task)
    assert not mark.exists()


def test_a_link_into_a_run_folder_is_no_way_round(here: Path, trained: Path) -> None:
    mark = here / "mark"
    folder = _folder(trained, here, "linked:make")
    (folder / "evil.py").write_text(EVIL.format(str(mark)))
    (here / "linked.py").symlink_to(folder / "evil.py")
    with pytest.raises(UsageError, match="lies in the run folder"):
        load(folder, trust=True).make_env()
    assert not mark.exists()


def test_a_strangers_keyword_arguments_are_asked_for(here: Path, trained: Path) -> None:
    folder = _folder(trained, here, "Humanoid-v5", kwargs={"xml_file": "/x.xml"})
    with pytest.raises(UsageError, match="uses keyword arguments that the folder names"):
        load(folder).make_env()


def test_who_named_the_task_is_not_asked(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARMILLARY_TRUST")
    load(trained)  # runs nothing
    with pytest.raises(UsageError, match="'toys:short'"):
        load(trained).make_env()
    load(trained, trust=True).make_env().close()
    assert train(TINY, trained)["task"] == "toys:short"


def test_modules_trusted_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = EnvironmentConfig()
    check_trust(["cheetah-run", "CarRacing-v3"], nothing, "x")
    monkeypatch.setenv("ARMILLARY_TRUST", "mine, toys")
    check_trust(["toys:short", "mine:a", "mine.envs:b"], nothing, "x")
    for other in ("mineral:a", "toys2:x", "a.mine:x", ":x"):
        with pytest.raises(UsageError, match="--trust"):
            check_trust([other], nothing, "x")
    assert os.environ["ARMILLARY_TRUST"] == "mine, toys"
