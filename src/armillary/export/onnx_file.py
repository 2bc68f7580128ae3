"""Graphs as ONNX models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from armillary.advice import extra
from armillary.errors import UsageError
from armillary.export.graph import ROWS, Graph
from armillary.spec import Field
from armillary.version import __version__

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""Of the operators: onnxruntime 1.14 and later."""


def to_onnx(graph: Graph, about: Mapping[str, str]) -> onnx.ModelProto:
    """Returns a model of a graph.

    Args:
        graph: the operators.
        about: what is written into the model beside them, by name.

    Raises:
        UsageError: the package `onnx` is missing.
    """
    try:
        from onnx import checker, helper, numpy_helper
    except ImportError as error:
        raise UsageError(
            f"ONNX files are made with the package onnx, which is not installed: {extra('export')}"
        ) from error

    def described(fields: Mapping[str, Field]) -> list[Any]:
        return [
            helper.make_tensor_value_info(name, _type(f.dtype), [ROWS, *f.shape])
            for name, f in fields.items()
        ]

    nodes = []
    for node in graph.nodes:
        attributes: dict[str, Any] = dict(node.attributes)
        if "to" in attributes:
            attributes["to"] = _type(attributes["to"])
        nodes.append(helper.make_node(node.operator, node.inputs, node.outputs, **attributes))
    weights = [numpy_helper.from_array(x, name) for name, x in graph.constants.items()]
    body = helper.make_graph(
        nodes, graph.name, described(graph.inputs), described(graph.outputs), weights
    )
    model = helper.make_model(
        body,
        producer_name="armillary",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    helper.set_model_props(model, dict(about))
    checker.check_model(model)
    return model


def _type(dtype: Any) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
