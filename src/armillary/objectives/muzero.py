"""The loss of MuZero: rewards, values and policies, along K steps of the unrolled model."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from armillary.nets.muzero import History, MuZeroNetwork
from armillary.objectives.returns import Targets
from armillary.objectives.scaling import expectation, two_hot


def muzero_loss(
    network: MuZeroNetwork,
    root: History,
    actions: Float[Array, "unroll batch action"],
    targets: Targets,
    weight: Float[Array, " batch"],
    value_scale: float,
) -> tuple[Float[Array, ""], tuple[dict[str, Float[Array, ""]], Float[Array, " batch"]]]:
    """Returns the loss (slide 7) without its weight decay, its terms, and |v - z| of the root.

    As published, the losses of the K unrolled steps count 1/K each, and half of the gradient goes
    through each step of the dynamics, so that its size does not depend on K.

    Args:
        network: the model.
        root: what was seen at the step.
        actions: that follow it.
        targets: for it and the steps after.
        weight: of each step in the batch.
        value_scale: weight of the value's loss.
    """
    steps = len(actions)
    scale = jnp.array([1.0, *[1.0 / steps] * steps])
    state = network.represent(root)
    terms = {name: jnp.zeros(len(weight)) for name in ("value", "policy", "reward")}
    error = jnp.zeros(len(weight))
    for k in range(steps + 1):
        if k:
            state, reward = network.step(_halved(state), actions[k - 1])
            if reward is not None:
                of_reward = cross_entropy(reward, targets.reward[:, k])
                terms["reward"] += scale[k] * targets.rewards[:, k] * of_reward
        logits, value = network.predict(state)
        if k == 0:
            error = jnp.abs(value_of(value) - targets.value[:, 0])
        of_value = value_error(value, targets.value[:, k])
        terms["value"] += scale[k] * targets.values[:, k] * of_value
        of_policy = -jnp.sum(targets.policy[:, k] * jax.nn.log_softmax(logits), axis=-1)
        terms["policy"] += scale[k] * targets.policies[:, k] * of_policy
    means = {name: jnp.mean(weight * term) for name, term in terms.items()}
    total = value_scale * means["value"] + means["policy"] + means["reward"]
    metrics = {f"loss/{name}": term for name, term in means.items()} | {"loss/total": total}
    return total, (metrics, jax.lax.stop_gradient(error))


def value_of(output: Float[Array, "batch outputs"]) -> Float[Array, " batch"]:
    """Returns the number that a head predicts: of categories their expectation, unscaled."""
    return output[..., 0] if output.shape[-1] == 1 else expectation(output)


def value_error(
    output: Float[Array, "batch outputs"], target: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    """Returns the loss of a value: squared for games, else of the categories."""
    if output.shape[-1] == 1:
        return (output[..., 0] - target) ** 2
    return cross_entropy(output, target)


def cross_entropy(
    logits: Float[Array, "batch categories"], target: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    """Returns the cross-entropy of the two-hot target."""
    wanted = two_hot(target, logits.shape[-1])
    return -jnp.sum(wanted * jax.nn.log_softmax(logits), axis=-1)


def _halved(state: Any) -> Any:
    """Returns the state, whose gradient is halved."""
    return 0.5 * state + 0.5 * jax.lax.stop_gradient(state)
