"""Packing a trained agent into one small file, to be given away."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as tensors_from

from armillary.agents.base import trimmed
from armillary.agents.random import Random
from armillary.agents.registry import make_agent
from armillary.config import Config, to_dict
from armillary.envs import side_by_side
from armillary.envs.games import is_game
from armillary.errors import UsageError
from armillary.spec import Spec
from armillary.training import minari, packed, sources
from armillary.training.card import card
from armillary.training.counters import Counters
from armillary.training.evaluation import evaluate
from armillary.training.judges import JUDGES
from armillary.training.player import Player, load
from armillary.training.saved_config import FORMAT
from armillary.version import __version__

SIDE_BY_SIDE = 5
"""Episodes that are played at the same time, as `armillary evaluate` does."""


@dataclass(frozen=True)
class _Given:
    """An agent as it is given away: without what tells of the machine it was trained on."""

    source: sources.Trained
    evaluation: dict[str, Any] | None
    made: dict[str, str]

    @cached_property
    def config(self) -> Config:
        """Its configuration, without a project elsewhere, and of its source the last name."""
        config = self.source.config
        learned_from = config.source
        if learned_from is not None and not minari.is_named(learned_from):
            learned_from = Path(learned_from).name
        return replace(config, wandb=None, source=learned_from)

    @cached_property
    def counters(self) -> Counters:
        """How long it was trained, without what only a run that goes on needs."""
        return replace(self.source.counters, losses={}, position=None, config=None)

    @property
    def results(self) -> dict[str, Any] | None:
        return self.source.results

    def restore(self, agent: Any) -> tuple[Any, dict[str, Any]]:
        return self.source.restore(agent)


def pack(
    where: str | Path,
    out: str | Path | None = None,
    *,
    episodes: int = 0,
    seed: int = 0,
    made: dict[str, str | None] | None = None,
    address: str | None = None,
    trust: bool = False,
) -> Path:
    """Writes a packed agent: weights, settings, scores and a card.

    What is packed twice is the same file.

    Args:
        where: a run folder; or a packed agent, which is packed again.
        out: ends in `.armillary`. None: the name of the run, in the working folder.
        episodes: noise-free ones to play before, whose scores are packed, too. 0: none; a packed
            agent's scores stay.
        seed: of these episodes.
        made: how it was made, for the card: `commit`, `hardware`, `licence`, `note`.
        address: by which others will load it, for the card, `hf:OWNER/NAME`; None: the file.
        trust: whether code that it names may be run.

    Returns:
        The file.

    Raises:
        UsageError: the name ends otherwise, or is taken by something else; or a parameter is
            neither a float nor an integer.
        RunError: there is no trained agent, or it is damaged.
        StorageError: the file cannot be written.
    """
    source = sources.opened(where, trust=trust)
    path = Path(out or f"{packed.name_of(where)}{packed.SUFFIX}").absolute()
    packed.check_place(path)
    evaluation = source.evaluation
    if episodes:
        evaluation = played(load(where, trust=trust), episodes, seed)
    told = {name: text for name, text in (made or {}).items() if text}
    given = _Given(source, evaluation, {**source.made, **told})
    counters = given.counters
    agent = make_agent(source.config, Spec.from_dict(counters.spec))
    state, _ = source.restore(agent)
    weights = sources.leaves(trimmed(agent, state))
    if odd := {str(x.dtype) for x in weights.values() if x.dtype.kind not in "fiub"}:
        raise UsageError(
            f"the agent {source.config.agent!r} has parameters of the type {min(odd)}, which a "
            "packed agent cannot hold: let it have floats and integers"
        )
    content = {"format": FORMAT, "version": __version__, "config": to_dict(given.config)}
    members = {
        packed.CONFIG: _json(content),
        packed.COUNTERS: _json(asdict(counters)),
        packed.WEIGHTS: tensors_from({k: np.asarray(x, order="C") for k, x in weights.items()}),
        packed.CARD: card(given, packed.name_of(address or path), address or path.name).encode(),
    }
    for name, values in ((packed.RESULTS, given.results), (packed.EVALUATION, evaluation)):
        if values is not None:
            members[name] = _json(values)
    packed.write(path, members, given.made)
    return path


def played(player: Player, episodes: int, seed: int) -> dict[str, Any]:
    """Returns the scores of an agent and of random actions on each task, ready for JSON.

    Those of the agent are what `armillary evaluate` gives with this seed. Of a board game with a
    judge also what it finds of both, in words.

    Raises:
        UsageError: the task is a module that is not trusted.
        EnvironmentFailure: the environment broke.
    """
    tasks: dict[str, Any] = {}
    environment = player.config.environment
    for task in player.config.tasks:
        player.check_trust((task,))
        random = Random(player.agent.spec)
        actors = {"agent": (player.agent, player.state), "random": (random, None)}
        envs = side_by_side(task, environment, min(SIDE_BY_SIDE, episodes))
        try:
            tasks[task] = {
                who: evaluate(envs, *actor, episodes=episodes, seed=seed)[0].as_dict()
                for who, actor in actors.items()
            }
        finally:
            envs.close()
        judge = JUDGES.get(task)
        if judge is not None and judge.works and is_game(task, environment.kwargs):
            found = {
                who: judge.verdict(task, *actor, environment.kwargs)
                for who, actor in actors.items()
            }
            tasks[task]["judged"] = {
                judge.name: {who: {"score": v.score, "text": str(v)} for who, v in found.items()}
            }
    return {"seed": seed, "side_by_side": SIDE_BY_SIDE, "armillary": __version__, "tasks": tasks}


def _json(values: Any) -> bytes:
    return json.dumps(values, indent=2, allow_nan=False).encode()
