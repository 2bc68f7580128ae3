"""`armillary pull`: a packed agent from the Hugging Face Hub."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from armillary.advice import command
from armillary.cli.options import parse
from armillary.cli.stdout import own_stdout, show
from armillary.training.packed import HUB, SUFFIX, Packed, check_place, name_of


@dataclass(frozen=True)
class Arguments:
    """Fetch a packed agent from the Hugging Face Hub into a file.

    Needs the extra `hub`. Any command does so by itself where hf:OWNER/NAME is given as the run.
    """

    repository: Annotated[str, tyro.conf.Positional]
    """OWNER/NAME on the Hub, or OWNER/NAME@REVISION."""
    out: Path | None = None
    """File to write, .armillary. Default: NAME.armillary in this folder."""


def run(argv: list[str]) -> int:
    """Fetches the file, looks whether it is whole, and writes it."""
    arguments = parse(Arguments, argv, "armillary pull")
    name = HUB + arguments.repository.removeprefix(HUB)
    with own_stdout() as out:
        from armillary.files import write_atomically
        from armillary.training.sources import located

        path = arguments.out or Path(f"{name_of(name)}{SUFFIX}")
        check_place(path)
        fetched = located(name)
        Packed(fetched, name)
        with open(fetched, "rb") as file:
            write_atomically(path, partial(shutil.copyfileobj, file))
        show(
            f"{path}: {path.stat().st_size / 1e6:.2f} MB\n\nnext:\n"
            f"  {command('pack', path, '--card')}    # what it says of itself\n"
            f"  {command('evaluate', path)}",
            out,
        )
    return 0
