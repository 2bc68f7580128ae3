"""Multi-step predictions (Eq. 5) and their bounds (Eq. 6, Eq. 7) against closed forms and loops."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armillary.dynamics.base import Dynamics, LatentState
from armillary.errors import UsageError
from armillary.nets.distributions import Normal
from armillary.objectives.bound import variational_bound
from armillary.objectives.overshooting import (
    multi_step_bound,
    multi_step_divergences,
    multi_step_priors,
    overshooting_bound,
    predictable,
)

A = np.array([[0.9, 0.4], [-0.3, 0.8]], np.float32)
Q = np.array([0.5, 0.2], np.float32)
T, D, S = 6, 4, 2


class Linear(Dynamics):
    """s_t = A s_t-1 + a_t-1 + N(0, diag(Q)^2)."""

    stochastic_size: int = eqx.field(static=True, default=S)
    deterministic_size: int = eqx.field(static=True, default=1)
    feature_size: int = eqx.field(static=True, default=S)

    def predict(self, state: LatentState, action: Any, noise: Any) -> LatentState:
        belief = Normal(state.stochastic @ A.T + action, jnp.broadcast_to(Q, action.shape))
        return LatentState(belief, belief.sample(noise), state.deterministic + 1)  # counts steps

    def infer(self, state: Any, action: Any, embedding: Any, noise: Any) -> Any:
        raise NotImplementedError

    def features(self, state: LatentState) -> Any:
        return state.stochastic


def _posteriors(batch: int, seed: int = 0) -> tuple[LatentState, np.ndarray]:
    """A posterior at each step, the same in the whole batch, and actions."""
    generator = np.random.default_rng(seed)
    mean, sample, actions = generator.normal(0, 1, (3, T, 1, S)).astype(np.float32)
    std = generator.uniform(0.3, 1.5, (T, 1, S)).astype(np.float32)

    def repeat(x: Any) -> Any:
        return jnp.broadcast_to(x, (T, batch, x.shape[-1]))

    tags = 100.0 * jnp.arange(1, T + 1)[:, None, None]
    state = LatentState(Normal(repeat(mean), repeat(std)), repeat(sample), repeat(tags))
    return state, repeat(actions)


def test_the_predictions_are_those_of_a_linear_gaussian_system() -> None:
    """p(s_t | s_t-d) = N(A^d s_t-d + sum A^k a, sum A^k Q A^k'), and E KL to it, in closed form."""
    batch = 20_000
    posteriors, actions = _posteriors(batch)
    roll = jax.jit(multi_step_priors, static_argnums=3)
    priors = roll(Linear(), posteriors, actions, D, jax.random.key(1))
    nats = multi_step_divergences(posteriors.distribution, priors.distribution)
    starts = np.concatenate([np.zeros((1, S)), posteriors.stochastic[:, 0]])
    for d in range(1, D + 1):
        divergences = []
        for t in range(d, T + 1):
            mean, covariance = starts[t - d], np.zeros((S, S))
            for k in range(t - d + 1, t + 1):
                before = A @ covariance @ A.T
                mean = A @ mean + np.asarray(actions)[k - 1, 0]
                covariance = before + np.diag(Q**2)
            samples = np.asarray(priors.stochastic[d - 1, t - 1], np.float64)
            error = np.sqrt(np.diag(covariance) / batch)
            assert np.all(np.abs(samples.mean(0) - mean) < 5 * error)
            np.testing.assert_allclose(np.cov(samples.T), covariance, atol=0.05, rtol=0.05)
            m, s = (np.asarray(x[t - 1, 0]) for x in posteriors.distribution)
            squares = s**2 + (m - mean) ** 2 + np.diag(before)
            divergences.append(np.sum(np.log(Q / s) + squares / (2 * Q**2) - 0.5))
        np.testing.assert_allclose(nats[d - 1], np.mean(divergences), rtol=0.01)


def test_the_starts_and_actions_by_a_loop() -> None:
    """Entry (d, t) starts at the posterior of step t - d, or at the initial state, and no other."""
    posteriors, actions = _posteriors(2)
    key = jax.random.key(1)
    priors = multi_step_priors(Linear(), posteriors, actions, D, key)
    noise = jax.random.normal(key, (D, T, 2, S))
    mask = predictable(D, T)
    for d in range(1, D + 1):
        for t in range(1, T + 1):
            assert mask[d - 1, t - 1] == (t >= d)
            if t < d:
                continue
            state = Linear().initial(2)
            if t > d:
                state = jax.tree.map(lambda x, start=t - d - 1: x[start], posteriors)
            for k in range(1, d + 1):
                row = t - d + k - 1
                state = Linear().predict(state, actions[row], noise[k - 1, row])
            ours = jax.tree.map(lambda x, d=d, t=t: x[d - 1, t - 1], priors)
            for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(state), strict=True):
                np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(ours.deterministic, 100.0 * (t - d) + d)


def _beliefs(seed: int = 3, batch: int = 3) -> tuple[Normal, Normal]:
    """Any posterior and multi-step priors."""
    generator = np.random.default_rng(seed)

    def belief(*shape: int) -> Normal:
        mean, std = generator.normal(0, 1, shape), generator.uniform(0.3, 2, shape)
        return Normal(jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32))

    return belief(T, batch, S), belief(D, T, batch, S)


