"""One game between a person and an actor, move by move."""

from __future__ import annotations

import numpy as np
import pytest

from armillary.envs.games import game, spec_of_game
from armillary.errors import UsageError
from armillary.training.match import Match
from plain_games import Chooses, first_legal

RULES = game("tic_tac_toe")


@pytest.fixture
def match() -> Match:
    return Match(Chooses(spec_of_game(RULES), first_legal), None, RULES)


def test_moves_are_made_and_taken_back(match: Match) -> None:
    assert match.mover == 0
    assert not match.undo()
    match.play(4)
    thought = match.respond()
    assert (thought.move, thought.name, match.mover) == (0, "a3", 0)
    assert match.moves == [4, 0]
    assert match.undo()
    assert match.moves == [4]
    assert match.mover == 1
    assert np.asarray(match.state.legal_action_mask).sum() == 8


def test_what_the_actor_says_is_named_and_its_belief_goes_back_with_the_moves(match: Match) -> None:
    thought = match.think()
    assert match.moves == []
    assert thought.visits == (("a3", 7), ("c1", 1))
    assert thought.variation == ("a3",)  # the second time it cannot be played
    assert str(thought) == "a3 (value +0.50; visits a3 7, c1 1; expects a3)"
    match.respond()
    match.play(8)
    assert match.respond().value == 1.5  # its second move
    match.undo()
    assert match.respond().value == 1.5


def test_a_game_ends_and_says_who_won(match: Match) -> None:
    for move in (0, 3, 1, 4, 2):
        assert not match.over
        match.play(move)
    assert match.over
    assert match.result == 1
    for wrong in (lambda: match.play(8), match.think):
        with pytest.raises(UsageError, match="the game is over"):
            wrong()


def test_a_move_that_is_not_legal_changes_nothing(match: Match) -> None:
    match.play(0)
    for move in (0, 9, -1):
        with pytest.raises(UsageError, match="not legal"):
            match.play(move)
    assert match.moves == [0]
