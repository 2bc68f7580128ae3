"""Looking into a model of any dynamics: aligned with frames and actions, and as the model says."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.dynamics.given import fitting_actions
from armillary.dynamics.learned import LearnedModel
from armillary.dynamics.world_model import DYNAMICS
from armillary.errors import UsageError
from armillary.nets.image import batch_first, batch_last, postprocess, preprocess
from armillary.spec import Discrete, pixels
from models import random_model
from settings import TINY

A, T, BITS = 2, 4, 5
RANDOM = np.random.default_rng(3)
IMAGES = RANDOM.integers(0, 256, (T, 64, 64, 3), np.uint8)
ACTIONS = RANDOM.uniform(-1, 1, (T, A)).astype(np.float32)


@pytest.fixture(scope="module", params=list(DYNAMICS))
def learned(request: pytest.FixtureRequest) -> LearnedModel:
    config = replace(TINY.model, dynamics=request.param, depth=1)
    return LearnedModel(random_model(config, A), pixels(64, A), BITS)


def same(ours, theirs) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_model_is_looked_into_from_one_state_to_the_next(learned: LearnedModel) -> None:
    """The oracle goes through the model's own pieces, one time step after the other."""
    model, dynamics = learned.model, learned.model.dynamics
    embeddings = model.encoder.images["image"](batch_last(preprocess(jnp.asarray(IMAGES), BITS)))
    state, filtered = dynamics.initial(), []
    for embedding, action in zip(embeddings, ACTIONS, strict=True):
        state, _ = dynamics.infer(state, jnp.asarray(action), embedding, None)
        filtered.append(state)
    every = learned.encode(IMAGES, ACTIONS, every=True)
    same(every, jax.tree.map(lambda *x: jnp.stack(x), *filtered))
    same(learned.encode(IMAGES, ACTIONS), state)

    ahead, rewards = learned.rollout(state, ACTIONS)
    features = dynamics.features(ahead)
    for t, action in enumerate(ACTIONS):
        stepped, reward = learned.step(state, action)
        same(reward, rewards[t])
        same(stepped, dynamics.predict(state, jnp.asarray(action), None))
        same(stepped, jax.tree.map(lambda x, t=t: x[t], ahead))
        state = stepped
    frames = learned.decode(ahead)
    assert (frames.shape, frames.dtype) == ((T, 64, 64, 3), np.uint8)
    expected = postprocess(batch_first(model.decoder.images["image"](features))).astype(int)
    assert np.abs(frames - expected).max() <= 1
    same(learned.reward(ahead), model.reward(ahead))
    same(rewards, model.reward(ahead))
    assert learned.reward(state).shape == ()
    assert learned.decode(state).shape == (64, 64, 3)


def test_several_futures_of_one_state_side_by_side(learned: LearnedModel) -> None:
    state = learned.encode(IMAGES, ACTIONS)
    plans = np.stack([ACTIONS, -ACTIONS, 0 * ACTIONS], axis=1)
    starts = jax.tree.map(lambda x: jnp.broadcast_to(x, (3, *x.shape)), state)
    ahead, rewards = learned.rollout(starts, plans)
    assert rewards.shape == learned.reward(ahead).shape == (T, 3)
    assert learned.decode(ahead).shape == (T, 3, 64, 64, 3)
    same(jax.tree.map(lambda x: x[:, 1], ahead), learned.rollout(state, -ACTIONS)[0])
    with pytest.raises(UsageError, match=r"they need \(time, 3, 2\)"):
        learned.rollout(starts, plans[:, :2])


@pytest.mark.parametrize("learned", ["rssm"], indirect=True)
def test_seeds_sample_and_wrong_shapes_are_said(learned: LearnedModel) -> None:
    state = learned.encode(IMAGES, ACTIONS, seed=1)
    same(state, learned.encode(IMAGES, ACTIONS, seed=1))
    others = (learned.encode(IMAGES, ACTIONS, seed=2), learned.encode(IMAGES, ACTIONS))
    for other in others:
        assert np.abs(state.stochastic - other.stochastic).max() > 0.01
    first, _ = learned.rollout(state, ACTIONS, seed=1)
    second, _ = learned.rollout(state, ACTIONS, seed=2)
    assert np.abs(first.stochastic - second.stochastic).max() > 0.1
    # The first of T actions led to the first frame: nothing, where an episode begins.
    begun = ACTIONS * (np.arange(T) > 0)[:, None]
    same(learned.encode(IMAGES, ACTIONS[1:]), learned.encode(IMAGES, begun))
    for images, actions, words in (
        (IMAGES, ACTIONS[2:], "4 frames and 2 actions"),
        (IMAGES[:0], ACTIONS[:0], "0 frames"),
        (IMAGES[0], ACTIONS, "expected uint8 of shape"),
        (IMAGES / 255, ACTIONS, "float64"),
        (IMAGES, ACTIONS[:, :1], "2 entries"),
        (IMAGES, ACTIONS[0], "2 axes"),
    ):
        with pytest.raises(UsageError, match=words):
            learned.encode(images, actions)
    with pytest.raises(UsageError, match="2 axes"):
        learned.step(state, 0.5)


@pytest.mark.parametrize("learned", ["rssm"], indirect=True)
def test_what_was_seen_is_gone_on_from_and_of_several_at_once(learned: LearnedModel) -> None:
    """A sequence in two parts, and two sequences side by side, give the states of one at a time."""
    whole = learned.encode(IMAGES, ACTIONS, every=True)
    first = learned.encode(IMAGES[:2], ACTIONS[:2])
    same(learned.encode(IMAGES[2:], ACTIONS[2:], state=first), jax.tree.map(lambda x: x[-1], whole))
    both = learned.encode(
        np.stack([IMAGES, IMAGES[::-1]], axis=1),
        np.stack([ACTIONS, ACTIONS[::-1]], axis=1),
        every=True,
    )
    same(jax.tree.map(lambda x: x[:, 0], both), whole)
    second = learned.encode(IMAGES[::-1], ACTIONS[::-1], every=True)
    same(jax.tree.map(lambda x: x[:, 1], both), second)
    with pytest.raises(UsageError, match=r"as many actions as frames$"):
        learned.encode(IMAGES[2:], ACTIONS[3:], state=first)
    with pytest.raises(UsageError, match="the state has leading axes"):
        learned.encode(IMAGES[2:], ACTIONS[2:], state=both)


@pytest.mark.parametrize("learned", ["rssm"], indirect=True)
def test_a_bare_model_has_no_plans_and_no_value(learned: LearnedModel) -> None:
    state = learned.encode(IMAGES, ACTIONS)
    with pytest.raises(UsageError, match="no agent that plans"):
        learned.plan(state)
    with pytest.raises(UsageError, match="learned no value"):
        learned.value(state)
    assert learned.goes_on(state) == 1


def test_actions_by_number_are_one_hot() -> None:
    spec = replace(pixels(64, 1), action=Discrete(3))
    np.testing.assert_array_equal(fitting_actions(spec, np.array([2, 0]), ()), np.eye(3)[[2, 0]])
    np.testing.assert_array_equal(fitting_actions(spec, np.eye(3), ()), np.eye(3))
    np.testing.assert_array_equal(
        fitting_actions(spec, np.array([[1, 2]]), (2,)), np.eye(3)[[[1, 2]]]
    )
    for wrong, words in (([3], "one of 3"), ([-1], "one of -1"), ([0.5], "or their numbers")):
        with pytest.raises(UsageError, match=words):
            fitting_actions(spec, np.array(wrong), ())
