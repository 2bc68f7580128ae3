"""Updates over several hosts: the first one trains, and the others compute their parts of updates.

The first process of `jax.distributed` does all that a run does: it collects, saves and tests. Of
each update it sends the batch to the others, which `follow`: they have the parameters, too, and
touch neither an environment nor the run folder.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from armillary.errors import UsageError
from armillary.replay.sampler import Batch
from armillary.spec import Spec

_NESTED = ("observation", "records")
"""The fields of a batch that are dictionaries."""


def connect(where: str) -> None:
    """Joins the processes of a run, before JAX is used for anything else.

    Args:
        where: `auto`, on a cluster that JAX knows (Slurm, for instance); or ADDRESS:PORT,N,I: where
            the first of N processes listens, and which of them, from 0, this is.

    Raises:
        UsageError: it is neither, or the others do not come.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # for CPUs alone
    address, *numbers = where.split(",")
    if where == "auto":
        arguments: tuple[Any, ...] = ()
    elif ":" in address and len(numbers) == 2 and all(n.isdecimal() for n in numbers):
        arguments = (address, *map(int, numbers))
        if arguments[2] >= arguments[1]:
            raise UsageError(
                f"--hosts says that this is process {numbers[1]} of {numbers[0]}: they are counted "
                "from 0"
            )
    else:
        raise UsageError(f"--hosts is {where!r}: give auto, or ADDRESS:PORT,N,I")
    try:
        jax.distributed.initialize(*arguments)
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"the processes of --hosts {where} did not come together: {error}") from (
            error
        )


def many() -> bool:
    """Whether several processes share the updates."""
    return jax.process_count() > 1


def leads() -> bool:
    """Whether this is the one that trains."""
    return jax.process_index() == 0


@contextmanager
def leading() -> Iterator[None]:
    """Lets the others end when the block does."""
    try:
        yield
    finally:
        if many() and leads():
            _send({})


def send_state(state: Any, spec: Spec) -> None:
    """Sends the parameters, and what the agent is made from."""
    leaves = {f"leaf/{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(state))}
    _send(leaves | {"spec": np.array(json.dumps(spec.as_dict()))})


def send_batch(batch: Batch, counter: int) -> None:
    """Sends what the next update learns from."""
    _send(_flat(batch) | {"counter": np.array(counter)})


def receive() -> dict[str, np.ndarray]:
    """Returns what the first process sends next: nothing when it ends."""
    size = int(multihost_utils.broadcast_one_to_all(np.zeros(1, np.int32))[0])
    text = multihost_utils.broadcast_one_to_all(np.zeros(size, np.uint8))
    with np.load(io.BytesIO(np.asarray(text, np.uint8).tobytes()), allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


def spec_of(content: dict[str, np.ndarray]) -> Spec:
    """Returns what the agent is made from, as it was sent."""
    return Spec.from_dict(json.loads(str(content["spec"])))


def batch_of(content: dict[str, np.ndarray]) -> Batch:
    """Returns the batch that was sent."""
    fields: dict[str, Any] = {}
    for name, array in content.items():
        section, _, key = name.partition("/")
        if section in _NESTED:
            fields.setdefault(section, {})[key] = array
        elif section in Batch._fields:
            fields[section] = array
    return Batch(**fields)


def _flat(batch: Batch) -> dict[str, np.ndarray]:
    content: dict[str, np.ndarray] = {}
    for name, value in batch._asdict().items():
        if value is None or name == "rows":  # by which only the first process finds them again
            continue
        nested = value.items() if name in _NESTED else [("", value)]
        content |= {f"{name}/{key}" if key else name: np.asarray(x) for key, x in nested}
    return content


def _send(content: dict[str, np.ndarray]) -> None:
    file = io.BytesIO()
    np.savez(file, **content)  # type: ignore[arg-type]
    text = np.frombuffer(file.getvalue(), np.uint8)
    multihost_utils.broadcast_one_to_all(np.array([len(text)], np.int32))
    multihost_utils.broadcast_one_to_all(text)
