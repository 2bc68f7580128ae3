"""The options of commands whose runs may be trained on a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.constructors import PrimitiveConstructorSpec

from armillary.cli.stdout import say
from armillary.errors import UsageError

if TYPE_CHECKING:
    from armillary.studies.cluster import Cluster


def _address(texts: list[str]) -> str:
    if len(texts) > 1:
        raise ValueError(f"expected one address, not {' '.join(texts)}")
    return "".join(texts)


Address = Annotated[
    str | None,
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="[ADDRESS]",
        instance_from_str=_address,
        is_instance=lambda value: value is None or isinstance(value, str),
        str_from_instance=lambda value: [] if value is None else [value],
    ),
]
"""An option that is not given (None), given alone (empty), or given with an address."""


@dataclass(frozen=True)
class Spread:
    """Where runs are trained."""

    ray: Address = None
    """Train the runs as tasks of Ray (docs/cluster.md): of the cluster at this HOST:PORT, or of one
    that is started on this machine for as long as it takes (needs the extra `ray`). Default: in
    this process."""
    ray_cpus: float | None = None
    """Cores that each run is given by Ray. Default: 1, with graphics cards as many as a machine has
    for each card."""
    ray_gpus: float | None = None
    """Graphics cards that each run is given by Ray, 0.5 if two share one. Default: 1 where the
    cluster has any, else 0."""


@contextlib.contextmanager
def cluster_of(spread: Spread, workers: int = 1) -> Iterator[Cluster | None]:
    """Gives the cluster that a command was asked to use; None: none.

    Raises:
        UsageError: the options do not fit each other, or Ray is not installed.
        ClusterError: there is no such cluster.
    """
    for option, value in (("--ray-cpus", spread.ray_cpus), ("--ray-gpus", spread.ray_gpus)):
        if value is not None and spread.ray is None:
            raise UsageError(
                f"{option} says what Ray gives to each run: add --ray, or leave it out"
            )
    if spread.ray is None:
        yield None
        return
    if workers > 1:
        raise UsageError(
            "--workers are processes of this machine without Ray: with --ray as many runs as fit "
            "are trained at a time, see --ray-cpus"
        )
    from armillary.studies.cluster import Needs
    from armillary.studies.connecting import connected

    with connected(spread.ray, Needs(spread.ray_cpus, spread.ray_gpus), say) as cluster:
        yield cluster
