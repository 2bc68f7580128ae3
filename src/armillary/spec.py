"""What a step is, said once: the fields of an observation, the actions, and the players.

An environment has a spec, an agent is made from one and refuses what it cannot do, a checkpoint
holds one. Inside, an observation is always a dictionary of arrays by the names of its fields, and
an action always a vector: of numbers in [-1, 1], or one-hot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import ArrayLike

from armillary.errors import UsageError

IMAGE = "image"
"""The field of an agent's only image."""
MASK = "mask"
"""The field that says which entries of an action count, or which of discrete actions may be taken.

What a task has no use for, of one agent that learns several tasks, and what a game forbids.
"""


@dataclass(frozen=True)
class Field:
    """One entry of an observation.

    Attributes:
        shape: of one observation: (height, width, 3) of an image, (size,) of a vector.
        dtype: uint8 of an image, float32 of a vector, bool of the mask.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))  # of JSON

    @property
    def is_image(self) -> bool:
        """Whether it is an image, (height, width, 3) bytes."""
        return len(self.shape) == 3 and self.dtype == "uint8"


@dataclass(frozen=True)
class Continuous:
    """Actions that are vectors of numbers in [-1, 1].

    Attributes:
        size: entries of a vector.
    """

    size: int


@dataclass(frozen=True)
class Discrete:
    """Actions that are one of a number of choices: one-hot vectors for agents and in storage.

    Attributes:
        size: how many choices there are.
    """

    size: int


@dataclass(frozen=True)
class Spec:
    """What an environment gives and an agent takes.

    Attributes:
        observation: name and field of each entry of an observation, by name.
        action: the actions.
        players: 1, or 2 who take turns.
    """

    observation: tuple[tuple[str, Field], ...]
    action: Continuous | Discrete
    players: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "observation", tuple(sorted(self.observation)))

    @classmethod
    def of(
        cls, fields: Mapping[str, Field], action: Continuous | Discrete, players: int = 1
    ) -> Spec:
        """Returns the spec with these fields of an observation."""
        return cls(tuple(fields.items()), action, players)

    @property
    def fields(self) -> dict[str, Field]:
        """The fields of an observation by name, the mask too."""
        return dict(self.observation)

    @property
    def images(self) -> dict[str, Field]:
        """The fields that are images."""
        return {name: field for name, field in self.observation if field.is_image}

    @property
    def vectors(self) -> dict[str, Field]:
        """The fields that are neither images nor the mask."""
        return {
            name: field for name, field in self.observation if not field.is_image and name != MASK
        }

    @property
    def masked(self) -> bool:
        """Whether an observation says which entries of an action count."""
        return MASK in self.fields

    @property
    def discrete(self) -> bool:
        """Whether actions are discrete."""
        return isinstance(self.action, Discrete)

    def named(self, observation: Any) -> dict[str, Any]:
        """Returns an observation as the dictionary of its fields, and no others.

        Args:
            observation: of an environment: a dictionary, or where there is one field the array
                itself. A mask that is missing forbids nothing.

        Raises:
            UsageError: a field is missing.
        """
        seen = [name for name in self.fields if name != MASK]
        if not isinstance(observation, Mapping):
            if len(seen) != 1:
                raise UsageError(
                    f"the observation is of type {type(observation).__name__}, expected a "
                    f"dictionary with {', '.join(map(repr, self.fields))}"
                )
            observation = {seen[0]: observation}
        missing = [name for name in seen if name not in observation]
        if missing:
            raise UsageError(
                f"the observation has {', '.join(map(repr, observation)) or 'nothing'}, but not "
                f"{', '.join(map(repr, missing))}: make the environment with `make_env()` of this "
                "agent"
            )
        named = {name: observation[name] for name in seen}
        if self.masked:
            mask = observation.get(MASK)
            if mask is None:
                field = self.fields[seen[0]] if seen else self.fields[MASK]
                first = np.shape(named[seen[0]]) if seen else field.shape
                batch = first[: len(first) - len(field.shape)]
                mask = np.ones((*batch, self.action.size), bool)
            named[MASK] = mask
        return named

    def own_action(self, action: ArrayLike) -> np.ndarray:
        """Returns an agent's action as an environment takes it: of one-hot vectors the number."""
        if self.discrete:
            return np.argmax(np.asarray(action), axis=-1)
        return np.asarray(action, np.float32)

    def stored_action(self, action: ArrayLike) -> Float32[np.ndarray, "*batch action"]:
        """Returns an environment's action as agents take it, and as it is stored."""
        if self.discrete:
            return np.eye(self.action.size, dtype=np.float32)[np.asarray(action)]
        return np.asarray(action, np.float32)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, ready for JSON."""
        return {
            "observation": {
                name: {"shape": list(field.shape), "dtype": field.dtype}
                for name, field in self.observation
            },
            "discrete" if self.discrete else "continuous": self.action.size,
            "players": self.players,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Spec:
        """Returns the spec that `as_dict` has written.

        Raises:
            UsageError: it is none.
        """
        try:
            fields = {
                str(name): Field(tuple(map(int, field["shape"])), str(np.dtype(field["dtype"])))
                for name, field in values["observation"].items()
            }
            kind = Discrete if "discrete" in values else Continuous
            size = values["discrete" if kind is Discrete else "continuous"]
            players = values["players"]
            if not all(isinstance(n, int) and n > 0 for n in (size, players)):
                raise ValueError("a size that is not positive")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"this is no spec of an environment ({error})") from error
        return cls.of(fields, kind(size), players)

    def __str__(self) -> str:
        fields = ", ".join(
            f"{name} {'x'.join(map(str, field.shape))} {field.dtype}"
            for name, field in self.observation
        )
        kind = "discrete actions" if self.discrete else "entries of an action"
        players = f", {self.players} players" if self.players > 1 else ""
        return f"{fields}; {self.action.size} {kind}{players}"


def pixels(size: int, action_size: int) -> Spec:
    """Returns the spec of one image and continuous actions: the papers' tasks.

    Args:
        size: height and width of the image.
        action_size: entries of an action.
    """
    return Spec.of({IMAGE: Field((size, size, 3), "uint8")}, Continuous(action_size))
