"""What an agent weighs before it acts: candidates of a plan, imagined futures, or a search tree."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from armillary.agents.base import Plans
from armillary.agents.hidden import HiddenModel
from armillary.dynamics.base import LatentState
from armillary.dynamics.learned import LearnedModel
from armillary.errors import UsageError
from armillary.explore.dream import Dream
from armillary.explore.frames import Answer
from armillary.explore.library import Loaded
from armillary.nets.policy import Policy
from armillary.objectives.behavior import Starts, imagine
from armillary.planners.cem import Plan, Trace, cem_trace
from armillary.search.nodes import Node, nodes_of
from armillary.search.variation import variation

BEST = 5
"""Candidates of the last iteration that are decoded."""
FUTURES = 6
"""Trajectories that an actor imagines."""
_SHOWN = 2000
"""States of a tree that are sent, at most; those that are visited least are left out."""


def thoughts(dream: Dream) -> Answer:
    """Returns what the agent weighs where the world of a dream is now.

    Raises:
        UsageError: the agent neither plans, imagines nor searches.
    """
    if isinstance(dream.model, HiddenModel):
        return _searched(dream)
    loaded = dream.loaded
    player = loaded.player
    state, agent = player.state, player.agent
    state = getattr(state, "dreamer", state)  # of an explorer
    mask = None if dream.mask is None else dream.mask[None]
    key = jax.random.key(dream.steps)  # as `world_model.plan(..., seed=steps)`
    if isinstance(agent, Plans) and agent.plans:
        plan, trace = _traced(agent, state, dream.belief, mask, key)
        return _planned(loaded, plan, trace, dream.belief)
    policy = getattr(state, "policy", None)
    if isinstance(policy, Policy):
        return _imagined(dream, dream.model, policy)
    raise UsageError(
        f"the agent {player.config.agent!r} asks a policy and weighs nothing before it acts: there "
        "is no plan to see"
    )


@partial(jax.jit, static_argnums=0)
def _traced(
    agent: Any, state: Any, latent: LatentState, mask: Any, key: PRNGKeyArray
) -> tuple[Plan, Trace]:
    """Returns the plan of an agent in one environment, as its `choose` makes it, and its trace."""
    latent = jax.tree.map(lambda x: x[0], latent)
    mask = None if mask is None else mask[0]
    return cem_trace(**agent.plan_of(state, latent, mask, jax.random.split(key, 1)[0]))


def _planned(loaded: Loaded, plan: Plan, trace: Trace, belief: LatentState) -> Answer:
    """Returns a plan's iterations, and what the best candidates of the last one lead to."""
    returns = np.asarray(trace.returns, np.float64)
    order = np.argsort(-np.nan_to_num(returns[-1], nan=-np.inf))[:BEST]
    best = np.asarray(trace.candidates)[-1, order]  # (best, horizon, action)
    rewards, images = _followed(loaded, belief, np.swapaxes(best, 0, 1))
    return Answer(
        {
            "kind": "plan",
            "returns": returns.tolist(),
            "mean": np.asarray(trace.mean).tolist(),
            "std": np.asarray(trace.std).tolist(),
            "expected": float(plan.predicted_return),
            "action": np.asarray(plan.mean[0]).tolist(),
            "best": [
                {"return": returns[-1, i], "actions": best[place], "rewards": rewards[:, place]}
                for place, i in enumerate(order)
            ],
        },
        images,
    )


def _followed(
    loaded: Loaded, belief: LatentState, actions: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the rewards of sequences of actions (time, n, A) from one state, and their frames."""
    count = actions.shape[1]
    starts = jax.tree.map(lambda x: np.repeat(np.asarray(x), count, axis=0), belief)
    states, rewards = loaded.model.rollout(starts, actions)
    return np.asarray(rewards), _strips(loaded, states)


def _strips(loaded: Loaded, states: Any) -> dict[str, np.ndarray]:
    """Returns a strip of frames for each trajectory of states (time, n, ...), if there are any."""
    if not loaded.draws:
        return {}
    frames = np.swapaxes(loaded.model.decode(states), 0, 1)
    return {f"strip-{number}": strip for number, strip in enumerate(frames)}


def _imagined(dream: Dream, model: LearnedModel, policy: Policy) -> Answer:
    """Returns what an actor does in imagination, what it is paid, and what is to come after."""
    loaded = dream.loaded
    horizon = int(getattr(loaded.player.config, "behavior").horizon)  # noqa: B009 (of some agents)
    states, actions = _futures(
        model.model, policy, dream.belief, dream.mask, jax.random.key(dream.steps), horizon
    )
    rewards = model.reward(states)[1:]
    values = dream.values_of(states)
    return Answer(
        {
            "kind": "imagination",
            "rewards": np.asarray(rewards).T.tolist(),
            "values": None if values is None else np.asarray(values).T.tolist(),
            "actions": np.swapaxes(np.asarray(actions), 0, 1).tolist(),
            "goes_on": np.asarray(model.goes_on(states)).T.tolist(),
            "action": np.asarray(dream.chosen({"by": "agent"}, dream.belief), np.float64).tolist(),
        },
        _strips(loaded, states),
    )


@partial(jax.jit, static_argnames="horizon")
def _futures(
    model: Any, policy: Any, belief: LatentState, mask: Any, key: PRNGKeyArray, horizon: int
) -> tuple[LatentState, Array]:
    """Returns trajectories that an actor imagines from one state (Dreamer, Algorithm 1, line 10).

    Returns:
        The H + 1 states and the H actions, leading axes (time, trajectories).
    """
    latent = jax.tree.map(lambda x: jax.numpy.repeat(x, FUTURES, axis=0), belief)
    masks = None if mask is None else jax.numpy.repeat(jax.numpy.asarray(mask)[None], FUTURES, 0)
    states, actions, _ = imagine(model, policy, Starts(latent, masks, None), horizon, key)
    return states, actions


def _searched(dream: Dream) -> Answer:
    """Returns the tree of a search from what is believed of the world."""
    model = dream.model
    assert isinstance(model, HiddenModel)
    mask = None if dream.mask is None else dream.mask[None]
    found = model.search(dream.belief, mask=mask, seed=dream.steps)
    length = found.tree.children_index.shape[1]
    line = np.asarray(variation(found.tree, found.action, length))[0].tolist()
    nodes = nodes_of(found.tree, line)
    return tree(nodes, players=1, names=dream.names)


def tree(nodes: tuple[Node, ...], players: int, names: list[str] | None = None) -> Answer:
    """Returns a search tree: its states as plain values, those behind folded ones, too.

    Args:
        nodes: of the search.
        players: who take turns.
        names: of the actions, where the nodes do not have their own.
    """
    kept = sorted(nodes, key=lambda node: (-node.visits, node.number))[:_SHOWN]
    numbers = {node.number for node in kept}
    told = []
    for node in nodes:
        if node.number not in numbers:
            continue
        values = asdict(node)
        values["children"] = [child for child in node.children if child in numbers]
        if names is not None and node.parent >= 0:
            values["name"] = names[node.action]
        told.append(values)
    return Answer(
        {"kind": "tree", "players": players, "nodes": told, "left_out": len(nodes) - len(told)}
    )
