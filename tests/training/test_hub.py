"""The Hugging Face Hub: pushed to, pulled from and loaded by name, at a stand-in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from armillary.errors import UsageError
from armillary.training import hub, packed
from armillary.training.packing import pack
from conftest import environment
from hub_standin import TOKEN, Hub

SCRIPT = """
import os, sys
from armillary.cli.main import main
for line in sys.argv[1:]:
    try:
        token, *words = line.split()
        os.environ["HF_TOKEN"] = token
        main(words)
    except SystemExit as end:
        print(f"[{end.code}]", file=sys.stderr, flush=True)
"""


def typed(server: Hub, folder: Path, *lines: str) -> str:
    """Runs command lines in one process, whose Hub is the stand-in; returns what they say.

    Args:
        server: the Hub.
        folder: the working folder.
        lines: each with the token before it.
    """
    variables = {
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(folder / "kept"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "no_proxy": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *lines],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        env=environment() | variables,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_an_agent_goes_to_the_hub_and_comes_back(trained: Path, tmp_path: Path) -> None:
    with Hub() as server:
        said = typed(
            server,
            tmp_path,
            f"hf_of_nobody push {trained} me/little",
            f"{TOKEN} push {trained} me/little --private --licence mit",
            f"{TOKEN} pull me/little",
            f"{TOKEN} pull hf:me/little@main --out other.armillary",
            f"{TOKEN} evaluate hf:me/little --episodes 2",
            f"{TOKEN} evaluate {trained} --episodes 2",
            f"{TOKEN} evaluate hf:me/nothing",
            f"{TOKEN} pull me/little@v9",
            f"{TOKEN} train --run hf:me/little",
            f"{TOKEN} train --run hf:me/little --task toys:short",
        )
    codes = [line for line in said.splitlines() if line.startswith("[")]
    assert codes == ["[1]", *["[0]"] * 5, "[1]", "[1]", "[2]", "[2]"], said
    assert "Traceback" not in said
    assert "hf auth login" in said.split("[1]")[0]
    assert f"{server.address}/me/little/commit/" in said
    files = server.repositories["me/little"]
    assert set(files) == {hub.FILE, "README.md"}
    assert server.private == {"me/little"}
    sent = pack(
        trained, tmp_path / "sent.armillary", made={"licence": "mit"}, address="hf:me/little"
    )
    for path in (sent, tmp_path / "little.armillary", tmp_path / "other.armillary"):
        assert path.read_bytes() == files[hub.FILE]
    page = files["README.md"].decode()
    assert page == packed.Packed(sent).read(packed.CARD).decode()
    assert page.startswith('---\nlicense: "mit"\n')
    assert 'armillary.load("hf:me/little", trust=True)' in page
    by_name, by_folder = (
        said.split(f"{where} on toys:short: ")[1].split("\n")[:2]
        for where in ("hf:me/little", str(trained))
    )
    assert by_name == by_folder
    assert "'hf:me/nothing' (" in said
    assert said.count("no episodes and optimiser to go on with") == 2
    downloads = [call for call in server.calls if call.startswith("GET /me/little/resolve/main")]
    assert len(downloads) == 1  # the library keeps it


@pytest.mark.parametrize("name", ["", "little", "me/little/more", "me/../x", "me/a b", "/x", "me/"])
def test_names_of_repositories(name: str) -> None:
    for call in (hub.check, hub.pull):
        with pytest.raises(UsageError, match="give OWNER/NAME"):
            call(name)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"not installed: `.*hub"):
        hub.pull("me/little")
