"""Kernel instrumental variables: closed form, criterion, what it recovers."""

import time

import jax
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold

import kbo
from kbo import datasets
from kbo.estimators import KernelIVRegressor
from tests.estimators.instruments.common import linear_design

pytestmark = pytest.mark.filterwarnings("ignore::kbo.estimators.WeakInstrumentWarning")

FAST = {"max_iter": 3, "cv": 2}
QUICK = {"n_components": 40, **FAST}


def direct_kernel_iv(model, X, y, Z, X_test):
    """h = Kc with S(y − Kc) = nξ c, on n × n matrices: S smooths on Z."""
    K = lambda kernel, a, b: np.asarray(kernel.matrix(jax.numpy.asarray(a), jax.numpy.asarray(b)))
    n = len(X)
    with jax.enable_x64(True):
        Kx, Kz = K(model.kernel_, X, X), K(model.instrument_kernel_, Z, Z)
        Kt = K(model.kernel_, X_test, X)
    off_mean = np.eye(n) - 1 / n
    Kz = off_mean @ Kz @ off_mean
    S = 1 / n + np.linalg.solve(Kz + n * model.first_stage_ridge_ * np.eye(n), Kz)
    ridge = n * model.second_stage_ridge_
    return y.mean() + Kt @ np.linalg.solve(S @ Kx + ridge * np.eye(n), S @ (y - y.mean()))


def test_it_is_kernel_instrumental_variables_at_its_hyperparameters():
    data = datasets.make_iv_sigmoid(150, random_state=0)
    model = KernelIVRegressor("matern32", n_components=150, **FAST).fit(data.X, data.y, Z=data.Z)
    direct = direct_kernel_iv(model, data.X, data.y, data.Z, data.X_test)
    np.testing.assert_allclose(model.predict(data.X_test), direct, atol=1e-3 * data.y.std())


@pytest.mark.slow
def test_exogenous_treatments_are_kernel_ridge_regression():
    data = datasets.make_iv_sigmoid(150, random_state=0)
    model = KernelIVRegressor("laplacian", n_components=150, **FAST).fit(data.X, data.y)
    alpha = 150 * model.second_stage_ridge_
    ridge = KernelRidge(kernel="laplacian", gamma=1 / model.treatment_lengthscale_[0], alpha=alpha)
    mean = data.y.mean()
    expected = mean + ridge.fit(data.X, data.y - mean).predict(data.X_test)
    np.testing.assert_allclose(model.predict(data.X_test), expected, atol=1e-4)
    assert not hasattr(model, "first_stage_ridge_")
    # So are those that Z repeats.
    same = clone(model).fit(data.X, data.y, Z=np.column_stack([data.Z, data.X]))
    np.testing.assert_array_equal(same.predict(data.X_test), model.predict(data.X_test))


def test_the_criterion_is_the_marginal_likelihood():
    from kbo.estimators.instruments.second_stage import Seen, second_stage_problem
    from kbo.estimators.instruments.units import treatment_kernel

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    weight = rng.integers(1, 3, 40).astype(float)
    kernel = treatment_kernel("gaussian", True, np.ones(2, bool))
    y -= np.average(y, weights=weight)
    omega = {"alpha": np.array(-1.0), "kernel": [np.array([0.2, -0.3])]}
    with jax.enable_x64(True):
        problem = second_stage_problem(kernel, X, weight.sum(), Seen(X, y, weight[None]))
        found = kbo.value_and_hypergradient(problem, omega)
        kbo.check_hypergradient(problem, omega)
        K = np.asarray(kernel.at(omega["kernel"]).matrix(X, X)) / np.exp(-1.0)
    repeated = np.repeat(np.arange(40), weight.astype(int))
    n = len(repeated)
    cov = K[np.ix_(repeated, repeated)] + np.eye(n)
    energy = y[repeated] @ np.linalg.solve(cov, y[repeated])
    prior = (0.2 - 0.4) ** 2 + (-0.3 - 0.4) ** 2
    expected = np.log(energy / n) + (np.linalg.slogdet(cov)[1] + prior) / n
    np.testing.assert_allclose(np.log(2 * found.value), expected, rtol=1e-5)


