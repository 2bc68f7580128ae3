"""Returns predicted by rolling a model forward: what a planner needs of one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, PRNGKeyArray, PyTree

from armillary.config import PlannerConfig
from armillary.dynamics.base import LatentState
from armillary.dynamics.world_model import WorldModel
from armillary.errors import UsageError
from armillary.planners.cem import Bound, Evaluate, Plan, cem, cem_on_host


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
HostStep = Callable[[Any, Float[np.ndarray, " action"]], tuple[Any, float]]


@runtime_checkable
class Model(Protocol):
    """Anything that predicts the returns of action sequences from a belief.

    Attributes:
        action_size: entries of an action.
        on_host: whether `returns` computes outside JAX.
    """

    action_size: int
    on_host: bool

    def returns(self, belief: Any, candidates: Any, key: Any) -> Any:
        """Returns the return of each of J sequences of H actions."""


class JaxModel:
    """A dynamics function in JAX.

    Args:
        step: `step(state, action, key) -> (next_state, reward)`, of one state (any PyTree of
            arrays) and one action; it is mapped over the candidates and compiled.
        action_size: entries of an action.
    """

    on_host = False

    def __init__(self, step: Step, action_size: int) -> None:
        self.step, self.action_size = step, action_size

    def returns(
        self,
        belief: PyTree,
        candidates: Float[Array, "candidates horizon action"],
        key: PRNGKeyArray,
    ) -> Float[Array, " candidates"]:
        """Returns the sum of rewards of each sequence, from keys of its own."""

        def one(actions: Array, key: PRNGKeyArray) -> Array:
            keys = jax.random.split(key, actions.shape[0])
            _, rewards = jax.lax.scan(lambda s, x: self.step(s, *x), belief, (actions, keys))
            return jnp.sum(rewards)

        return jax.vmap(one)(candidates, jax.random.split(key, candidates.shape[0]))


class PythonModel:
    """A dynamics function in plain Python, called for each candidate and time step.

    Args:
        step: `step(state, action) -> (next_state, reward)`; it must not change its arguments.
        action_size: entries of an action.
    """

    on_host = True

    def __init__(self, step: HostStep, action_size: int) -> None:
        self.step, self.action_size = step, action_size

    def returns(
        self,
        belief: Any,
        candidates: Float[np.ndarray, "candidates horizon action"],
        key: Any = None,
    ) -> Float64[np.ndarray, " candidates"]:
        """Returns the sum of rewards of each sequence."""

        def one(actions: Float[np.ndarray, "horizon action"]) -> float:
            state, total = belief, 0.0
            for action in actions:
                state, reward = self.step(state, action)
                total += float(reward)
            return total

        return np.array([one(actions) for actions in candidates])


def plan(
    model: Model,
    belief: Any,
    key: PRNGKeyArray | int,
    *,
    config: PlannerConfig | None = None,
    low: Bound = -1.0,
    high: Bound = 1.0,
) -> Plan:
    """Plans with the cross-entropy method (PlaNet, Algorithm 2) on any model.

    Random shooting is the special case `PlannerConfig(iterations=1, elites=1)`: the plan is the
    best of J random sequences.

    Args:
        model: `JaxModel(step, action_size)`, `PythonModel(step, action_size)`,
            `armillary.planners.simulator.Simulator`, or anything with their `returns`.
        belief: the current state, as the model takes it.
        key: of all that is random, or a seed.
        config: the planner's settings; None: the paper's.
        low: the least value of each entry of an action.
        high: the greatest.

    Returns:
        The plan; `plan.mean[0]` is the action to take now.

    Raises:
        UsageError: the model is a bare function, or nothing that predicts returns.
    """
    if not isinstance(model, Model):
        raise UsageError(
            f"the model is {type(model).__name__}, which predicts no returns: wrap a function in "
            "armillary.JaxModel(step, action_size) or armillary.PythonModel(step, action_size)"
        )
    if isinstance(key, int):
        key = jax.random.key(key)
    config = config or PlannerConfig()
    if model.on_host:
        return cem_on_host(
            partial(model.returns, belief),
            key,
            action_size=model.action_size,
            config=config,
            low=low,
            high=high,
        )
    return _compiled(model, belief, key, low, high, config=config)


@partial(jax.jit, static_argnames=("model", "config"))
def _compiled(
    model: Model, belief: PyTree, key: PRNGKeyArray, low: Bound, high: Bound, config: PlannerConfig
) -> Plan:
    return cem(
        partial(model.returns, belief),
        key,
        action_size=model.action_size,
        config=config,
        low=low,
        high=high,
    )