def _by_loop(q: Normal, p: Normal, free: float, per: str) -> np.ndarray:
    """The mean divergence of each distance, over those (t, d) that the chunk holds."""
    means = []
    for d in range(1, p.mean.shape[0] + 1):
        nats = []
        for t in range(1, T + 1):
            if t - d < 0:
                continue
            for i in range(q.mean.shape[1]):
                m, s, n, r = (
                    np.asarray(x, np.float64)
                    for x in (
                        *(q.mean[t - 1, i], q.std[t - 1, i]),
                        *(p.mean[d - 1, t - 1, i], p.std[d - 1, t - 1, i]),
                    )
                )
                kl = np.sum(np.log(r / s) + (s**2 + (m - n) ** 2) / (2 * r**2) - 0.5)
                nats.append(max(kl, free) if per == "step" else kl)
        means.append(np.mean(nats) if per == "step" else max(np.mean(nats), free))
    return np.array(means)


@pytest.mark.parametrize(("free", "per"), [(0.0, "step"), (2.0, "step"), (2.5, "batch")])
def test_the_mask_by_a_loop_over_all_t_and_d(free: float, per: Any) -> None:
    """What is not in the chunk changes nothing, were it infinite, and gets no gradient."""
    q, p = _beliefs()
    expected = _by_loop(q, p, free, per)
    outside = ~np.tril(np.ones((T, D), bool)).T[..., None, None]
    for poison in (0.0, 1e30, np.inf, np.nan):
        spoilt = Normal(*(jnp.where(outside, poison, x) for x in p))

        def total(q: Normal, p: Normal) -> tuple[Any, Any]:
            nats = multi_step_divergences(q, p, free, per)
            return jnp.sum(nats), nats

        with jax.debug_nans(poison == 0.0):  # not even in between
            gradients, nats = jax.grad(total, argnums=(0, 1), has_aux=True)(q, spoilt)
        np.testing.assert_allclose(nats, expected, rtol=1e-5)
        for gradient in gradients[0]:
            assert np.isfinite(gradient).all()
        for gradient in gradients[1]:
            assert not np.asarray(gradient)[np.broadcast_to(outside, p.mean.shape)].any()
            assert np.isfinite(gradient).all()
            assert np.abs(gradient).max() > 0


def test_eq_7_by_a_loop() -> None:
    """1/D sum_d beta_d KL_d, the last beta for all that follow."""
    q, p = _beliefs()
    nats = _by_loop(q, p, 0.3, "step")
    for scales, betas in (
        ((1.0,), [1, 1, 1, 1]),
        ((0.7, 2.0), [0.7, 2, 2, 2]),
        ((0.7, 2.0, 0.0, 5.0), [0.7, 2, 0, 5]),
    ):
        bound = overshooting_bound(jnp.array(-3.0), q, p, free_nats=0.3, divergence_scales=scales)
        np.testing.assert_allclose(bound, -3.0 - np.dot(betas, nats) / D, rtol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 4])
def test_eq_6_by_a_loop(d: int) -> None:
    """Only the distance d counts, in gradients too, and the posterior gets one."""
    q, p = _beliefs()
    priors = Normal(*(x[:d] for x in p))
    arguments: dict[str, Any] = {"free_nats": 0.3, "divergence_scale": 2.0}

    def bound(q: Normal, p: Normal) -> Any:
        return multi_step_bound(jnp.array(-3.0), q, p, **arguments)

    np.testing.assert_allclose(
        bound(q, priors), -3.0 - 2.0 * _by_loop(q, p, 0.3, "step")[d - 1], rtol=1e-5
    )
    of_q, of_p = jax.grad(bound, argnums=(0, 1))(q, priors)
    assert np.abs(of_q.mean).max() > 0
    assert not np.asarray(of_p.mean)[: d - 1].any()
    assert np.abs(of_p.mean[d - 1]).max() > 0


@pytest.mark.parametrize("per", ["step", "batch"])
def test_one_step_is_eq_3(per: Any) -> None:
    """D = 1 and d = 1, value and gradients, to float precision."""
    q, p = _beliefs()
    one = Normal(*(x[:1] for x in p))
    free: dict[str, Any] = {"free_nats": 0.8, "free_nats_per": per}
    log_likelihood = jnp.linspace(-2.0, 1.0, T * 3).reshape(T, 3)

    def eq_3(q: Normal, p: Normal) -> Any:
        p = Normal(*(x[0] for x in p))
        return variational_bound(log_likelihood, q, p, divergence_scale=0.7, **free)

    def eq_6(q: Normal, p: Normal) -> Any:
        return multi_step_bound(log_likelihood, q, p, divergence_scale=0.7, **free)

    def eq_7(q: Normal, p: Normal) -> Any:
        return overshooting_bound(log_likelihood, q, p, divergence_scales=(0.7, 9.0), **free)

    expected = jax.value_and_grad(eq_3, argnums=(0, 1))(q, one)
    for bound in (eq_6, eq_7):
        ours = jax.value_and_grad(bound, argnums=(0, 1))(q, one)
        for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7)


def test_for_d_above_1_the_posterior_gets_no_gradient() -> None:
    q, p = _beliefs()

    def bound(q: Normal, p: Normal, scales: tuple[float, ...]) -> Any:
        return overshooting_bound(jnp.array(0.0), q, p, divergence_scales=scales)

    of_q, of_p = jax.grad(bound, argnums=(0, 1))(q, p, (0.0, 1.0))
    assert not np.asarray(of_q.mean).any()
    assert not np.asarray(of_q.std).any()
    for d in range(1, D):
        assert np.abs(of_p.mean[d]).max() > 0
        assert np.abs(of_p.std[d]).max() > 0
    of_q, of_p = jax.grad(bound, argnums=(0, 1))(q, p, (1.0, 0.0))
    assert np.abs(of_q.mean).max() > 0
    assert not np.asarray(of_p.mean)[1:].any()


def test_a_chunk_holds_no_longer_predictions_than_itself() -> None:
    assert predictable(T, T).sum() == T * (T + 1) / 2
    with pytest.raises(UsageError, match="a chunk of 6 steps"):
        predictable(T + 1, T)
