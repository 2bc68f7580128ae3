"""`armillary export`: an agent to use without this library, or as a page that dreams."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from armillary.cli.options import parse
from armillary.cli.stdout import say, show

if TYPE_CHECKING:
    from armillary.training.player import Player


@dataclass(frozen=True)
class Arguments:
    """Write a trained agent as something to use without this library.

    onnx and stablehlo: a folder with a file for each of its functions, one time step of any number
    of states at once: the belief after an observation, the state that an action leads to, its
    reward, the frame expected there, the action to take. html: one page that dreams under the
    reader's keys in a browser, without a server or a network.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of a trained agent."""
    to: Literal["onnx", "stablehlo", "html"]
    """What to write."""
    out: Path | None = None
    """Folder to write, or page. Default: onnx, stablehlo or dream.html in the run folder."""
    act: Literal["policy", "plan"] | None = None
    """Who chooses the actions in place of the run's choice: a policy is exported, a plan is not."""
    trust: bool = False
    """Run the Python module that the run folder names as its agent or dynamics (docs/trust.md)."""


def run(argv: list[str]) -> int:
    """Exports, and says what was written."""
    arguments = parse(Arguments, argv, "armillary export")

    from armillary.training.player import load

    player = load(arguments.run, act=arguments.act, trust=arguments.trust)
    out = arguments.out or _place(arguments.run, arguments.to)
    (_write_page if arguments.to == "html" else _write_folder)(arguments, player, out)
    return 0


def _place(run: Path, to: str) -> Path:
    """Returns where an export is written: in the run folder, or beside the file of a packed run."""
    name = {"html": "dream.html"}.get(to, to)
    return run / name if run.is_dir() else Path(f"{run.stem}-{name}")


def _write_page(arguments: Arguments, player: Player, path: Path) -> None:
    from armillary.export.page import write_page

    page = write_page(player, arguments.run, path)
    if "actor" not in page["programs"]:
        say("the agent plans, which the page cannot: only the reader steers (`armillary distill`)")
    count = len(page["starts"])
    show(
        f"{path}: {page['bytes'] / 2**20:.1f} MiB, {page['parameters']:,} parameters, dreams that "
        f"begin in {count} state{'s' * (count != 1)}; open it in a browser"
    )


def _write_folder(arguments: Arguments, player: Player, folder: Path) -> None:
    from armillary.export.folder import write_folder

    assert arguments.to != "html"
    card = write_folder(player, arguments.run, folder, arguments.to)
    width = max(len(program["file"]) for program in card["programs"])
    lines = [f"{p['file']:<{width}}  {p['about']}" for p in card["programs"]]
    lines += [f"{'no ' + name:<{width}}  {why}" for name, why in card["left_out"].items()]
    for line in lines:
        say(line)
    show(f"{folder}: begin with README.md")
