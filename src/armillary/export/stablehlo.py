"""Programs as StableHLO, for CPUs, NVIDIA GPUs and TPUs, with `jax.export`."""

from __future__ import annotations

import importlib.util

import jax
from jax import export
from jax.extend.core import jaxpr_as_fun

from armillary.advice import extra
from armillary.errors import UsageError
from armillary.export.graph import ROWS
from armillary.export.program import Program

PLATFORMS = ("cpu", "cuda", "tpu")


def serialized(program: Program) -> bytes:
    """Returns a program as `jax.export.deserialize` takes it, of any number of rows.

    Raises:
        UsageError: the package `flatbuffers`, which JAX writes it with, is missing.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise UsageError(
            "JAX writes StableHLO with the package flatbuffers, which is not installed: "
            f"{extra('export')}"
        )
    (rows,) = export.symbolic_shape(ROWS)
    function = jaxpr_as_fun(program.traced(rows))
    exported = export.export(jax.jit(function), platforms=PLATFORMS)(*program.arguments(rows))
    return bytes(exported.serialize())
