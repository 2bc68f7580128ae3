"""Each operation that is translated, in ONNX Runtime and in the page's own script, against JAX."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from jax import lax
from playwright.sync_api import Browser

from armillary.errors import UsageError
from armillary.export import page
from armillary.export.graph import graph_of
from armillary.export.onnx_file import to_onnx
from armillary.export.program import Program
from armillary.spec import Field

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.normal(size=(4, 5)).astype(np.float32)
KERNEL = RANDOM.normal(size=(3, 3, 2, 4)).astype(np.float32)
IMAGES = ("NHWC", "HWIO", "NHWC")


def _several(x: jax.Array) -> Any:
    """All that is done entry by entry."""
    above = jnp.abs(x) + 0.1
    steps = [jnp.ceil(x), jnp.floor(x), jnp.sign(x), jnp.sin(x), jnp.cos(x), jnp.tanh(x), -x]
    steps += [jnp.exp(x), jnp.log(above), jnp.sqrt(above), lax.rsqrt(above), jax.nn.sigmoid(x)]
    steps += [
        jnp.log1p(above),
        jnp.expm1(x),
        x**2,
        x**3,
        above**x,
        jnp.square(x),
        lax.clamp(-1.0, x, 1.0),
    ]
    steps += [jax.nn.softplus(x), jax.nn.elu(x), jax.nn.relu(x), jax.nn.softmax(x)]
    return jnp.stack(steps, axis=1)


def _compared(x: jax.Array) -> Any:
    left, right = x[:, :2], x[:, 2:]
    found = [left > right, left < 0, left <= right, left >= 1, left == left, left != right]
    found += [found[0] & found[1], found[0] | found[1], ~found[0]]
    chosen = jnp.where(found[0], left, right)
    return jnp.concatenate([jnp.stack(found, 1).astype(jnp.float32), chosen[:, None]], axis=1)


def _shaped(x: jax.Array) -> Any:
    """x: (N, 4)."""
    square = x.reshape(-1, 2, 2)
    parts = [square.transpose(0, 2, 1), square[:, :, :1] + square]
    parts += [jnp.broadcast_to(x[:, None, :2], (x.shape[0], 2, 2))]
    first, second = jnp.split(x, 2, axis=1)
    parts += [jnp.stack([second, first], axis=1), lax.slice(square, (0, 0, 0), square.shape)]
    return jnp.concatenate(parts, axis=1)


def _reduced(x: jax.Array) -> Any:
    square = x.reshape(-1, 2, 2)
    parts = [square.sum(1), square.max(2), square.min(1), square.prod(2), square.mean(1)]
    return jnp.stack(parts, axis=1)


def _chosen(x: jax.Array) -> Any:
    first, second = jnp.split(x + jnp.broadcast_to(x[..., 1:2], x.shape), 2, axis=-1)
    return jax.nn.one_hot(jnp.argmax(x, axis=-1), 4) + jnp.arange(4.0) * jnp.hstack([second, first])


def _products(x: jax.Array) -> Any:
    square = x.reshape(-1, 2, 2)
    matrices = jnp.einsum("nij,njk->nik", square, square).reshape(x.shape)
    dots = jnp.einsum("ni,ni->n", x, x)[:, None]
    turned = (jnp.asarray(MATRIX).T @ x.T).T
    each = jnp.einsum("nij,jk->nik", square, MATRIX[:2]).reshape(-1, 10)
    return jnp.concatenate([x @ MATRIX, matrices, dots, turned, each], axis=1)


def _convolved(x: jax.Array) -> Any:
    image = x.reshape(-1, 1, 2, 2)
    return lax.conv_general_dilated(image, KERNEL, (1, 2), "SAME", dimension_numbers=IMAGES)


def _transposed(x: jax.Array) -> Any:
    image = x.reshape(-1, 1, 2, 2)
    pads = ((2, 1), (1, 2))
    return lax.conv_general_dilated(
        image, KERNEL, (1, 1), pads, lhs_dilation=(2, 3), dimension_numbers=IMAGES
    )


def _bytes(x: jax.Array) -> Any:
    levels = (jnp.clip(x, 0, 1) * 255).astype(jnp.uint8)
    levels = jnp.pad(levels, ((0, 0), (1, 2)), constant_values=9)
    return (levels >> 3).astype(jnp.float32) / 32


FUNCTIONS: dict[str, Callable[[jax.Array], Any]] = {
    "entries": _several,
    "comparisons": _compared,
    "shapes": _shaped,
    "reductions": _reduced,
    "choices": _chosen,
    "products": _products,
    "convolution": _convolved,
    "transposed": _transposed,
    "bytes": _bytes,
}


def program_of(name: str) -> Program:
    function = FUNCTIONS[name]
    return Program(name, "", {"x": Field((4,))}, lambda arrays: {"y": function(arrays["x"])})


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_operations_in_onnx(name: str, rows: int) -> None:
    x = RANDOM.normal(size=(rows, 4)).astype(np.float32)
    model = to_onnx(graph_of(program_of(name)), {}).SerializeToString()
    (found,) = onnxruntime.InferenceSession(model).run(None, {"x": x})
    expected = FUNCTIONS[name](jnp.asarray(x))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


RUN = """([graph, weights, x]) => {
  const bytes = Uint8Array.from(atob(weights), (c) => c.charCodeAt(0)).buffer;
  const { y } = program(graph, bytes)({ x: tensor([1, 4], Float32Array.from(x)) });
  return [y.shape, Array.from(y.data)];
}"""


def test_operations_in_the_page(browser: Browser) -> None:
    """And every operator that the script has is tried."""
    tab = browser.new_page()
    tab.add_script_tag(path=Path(page.__file__).parent / "page" / "runtime.js")
    tried = set()
    for name in FUNCTIONS:
        graph = graph_of(program_of(name), rows=1)
        if not {node.operator for node in graph.nodes} <= page.operators():
            assert name in ("convolution", "bytes"), name
            with pytest.raises(UsageError, match="which the page cannot do"):
                page.Weights().described(graph)
            continue
        tried |= {node.operator for node in graph.nodes}
        weights = page.Weights()
        x = RANDOM.normal(size=(1, 4)).astype(np.float32)
        described = weights.described(graph)
        text = base64.b64encode(weights.bytes).decode()
        shape, numbers = tab.evaluate(RUN, [described, text, x[0].tolist()])
        expected = FUNCTIONS[name](jnp.asarray(x))
        assert tuple(shape) == expected.shape
        close = np.testing.assert_allclose
        close(np.array(numbers).reshape(shape), expected, rtol=1e-5, atol=1e-5, err_msg=name)
    tab.close()
    assert page.operators() == tried


def test_what_cannot_be_translated_is_named() -> None:
    def loop(arrays: dict[str, jax.Array]) -> dict[str, Any]:
        return {"y": lax.fori_loop(0, 3, lambda _, x: 2 * x, arrays["x"])}

    def sorted_(arrays: dict[str, jax.Array]) -> dict[str, Any]:
        return {"y": jnp.sort(arrays["x"], axis=-1)}

    for function, words in ((loop, "'mine' has a scan"), (sorted_, "'mine' has .*'sort'")):
        with pytest.raises(UsageError, match=rf"{words}.*stablehlo"):
            graph_of(Program("mine", "", {"x": Field((4,))}, function))
