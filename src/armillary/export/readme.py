"""What is written for people beside the files of an export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_HOW = {
    "onnx": """```python
import numpy as np
import onnxruntime

program = onnxruntime.InferenceSession("{file}")
feed = {{x.name: np.zeros((1, *x.shape[1:]), np.float32) for x in program.get_inputs()}}
print(program.run(None, feed))
```""",
    "stablehlo": """```python
import jax.export
import jax.numpy as jnp

with open("{file}", "rb") as file:
    program = jax.export.deserialize(bytearray(file.read()))
inputs = [jnp.zeros((1, *x.shape[1:]), x.dtype) for x in program.in_avals]  # in the card's order
print(program.call(*inputs))
```

`program.mlir_module()` is the StableHLO itself, for other compilers.""",
}


def readme(card: Mapping[str, Any]) -> str:
    """Returns the README of an export.

    Args:
        card: what `card.json` holds.
    """
    return "\n".join(_lines(card)) + "\n"


def _lines(card: Mapping[str, Any]) -> Iterator[str]:
    trained, programs = card["trained"], card["programs"]
    yield f"# {card['agent']} on {card['task']}"
    yield ""
    yield (
        f"A trained agent of armillary {card['armillary']} as programs to use without it "
        f"({card['format']}), from the run `{card['run']}` after {trained['episodes']:,} episodes: "
        f"{trained['simulator_steps']:,} steps of the environment, {trained['updates']:,} updates."
    )
    if scores := card["scores"]:
        agent, random = scores["agent"], scores["random"]
        yield ""
        yield (
            f"Its score: {agent['mean']:.1f} ± {agent['std']:.1f} over {len(agent['scores'])} "
            f"episodes; that of random actions: {random['mean']:.1f}."
        )
    yield ""
    yield (
        "Each file is one function of arrays, all with a leading axis of any length N: several "
        "states at once. `card.json` says the same as this page, for programs."
    )
    yield ""
    yield "| file | gives | takes | returns |"
    yield "| --- | --- | --- | --- |"
    state, after = card["state"], {f"next_{name}": x for name, x in card["state"].items()}
    for program in programs:
        takes = _listed(program["inputs"], state, "a state")
        returns = _listed(program["outputs"], after, "the next state")
        yield f"| `{program['file']}` | {program['about']} | {takes} | {returns} |"
    yield ""
    for line in (*_conventions(card), *_missing(card)):
        yield f"- {line}"
    yield ""
    file = next(p["file"] for p in programs if p["name"] in ("reward", "prediction"))
    yield _HOW[card["format"]].format(file=file)


def _listed(arrays: Mapping[str, Any], state: Mapping[str, Any], called: str) -> str:
    """Returns arrays in words, those of a state as one."""
    whole = set(state) <= set(arrays)
    own = [_said(item) for item in arrays.items() if not whole or item[0] not in state]
    return "<br>".join([called, *own] if whole else own)


def _said(item: tuple[str, Mapping[str, Any]]) -> str:
    name, array = item
    return f"`{name}` {array['dtype']} ({', '.join(map(str, array['shape']))})"


def _conventions(card: Mapping[str, Any]) -> Iterator[str]:
    """Yields how the arrays of the programs belong together."""
    names, spec = {program["name"] for program in card["programs"]}, card["spec"]
    yield (
        f"A state is {', '.join(map(_said, card['state'].items()))}. What one program gives as "
        "`next_NAME`, the next one takes as `NAME`."
    )
    if "filter" in names:
        yield "An episode begins with a state and an action of zeros, from which `filter` goes on."
        yield (
            "Nothing is random: of Gaussians `stochastic` is the mean. `mean` and `std` are there "
            "to sample it."
        )
    if "discrete" in spec:
        number = "; `number` is what the environment takes" if "actor" in names else ""
        yield f"An action is a one-hot vector of {spec['discrete']} entries{number}."
    else:
        size = spec["continuous"]
        yield (
            f"An action is {size} number{'s' * (size > 1)} in [-1, 1]: from the least to the "
            "greatest that the environment takes."
        )
    if "decoder" in names:
        yield (
            "Images are bytes: red, green and blue. With `_mean` after its name an image is what "
            "it was before, in [-0.5, 0.5]."
        )


def _missing(card: Mapping[str, Any]) -> Iterator[str]:
    for name, why in card["left_out"].items():
        yield f"There is no `{name}`: {why}."
