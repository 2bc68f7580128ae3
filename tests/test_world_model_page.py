"""docs/world-model.md as it is written, from one piece to the next."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from armillary.training.loop import train
from settings import TINY_GAME

PAGE = (Path(__file__).parents[1] / "docs" / "world-model.md").read_text()
PREDICT, COMPARE, BRANCH, PLAN, READ, MUZERO = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_as_it_is_written(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "cheetah-run-planet-small-seed0").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(PREDICT, found)
    assert found["frames"].shape == (6, 64, 64, 3)
    exec(COMPARE, found)
    assert found["error"].shape == (6,)
    exec(BRANCH, found)
    np.testing.assert_allclose(found["of_each"][:, 1], found["rewards"], rtol=1e-4, atol=1e-6)
    exec(PLAN, found)
    exec(READ, found)
    assert found["table"].shape == (13, 20)


def test_muzeros_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train(TINY_GAME, "runs/tic_tac_toe-muzero-small-seed0")
    found: dict[str, Any] = {}
    exec(MUZERO, found)
    assert found["found"].visits[0, 4] == 0
