"""Proximal steps, inside and outside."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Lasso

import kbo
from kbo.datasets.bilevel import one
from kbo.hypergradients import Direct, MinMin, Parametric, Unrolled
from kbo.optimizers import Optax, ProximalGradient, proximal_gradient
from kbo.regularizers import L1, GroupLasso, NonNegative, Part
from tests.helpers import central

pytestmark = pytest.mark.usefixtures("x64")


def test_proximal_gradient_is_ista_and_differentiates_on_the_support():
    random = np.random.default_rng(0)
    D, x = random.normal(size=(8, 5)), random.normal(size=8)
    D /= np.linalg.norm(D, axis=0)
    strength, rate = 0.3, 1 / np.linalg.norm(D, 2) ** 2
    lasso = Lasso(alpha=strength / 8, fit_intercept=False, tol=1e-14, max_iter=10**6).fit(D, x)
    sample = kbo.Sample(np.zeros((1, 1)), x[None])
    square = lambda D, z, x: 0.5 * jnp.sum((x - D @ z) ** 2)
    problem = kbo.BilevelProblem(
        square, square, sample, sample, kbo.FeatureSpace(one), ridge=0.0, n_outputs=5
    )
    optimizer = proximal_gradient(rate, L1(strength))
    of = lambda which, D=D: kbo.value_and_hypergradient(
        problem, D, method=MinMin(which, 600, optimizer, regularizer=L1(strength))
    )
    found = of("analytic")
    z = np.asarray(found.inner(np.zeros((1, 1)))).ravel()
    np.testing.assert_allclose(z, lasso.coef_, atol=1e-10)
    assert 0 < (z == 0).sum() < 5
    np.testing.assert_allclose(found.grad, -np.outer(x - D @ z, z), atol=1e-9)
    np.testing.assert_allclose(of("automatic").grad, found.grad, atol=1e-9)
    assert found.value == pytest.approx(0.5 * np.sum((x - D @ z) ** 2) + strength * np.abs(z).sum())
    with pytest.raises(ValueError, match="smooth"):
        MinMin("implicit", regularizer=L1(0.1))
    with pytest.raises(ValueError, match="proximal_gradient"):
        MinMin("analytic", regularizer=L1(0.1))
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


def test_equilibria_are_proximal_fixed_points():
    """z = relu(Wz + b), W symmetric and below 1, minimises ½zᵀ(I − W)z − b·z over z ≥ 0."""
    random = np.random.default_rng(0)
    A, b = 0.5 * random.normal(size=(2, 4)), random.normal(size=4)
    W = 0.5 * np.eye(4) - A.T @ A
    z = np.zeros(4)
    for _ in range(3000):
        z = 0.8 * z + 0.2 * np.maximum(W @ z + b, 0)
    sample = kbo.Sample(np.zeros((1, 1)), np.zeros((1, 1)))
    problem = kbo.BilevelProblem(
        lambda w, v, t: 0.5 * (0.5 * v @ v + jnp.sum((A @ v) ** 2)) - w @ v,
        lambda w, v, t: 0.5 * jnp.sum((v - 1) ** 2), sample, sample, kbo.FeatureSpace(one),
        ridge=0.0, n_outputs=4,
    )
    of = lambda w: kbo.value_and_hypergradient(
        problem, w, method=Unrolled(800, proximal_gradient(0.2, NonNegative()), warm=False)
    )
    found = of(b)
    np.testing.assert_allclose(np.asarray(found.inner(np.zeros((1, 1)))).ravel(), z, atol=1e-10)
    assert 0 < (z == 0).sum() < 4
    np.testing.assert_allclose(found.grad, central(lambda w: of(w).value, b), atol=1e-7)
    assert NonNegative()(jnp.ones(2)) == 0 and NonNegative()(-jnp.ones(2)) == np.inf


TARGET = np.array([2.0, -0.05, 0.0, -1.0])


def near_target(penalty=None, part=lambda w: w):
    """L = ½‖ω − target‖² + penalty, up to a ridge of 1e-6."""
    sample = kbo.Sample(np.zeros((1, 1)), TARGET[None])
    return kbo.BilevelProblem(
        lambda w, v, t: 0.5 * jnp.sum((v - part(w)) ** 2),
        lambda w, v, t: 0.5 * jnp.sum((v - t) ** 2),
        sample, sample, kbo.FeatureSpace(one), ridge=1e-6, penalty=penalty, n_outputs=4,
    )


PENALTIES = {
    "l1": (L1(0.1), [1.9, 0, 0, -0.9]),
    "an entry each": (L1(np.array([3.0, 0.0, 1.0, 0.5])), [0, -0.05, 0, -0.5]),
    "groups": (GroupLasso(0.1, (0, 1, 1, 0)), TARGET * [1, 0, 0, 1] * (1 - 0.1 * 2**0.5 / 5**0.5)),
    "set": (NonNegative(), [2.0, 0, 0, 0]),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_with_kinks_are_minimised_with_the_rest(name):
    penalty, expected = PENALTIES[name]
    found = kbo.minimize(near_target(penalty), np.ones(4))
    assert found.status is kbo.Status.CONVERGED and found.grad_norm <= 1e-6
    np.testing.assert_allclose(found.omega, expected, atol=1e-5)
    zero = np.equal(expected, 0)
    assert (np.asarray(found.omega)[zero] == 0).all()
    exact = 0.5 * np.sum((np.asarray(expected) - TARGET) ** 2) + float(penalty(jnp.array(expected)))
    assert found.value == pytest.approx(exact, rel=1e-4)  # of L with its penalty
    again = kbo.minimize(near_target(penalty), found.omega, optimizer=ProximalGradient(memory=1))
    assert again.n_steps == 0 and again.status is kbo.Status.CONVERGED


def test_a_penalty_of_a_part_leaves_the_rest_alone():
    w = {"weights": np.ones(4), "other": np.array(0.7)}
    pull = lambda w: w["weights"] + 0.1 * (w["other"] - 0.2)
    penalty = Part(lambda w: w["weights"], L1(0.1))
    found = kbo.minimize(near_target(penalty, pull), w)
    assert found.status is kbo.Status.CONVERGED
    fixed = near_target(L1(0.1), lambda v: v + 0.1 * (found.omega["other"] - 0.2))
    alone = kbo.minimize(fixed, np.ones(4))
    np.testing.assert_allclose(found.omega["weights"], alone.omega, atol=1e-4)
    assert (np.asarray(found.omega["weights"]) == 0).any() and found.omega["other"] != 0.7
    tangent = penalty.tangent(found.omega, w)
    assert (np.asarray(tangent["weights"])[np.asarray(found.omega["weights"]) == 0] == 0).all()
    assert tangent["other"] == 0.7 and penalty.moved(w) == w and penalty.fault() == ""
    assert "strength" in Part(lambda w: w["weights"], L1(-1.0)).fault()


def test_proximal_searches_say_what_they_need():
    with pytest.raises(ValueError, match="needs a problem whose penalty"):
        kbo.minimize(near_target(), np.ones(4), optimizer=ProximalGradient())
    with pytest.raises(ValueError, match="penalty=GroupLasso is no sum over numbers"):
        kbo.minimize(near_target(GroupLasso(0.1, (0, 0, 1, 1))), np.ones(4), bounds=(0.0, 2.0))
    for penalty in (L1(0.1), Part(lambda w: w, L1(0.1))):
        bounded = kbo.minimize(near_target(penalty), np.ones(4), bounds=(np.array([-1, -1, 0, -0.5]), 1.5))
        assert bounded.status is kbo.Status.CONVERGED and bounded.grad_norm <= 1e-6
        np.testing.assert_allclose(bounded.omega, [1.5, 0, 0, -0.5], atol=1e-5)
        assert (np.asarray(bounded.omega)[1:3] == 0).all()
    few = kbo.minimize(near_target(L1(0.1)), 5 * TARGET, optimizer=ProximalGradient(max_steps=1))
    assert few.status is kbo.Status.STEPS_EXHAUSTED


def test_proximal_steps_of_optax_end_where_they_lead_and_not_where_l_is_lowest():
    """From the minimum of L, at which L + R is not stationary."""
    found = kbo.minimize(
        near_target(), TARGET, method=Parametric(Direct()), solver=kbo.solvers.QuasiNewton(),
        optimizer=Optax(proximal_gradient(0.5, L1(0.1)), max_steps=60),
    )
    np.testing.assert_allclose(found.omega, [1.9, 0, 0, -0.9], atol=1e-5)


def test_proximal_steps_of_omega_make_it_sparse():
    problem = near_target()
    schedule = lambda count: 0.5 + 0 * count
    found = kbo.minimize(
        problem, np.ones(4), method=Parametric(Direct()), solver=kbo.solvers.QuasiNewton(),
        optimizer=Optax(proximal_gradient(schedule, L1(0.1)), max_steps=100),
    )
    np.testing.assert_allclose(found.omega, [1.9, 0, 0, -0.9], atol=1e-4)
    assert (found.omega[1:3] == 0).all()
