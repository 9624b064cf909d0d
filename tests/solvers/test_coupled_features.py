"""Softmax and other coupled outputs on many features: without the qp × qp matrix."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import kbo
from kbo.linalg import SingularSystem
from kbo.solvers._newton import feature_system
from kbo.solvers._newton.coupled_features import SLOW, CoupledFeatures
from tests import helpers


@functools.cache
def digits(n=150):
    X, y = load_digits(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(X))[: 2 * n]
    X, y = X[rows] / 16, y[rows]
    return (X[:n], y[:n]), (X[n:], y[n:])


class PerClass:
    """Logits scaled class by class: C1 is not zero."""

    def __call__(self, w, v, t):
        return kbo.losses.Multinomial()(w, v * jnp.exp(-0.5 * w["scale"]), t)


@functools.cache
def softmax(loss):
    """Built, and so in the precision of, the first test that asks: all of them have x64."""
    inner, outer = digits()
    return kbo.BilevelProblem(
        loss, loss, kbo.Sample(*inner), kbo.Sample(*outer), kbo.FeatureSpace(lambda x: x),
        lambda w: jnp.exp(w["r"]), n_outputs=10,
    )


PLAIN, SCALED = kbo.losses.Multinomial(), PerClass()


@pytest.mark.parametrize("loss", [PLAIN, SCALED], ids=["softmax", "scaled"])
@pytest.mark.parametrize("log_ridge", [-10.0, -5.0, 0.0])
def test_the_answer_is_that_of_the_whole_matrix(loss, log_ridge, x64, monkeypatch):
    problem = softmax(loss)
    omega = {"r": log_ridge, "scale": np.linspace(-1, 1, 10)}
    iterated = kbo.value_and_hypergradient(problem, omega)
    monkeypatch.setattr(feature_system, "COUPLED_DENSE_LIMIT", np.inf)
    direct = kbo.value_and_hypergradient(problem, omega)
    assert iterated.value == pytest.approx(direct.value, rel=1e-9)
    np.testing.assert_allclose(
        helpers.flat(iterated.grad), helpers.flat(direct.grad),
        rtol=1e-7, atol=1e-9 * np.abs(helpers.flat(direct.grad)).max(),
    )
    assert iterated.jitter == 0


def test_softmax_regression_is_scikit_learns(x64):
    (X, y), (X_out, _) = digits()
    ridge = 1e-3
    hg = kbo.value_and_hypergradient(softmax(PLAIN), {"r": np.log(ridge), "scale": np.zeros(10)})
    theirs = LogisticRegression(
        C=1 / (len(X) * ridge), fit_intercept=False, tol=1e-10, max_iter=5000
    ).fit(X, y)
    logits = hg.inner(X_out)
    np.testing.assert_allclose(
        np.exp(logits) / np.exp(logits).sum(1, keepdims=True), theirs.predict_proba(X_out),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    "space", [kbo.FeatureSpace(lambda x: x), kbo.RKHS(kbo.kernels.Gaussian(2.0))],
    ids=["features", "kernel"],
)
def test_in_single_precision_rounding_is_not_taken_for_negative_curvature(space):
    (X, y), (X_out, y_out) = digits()
    for scale, ridge in ((1, np.exp(-5.0)), (16, 1e-4)):  # the classes well apart: small curvatures
        problem = kbo.BilevelProblem(
            PLAIN, PLAIN, kbo.Sample(scale * X, y), kbo.Sample(scale * X_out, y_out), space,
            jnp.exp, n_outputs=10,
        )
        assert problem.inner_data.x.dtype == jnp.float32
        assert kbo.value_and_hypergradient(problem, np.log(ridge)).status.ok


def system(alpha, spread=0.0, seed=0):
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=(80, 30)) * 10 ** rng.uniform(-spread, 0, 30)
    pi = rng.dirichlet(np.ones(6), size=80)
    C = pi[:, :, None] * np.eye(6) - pi[:, :, None] * pi[:, None]
    whole = np.einsum("iq,iab,ir->qarb", phi, C, phi).reshape(180, 180) + alpha * np.eye(180)
    return phi, C, whole, rng.normal(size=(30, 6))


@pytest.mark.parametrize("alpha", [1e-6, 1e-2, 1e2])
def test_a_system_is_solved_to_rounding_or_as_asked(alpha):
    phi, C, whole, rhs = system(alpha)
    factor = CoupledFeatures(phi, C, alpha, None, pytest.fail)
    exact = np.linalg.solve(whole, rhs.ravel()).reshape(rhs.shape)
    np.testing.assert_allclose(factor.solve(rhs), exact, rtol=1e-6, atol=1e-9 * abs(exact).max())
    exactly = factor._products
    rough = factor.solve(rhs, 1e-2)
    assert factor._products < exactly
    assert np.linalg.norm(whole @ rough.ravel() - rhs.ravel()) <= 1e-2 * (1 + 1e-6)


def test_the_preconditioner_serves_nearby_curvatures_until_it_is_slow():
    phi, C, _, rhs = system(1e-2)
    first = CoupledFeatures(phi, C, 1e-2, None, pytest.fail)
    first.solve(rhs)
    near = CoupledFeatures(phi, 1.1 * C, 1e-2, first, pytest.fail)
    assert near._inverses is first._inverses
    first._products = SLOW + 1
    assert CoupledFeatures(phi, C, 1e-2, first, pytest.fail)._inverses is not first._inverses


def test_where_the_iteration_gets_nowhere_the_whole_matrix_is_factorised(monkeypatch):
    """Curvatures without the softmax's null vector, features of all sizes, hardly a ridge."""
    phi, C, _, rhs = system(1e-11, spread=6.0)
    S = np.exp(np.random.default_rng(1).uniform(-6, 6, (6,)))
    C = S[:, None] * C * S
    whole = np.einsum("iq,iab,ir->qarb", phi, C, phi).reshape(180, 180) + 1e-11 * np.eye(180)
    made = []

    def dense():
        made.append(feature_system._Dense(phi, C, 1e-11))
        return made[-1]

    factor = CoupledFeatures(phi, C, 1e-11, None, dense)
    found = factor.solve(rhs)
    assert len(made) == 1
    factor.solve(rhs)
    assert len(made) == 1  # once
    exact = np.linalg.solve(whole, rhs.ravel())
    missed = lambda theta: np.linalg.norm(whole @ theta.ravel() - rhs.ravel())
    assert missed(found) <= 10 * missed(exact) + 1e-6 * np.linalg.norm(rhs)
    with pytest.raises(SingularSystem):
        monkeypatch.setattr(feature_system, "COUPLED_DENSE_LARGEST", 179)
        CoupledFeatures(phi, C, 1e-11, None, dense).solve(rhs)


