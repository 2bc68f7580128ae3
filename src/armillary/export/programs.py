"""The functions of an agent that are exported: one time step each, of several states at once.

A state is a dictionary of arrays by their names, so that what one program gives another takes:
`deterministic`, `stochastic`, and `mean` and `std` of the Gaussian that the stochastic part comes
from; arrays without entries are left out. Of MuZero it is `state`, one array. The arrays of the
state that a program leads to have `next_` before their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from armillary.agents.base import masked
from armillary.agents.hidden import HiddenModel, stepped
from armillary.config import planner_of
from armillary.dynamics.base import LatentState
from armillary.dynamics.learned import LearnedModel
from armillary.errors import UsageError
from armillary.export.program import Arrays, Program, after
from armillary.nets.distributions import Normal
from armillary.nets.muzero import History
from armillary.nets.observations import shown
from armillary.objectives.muzero import value_of
from armillary.spec import MASK, Field
from armillary.training.player import Player


def programs_of(player: Player) -> list[Program]:
    """Returns the programs of a loaded agent.

    Raises:
        UsageError: it has no world model.
    """
    model: Any = player.world_model
    if isinstance(model, HiddenModel):
        return _of_muzero(model)
    if isinstance(model, LearnedModel):
        return _of_world_model(player, model)
    raise UsageError(
        f"the agent {player.config.agent!r} has a model of its own kind ({type(model).__name__}), "
        "and only those of planet, dreamer and muzero can be exported"
    )


def left_out(player: Player) -> dict[str, str]:
    """Returns what one would look for among the programs and not find, and why."""
    model: Any = player.world_model
    if isinstance(model, HiddenModel):
        return {
            "decoder": "muzero predicts rewards, values and policies, not what is seen",
            "actor": "muzero searches a tree, which is no single pass through a network: search "
            "with these three functions, or take the most likely action of the policy",
        }
    missing = {}
    if model.model.decoder is None:
        missing["decoder"] = "this model does not learn by reconstruction, and shows no frames"
    if planner_of(player.config) is not None:
        how = "armillary distill fits a policy to it, whose run has an actor"
        if hasattr(player.config, "act"):
            how = "export it with --act policy, and its policy is the actor"
        missing["actor"] = (
            "the agent plans, which is a search and no single pass through a network: " + how
        )
    return missing


# World models of observations


class States:
    """The states of a world model as dictionaries of arrays.

    Attributes:
        fields: shape and type of one row of each array.
    """

    def __init__(self, model: LearnedModel) -> None:
        dynamics = model.model.dynamics
        sizes = {
            "deterministic": dynamics.deterministic_size,
            "stochastic": dynamics.stochastic_size,
            "mean": dynamics.stochastic_size,
            "std": dynamics.stochastic_size,
        }
        self.fields = {name: Field((size,)) for name, size in sizes.items() if size}

    def named(self, state: LatentState) -> Arrays:
        """Returns a state as a dictionary."""
        arrays = {
            "deterministic": state.deterministic,
            "stochastic": state.stochastic,
            "mean": state.distribution.mean,
            "std": state.distribution.std,
        }
        return {name: arrays[name] for name in self.fields}

    def of(self, arrays: Mapping[str, Array]) -> LatentState:
        """Returns the state that a dictionary holds, beside whatever else."""
        count = next(iter(arrays[name] for name in self.fields)).shape[0]
        nothing = jnp.zeros((count, 0))
        get = arrays.get
        normal = Normal(get("mean", nothing), get("std", nothing))
        return LatentState(normal, get("stochastic", nothing), get("deterministic", nothing))


def _of_world_model(player: Player, learned: LearnedModel) -> list[Program]:
    model, spec, states = learned.model, learned.spec, States(learned)
    seen = {name: f for name, f in spec.fields.items() if name != MASK}
    action = {"action": Field((spec.action.size,))}

    def infer(arrays: Arrays) -> Arrays:
        observation = model.encoder.prepare({name: arrays[name] for name in seen}, learned.bits)
        embedding = model.encoder(observation)
        posterior, _ = model.dynamics.infer(states.of(arrays), arrays["action"], embedding, None)
        return after(states.named(posterior))

    def transition(arrays: Arrays) -> Arrays:
        state = model.dynamics.predict(states.of(arrays), arrays["action"], None)
        return after(states.named(state))

    def decoder(arrays: Arrays) -> Arrays:
        means = model.decode(model.dynamics.features(states.of(arrays)))
        fields: Arrays = shown(means, spec)
        return fields | {f"{name}_mean": x for name, x in means.images.items()}

    programs = [
        Program(
            "filter",
            "the state after an observation, from the state before and the action in between",
            seen | states.fields | action,
            infer,
        ),
        Program(
            "transition",
            "the state that an action leads to, imagined",
            states.fields | action,
            transition,
        ),
        Program(
            "reward",
            "the reward expected on coming into a state",
            states.fields,
            lambda arrays: {"reward": model.reward(states.of(arrays))},
        ),
        Program(
            "goes_on",
            "the probability that the episode goes on after a state",
            states.fields,
            lambda arrays: {"goes_on": model.goes_on(states.of(arrays))},
        ),
    ]
    if model.decoder is not None:
        about = "what is expected to be observed in a state; of images also the mean, uncut"
        programs.append(Program("decoder", about, states.fields, decoder))
    if learned.value_model is not None:
        value = learned.value_model
        programs.append(
            Program(
                "value",
                "the discounted sum of rewards that the agent expects from a state on",
                states.fields,
                lambda arrays: {"value": value(states.of(arrays))},
            )
        )
    if planner_of(player.config) is None:
        mask = {MASK: Field((spec.action.size,), "bool")} if spec.masked else {}
        programs.append(
            Program(
                "actor",
                "the action that the agent takes in a state, without exploration",
                states.fields | mask,
                partial(_act, player, states),
            )
        )
    return programs


def _act(player: Player, states: States, arrays: Arrays) -> Arrays:
    """Returns an action as `filter` and `transition` take it, and as the environment does."""
    agent: Any = player.agent
    latent, mask = states.of(arrays), arrays.get(MASK)
    action, _ = agent.choose(player.state, latent, mask, jax.random.key(0), False)
    if agent.spec.discrete:
        return {"action": action, "number": jnp.argmax(action, axis=-1).astype(jnp.int32)}
    return {"action": masked(jnp.clip(action, -1.0, 1.0), arrays)}


# MuZero


def _of_muzero(model: HiddenModel) -> list[Program]:
    network, spec, rows = model.network, model.spec, model.history
    state = {"state": Field(model.state_shape)}
    action = {"action": Field((spec.action.size,))}
    seen = {name: f for name, f in spec.fields.items() if name in spec.images | spec.vectors}
    inputs = seen
    if spec.images:
        of_history = {name: Field((rows, *f.shape), f.dtype) for name, f in (seen | action).items()}
        inputs = of_history

    def represent(arrays: Arrays) -> Arrays:
        if spec.images:
            history = History({name: arrays[name] for name in seen}, arrays["action"])
        else:
            observation = {name: arrays[name][:, None] for name in seen}
            count = next(iter(arrays.values())).shape[0]
            history = History(observation, jnp.zeros((count, 1, spec.action.size)))
        return {"state": network.represent(history)}

    def step(arrays: Arrays) -> Arrays:
        state, reward = stepped(network, arrays["state"], arrays["action"])
        paid = {} if network.reward is None else {"reward": reward}
        return after({"state": state}) | paid

    def predict(arrays: Arrays) -> Arrays:
        logits, value = network.predict(arrays["state"])
        return {"policy": jax.nn.softmax(logits), "value": value_of(value)}

    what = (
        f"the last {rows} observations and the actions before each"
        if spec.images
        else ("an observation")
    )
    return [
        Program("representation", f"the hidden state of {what}, h", inputs, represent),
        Program("dynamics", "the hidden state that an action leads to, g", state | action, step),
        Program(
            "prediction",
            "the policy before any search, as probabilities, and the value of a state, f",
            state,
            predict,
        ),
    ]
