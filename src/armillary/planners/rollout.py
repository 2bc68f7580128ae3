"""Returns predicted by rolling a model forward: what a planner needs of one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, PRNGKeyArray, PyTree

from armillary.config import PlannerConfig
from armillary.dynamics.base import LatentState
from armillary.errors import UsageError
from armillary.nets.policy import Policy
from armillary.objectives.behavior import Imaginable
from armillary.objectives.values import lambda_return
from armillary.planners.cem import Bound, Evaluate, Plan, cem, cem_on_host


class Beyond(NamedTuple):
    """What is known of the time beyond a planner's horizon.

    Attributes:
        value: features (..., F) to the values of states (..., 1), each with its own reward.
        discount: gamma, of those values.
    """

    value: Callable[[Array], Array]
    discount: float


def latent_returns(model: Imaginable, state: LatentState, beyond: Beyond | None = None) -> Evaluate:
    """Returns the evaluation of candidates by the model from one state (Algorithm 2, lines 4-6).

    A single trajectory of sampled priors for each candidate; the return is the undiscounted sum
    of the means of the predicted rewards. With a value it is V_N^H (Dreamer, Eq. 5): discounted
    rewards, and the value of the state at the horizon, each as far as the episode is predicted to
    go on until then.

    Args:
        model: the world model.
        state: a sample of the current belief q(s_t | o_<=t, a_<t), no leading axes.
        beyond: the value that is added at the horizon; None: nothing counts beyond it.
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

        def look(
            state: LatentState, inputs: tuple[Array, Array]
        ) -> tuple[LatentState, tuple[Array, Array]]:
            state = model.dynamics.predict(state, *inputs)
            return state, (model.reward(state), model.goes_on(state))

        inputs = (jnp.swapaxes(candidates, 0, 1), noise)
        if beyond is None:
            (_, returns), _ = jax.lax.scan(step, (start, jnp.zeros(count)), inputs)
            return returns
        last, (rewards, goes_on) = jax.lax.scan(look, start, inputs)
        # Only the last value counts (lambda is 1), so only that is computed.
        values = (
            jnp.zeros_like(rewards).at[-1].set(beyond.value(model.dynamics.features(last))[..., 0])
        )
        return lambda_return(rewards, values, beyond.discount * goes_on[:-1], 1.0)[0]

    return evaluate


def used(evaluate: Evaluate, mask: Bool[Array | np.ndarray, " action"] | None) -> Evaluate:
    """Returns the evaluation of candidates whose entries that do not count are taken for 0.

    Args:
        evaluate: of candidates all of whose entries count.
        mask: which entries do; None: all.
    """
    if mask is None:
        return evaluate
    return lambda candidates, key: evaluate(candidates * mask, key)


def actor_sequences(
    model: Imaginable,
    policy: Policy,
    state: LatentState,
    mask: Bool[Array | np.ndarray, " action"] | None,
    key: PRNGKeyArray,
    *,
    count: int,
    horizon: int,
) -> Float[Array, "count horizon action"]:
    """Returns what an actor does in imagination: its mode in the first trajectory, then samples.

    Args:
        model: the world model.
        policy: the action model, of continuous actions.
        state: where all trajectories start, no leading axes.
        mask: which entries of an action count, the others are 0; None: all.
        key: of the samples of actions and states.
        count: how many trajectories.
        horizon: H.
    """
    action_key, state_key = jax.random.split(key)
    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), state)
    of_action = policy.noise(action_key, horizon, count).at[:, 0].set(0)  # tanh of the mean
    of_state = jax.random.normal(state_key, (horizon, count, model.dynamics.stochastic_size))

    def step(state: LatentState, noise: tuple[Array, Array]) -> tuple[LatentState, Array]:
        action = policy(model.dynamics.features(state)).sample(noise[0])
        action = action if mask is None else action * mask
        return model.dynamics.predict(state, action, noise[1]), action

    _, actions = jax.lax.scan(step, start, (of_action, of_state))
    return jnp.swapaxes(actions, 0, 1)


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
