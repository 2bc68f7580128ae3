"""docs/sharing.md as it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from armillary.training import demos, packed
from pages import DOCS, blocks

PAGE = DOCS / "sharing.md"


def test_the_python(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    demo, pack = blocks(PAGE, "python")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "cheetah-run-planet-small-seed0").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(demo, found)
    assert capsys.readouterr().out.startswith("(9,) ")
    exec(pack, found)
    agent, updates, size = capsys.readouterr().out.split()
    assert (agent, updates) == ("planet", "18")
    assert int(size) == (tmp_path / "cheetah.armillary").stat().st_size


def test_what_is_in_a_file_is_on_the_page() -> None:
    text = PAGE.read_text()
    for name in (packed.MANIFEST, packed.CONFIG, packed.COUNTERS, packed.WEIGHTS, packed.CARD,
                 packed.RESULTS, packed.EVALUATION):  # fmt: skip
        assert f"`{name}`" in text


@pytest.mark.parametrize("name", demos.names())
def test_the_table_has_what_is_in_the_demos(name: str) -> None:
    """Command, commit and scores, as on the card."""
    card = packed.Packed(demos.path(name)).read(packed.CARD).decode()
    rows = dict(line.split(" | ", 1) for line in card.splitlines() if line.startswith("| "))
    (row,) = (line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{name}` |"))
    command = next(line for line in card.splitlines() if line.startswith("armillary train "))
    assert f"`{command}`" in row
    assert rows["| armillary"].removesuffix(" |").split("commit ")[1] in row
    judged = [key for key in ("losing lines", "optimal moves") if f"| {key}" in rows]
    for label in judged or ("score", "random actions"):
        score = rows[f"| {label}"].removesuffix(" |")
        assert score.split(" over ")[0].split(";")[0] in row, (label, score)
