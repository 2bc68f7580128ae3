"""`armillary push`: a trained agent to the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from armillary.advice import command
from armillary.cli.options import parse
from armillary.cli.stdout import own_stdout, say, show
from armillary.training.packed import HUB


@dataclass(frozen=True)
class Arguments:
    """Pack a trained agent and put it into a repository on the Hugging Face Hub, with its card.

    Needs the extra `hub`, and a token: `hf auth login`, or HF_TOKEN.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of a trained agent, or a packed one."""
    repository: Annotated[str, tyro.conf.Positional]
    """OWNER/NAME on the Hub; it is made if it is missing."""
    private: bool = False
    """Make a new repository for its owner alone."""
    licence: str | None = None
    """Under which others may use it, for the card: cc-by-4.0 for instance."""
    trust: bool = False
    """Import the Python module that it names as its agent (docs/trust.md)."""


def run(argv: list[str]) -> int:
    """Packs, and sends the file and its card."""
    arguments = parse(Arguments, argv, "armillary push")
    name = arguments.repository.removeprefix(HUB)
    with own_stdout() as out, tempfile.TemporaryDirectory() as folder:
        from armillary.training import hub
        from armillary.training.packing import pack

        hub.check(name)
        path = pack(
            arguments.run,
            Path(folder) / hub.FILE,
            made={"licence": arguments.licence},
            address=f"{HUB}{name}",
            trust=arguments.trust,
        )
        say(f"sending {path.stat().st_size / 1e6:.2f} MB to {name}")
        address = hub.push(path, name, private=arguments.private)
        show(f"{address}\n\nnext:\n  {command('evaluate', f'{HUB}{name}')}", out)
    return 0
