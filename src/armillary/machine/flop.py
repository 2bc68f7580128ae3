"""How many floating-point operations an update and a plan take, from the configuration alone.

Only matrix products and convolutions count, two operations for each multiplication with its
addition. What an implementation computes twice (patches, rematerialised pieces), non-linearities,
samples and Adam do not count: the number is the work that the mathematics asks for.
"""

from __future__ import annotations

from itertools import pairwise

from armillary.config import Config, ModelConfig

_ENCODER = (4, 4, 4, 4)
"""Sizes of the encoder's kernels, stride 2 (PlaNet, Appendix A)."""
_DECODER = (5, 5, 6, 6)
"""Sizes of the decoder's kernels, stride 2."""
_SIZE = 64


def update_flop(config: Config, action_size: int) -> int:
    """Returns the operations of one update: the loss of Eq. 3 and its gradient.

    B * L images are encoded, as many time steps are observed and their rewards predicted, and all
    of them (or `image_steps` of each chunk) are decoded. A layer's gradient takes twice its
    forward pass, half for its weights and half for its input. The encoder's first layer needs no
    gradient to its input, the image.
    """
    model, training = config.model, config.training
    steps = training.batch_size * training.chunk_length
    decoded = training.batch_size * (config.objective.image_steps or training.chunk_length)
    layers = encoder_flop(model)
    step = predict_flop(model, action_size) + correct_flop(model) + reward_flop(model)
    return steps * (3 * (sum(layers) + step) - layers[0]) + decoded * 3 * sum(decoder_flop(model))


def plan_flop(config: Config, action_size: int) -> int:
    """Returns the operations of one plan: J candidates over H steps, I times (Algorithm 2)."""
    planner = config.planner
    steps = planner.candidates * planner.horizon * planner.iterations
    return steps * (predict_flop(config.model, action_size) + reward_flop(config.model))


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
    size, layers = 1, [_dense(model.stochastic + model.deterministic, channels[0])]
    for kernel, (inputs, outputs) in zip(_DECODER, pairwise(channels), strict=True):
        layers.append(2 * size**2 * kernel**2 * inputs * outputs)
        size = (size - 1) * 2 + kernel
    return layers


def predict_flop(model: ModelConfig, action_size: int) -> int:
    """Returns the operations of the prior of one time step: a layer, the GRU, two layers."""
    units = model.deterministic
    return (
        _dense(model.stochastic + action_size, model.hidden)
        + 3 * _dense(model.hidden + units, units)
        + _dense(units, model.hidden, 2 * model.stochastic)
    )


def correct_flop(model: ModelConfig) -> int:
    """Returns the operations of the posterior of one time step, without the encoder's."""
    embedding = 32 * model.depth
    return _dense(model.deterministic + embedding, model.hidden, 2 * model.stochastic)


def reward_flop(model: ModelConfig) -> int:
    """Returns the operations of the reward model for one time step."""
    hidden = [model.reward_hidden or model.hidden] * model.reward_layers
    return _dense(model.stochastic + model.deterministic, *hidden, 1)


def _dense(*sizes: int) -> int:
    return sum(2 * a * b for a, b in pairwise(sizes))
