"""`armillary pack`: a trained agent in one small file, to be given away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from armillary.advice import command
from armillary.cli.options import parse
from armillary.cli.stdout import own_stdout, say, show
from armillary.errors import UsageError
from armillary.training import packed


@dataclass(frozen=True)
class Arguments:
    """Pack a trained agent into one small file: weights, settings, scores and a card.

    The file acts exactly as the run does, and is given to any command in place of a run folder.
    Episodes and the optimiser are left out, so it cannot be trained further.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of a trained agent; or a packed one, to pack it again with another card."""
    out: Path | None = None
    """File to write, .armillary. Default: the name of the run, in this folder."""
    episodes: int = 0
    """Noise-free episodes to play before, the agent's and random ones, for the card. 0: none, and
    the card has the scores of the end of the run."""
    seed: int = 0
    """Seed of these episodes."""
    licence: str | None = None
    """Under which others may use it, for the card: cc-by-4.0 for instance."""
    commit: str | None = None
    """Of the code that it was trained with, for the card."""
    hardware: str | None = None
    """What it was trained on, in words, for the card."""
    note: str | None = None
    """Anything else, for the card."""
    card: bool = False
    """Print the card of a packed agent, and write nothing."""
    trust: bool = False
    """Run the Python module that it names as its task (docs/trust.md)."""


def run(argv: list[str]) -> int:
    """Writes the file, or prints the card of one."""
    arguments = parse(Arguments, argv, "armillary pack")
    if arguments.episodes < 0 or arguments.seed < 0:
        raise UsageError(
            f"episodes is {arguments.episodes} and seed {arguments.seed}, but neither must be "
            "negative"
        )
    if arguments.card:
        show(_card(arguments.run), end="")
        return 0
    out = None if arguments.out is None else arguments.out.absolute()
    with own_stdout() as stdout:
        from armillary.training.packing import pack

        if arguments.episodes:
            say(f"playing {arguments.episodes} episodes, and as many at random")
        made = {n: getattr(arguments, n) for n in ("licence", "commit", "hardware", "note")}
        path = pack(
            arguments.run,
            out,
            episodes=arguments.episodes,
            seed=arguments.seed,
            made=made,
            trust=arguments.trust,
        )
        show(
            f"{path}: {path.stat().st_size / 1e6:.2f} MB\n\nnext:\n"
            f"  {command('pack', path, '--card')}    # what others read of it\n"
            f"  {command('evaluate', path)}\n"
            f"  {command('push', path, 'OWNER/NAME')}    # to the Hugging Face Hub\n"
            f"  python: agent = armillary.load({str(path)!r})",
            stdout,
        )
    return 0


def _card(where: Path) -> str:
    """Returns the card of a packed agent, of which nothing else is read."""
    from armillary.training.card import shown
    from armillary.training.sources import located

    if not packed.is_packed(where):
        raise UsageError(f"{str(where)!r} is no packed agent: pack it first, and it has a card")
    file = packed.Packed(located(where), str(where))
    return shown(file.read(packed.CARD).decode("utf-8", errors="replace"))
