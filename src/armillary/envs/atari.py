"""Atari games, of ale-py: their ids, whether their ROMs are there, and how they are played.

An `ALE/...-v5` environment of Gymnasium observes one frame of 210x160 RGB pixels, scaled to
`environment.size`. Frames are skipped, actions sticky (repeated at random, which keeps an agent
from learning a sequence by heart); rewards are the game's own, unclipped, and nothing presses a
button when a game begins.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import gymnasium

from armillary.advice import extra, install
from armillary.errors import UsageError

PREFIX = "ALE/"
"""How the ids of Atari games begin."""

DEFAULTS = {"frameskip": 4, "repeat_action_probability": 0.25}
"""Frames of an action, and how probably the last action takes the place of the next one."""


def is_installed() -> bool:
    """Whether ale-py is there, which plays Atari games and brings their ROMs. Imports nothing."""
    return importlib.util.find_spec("ale_py") is not None


def missing() -> str:
    """Returns what to say where ale-py is missing."""
    return f"Atari games need ale-py, which brings their ROMs, too: `{extra('atari')}`"


def register() -> None:
    """Makes Gymnasium know the ids of Atari games, if ale-py is installed."""
    if is_installed():
        import ale_py

        gymnasium.register_envs(ale_py)
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # no greeting


def ids() -> list[str]:
    """Returns the ids of the games whose ROMs are installed; none without ale-py."""
    register()
    return [
        name
        for name, spec in gymnasium.registry.items()
        if name.startswith(PREFIX) and _rom(str(spec.kwargs["game"])).exists()
    ]


def check(task: str) -> None:
    """Makes sure that a game can be played, if its id is known.

    Args:
        task: an id that begins with `ALE/`.

    Raises:
        UsageError: ale-py or the game's ROM is not installed.
    """
    if not is_installed():
        raise UsageError(f"{task} cannot be played: {missing()}")
    register()
    spec = gymnasium.registry.get(task)
    if spec is None:
        return
    rom = _rom(str(spec.kwargs["game"]))
    if not rom.exists():
        where = "ALE_ROMS_DIR names that folder: unset it, or put the ROM there"
        again = f"ale-py brings it: `{install('--force-reinstall', 'ale-py')}`"
        raise UsageError(
            f"{task} needs the ROM {rom.name}, which is not in {str(rom.parent)!r}; "
            + (where if "ALE_ROMS_DIR" in os.environ else again)
        )


def _rom(game: str) -> Path:
    """Returns where ale-py looks for a ROM."""
    import ale_py.roms

    folder = os.environ.get("ALE_ROMS_DIR") or Path(str(ale_py.roms.__file__)).parent
    return Path(folder) / f"{game}.bin"
