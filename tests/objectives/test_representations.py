"""InfoNCE by brute force, and what each representation trains."""

import math
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from armillary.config import ModelConfig, ObjectiveConfig
from armillary.dynamics.world_model import WorldModel
from armillary.errors import UsageError
from armillary.nets.distributions import Normal
from armillary.objectives.representations import info_nce
from armillary.objectives.world_model import world_model_loss
from armillary.replay.sampler import Batch
from armillary.spec import pixels

SMALL = ModelConfig(stochastic=3, deterministic=8, hidden=8, depth=1, discount_head=True)


def test_info_nce_is_its_sums() -> None:
    generator = np.random.default_rng(0)
    states = generator.normal(3, 1, (2, 3, 4))
    mean, std = generator.normal(3, 1, (2, 3, 4)), generator.uniform(0.1, 2, (2, 3, 4))
    expected = np.zeros((2, 3))
    for i in np.ndindex(2, 3):
        density = {
            j: scipy.stats.norm(mean[j], std[j]).logpdf(states[i]).sum() for j in np.ndindex(2, 3)
        }
        expected[i] = density[i] - scipy.special.logsumexp(list(density.values()))
    found = info_nce(Normal(jnp.asarray(mean), jnp.asarray(std)), jnp.asarray(states))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_info_nce_holds_far_from_zero() -> None:
    """The squares are multiplied out: a large mean must not cost the small differences."""
    generator = np.random.default_rng(1)
    states, std = generator.normal(0, 1, (50, 30)), np.full((50, 30), 0.1)
    near = info_nce(Normal(jnp.asarray(states), jnp.asarray(std)), jnp.asarray(states))
    far = info_nce(Normal(jnp.asarray(states + 100), jnp.asarray(std)), jnp.asarray(states + 100))
    np.testing.assert_allclose(near, far, atol=2e-2)


def test_a_constant_encoder_is_told() -> None:
    """Collapse: equal state models of all images give exactly -ln N; a sharp one comes to 0."""
    states = jnp.asarray(np.random.default_rng(2).normal(0, 1, (6, 5, 4)), jnp.float32)
    same = Normal(jnp.zeros_like(states), jnp.ones_like(states))
    np.testing.assert_allclose(info_nce(same, states), -math.log(30), rtol=1e-5)
    sharp = Normal(states, jnp.full_like(states, 0.01))
    np.testing.assert_allclose(info_nce(sharp, states), 0.0, atol=1e-3)


@pytest.fixture(scope="module")
def batch() -> Batch:
    generator = np.random.default_rng(3)
    return Batch(
        {"image": jnp.asarray(generator.integers(0, 256, (2, 4, 64, 64, 3)), jnp.uint8)},
        jnp.asarray(generator.uniform(-1, 1, (2, 4, 2)), jnp.float32),
        jnp.asarray(generator.uniform(0, 1, (2, 4)), jnp.float32),
        jnp.zeros((2, 4), bool).at[1, 3].set(True),
    )


@pytest.mark.parametrize(
    ("representation", "term"),
    [("reconstruction", "loss/image"), ("contrastive", "loss/contrastive"), ("reward", None)],
)
def test_each_representation_trains_its_own(
    batch: Batch, representation: Any, term: str | None
) -> None:
    """The heads there are, the terms of the loss, and where gradients reach."""
    model = WorldModel(pixels(64, 2), SMALL, representation, key=jax.random.key(0))
    config = ObjectiveConfig(representation=representation, free_nats=0.0)

    @eqx.filter_jit
    def gradient_of(model: WorldModel, config: ObjectiveConfig) -> Any:
        function = eqx.filter_value_and_grad(world_model_loss, has_aux=True)
        return function(model, batch, jax.random.key(1), config)

    (loss, (metrics, posteriors)), gradient = gradient_of(model, config)
    assert posteriors.stochastic.shape == (4, 2, 3)
    observed = {"loss/image", "loss/contrastive"} & set(metrics)
    assert observed == ({term} if term else set())
    total = config.reward_scale * metrics["loss/reward"] + metrics["loss/divergence"]
    total += config.discount_scale * metrics["loss/discount"]
    total += metrics[term] if term else 0.0
    np.testing.assert_allclose(loss, total, rtol=1e-5)
    assert (model.decoder is not None) == (representation == "reconstruction")
    assert (model.state_head is not None) == (representation == "contrastive")
    for name in ("encoder", "dynamics", "reward_head", "discount_head", "decoder", "state_head"):
        leaves = jax.tree.leaves(eqx.filter(getattr(gradient, name), eqx.is_array))
        assert all(np.abs(leaf).sum() > 0 for leaf in leaves if leaf.ndim > 1), name

    if representation == "reward":
        # nothing but the reward reaches the model: with no weight on it, the encoder only has the
        # divergence, and without that nothing at all
        alone = replace(config, reward_scale=0.0, divergence_scale=0.0, discount_scale=0.0)
        _, gradient = gradient_of(model, alone)
        assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient))
    if representation != "reconstruction":
        with pytest.raises(UsageError, match=r"no decoder.*--representation reconstruction"):
            model.decode(jnp.zeros((1, 11)))


def test_the_discount_is_learned_from_terminations(batch: Batch) -> None:
    """Its loss is the cross-entropy of going on: 1 but for the step that ended the episode."""
    model = WorldModel(pixels(64, 2), SMALL, "reward", key=jax.random.key(0))
    biased = eqx.tree_at(
        lambda m: m.discount_head.layers[-1].linear,
        model,
        replace_fn=lambda x: jax.tree.map(lambda y: y * 0 + (2.0 if y.ndim == 1 else 0.0), x),
    )
    config = ObjectiveConfig(representation="reward")
    _, (metrics, _) = eqx.filter_jit(world_model_loss)(biased, batch, jax.random.key(1), config)
    on = 1 / (1 + math.exp(-2.0))
    expected = -(7 * math.log(on) + math.log(1 - on)) / 8
    np.testing.assert_allclose(metrics["loss/discount"], expected, rtol=1e-5)
