"""The disagreement of an ensemble: by hand, over what was seen and not, and whom it reaches."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from armillary.dynamics.base import Dynamics, LatentState
from armillary.nets.distributions import Normal
from armillary.nets.ensemble import Ensemble
from armillary.objectives.disagreement import disagreement, ensemble_loss, seen, transitions
from armillary.replay.sampler import Batch


class Visible(Dynamics):
    """Dynamics whose features are the stochastic state, times a parameter."""

    scale: jax.Array = eqx.field(default_factory=lambda: jnp.array(1.0))
    stochastic_size: int = eqx.field(static=True, default=2)
    deterministic_size: int = eqx.field(static=True, default=0)
    feature_size: int = eqx.field(static=True, default=2)

    def predict(self, state: LatentState, action: Any, noise: Any) -> LatentState:
        raise NotImplementedError

    def infer(self, state: LatentState, action: Any, embedding: Any, noise: Any) -> Any:
        raise NotImplementedError

    def features(self, state: LatentState) -> Any:
        return self.scale * state.stochastic


DYNAMICS = Visible()


def _batch(valid: np.ndarray | None = None) -> tuple[LatentState, Batch]:
    """Three sequences of five rows, all different."""
    generator = np.random.default_rng(0)
    mean, sample = generator.normal(size=(2, 5, 3, 2)).astype(np.float32)
    posteriors = LatentState(
        Normal(jnp.asarray(mean), jnp.ones((5, 3, 2))), jnp.asarray(sample), jnp.zeros((5, 3, 0))
    )
    action = generator.normal(size=(3, 5, 1)).astype(np.float32)
    rewards = np.zeros((3, 5), np.float32)
    return posteriors, Batch({}, action, rewards, rewards > 0, valid)


def _ensemble(members: int = 3, hidden: int = 8) -> Ensemble:
    return Ensemble(members, [3, hidden, 2], "elu", key=jax.random.key(0))


def test_disagreement_by_hand() -> None:
    """Two dimensions of three members: variances 2/3 and 24."""
    predictions = jnp.array([[[1.0, 0.0]], [[2.0, 6.0]], [[3.0, 12.0]]])
    np.testing.assert_allclose(disagreement(predictions), [(2 / 3 + 24) / 2], rtol=1e-6)
    np.testing.assert_array_equal(disagreement(jnp.ones((4, 2, 3))), [0, 0])


def test_members_differ_and_each_is_a_stack() -> None:
    ensemble, x = _ensemble(), jnp.ones((4, 3))
    outputs = ensemble(x)
    assert outputs.shape == (3, 4, 2)
    assert np.ptp(outputs[:, 0, 0]) > 0.01
    for number, output in enumerate(outputs):
        stack = jax.tree.map(lambda leaf, n=number: leaf[n], ensemble.stacks)
        np.testing.assert_allclose(stack(x), output, rtol=1e-5, atol=1e-6)


def test_a_step_is_a_state_the_action_taken_there_and_the_next_state() -> None:
    """Row by row: stored `action[t + 1]` is what was done in the state of row t."""
    valid = np.ones((3, 5), bool)
    valid[1, 3:] = False  # its last step leads to row 2
    posteriors, batch = _batch(valid)
    inputs, targets, counts = transitions(DYNAMICS, posteriors, batch)
    assert counts is not None
    for row in range(4):
        for number in range(3):
            state = posteriors.stochastic[row, number]
            expected = [*state, *batch.action[number, row + 1]]
            np.testing.assert_array_equal(inputs[row, number], expected)
            np.testing.assert_array_equal(
                targets[row, number], posteriors.distribution.mean[row + 1, number]
            )
            assert counts[row, number] == valid[number, row + 1]
    ensemble = _ensemble()
    loss, mean = ensemble_loss(ensemble, inputs, targets, counts)
    errors, spreads = [], []
    for row, number in np.argwhere(counts):
        said = np.asarray(ensemble(inputs[row, number]))
        errors += [0.5 * np.sum((one - targets[row, number]) ** 2) for one in said]
        spreads.append(said.var(axis=0).mean())
    np.testing.assert_allclose([loss, mean], [np.mean(errors), np.mean(spreads)], rtol=1e-5)


def test_its_loss_reaches_the_ensemble_and_nothing_else() -> None:
    posteriors, batch = _batch()

    def loss(parts: Any) -> Any:
        ensemble, dynamics, posteriors = parts
        return ensemble_loss(ensemble, *transitions(dynamics, posteriors, batch))[0]

    gradient = eqx.filter_grad(loss)((_ensemble(), DYNAMICS, posteriors))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient[0]))
    for part in gradient[1:]:
        assert all(not np.any(leaf) for leaf in jax.tree.leaves(part))


def test_it_falls_where_much_was_seen_and_stays_where_nothing_was() -> None:
    """Actions to one side only: what they lead to is agreed upon, and the other side is not."""
    generator = np.random.default_rng(0)
    states = generator.uniform(-1, 1, (256, 2)).astype(np.float32)
    action = generator.uniform(0, 1, (256, 1)).astype(np.float32)

    def unlike(ensemble: Ensemble, action: np.ndarray) -> float:
        return float(jnp.mean(disagreement(ensemble(seen(jnp.asarray(states), action)))))

    ensemble = _ensemble(members=5, hidden=32)
    before = [unlike(ensemble, action), unlike(ensemble, -3 * action)]
    optimizer = optax.adam(1e-2)
    inputs, targets = seen(jnp.asarray(states), action), jnp.asarray(states + 0.5 * action)

    @eqx.filter_jit
    def learn(ensemble: Ensemble) -> Ensemble:
        def step(carry: Any, _: None) -> Any:
            arrays, moments = carry
            gradient = jax.grad(lambda a: ensemble_loss(eqx.combine(a, rest), inputs, targets)[0])(
                arrays
            )
            updates, moments = optimizer.update(gradient, moments)
            return (eqx.apply_updates(arrays, updates), moments), None

        arrays, rest = eqx.partition(ensemble, eqx.is_inexact_array)
        (arrays, _), _ = jax.lax.scan(step, (arrays, optimizer.init(arrays)), length=300)
        return eqx.combine(arrays, rest)

    learned = learn(ensemble)
    after = [unlike(learned, action), unlike(learned, -3 * action)]
    assert after[0] < before[0] / 50
    assert after[1] > 20 * after[0]
