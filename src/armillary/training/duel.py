"""An agent against a program of others, game by game."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from armillary import seeding
from armillary.errors import EnvironmentFailure
from armillary.training.match import Match
from armillary.training.programs import RESIGNS, Opponent


def duel(
    match: Match,
    opponent: Opponent,
    *,
    pairs: int,
    openings: int,
    seed: int,
    on_step: Callable[[], None] = lambda: None,
) -> Float[np.ndarray, "2 pairs"]:
    """Plays games in pairs, without exploration, as `arena` does.

    Args:
        match: of the agent, at the beginning.
        opponent: the program.
        pairs: how many.
        openings: a game begins with 0 to so many random moves, as many as is drawn; none of them
            ends it.
        seed: of the openings.
        on_step: called after each move; what it raises ends the games.

    Returns:
        What each game paid to the agent: 1, 0 or -1; first those in which it moved first.

    Raises:
        EnvironmentFailure: the program's move is not legal, or it gives none.
    """
    paid = np.zeros((2, pairs))
    for pair in range(pairs):
        opening = _opening(
            match, openings, np.random.default_rng(seeding.integer(seed, "duel", pair))
        )
        for second in range(2):
            game = match.another()
            for move in opening:
                game.play(move)
            paid[second, pair] = _play(game, opponent, len(opening) % 2 ^ second, on_step)
    return paid


def _opening(match: Match, openings: int, random: np.random.Generator) -> list[int]:
    """Returns the random moves that both games of a pair begin with."""
    game = match.another()
    for _ in range(random.integers(openings + 1)):
        legal = np.flatnonzero(np.asarray(game.state.legal_action_mask))
        game.play(int(random.choice(legal)))
        if game.over:
            game.undo()
            break
    return game.moves


def _play(game: Match, opponent: Opponent, agent: int, on_step: Callable[[], None]) -> float:
    """Returns what a game pays to the agent, of which it is side 0 or 1."""
    opponent.begin()
    names = list(game.names)
    while not game.over:
        if game.mover == agent:
            names.append(game.respond().name)
        else:
            name = opponent.move(names)
            if name == RESIGNS:
                return 1.0
            move = game.face.find(game.state, name)
            if move is None:
                raise EnvironmentFailure(
                    f"the program plays {name!r} after {' '.join(names) or 'the beginning'}, which "
                    "is not legal: its rules are others, or it is broken"
                )
            names.append(game.face.move(game.state, move))
            game.play(move)
        on_step()
    return game.result * (1 if agent == 0 else -1)
