"""The loss of MuZero: rewards, values and policies, along K steps of the unrolled model."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from armillary.nets.muzero import History, MuZeroNetwork
from armillary.objectives.returns import Targets
from armillary.objectives.scaling import expectation, two_hot


class Later(NamedTuple):
    """What was seen in the K rows after the step.

    Attributes:
        state: of the representation, of each row.
        valid: which rows are of the episode.
    """

    state: Float[Array, "unroll batch *shape"]
    valid: Bool[Array, "batch unroll"]


def muzero_loss(
    network: MuZeroNetwork,
    root: History,
    actions: Float[Array, "unroll batch action"],
    targets: Targets,
    weight: Float[Array, " batch"],
    value_scale: float,
    later: Later | None = None,
    consistency: float = 0.0,
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
        later: the states that the unrolled model is to be consistent with; nothing is learned of
            them. None: none.
        consistency: weight of the loss that holds it to them.
    """
    steps = len(actions)
    scale = jnp.array([1.0, *[1.0 / steps] * steps])
    state = network.represent(root)
    names = ("value", "policy", "reward", *(["consistency"] if later is not None else []))
    terms = {name: jnp.zeros(len(weight)) for name in names}
    error = jnp.zeros(len(weight))
    for k in range(steps + 1):
        if k:
            state, reward = network.step(_halved(state), actions[k - 1])
            if reward is not None:
                of_reward = cross_entropy(reward, targets.reward[:, k])
                terms["reward"] += scale[k] * targets.rewards[:, k] * of_reward
            if later is not None:
                apart = distance(state, jax.lax.stop_gradient(later.state[k - 1]))
                terms["consistency"] += scale[k] * later.valid[:, k - 1] * apart
        logits, value = network.predict(state)
        if k == 0:
            error = jnp.abs(value_of(value) - targets.value[:, 0])
        of_value = value_error(value, targets.value[:, k])
        terms["value"] += scale[k] * targets.values[:, k] * of_value
        of_policy = -jnp.sum(targets.policy[:, k] * jax.nn.log_softmax(logits), axis=-1)
        terms["policy"] += scale[k] * targets.policies[:, k] * of_policy
    means = {name: jnp.mean(weight * term) for name, term in terms.items()}
    total = value_scale * means["value"] + means["policy"] + means["reward"]
    total += consistency * means.get("consistency", jnp.zeros(()))
    metrics = {f"loss/{name}": term for name, term in means.items()} | {"loss/total": total}
    return total, (metrics, jax.lax.stop_gradient(error))


def distance(
    one: Float[Array, "batch *shape"], other: Float[Array, "batch *shape"]
) -> Float[Array, " batch"]:
    """Returns 1 - cos of the angle between hidden states, each less its own mean.

    EfficientZero (Ye et al., 2021, Section 4.1) compares projections of them, which have parameters
    of their own.
    """
    a, b = (x.reshape(len(x), -1) for x in (one, other))
    a, b = (x - jnp.mean(x, axis=-1, keepdims=True) for x in (a, b))
    sizes = jnp.sqrt(jnp.sum(a**2, axis=-1) * jnp.sum(b**2, axis=-1) + 1e-8)
    return 1.0 - jnp.sum(a * b, axis=-1) / sizes


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
