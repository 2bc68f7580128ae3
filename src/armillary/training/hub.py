"""Packed agents on the Hugging Face Hub, with its own library: the extra `hub`.

A repository holds two files: the packed agent and its card. `HF_ENDPOINT` and `HF_TOKEN` are the
library's variables, and hold here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from armillary.advice import extra
from armillary.errors import RunError, UsageError
from armillary.training.packed import CARD, HUB, Packed

FILE = "agent.armillary"
"""The packed agent in a repository."""


def pull(name: str) -> Path:
    """Returns the packed agent of a repository, fetched unless the library has kept it.

    Args:
        name: `OWNER/NAME`, or `OWNER/NAME@REVISION`: a branch, a tag or a commit.

    Raises:
        UsageError: the library is missing, or this is no such name.
        RunError: there is no such repository or revision, it holds no packed agent, or the Hub
            cannot be reached.
    """
    hub = _library()
    repository, _, revision = name.partition("@")
    check(repository)
    with _told(f"{HUB}{name}", "is it there, does it hold a packed agent, and is there a network?"):
        return Path(hub.hf_hub_download(repository, FILE, revision=revision or None))


def check(name: str) -> None:
    """Makes sure that this can be the name of a repository.

    Raises:
        UsageError: the library is missing, or it cannot.
    """
    _library()
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        if name.count("/") != 1:
            raise HFValidationError("it has no owner")
        validate_repo_id(name)
    except HFValidationError as error:
        raise UsageError(
            f"{name!r} is no name of a repository on the Hugging Face Hub: give OWNER/NAME"
        ) from error


def push(file: Path, name: str, *, private: bool) -> str:
    """Puts a packed agent and its card into a repository, which is made if it is missing.

    Args:
        file: the packed agent.
        name: `OWNER/NAME`.
        private: whether a new repository is for its owner alone.

    Returns:
        The address of the commit.

    Raises:
        UsageError: the library is missing, or this is no such name.
        RunError: the Hub refuses it, or cannot be reached.
    """
    check(name)
    hub = _library()
    with _told(
        f"{HUB}{name}", "is it yours, and are you logged in (`hf auth login`, or HF_TOKEN)?"
    ):
        hub.create_repo(name, private=private, exist_ok=True)
        files = [
            hub.CommitOperationAdd(FILE, str(file)),
            hub.CommitOperationAdd(CARD, Packed(file).read(CARD)),
        ]
        message = "An agent packed by armillary"
        return str(hub.create_commit(name, files, commit_message=message).commit_url)


@contextmanager
def _told(name: str, question: str) -> Iterator[None]:
    """Says in one sentence what the library or the Hub finds wrong."""
    try:
        yield
    except Exception as error:  # of the Hub, of its library, of the network
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RunError(
            f"the Hugging Face Hub did not do it for {name!r} ({text}): {question}"
        ) from error


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UsageError(
            f"the Hugging Face Hub needs its library, which is not installed: `{extra('hub')}` "
            "brings it"
        ) from error
    return huggingface_hub
