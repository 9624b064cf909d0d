"""Criteria from one factorisation, against brute force, differences and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.kernel_ridge import KernelRidge

import kbo
from kbo.criteria import GCV, LeaveOut, MarginalLikelihood, NystromComplexity
from kbo.hypergradients import FiniteDifference
from kbo.solvers import Falkon, Nystrom
from tests import helpers

OMEGA = {"lengthscale": np.array([0.1, -0.2, 0.3]), "ridge": -3.0, "loss": 0.4}
rng = np.random.default_rng(0)
N = 60
X = rng.normal(size=(N, 3))
T = np.stack([np.sin(X.sum(1)), X[:, 0] ** 2], 1) + 0.1 * rng.normal(size=(N, 2))
W = rng.uniform(0.5, 2.0, size=N)


def problem_of(weights=W, outer_weights=None, targets=T[:, 0], outer=None, ridge=None):
    """Ridge, lengthscales, a parameter of the outer loss and a penalty all depend on ω."""
    sample = kbo.Sample(X, targets, weights)
    huber = kbo.losses.Huber(lambda w: jnp.exp(w["loss"]))
    return kbo.BilevelProblem(
        kbo.losses.Squared(), outer or huber, sample,
        kbo.Sample(sample.x, targets, weights if outer_weights is None else outer_weights),
        lambda w: kbo.RKHS(kbo.kernels.Matern52(jnp.exp(w["lengthscale"]))),
        ridge or (lambda w: jnp.exp(w["ridge"]) / np.sum(weights)),
        penalty=lambda w: 0.01 * w["ridge"] ** 2,
        n_outputs=None if targets.ndim == 1 else targets.shape[1],
    )


def brute_force(problem, folds):
    """The same criterion as replicates, one factorisation a fold."""
    weights = np.asarray(problem.inner_data.weights)
    outer = np.atleast_2d(problem.outer_data.weights)
    train, test = [], []
    for labels, judged in zip(np.atleast_2d(folds), outer, strict=True):
        for fold in np.unique(labels[(labels >= 0) & (judged > 0)]):
            train.append(np.where(labels == fold, 0.0, weights))
            test.append(np.where(labels == fold, judged, 0.0))
    ridge = lambda w: jnp.exp(w["ridge"]) / jnp.asarray(train).sum(1)
    inner, out = problem.inner_data, problem.outer_data
    return problem.replace(
        inner_data=kbo.Sample(inner.x, inner.target, np.array(train)),
        outer_data=kbo.Sample(inner.x, out.target, np.array(test)), ridge=ridge,
    )


def folds_of(name):
    groups = np.repeat(np.arange(20), 3)
    partial = np.arange(N) % 6 - 2
    return {
        "loo": np.arange(N), "two": np.arange(N) % 2, "five": np.sort(np.arange(N) % 5),
        "groups": groups, "pairs": np.arange(N) // 2, "kept": partial,
        "repeated": np.stack([np.arange(N) % 5, rng.permutation(N) % 5]),
    }[name]


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(
    "name", ["loo", "two", "five", "groups", "pairs", "kept", "repeated"]
)
def test_leave_out_is_brute_force(name, outputs, x64):
    folds = folds_of(name)
    weights = W.copy()
    weights[[3, 17]] = 0.0  # no part in anything
    judged = np.where(np.atleast_2d(folds) >= 0, weights, 0.0)
    problem = problem_of(
        weights, judged if len(judged) > 1 else judged[0], T[:, 0] if outputs == 1 else T
    )
    labels = None if name == "loo" else folds
    found = kbo.value_and_hypergradient(problem, OMEGA, method=LeaveOut(labels))
    expected = kbo.value_and_hypergradient(brute_force(problem, folds), OMEGA)
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-9)
    scale = np.linalg.norm(helpers.flat(expected.grad))
    np.testing.assert_allclose(
        helpers.flat(found.grad), helpers.flat(expected.grad), rtol=0, atol=1e-7 * scale
    )
    assert found.residuals.inner < 1e-10 and found.adjoint is None


@pytest.mark.slow
@given(st.integers(2, 30), st.integers(1, 3), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_leave_out_of_any_partition(n, p, seed):
    with jax.enable_x64(True):
        random = np.random.default_rng(seed)
        x, t = random.normal(size=(n, 2)), random.normal(size=(n, p))
        folds = random.integers(-1, n, size=n)
        folds[0] = 0
        sample = kbo.Sample(x, t, random.uniform(0.1, 3, size=n))
        judged = np.where(folds >= 0, random.uniform(size=n), 0.0)
        problem = kbo.BilevelProblem(
            kbo.losses.Squared(), kbo.losses.Squared(), sample,
            kbo.Sample(sample.x, t, judged), kbo.RKHS(kbo.kernels.Gaussian(1.0)),
            lambda w: jnp.exp(w["ridge"]) / sample.weights.sum(), n_outputs=p,
        )
        omega = {"ridge": random.uniform(-6, 2)}
        found = kbo.value_and_hypergradient(problem, omega, method=LeaveOut(folds))
        if (folds == folds[0]).all():
            return  # nothing is left to train on: the prediction is zero
        expected = kbo.value_and_hypergradient(brute_force(problem, folds), omega)
        np.testing.assert_allclose(found.value, expected.value, rtol=1e-8)
        np.testing.assert_allclose(
            found.grad["ridge"], expected.grad["ridge"], rtol=1e-6, atol=1e-9 * found.value
        )


def test_leave_out_is_scikit_learns(x64):
    alpha, gamma = 0.3, 0.2
    problem = problem_of(np.ones(N), outer=kbo.losses.Squared()).replace(
        space=kbo.RKHS(kbo.kernels.Gaussian(np.sqrt(0.5 / gamma))), ridge=alpha / N, penalty=None
    )
    errors = []
    for i in range(N):
        rest = np.arange(N) != i
        model = KernelRidge(alpha=alpha, kernel="rbf", gamma=gamma).fit(X[rest], T[rest, 0])
        errors.append(T[i, 0] - model.predict(X[[i]])[0])
    value = kbo.value_and_hypergradient(problem, OMEGA, method=LeaveOut()).value
    np.testing.assert_allclose(value, 0.5 * np.mean(np.square(errors)), rtol=1e-9)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("name", helpers.CRITERIA)
def test_gradients_are_differences(name, outputs, x64):
    criterion = helpers.CRITERIA[name]
    weights = W.copy()
    weights[5] = 0.0
    problem = problem_of(weights, targets=T[:, 0] if outputs == 1 else T)
    found = kbo.value_and_hypergradient(problem, OMEGA, method=criterion)
    for key, value in OMEGA.items():
        for index in np.ndindex(np.shape(value)):
            ends = []
            for step in (1e-5, -1e-5):
                moved = {k: np.array(v, float) for k, v in OMEGA.items()}
                moved[key][index] += step
                ends.append(criterion.value(problem.at(moved), kbo.solvers.Exact()))
            slope = (ends[0] - ends[1]) / 2e-5
            np.testing.assert_allclose(found.grad[key][index], slope, rtol=2e-6, atol=1e-8)


def test_gcv_is_its_formula(x64):
    problem = problem_of(W).replace(penalty=None)
    K = np.asarray(kbo.kernels.Matern52(np.exp(OMEGA["lengthscale"])).matrix(X, X))
    alpha = np.exp(OMEGA["ridge"])
    smoother = K @ np.linalg.inv(K + alpha * np.diag(1 / W))
    rest = T[:, 0] - smoother @ T[:, 0]
    total = W.sum()
    expected = 0.5 * (W @ rest**2) / total / (1 - np.trace(smoother) / total) ** 2
    found = kbo.value_and_hypergradient(problem, OMEGA, method=GCV())
    np.testing.assert_allclose(found.value, expected, rtol=1e-10)


def test_gcv_counts_weights_as_repetitions(x64):
    counts = rng.integers(1, 4, size=N)
    rows = np.repeat(np.arange(N), counts)
    problem = problem_of(counts.astype(float))
    sample = kbo.Sample(X[rows], T[rows, 0])
    repeated = problem.replace(inner_data=sample, outer_data=sample)
    values = [
        kbo.value_and_hypergradient(p, OMEGA, method=GCV()).value for p in (problem, repeated)
    ]
    np.testing.assert_allclose(*values, rtol=1e-9)


def test_marginal_likelihood_is_scikit_learns(x64):
    alpha, scale = 0.2, np.array([0.8, 1.1, 1.4])
    problem = problem_of(np.ones(N)).replace(
        space=kbo.RKHS(kbo.kernels.Gaussian(scale)), ridge=alpha / N, penalty=None
    )
    found = kbo.value_and_hypergradient(problem, OMEGA, method=MarginalLikelihood())
    A = np.asarray(kbo.kernels.Gaussian(scale).matrix(X, X)) + alpha * np.eye(N)
    c = T[:, 0] @ np.linalg.solve(A, T[:, 0]) / N
    kernel = ConstantKernel(c) * RBF(scale) + WhiteKernel(c * alpha)
    model = GaussianProcessRegressor(kernel, optimizer=None, alpha=0.0).fit(X, T[:, 0])
    np.testing.assert_allclose(-found.value, model.log_marginal_likelihood_value_, rtol=1e-9)


def test_complexity_is_its_formula_and_has_a_gradient(x64):
    problem = problem_of(np.ones(N)).replace(penalty=None)
    centers = X[:12]
    solver = Nystrom(centers)
    found = kbo.value_and_hypergradient(
        problem, OMEGA, solver=solver, method=NystromComplexity(0.5)
    )
    kernel = kbo.kernels.Matern52(np.exp(OMEGA["lengthscale"]))
    K, C, Z = (np.asarray(kernel.matrix(a, b)) for a, b in ((X, X), (X, centers), (centers,) * 2))
    approximate = C @ np.linalg.solve(Z, C.T)
    alpha, t = np.exp(OMEGA["ridge"]), T[:, 0]
    smoother = approximate @ np.linalg.inv(approximate + alpha * np.eye(N))
    fit = t @ (t - smoother @ t)
    expected = 0.5 * np.trace(smoother) + fit * (1 + np.trace(K - approximate) / (alpha * N))
    np.testing.assert_allclose(found.value, expected / N, rtol=1e-8)
    for key in ("ridge", "lengthscale"):
        ends = []
        for step in (1e-5, -1e-5):
            moved = {**OMEGA, key: OMEGA[key] + step}
            ends.append(
                kbo.value_and_hypergradient(
                    problem, moved, solver=solver, method=NystromComplexity(0.5)
                ).value
            )
        slope = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(np.sum(found.grad[key]), slope, rtol=1e-5)
    again = kbo.value_and_hypergradient(problem, OMEGA, solver=solver)
    np.testing.assert_allclose(found.inner(X[:3]), again.inner(X[:3]), rtol=1e-8)


@pytest.mark.parametrize("name", helpers.CRITERIA)
def test_criteria_are_minimised_resumed_and_logged(name, x64, tmp_path):
    criterion, problem = helpers.CRITERIA[name], problem_of()
    whole = kbo.minimize(
        problem, OMEGA, method=criterion, optimizer=kbo.optimizers.LBFGS(max_steps=6),
        bounds=(-8.0, 3.0),
    )
    assert whole.value < kbo.value_and_hypergradient(problem, OMEGA, method=criterion).value
    stop = lambda record: record.step == 3
    for callback in (stop, None):
        resumed = kbo.minimize(
            problem, OMEGA, method=criterion, optimizer=kbo.optimizers.LBFGS(max_steps=6),
            bounds=(-8.0, 3.0), callback=callback, checkpoint=tmp_path / "log",
        )
    assert resumed.value == whole.value


def test_what_has_no_closed_form_is_refused(x64):
    problem = problem_of()
    sample = problem.inner_data

    def refused(match, problem, method, solver=None):
        with pytest.raises(ValueError, match=match):
            kbo.value_and_hypergradient(problem, OMEGA, method=method, solver=solver)

    refused("Squared", problem.replace(inner_loss=kbo.losses.Huber()), GCV())
    refused("omega", problem.replace(inner_data=lambda w: sample), GCV())
    refused("RKHS", problem.replace(space=kbo.FeatureSpace(lambda x: x)), GCV())
    refused("Exact", problem, GCV(), Falkon(5))
    refused("Nystrom", problem, NystromComplexity())
    refused("Squared", problem.replace(inner_loss=kbo.losses.Huber()), NystromComplexity(),
            Nystrom(5))
    refused("same x", problem.replace(outer_data=kbo.Sample(X + 1, T[:, 0])), LeaveOut())
    refused("no fold", problem, LeaveOut(np.full(N, -1)))
    refused("integers", problem, LeaveOut(np.zeros(3, int)))
    two = kbo.Sample(X, T[:, 0], np.stack([W, W]))
    refused("2 replicates", problem.replace(inner_data=two), GCV())
    refused("shape", problem.replace(inner_data=two), NystromComplexity(), Nystrom(5))
    refused("zero", problem.replace(inner_data=kbo.Sample(X, np.zeros(N), W)),
            MarginalLikelihood())


def test_finite_differences_of_the_brute_force_agree(x64):
    problem = problem_of()
    found = kbo.value_and_hypergradient(problem, OMEGA, method=LeaveOut())
    other = brute_force(problem, np.arange(N))
    expected = kbo.value_and_hypergradient(other, OMEGA, method=FiniteDifference())
    np.testing.assert_allclose(
        helpers.flat(found.grad), helpers.flat(expected.grad), rtol=1e-5, atol=1e-8
    )