def test_a_direction_that_is_all_but_null_is_not_lost(x64):
    """½‖Bv − t‖² with a singular value of B of 3e-7: its square is rounding beside the others'."""
    rng = np.random.default_rng(0)
    X, X_out = 100 * rng.normal(size=(2, 60, 40))
    truth = rng.normal(size=(40, 3))
    t, y = X @ truth + rng.normal(size=(60, 3)), X_out @ truth
    left, right = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    B, ridge = left @ np.diag([1.0, 0.5, 3e-7]) @ right, 1e-9
    problem = kbo.BilevelProblem(
        lambda w, v, t: 0.5 * jnp.sum((B @ (v - t)) ** 2), kbo.losses.Squared(),
        kbo.Sample(X, t), kbo.Sample(X_out, y), kbo.FeatureSpace(lambda x: x),
        lambda w: ridge * jnp.exp(w), n_outputs=3,
    )
    found = kbo.value_and_hypergradient(problem, 0.0, throw=False)
    # In B's singular directions the outputs are ridge regressions of their own.
    theta = 0.0
    for u, s in zip(right, (1.0, 0.5, 3e-7), strict=True):
        system = s**2 * X.T @ X / 60 + ridge * np.eye(40)
        theta = theta + np.outer(np.linalg.solve(system, s**2 * X.T @ t @ u / 60), u)
    exact = 0.5 * np.mean(np.sum((X_out @ theta - y) ** 2, 1))
    assert found.status.ok and found.value == pytest.approx(exact, rel=1e-3)


def test_many_features_times_many_outputs_need_no_matrix_of_both(x64, monkeypatch):
    """400 features, 40 classes: the whole matrix would have 2 GB."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 400)), rng.integers(40, size=60)
    problem = kbo.BilevelProblem(
        kbo.losses.Multinomial(), kbo.losses.Multinomial(), kbo.Sample(X[:40], y[:40]),
        kbo.Sample(X[40:], y[40:]), kbo.FeatureSpace(lambda x: x), jnp.exp, n_outputs=40,
    )
    monkeypatch.setattr(feature_system, "_Dense", pytest.fail)
    hg = kbo.value_and_hypergradient(problem, 0.0)
    assert hg.status.ok
    near = [
        kbo.value_and_hypergradient(problem, h).value for h in (1e-4, -1e-4)
    ]
    assert hg.grad == pytest.approx((near[0] - near[1]) / 2e-4, rel=1e-5)
