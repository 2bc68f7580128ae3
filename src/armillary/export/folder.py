"""A folder of exported programs: a file for each, a card that describes them, and a README."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

from armillary.errors import UsageError
from armillary.export.graph import ROWS, graph_of
from armillary.export.onnx_file import OPSET, to_onnx
from armillary.export.program import Fields, Program
from armillary.export.programs import left_out, programs_of
from armillary.export.readme import readme
from armillary.export.stablehlo import PLATFORMS, serialized
from armillary.files import read_json, storage_error, write_atomically
from armillary.training.player import Player
from armillary.training.results import read_results
from armillary.training.run import Run
from armillary.version import __version__

CARD = "card.json"
MADE_BY = "armillary export"

Format = Literal["onnx", "stablehlo"]


def check_folder(folder: Path) -> None:
    """Makes sure that an export may be written into a folder.

    Raises:
        UsageError: it holds something else, or is a file.
    """
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
    except OSError as error:
        raise storage_error(folder, error) from error
    if _files_of(folder) is None:
        raise UsageError(
            f"{str(folder)!r} exists and holds no export: give an empty or a new folder with --out"
        )


def write_folder(
    player: Player,
    run: Path,
    folder: Path,
    to: Format,
    on_file: Callable[[Path], object] = lambda _: None,
) -> dict[str, Any]:
    """Exports an agent; returns the card.

    Args:
        player: the agent.
        run: its folder, of which the scores are read.
        folder: to be filled; an export that is there is replaced.
        to: the format.
        on_file: is told each file that was written.

    Raises:
        UsageError: the agent cannot be exported, the folder holds something else, or a package is
            missing; nothing is written.
        StorageError: it cannot be written.
    """
    check_folder(folder)
    before = _files_of(folder) or ()
    card = card_of(player, run) | {"format": to}
    card |= {"opset": OPSET} if to == "onnx" else {"platforms": list(PLATFORMS)}
    written, described = {}, []
    for program in programs_of(player):
        name = f"{program.name}.{to}"
        written[name] = _content(program, to, card)
        described.append(_described(program, name))
    state = next(p["inputs"] for p in described if p["name"] in ("reward", "prediction"))
    card |= {"state": state, "programs": described, "left_out": left_out(player)}
    written[CARD] = json.dumps(card, indent=2).encode()
    written["README.md"] = readme(card).encode()
    for name, content in written.items():
        write_atomically(folder / name, partial(_put, content))
        on_file(folder / name)
    for name in set(before) - set(written):
        (folder / name).unlink(missing_ok=True)
    return card


def card_of(player: Player, folder: Path) -> dict[str, Any]:
    """Returns where an agent comes from: its run, how long it was trained, its scores.

    Args:
        player: the agent.
        folder: of its run.
    """
    config, counters = player.config, player.counters
    results = read_results(Run(folder).results)
    scores = None
    if results is not None and results["episodes"] == counters["episodes"]:
        scores = {
            name: {key: results[name][key] for key in ("mean", "std", "scores")}
            for name in ("agent", "random")
            if isinstance(results.get(name), Mapping)
        }
    return {
        "made_by": MADE_BY,
        "armillary": __version__,
        "run": folder.resolve().name,
        "agent": config.agent,
        "task": config.task,
        "preset": config.preset,
        "seed": config.seed,
        "trained": {key: counters[key] for key in ("episodes", "updates", "simulator_steps")},
        "scores": scores,
        "spec": player.agent.spec.as_dict(),
    }


def _content(program: Program, to: Format, card: Mapping[str, Any]) -> bytes:
    if to == "stablehlo":
        return serialized(program)
    about = {key: str(card[key]) for key in ("run", "agent", "task", "armillary")}
    return bytes(to_onnx(graph_of(program), about | {"about": program.about}).SerializeToString())


def _put(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _described(program: Program, file: str) -> dict[str, Any]:
    def arrays(fields: Fields) -> dict[str, Any]:
        return {
            name: {"shape": [ROWS, *field.shape], "dtype": field.dtype}
            for name, field in fields.items()
        }

    return {
        "name": program.name,
        "file": file,
        "about": program.about,
        "inputs": arrays(program.inputs),
        "outputs": arrays(program.outputs),
    }


def _files_of(folder: Path) -> list[str] | None:
    """Returns the files of the export in a folder; None: there is none."""
    try:
        card = read_json(folder / CARD)
        if card["made_by"] != MADE_BY:
            return None
        names = [str(program["file"]) for program in card["programs"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return [name for name in names if Path(name).name == name]
