"""What a session sends: numbers and words as JSON, and the pictures behind them as they are."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Answer:
    """What is sent in answer to a message.

    Attributes:
        values: what JSON can hold.
        images: by name, bytes of shape (height, width, 3), or (n, height, width, 3).
    """

    values: dict[str, Any] = field(default_factory=dict)
    images: Mapping[str, np.ndarray] = field(default_factory=dict)


def packed(answer: Answer) -> bytes:
    """Returns the bytes of an answer.

    Four bytes hold the length of the JSON, little-endian; the JSON follows, in which `images` says
    the name and the shape of each picture; then their bytes, one after another.
    """
    arrays = {name: np.ascontiguousarray(x, np.uint8) for name, x in answer.images.items()}
    shapes = [{"name": name, "shape": list(array.shape)} for name, array in arrays.items()]
    text = json.dumps(plain({**answer.values, "images": shapes}), allow_nan=False).encode()
    return b"".join([struct.pack("<I", len(text)), text, *(x.tobytes() for x in arrays.values())])


def plain(value: Any) -> Any:
    """Returns a value that JSON can hold: what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return plain(np.asarray(value).tolist())
