"""What a run that goes on finds of the episodes that it has collected."""

from __future__ import annotations

import logging

from armillary.errors import RunError
from armillary.replay.entry import said
from armillary.replay.episodes import EpisodeStore
from armillary.spec import MASK, Spec
from armillary.training.counters import Counters

log = logging.getLogger(__name__)


def check_episodes(
    store: EpisodeStore,
    counters: Counters,
    spec: Spec,
    *,
    brought: bool = False,
    round_size: int = 1,
) -> None:
    """Warns of episodes that are gone, and of a run that begins again although it has episodes.

    Args:
        store: the episodes.
        counters: how far the run is.
        spec: of its environment.
        brought: whether they are not its own, so that it begins with them.
        round_size: episodes of a file.

    Raises:
        RunError: the episodes are not of such an environment.
    """
    indices = store.indices
    if indices:
        wanted = {n: (f.shape, f.dtype) for n, f in spec.fields.items() if n != MASK}
        ours = {"observation": wanted, "action": spec.action.size}
        theirs = {"observation": store.layout, "action": store.action_size}
        if ours != theirs:
            raise RunError(
                f"the episodes in {store.folder} have {said(theirs)}, but the run has "
                f"{said(ours)}: they are not of this run, move them away"
            )
    damaged = {first + i for first in store.damaged for i in range(round_size)}
    lost = sorted(set(range(counters.episodes)) - {*indices, *damaged})
    if lost:
        log.warning(
            "%d of the %d episodes collected so far are not in %s (the first: %d): the run goes "
            "on, but learns only from those that are left",
            len(lost),
            counters.episodes,
            store.folder,
            lost[0],
        )
    if len(indices) > 1 and not counters.episodes and not brought:
        log.warning(
            "there are %d episodes in %s, but no checkpoint: the run begins again, with these "
            "episodes",
            len(indices),
            store.folder,
        )
