"""Monte Carlo tree search in a learned model (MuZero, slides 2 to 5), on top of mctx.

Each simulation goes down the tree by the action a of the highest

    Q(s, a) + P(s, a) sqrt(N(s)) / (1 + N(s, a)) (c_1 + log((N(s) + c_2 + 1) / c_2)),

of several the first, until it leaves the tree; adds the state it arrives at, and backs its value
up. N(s) counts that first visit of s, too (the published pseudocode does not count it at the root,
where its first choice is arbitrary). Q is brought to [0, 1] first, see `normalization`, and is 0
where an action was not visited, as in the published pseudocode.

Values are always from the view of the player to move: with two players a value that is backed up
changes its sign at each step, Q(s, a) = r - V(s'). No state is terminal in the search, and actions
are forbidden at the root alone: what lies behind is for the model to know.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mctx
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray, PyTree

from armillary.config.muzero import SearchConfig
from armillary.nets.distributions import IMPOSSIBLE
from armillary.search.normalization import completed, normalized

Model = Callable[
    [PyTree, PyTree, Int32[Array, " batch"]],
    tuple[
        PyTree,
        Float[Array, " batch"],
        Float[Array, "batch actions"],
        Float[Array, " batch"],
    ],
]
"""From parameters, states and an action of each to the next states, the rewards from the view of
who took the action, and the logits and the values of the next states from that of who is then to
move."""


class Root(NamedTuple):
    """The states that are searched from.

    Attributes:
        logits: of the prior over actions, unnormalised.
        value: from the view of the player to move.
        state: what the model takes, any arrays with a leading axis of roots.
    """

    logits: Float[Array, "batch actions"]
    value: Float[Array, " batch"]
    state: PyTree


class Found(NamedTuple):
    """What a search found at each root.

    Attributes:
        action: the best: visited most, of several of the highest Q, of several the first. Of
            Gumbel MuZero the one that it drew, which is the best if it does not explore. Without
            simulations the first of the highest prior.
        policy: what the policy is trained on, 0 for forbidden actions: the share of visits, or
            the improved policy of Gumbel MuZero. Without simulations the prior.
        visits: N(root, a).
        value: of the root: the mean of its own and of all that was backed up.
        q: Q(root, a), not normalised; 0 where an action was not visited.
        tree: all of it, see mctx.
    """

    action: Int32[Array, " batch"]
    policy: Float[Array, "batch actions"]
    visits: Int32[Array, "batch actions"]
    value: Float[Array, " batch"]
    q: Float[Array, "batch actions"]
    tree: mctx.Tree


def search(
    model: Model,
    parameters: PyTree,
    root: Root,
    key: PRNGKeyArray,
    settings: SearchConfig,
    *,
    simulations: int | None = None,
    legal: Bool[Array, "batch actions"] | None = None,
    discount: float = 1.0,
    players: int = 1,
    explore: bool = False,
) -> Found:
    """Searches from each root; compiles under `jax.jit`.

    Args:
        model: what an action leads to.
        parameters: its first argument.
        root: where to search from.
        key: of the noise; nothing else is random.
        settings: how to search.
        simulations: states that are added to each tree. None: as many as the settings say. 0:
            nothing is searched, and the prior and the value are the root's own.
        legal: the actions that may be taken at each root. None: all. Where none may, at the end
            of an episode, the result is finite and means nothing.
        discount: gamma. Two players take 1, whatever it is.
        players: 1, or 2 who take turns.
        explore: with noise at the root, as in self-play: Dirichlet's over the legal actions, or
            Gumbel's.
    """
    simulations = settings.simulations if simulations is None else simulations
    backed_up = -1.0 if players == 2 else discount
    noise_key, search_key = jax.random.split(key)

    def expand(parameters: PyTree, _: PRNGKeyArray, action: Array, state: PyTree) -> Any:
        state, reward, logits, value = model(parameters, state, action)
        discounts = jnp.full_like(value, backed_up)
        return mctx.RecurrentFnOutput(
            reward=reward, discount=discounts, prior_logits=logits, value=value
        ), state

    forbidden = jnp.zeros(root.logits.shape, bool) if legal is None else ~legal
    logits = jnp.where(forbidden, IMPOSSIBLE, jax.nn.log_softmax(root.logits))
    if settings.algorithm == "gumbel" and simulations:
        found = mctx.gumbel_muzero_policy(
            parameters,
            noise_key,
            _root(root, logits),
            expand,
            simulations,
            invalid_actions=forbidden,
            qtransform=partial(completed, settings.normalization, players),
            gumbel_scale=1.0 if explore else 0.0,
        )
        tree, action, policy = found.search_tree, found.action, found.action_weights
    else:
        if explore:
            logits = _noisy(logits, forbidden, noise_key, settings)
        score = partial(_scores, settings, players)
        tree = mctx.search(
            parameters,
            search_key,
            root=_root(root, logits),
            recurrent_fn=expand,
            root_action_selection_fn=lambda _, tree, node: jnp.argmax(
                jnp.where(tree.root_invalid_actions, -jnp.inf, score(tree, node))
            ),
            interior_action_selection_fn=lambda _, tree, node, __: jnp.argmax(score(tree, node)),
            num_simulations=simulations,
            invalid_actions=forbidden,
        )
        summary = tree.summary()
        policy = summary.visit_probs
        most = summary.visit_counts == jnp.max(summary.visit_counts, axis=-1, keepdims=True)
        action = jnp.argmax(jnp.where(most & ~forbidden, summary.qvalues, -jnp.inf), axis=-1)
    if not simulations:
        policy, action = jax.nn.softmax(logits), jnp.argmax(logits, axis=-1)
    summary = tree.summary()
    return Found(
        action.astype(jnp.int32),
        policy,
        tree.children_visits[:, tree.ROOT_INDEX],
        summary.value,
        summary.qvalues,
        tree,
    )


def draw(
    policy: Float[Array, "batch actions"],
    key: PRNGKeyArray,
    temperature: float | Float[Array, "*batch"],
) -> Int32[Array, " batch"]:
    """Draws actions in proportion to the policy to the power of 1 / temperature.

    An action of which the policy is 0 is never drawn.

    Args:
        policy: shares of visits, say.
        key: of the draws.
        temperature: one for all or one for each. 0: the action of the highest share, of several
            the first.
    """
    warmth = jnp.broadcast_to(temperature, policy.shape[:-1])[..., None]
    logs = jnp.log(policy) - jnp.log(jnp.max(policy, axis=-1, keepdims=True))
    powers = logs / jnp.maximum(warmth, jnp.finfo(logs.dtype).tiny)
    drawn = jax.random.categorical(key, powers)
    return jnp.where(warmth[..., 0] > 0, drawn, jnp.argmax(policy, axis=-1)).astype(jnp.int32)


def _root(root: Root, logits: Float[Array, "batch actions"]) -> mctx.RootFnOutput:
    return mctx.RootFnOutput(prior_logits=logits, value=root.value, embedding=root.state)


def _noisy(
    logits: Float[Array, "batch actions"],
    forbidden: Bool[Array, "batch actions"],
    key: PRNGKeyArray,
    settings: SearchConfig,
) -> Float[Array, "batch actions"]:
    """Returns the logits of the prior mixed with Dirichlet noise over the legal actions."""
    logs = jax.random.loggamma(key, settings.noise_alpha, logits.shape)
    noise = jax.nn.softmax(jnp.where(forbidden, IMPOSSIBLE, logs))
    share = settings.noise_fraction
    mixed = (1 - share) * jax.nn.softmax(logits) + share * noise
    return jnp.where(
        forbidden, IMPOSSIBLE, jnp.log(jnp.maximum(mixed, jnp.finfo(mixed.dtype).tiny))
    )


def _scores(
    settings: SearchConfig, players: int, tree: mctx.Tree, node: Int32[Array, ""]
) -> Float[Array, " actions"]:
    """Returns what a simulation takes the highest of, of the actions in a state of one tree."""
    count = tree.node_visits[node]
    weight = settings.pb_c_init + jnp.log((count + settings.pb_c_base + 1) / settings.pb_c_base)
    prior = jax.nn.softmax(tree.children_prior_logits[node])
    bonus = prior * weight * jnp.sqrt(count) / (1 + tree.children_visits[node])
    return bonus + normalized(settings.normalization, players, tree, node)
