"""Returns predicted by rolling a model forward: what a planner needs of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from armillary.config import PlannerConfig
from armillary.dynamics.base import LatentState
from armillary.dynamics.world_model import WorldModel
from armillary.planners.cem import Evaluate, Plan, cem


def latent_returns(model: WorldModel, state: LatentState) -> Evaluate:
    """Returns the evaluation of candidates by the model from one state (Algorithm 2, lines 4-6).

    A single trajectory of sampled priors for each candidate; the return is the undiscounted sum
    of the means of the predicted rewards.

    Args:
        model: the world model.
        state: a sample of the current belief q(s_t | o_<=t, a_<t), no leading axes.
    """

    def evaluate(
        candidates: Float[Array, "candidates horizon action"], key: PRNGKeyArray
    ) -> Float[Array, " candidates"]:
        count, horizon, _ = candidates.shape
        start = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), state)
        noise = jax.random.normal(key, (horizon, count, model.dynamics.stochastic_size))

        def step(
            carry: tuple[LatentState, Array], inputs: tuple[Array, Array]
        ) -> tuple[tuple[LatentState, Array], None]:
            state, total = carry
            state = model.dynamics.predict(state, *inputs)
            return (state, total + model.reward(state)), None

        inputs = (jnp.swapaxes(candidates, 0, 1), noise)
        (_, returns), _ = jax.lax.scan(step, (start, jnp.zeros(count)), inputs)
        return returns

    return evaluate


Step = Callable[[PyTree, Float[Array, " action"], PRNGKeyArray], tuple[PyTree, Float[Array, ""]]]


def plan(
    step: Step,
    state: PyTree,
    key: PRNGKeyArray,
    *,
    action_size: int,
    config: PlannerConfig | None = None,
    **bounds: Any,
) -> Plan:
    """Plans with the cross-entropy method on a dynamics function of one's own.

    Args:
        step: `step(state, action, key) -> (next_state, reward)`, of one state and one action, in
            JAX; it is mapped over the candidates.
        state: the current state, any PyTree of arrays.
        key: of all that is random.
        action_size: entries of an action.
        config: the planner's settings; None: the paper's.
        **bounds: `low` and `high` of the actions, -1 and 1 where not given.

    Returns:
        The plan; `plan.mean[0]` is the action to take now.
    """

    def evaluate(
        candidates: Float[Array, "candidates horizon action"], key: PRNGKeyArray
    ) -> Float[Array, " candidates"]:
        def one(actions: Array, key: PRNGKeyArray) -> Array:
            keys = jax.random.split(key, actions.shape[0])
            _, rewards = jax.lax.scan(lambda s, x: step(s, *x), state, (actions, keys))
            return jnp.sum(rewards)

        return jax.vmap(one)(candidates, jax.random.split(key, candidates.shape[0]))

    return cem(evaluate, key, action_size=action_size, config=config or PlannerConfig(), **bounds)
