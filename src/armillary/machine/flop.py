"""How many floating-point operations an update and a plan take, from the configuration alone.

Only matrix products and convolutions count, two operations for each multiplication with its
addition. What an implementation computes twice (patches, rematerialised pieces), non-linearities,
samples and Adam do not count: the number is the work that the mathematics asks for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from armillary.config import ModelConfig, PlanetConfig
from armillary.dynamics.base import LatentState
from armillary.dynamics.world_model import WorldModel
from armillary.objectives.observations import prediction_scales

_ENCODER = (4, 4, 4, 4)
"""Sizes of the encoder's kernels, stride 2 (PlaNet, Appendix A)."""
_DECODER = (5, 5, 6, 6)
"""Sizes of the decoder's kernels, stride 2."""
_SIZE = 64


class StepFlop(NamedTuple):
    """Operations for one time step of one sequence.

    Attributes:
        predict: the prior.
        infer: the posterior and the prior, from the image's embedding.
        reward: the reward model.
    """

    predict: int
    infer: int
    reward: int


def update_flop(config: PlanetConfig, action_size: int) -> int:
    """Returns the operations of one update: the loss and its gradient.

    B * L images are encoded, as many time steps are observed and their rewards predicted, and all
    of them (or `image_steps` of each chunk) are decoded (Eq. 3). Where predictions over several
    steps are part of the loss (Eq. 6 and 7), every one that there is counts once, its reward and
    its image where they are scored. A layer's gradient takes twice its forward pass, half for its
    weights and half for its input. The encoder's first layer needs no gradient to its input, the
    image.
    """
    model, objective, training = config.model, config.objective, config.training
    chunk = training.chunk_length
    step, decoder = step_flop(model, action_size), sum(decoder_flop(model))
    layers, decoded = encoder_flop(model), (objective.image_steps or chunk) / chunk
    of_chunk = chunk * (
        3 * (sum(layers) + step.infer + step.reward + decoded * decoder) - layers[0]
    )

    reward, image = prediction_scales(objective, _world_model(model, action_size).dynamics)
    distances = max(objective.distance, min(objective.overshooting, chunk))
    if distances > 1 or reward or image:
        starts = [chunk - distance + 1 for distance in range(1, distances + 1)]
        fixed = (
            objective.distance > 1
        )  # all steps of the longest trajectories, only their ends count
        predicted = starts[-1] * distances if fixed else sum(starts)
        scored = starts[-1] if fixed else sum(starts)
        heads = step.reward * bool(reward) + decoded * decoder * bool(image)
        of_chunk += 3 * (predicted * step.predict + scored * heads)
    return round(training.batch_size * of_chunk)


def plan_flop(config: PlanetConfig, action_size: int) -> int:
    """Returns the operations of one plan: J candidates over H steps, I times (Algorithm 2)."""
    planner = config.planner
    step = step_flop(config.model, action_size)
    steps = planner.candidates * planner.horizon * planner.iterations
    return steps * (step.predict + step.reward)


def encoder_flop(model: ModelConfig) -> list[int]:
    """Returns the operations of each layer of the encoder, for one image."""
    channels = [3, *(model.depth * 2**i for i in range(4))]
    size, layers = _SIZE, []
    for kernel, (inputs, outputs) in zip(_ENCODER, pairwise(channels), strict=True):
        size = (size - kernel) // 2 + 1
        layers.append(2 * size**2 * kernel**2 * inputs * outputs)
    return layers


def decoder_flop(model: ModelConfig) -> list[int]:
    """Returns the operations of each layer of the decoder, for one image."""
    depth = model.depth
    channels = [32 * depth, 4 * depth, 2 * depth, depth, 3]
    size, layers = 1, [2 * _world_model(model, 1).dynamics.feature_size * channels[0]]
    for kernel, (inputs, outputs) in zip(_DECODER, pairwise(channels), strict=True):
        layers.append(2 * size**2 * kernel**2 * inputs * outputs)
        size = (size - 1) * 2 + kernel
    return layers


def step_flop(model: ModelConfig, action_size: int) -> StepFlop:
    """Returns the operations of the dynamics and the reward model for one time step.

    They are the matrix products of the functions themselves, traced and not run, so that they are
    right for any dynamics.
    """
    world = _world_model(model, action_size)
    dynamics = world.dynamics
    state = jax.eval_shape(lambda: dynamics.initial(1))
    action = jax.ShapeDtypeStruct((1, action_size), jnp.float32)
    embedding = jax.ShapeDtypeStruct((1, world.encoder.embedding_size), jnp.float32)

    def predict(world: WorldModel, state: LatentState, action: Any) -> Any:
        return world.dynamics.predict(state, action, None)

    def infer(world: WorldModel, state: LatentState, action: Any, embedding: Any) -> Any:
        return world.dynamics.infer(state, action, embedding, None)

    return StepFlop(
        matrix_flop(predict, world, state, action),
        matrix_flop(infer, world, state, action, embedding),
        matrix_flop(lambda world, state: world.reward(state), world, state),
    )


def matrix_flop(function: Callable[..., Any], *arguments: Any) -> int:
    """Returns the operations of the matrix products of a function, which is traced, not run."""
    dynamic, static = eqx.partition(arguments, lambda x: hasattr(x, "shape"))
    traced = jax.make_jaxpr(lambda dynamic: function(*eqx.combine(dynamic, static)))(dynamic)
    return _products(traced.jaxpr)


def _products(jaxpr: Any) -> int:
    flop = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            inputs, (output,) = equation.invars[0].aval.shape, equation.outvars
            flop += 2 * math.prod(inputs[axis] for axis in contracted) * output.aval.size
        repeats = equation.params.get("length", 1)  # of a scan
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            flop += repeats * _products(inner) if hasattr(inner, "eqns") else 0
    return flop


@cache
def _world_model(model: ModelConfig, action_size: int) -> WorldModel:
    """Returns the shapes of a world model."""
    make = partial(WorldModel, action_size, model)
    return eqx.filter_eval_shape(lambda key: make(key=key), jax.random.key(0))
