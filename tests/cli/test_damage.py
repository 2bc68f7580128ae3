"""Any file of a run folder, damaged in any way: a sentence or a recovery, and none of it for ever.

In the process, with fixed seeds. What a command says must not be "unexpected", and what it does
must be done with the right numbers.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from armillary.cli.main import main
from conftest import complaints

FILES = (
    "config.json",
    "results.json",
    "metrics.jsonl",
    "checkpoints/checkpoint-*.armillary",
    "episodes/episode-000002.npz",
    "test/episode-000000.npz",
    "tensorboard/events*",
    "curve.png",
)
NEVER_READ = FILES[-2:]
FOLDERS = ("checkpoints", "episodes", "test", "tensorboard")
OTHER_JSON = (b"null", b"5", b"[]", b"{}", b'{"format": null}', b'{"episode": 1}', b"[" * 50_000)


def _remove(path: Path, rng: random.Random) -> None:
    path.unlink()


def _cut(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _zero(path: Path, rng: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _noise(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(rng.randrange(1, 3000)))


def _json(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.choice(OTHER_JSON) + b"\n")


def _digit(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    places = [i for i, byte in enumerate(content) if 48 < byte < 58]
    if places:
        content[rng.choice(places)] = 48 + rng.randrange(10)
    path.write_bytes(content)


def _folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path, rng: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _dangling(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _endless(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


DAMAGES = (_remove, _cut, _flip, _zero, _noise, _json, _digit, _folder, _pipe, _dangling, _endless)
COMMANDS = ("train", "evaluate", "plot", "video")


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[[str, Path], tuple[int, str]]:
    """Runs a command on a run folder; gives its exit code and what it said.

    What takes long and reads nothing of the folder is left out: drawing and encoding.
    """
    monkeypatch.setattr("armillary.video._mp4", lambda frames, fps, file: file.write(bytes(2000)))
    monkeypatch.setattr("armillary.studies.report.predicts_frames", lambda agent: False)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, format: None)
    monkeypatch.chdir(tmp_path)

    def run(name: str, folder: Path) -> tuple[int, str]:
        options = {
            "train": ["train", "--run", str(folder)],
            "evaluate": ["evaluate", str(folder), "--episodes", "1", "--json"],
            "plot": ["plot", str(folder)],
            "video": ["video", str(folder), "--out", "video.mp4"],
        }
        with pytest.raises(SystemExit) as exit:
            main(options[name])
        out, err = capfd.readouterr()
        return int(exit.value.code or 0), out + err

    return run


def _is_well_put(code: int, said: str) -> bool:
    calm = "unexpected" not in said and "Traceback" not in said
    return calm and (code in (1, 2) if complaints(said) else code == 0)


def _scores(folder: Path) -> list[object]:
    results = json.loads((folder / "results.json").read_text())
    return [results[name] for name in ("agent", "random", "episodes", "updates", "simulator_steps")]


@pytest.mark.parametrize("pattern", FILES)
def test_any_damage_is_said_or_mended(
    trained: Path, tmp_path: Path, command: Callable[[str, Path], tuple[int, str]], pattern: str
) -> None:
    rng = random.Random(pattern)
    for damage in rng.sample(DAMAGES, 2) if pattern in NEVER_READ else DAMAGES:
        folder = Path(shutil.copytree(trained, tmp_path / "run"))
        damage(max(folder.glob(pattern)), rng)
        what = f"{damage.__name__} {pattern}"
        readers = [rng.choice(COMMANDS[1:])]
        for name in (*readers, "train"):
            code, said = command(name, folder)
            assert _is_well_put(code, said), f"{what}, {name}: {code} {said}"
        if code == 0:  # trained: all is as it was, and stays so
            assert _scores(folder) == _scores(trained), what
            rows = (folder / "metrics.jsonl").read_bytes().count(b"\n")
            assert rows == (trained / "metrics.jsonl").read_bytes().count(b"\n"), what
        else:
            assert str(folder) in said, f"{what}: {said}"
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", FOLDERS)
def test_any_damage_to_a_folder_is_said_or_mended(
    trained: Path, tmp_path: Path, command: Callable[[str, Path], tuple[int, str]], name: str
) -> None:
    for damage in ("gone", "a file", "a link"):
        folder = Path(shutil.copytree(trained, tmp_path / "run"))
        (folder / name).rename(tmp_path / "elsewhere")
        if damage == "a file":
            (folder / name).write_text("in the way")
        elif damage == "a link":
            (folder / name).symlink_to(tmp_path / "elsewhere")
        for wish in ("evaluate", "plot", "train"):
            code, said = command(wish, folder)
            assert _is_well_put(code, said), f"{name} is {damage}, {wish}: {code} {said}"
        if code == 0:
            assert _scores(folder) == _scores(trained)
        shutil.rmtree(folder)
        shutil.rmtree(tmp_path / "elsewhere")
