"""A map of the states in which a model keeps recorded episodes, and what lies between them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from armillary.advice import extra
from armillary.agents.hidden import HiddenModel
from armillary.dynamics.base import LatentState
from armillary.envs.games import BOARD
from armillary.errors import UsageError
from armillary.explore.frames import Answer
from armillary.explore.library import Loaded
from armillary.explore.recorded import spread
from armillary.replay.episode import Episode
from armillary.spec import MASK

Method = Literal["pca", "tsne"]
METHODS = ("pca", "tsne")
EPISODES = 8
"""Recorded episodes of which the states are shown."""
ROWS = 300
"""States that are wanted at least: of short episodes there are more."""
POINTS = 1000
"""States that are shown, at most."""
COORDINATES = 12
"""Coordinates that can be moved: of the whole state those that vary most."""
DIRECTIONS = 4
"""Principal components along which a state can be moved."""


class Map:
    """States of recorded episodes as points in the plane.

    Args:
        loaded: the agent.
        method: pca: the two directions in which the states vary most; tsne: neighbours stay
            neighbours, distances mean little.

    Raises:
        UsageError: there is no such method.
        RunError: there is no episode that can be read.
    """

    def __init__(self, loaded: Loaded, method: Any = "pca") -> None:
        if method not in METHODS:
            raise UsageError(f"the method is {method!r}, expected one of {', '.join(METHODS)}")
        self.loaded, self.model, self.method = loaded, loaded.model, method
        spec = loaded.player.agent.spec
        episodes = spread(loaded.shown.run.episodes, EPISODES, ROWS)
        states, frames, self.rewards, self.places = [], [], [], []
        for number, episode in enumerate(episodes):
            fields = {name: x for name, x in episode.observation.items() if name in spec.fields}
            fields.pop(MASK, None)
            found = _rows(self.model.encode(fields, episode.action, every=True))
            rows = np.arange(0, len(found), max(1, -(-len(found) * len(episodes) // POINTS)))
            states.append(found[rows])
            frames.append(_frames(episode, rows))
            self.rewards += episode.reward[rows].tolist()
            self.places += [(number, int(row)) for row in rows]
        self.states = np.concatenate(states)
        kept = [frame for frame in frames if frame is not None]
        self.frames = np.concatenate(kept) if len(kept) == len(frames) else None
        self.centre = self.states.mean(axis=0)
        self.points, self.axes, self.shares = self._reduced()
        spreads = self.states.std(axis=0)
        self.moving = np.argsort(-spreads)[:COORDINATES]
        self.spreads = spreads

    def _reduced(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the points, the principal directions scaled by their spread, and their shares."""
        try:
            from sklearn.decomposition import PCA
            from sklearn.manifold import TSNE
        except ImportError as error:
            raise UsageError(
                f"the map of states needs scikit-learn, which is missing: `{extra('explore')}`"
            ) from error
        count = min(DIRECTIONS, *self.states.shape)
        pca = PCA(count, random_state=0).fit(self.states)
        points = pca.transform(self.states)[:, :2]
        if self.method == "tsne":
            near = min(30.0, (len(self.states) - 1) / 3)
            tsne = TSNE(2, perplexity=max(1.0, near), init="pca", random_state=0, max_iter=500)
            points = tsne.fit_transform(self.states)
        axes = pca.components_ * np.sqrt(pca.explained_variance_)[:, None]
        if points.shape[1] == 1:
            points = np.concatenate([points, np.zeros_like(points)], axis=1)
        return points, axes, np.nan_to_num(pca.explained_variance_ratio_)

    def view(self) -> Answer:
        """Returns all points, and what can be moved."""
        return Answer(
            {
                "task": self.loaded.player.task(),
                "trained": self.loaded.episodes,
                "method": self.method,
                "points": np.round(self.points, 4).tolist(),
                "rewards": self.rewards,
                "places": self.places,
                "size": self.states.shape[1],
                "shares": self.shares.tolist(),
                "directions": len(self.axes),
                "coordinates": self.moving.tolist(),
                "draws": self.loaded.draws,
                "board": self.loaded.player.agent.spec.players > 1,
            }
        )

    def look(self, number: Any, moved: Any = None) -> Answer:
        """Returns the frame of a point, and what its state is decoded to.

        Args:
            number: of the point.
            moved: `{"kind": "direction" or "coordinate", "number": n, "by": x}`: the state is moved
                by x standard deviations along a principal direction, or in one coordinate.

        Raises:
            UsageError: there is no such point or coordinate.
        """
        if not isinstance(number, int) or not 0 <= number < len(self.states):
            raise UsageError(f"there is no point {number!r}: there are {len(self.states)}")
        state = self.states[number]
        if moved is not None:
            state = state + self._shift(moved)
        images = {} if self.frames is None else {"frame": self.frames[number]}
        values: dict[str, Any] = {"number": number, "reward": self.rewards[number]}
        if self.loaded.draws:
            images["decoded"] = self.model.decode(self._whole(state))[0]
        whole = self._whole(state)
        with suppress(UsageError):  # it learned none
            values["value"] = float(self.model.value(whole)[0])
        if isinstance(self.model, HiddenModel):
            values["policy"] = np.asarray(self.model.policy(whole)[0]).tolist()
        else:
            values["predicted_reward"] = float(self.model.reward(whole)[0])
        return Answer(values, images)

    def _shift(self, moved: Any) -> np.ndarray:
        try:
            kind, number, by = moved["kind"], int(moved["number"]), float(moved["by"])
            known = len(self.axes) if kind == "direction" else self.states.shape[1]
            if kind not in ("direction", "coordinate") or not 0 <= number < known:
                raise ValueError("no such coordinate")
            if not abs(by) <= 10:
                raise ValueError("expected at most 10 standard deviations")
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"a state cannot be moved by {str(moved)[:80]} ({error})") from error
        if kind == "direction":
            return by * self.axes[number]
        shift = np.zeros_like(self.centre)
        shift[number] = by * self.spreads[number]
        return shift

    def _whole(self, row: np.ndarray) -> Any:
        """Returns a state of the model, with a leading axis of 1, from its numbers."""
        if isinstance(self.model, HiddenModel):
            return jnp.asarray(row, jnp.float32).reshape(1, *self.model.state_shape)
        dynamics = self.model.model.dynamics
        initial = dynamics.initial(1)
        numbers = jnp.asarray(row, jnp.float32)[None]
        split = dynamics.deterministic_size
        return initial._replace(deterministic=numbers[:, :split], stochastic=numbers[:, split:])


def _rows(states: Any) -> np.ndarray:
    """Returns states as a table, one row each: the deterministic part, then the stochastic one."""
    if isinstance(states, LatentState):
        return np.concatenate([states.deterministic, states.stochastic], axis=-1)
    return np.asarray(states).reshape(len(states), -1)


_MOVER, _OTHER, _EMPTY = (42, 102, 200), (210, 110, 40), (226, 210, 178)
_STONES = (2, 17)
"""Planes of boards of which the first two are the stones of who is to move and of the other."""


def _frames(episode: Episode, rows: np.ndarray) -> UInt8[np.ndarray, "n height width 3"] | None:
    """Returns what was seen in some rows: images, or boards of stones; None: there is nothing."""
    images = episode.images
    if images:
        return images[min(images)][rows]
    board = episode.observation.get(BOARD)
    if board is None or board.ndim != 4 or board.shape[-1] not in _STONES:
        return None
    mine, others = board[rows][..., :1] > 0, board[rows][..., 1:2] > 0
    cells = np.where(mine, _MOVER, np.where(others, _OTHER, _EMPTY)).astype(np.uint8)
    large = cells.repeat(12, axis=1).repeat(12, axis=2)
    large[:, ::12] = large[:, :, ::12] = 120
    return large
