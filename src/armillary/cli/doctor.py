"""`armillary doctor`: what this machine can do, and what to mend."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from armillary.cli.options import parse
from armillary.cli.stdout import own_stdout, show


@dataclass(frozen=True)
class Arguments:
    """Try everything that training needs here. Exit code 1: training cannot work."""

    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""
    empty_cache: bool = False
    """Delete the compiled programs that are kept between starts, and look at nothing."""


def run(argv: list[str]) -> int:
    """Examines the machine and prints what it finds."""
    arguments = parse(Arguments, argv, "armillary doctor")
    if arguments.empty_cache:
        return _empty(arguments.json)
    from armillary.machine.doctor import Check, examine

    checks: list[Check] = []
    with own_stdout() as out:
        for check in examine(Path.cwd()):
            checks.append(check)
            if not arguments.json:
                lines = _lines(check.name, check.status, check.text, check.advice)
                show(lines, out)
        wrong = [check for check in checks if check.status != "ok"]
        can_train = all(check.status != "failed" for check in checks)
        if arguments.json:
            found = [dataclasses.asdict(check) for check in checks]
            show(json.dumps({"can_train": can_train, "checks": found}), out)
        else:
            show(f"\n{_verdict(can_train, len(wrong))}", out)
    return 0 if can_train else 1


def _empty(as_json: bool) -> int:
    from armillary.training import program_cache

    folder, count = program_cache.empty()
    if as_json:
        show(
            json.dumps({"folder": None if folder is None else str(folder), "deleted_bytes": count})
        )
    elif folder is None:
        whose = program_cache.place().whose
        show(f"nothing is deleted: {whose} says where programs are kept, or not")
    else:
        show(f"deleted {count / 2**20:,.0f} MiB of compiled programs in {folder}")
    return 0


def _lines(name: str, status: str, text: str, advice: str) -> str:
    line = f"{status:<9}{name:<17}{text}"
    return f"{line}\n{'':<26}-> {advice}" if advice else line


def _verdict(can_train: bool, wrong: int) -> str:
    if not can_train:
        return "Training cannot work here: mend what failed."
    if wrong:
        return f"Training can work here; what would be better: {wrong} (see ->)."
    return "Training can work here; nothing is wrong."