@pytest.mark.parametrize("change", [
    {}, pytest.param({"criterion": "cv"}, marks=pytest.mark.slow),
    pytest.param({"solver": "nystrom", "n_centers": 60}, marks=pytest.mark.slow),
    pytest.param({"device": "cpu"}, marks=pytest.mark.slow),
    pytest.param({"ard": False}, marks=pytest.mark.slow),
    pytest.param({"solver": "exact"}, marks=pytest.mark.slow),
    pytest.param({"n_centers": 50}, marks=pytest.mark.slow),
    pytest.param({"kernel": "matern52"}, marks=pytest.mark.slow),
    pytest.param({"solver": "falkon", "n_centers": 60}, marks=pytest.mark.slow),
    pytest.param({"solver": kbo.solvers.Nystrom(50)}, marks=pytest.mark.slow),
    pytest.param({"random_state": 3}, marks=pytest.mark.slow),
    pytest.param({"cv": KFold(3, shuffle=True, random_state=0)}, marks=pytest.mark.slow),
])
def test_it_recovers_what_regression_cannot(change):
    X, y, Z = linear_design(250, seed=3)
    model = KernelIVRegressor(**{**QUICK, **change}).fit(X, y, Z=Z)
    slope, naive = model.average_derivative()[0], LinearRegression().fit(X, y).coef_[0]
    assert abs(slope - 2) < 0.5 * abs(naive - 2)
    again = clone(model).fit(X, y, Z=Z)
    np.testing.assert_array_equal(again.dual_coef_, model.dual_coef_)
    if "n_centers" in change:
        assert f"{change['n_centers']} centres" in model.solver_
    if "ard" in change:
        assert np.ptp(model.instrument_lengthscale_ / Z.std(0)) < 1e-9


def test_attributes_and_derivatives():
    data = datasets.make_iv_demand(300, random_state=0)
    frame = pd.DataFrame(data.X, columns=["p", "t", "s"])
    model = KernelIVRegressor(**QUICK).fit(frame, data.y, Z=pd.DataFrame(data.Z))
    assert list(model.feature_names_in_) == ["p", "t", "s"]
    assert (model.n_features_in_, model.n_instruments_in_) == (3, 3)
    assert list(model.endogenous_) == [True, False, False]
    assert model.treatment_lengthscale_.shape == model.instrument_lengthscale_.shape == (3,)
    assert model.first_stage_ridge_ > 0 < model.second_stage_ridge_
    assert 0.3 < model.first_stage_strength_ < 1
    for result in (model.first_stage_result_, model.second_stage_result_):
        assert set(result) == {"value", "status", "n_steps", "n_evaluations"}
    steps = 1e-4 * np.eye(3)
    rows = data.X[:20]
    differences = [
        np.mean(model.predict(pd.DataFrame(rows + s, columns=frame.columns))
                - model.predict(pd.DataFrame(rows - s, columns=frame.columns))) / 2e-4
        for s in steps
    ]
    derivative = model.average_derivative(pd.DataFrame(rows, columns=frame.columns))
    np.testing.assert_allclose(derivative, differences, rtol=1e-4)
    np.testing.assert_allclose(model.average_derivative(), model.average_derivative(frame), rtol=1e-8)


@pytest.mark.parametrize("change", [
    {"kernel": "linear"}, {"criterion": "loo"}, {"n_components": 0}, {"solver": "magic"},
    {"n_centers": 0}, {"max_iter": 0}, {"tol": 0.0}, {"ard": "yes"}, {"device": "tpu"},
    {"cv": "five"}, {"random_state": "a"}, {"verbose": -1},
])
def test_bad_parameters_are_named(change):
    X, y, Z = linear_design(60)
    with pytest.raises(ValueError, match=next(iter(change))):
        KernelIVRegressor(**change).fit(X, y, Z=Z)


def test_progress_and_convergence_are_reported(capsys):
    X, y, Z = linear_design(60)
    with pytest.warns(ConvergenceWarning, match="stage: .*max_iter"):
        KernelIVRegressor(max_iter=1, tol=1e-12, n_components=40, verbose=1).fit(X, y, Z=Z)
    assert "kbo.minimize" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("design", "published"),
    [("sigmoid", 0.060), ("linear", 0.047), ("demand", 5213)],
)
def test_published_errors_are_beaten(design, published):
    errors = []
    for seed in range(5):
        data = getattr(datasets, f"make_iv_{design}")(1000, random_state=seed)
        model = KernelIVRegressor().fit(data.X, data.y, Z=data.Z)
        errors.append(np.mean((model.predict(data.X_test) - data.y_test) ** 2))
    assert np.median(errors) < published


@pytest.mark.slow
def test_thirty_thousand_samples():
    data = datasets.make_iv_sigmoid(30_000, random_state=0)
    started = time.perf_counter()
    model = KernelIVRegressor(max_iter=3).fit(data.X, data.y, Z=data.Z)
    assert np.mean((model.predict(data.X_test) - data.y_test) ** 2) < 0.03
    assert "centres" in model.solver_
    assert time.perf_counter() - started < 600
