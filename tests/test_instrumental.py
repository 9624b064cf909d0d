"""Instrumental variables: what the estimators recover, refuse and warn about."""

import pickle
import time
import warnings

import jax
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, SplineTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import kbo
from kbo import datasets
from kbo.estimators import KernelIVRegressor, TwoStageLeastSquares, WeakInstrumentWarning
from kbo.metrics import projected_mse, projected_mse_scorer

FAST = {"max_iter": 3, "cv": 2}
QUICK = {"n_components": 40, **FAST}
pytestmark = pytest.mark.filterwarnings("ignore::kbo.estimators.WeakInstrumentWarning")
BOTH = pytest.mark.parametrize("model", [KernelIVRegressor(**QUICK), TwoStageLeastSquares()])


def expected_failures(estimator):
    """Weights tell samples apart and have no scale: two of each row are not one of weight two."""
    depends_on_n = isinstance(estimator, KernelIVRegressor) or estimator.alpha > 0
    reason = "a ridge, or what tunes it, depends on the number of samples"
    return {"check_sample_weight_equivalence_on_dense_data": reason} if depends_on_n else {}


@parametrize_with_checks([
    KernelIVRegressor(max_iter=3, n_components=40), TwoStageLeastSquares(), TwoStageLeastSquares(alpha=0.1),
], expected_failed_checks=expected_failures)
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


def linear_design(n=300, seed=0, strength=1.0):
    """y = 1 + 2 x + w + e with x endogenous, w exogenous, and two instruments."""
    rng = np.random.default_rng(seed)
    z, w, v = rng.normal(size=(n, 2)), rng.normal(size=n), rng.normal(size=n)
    x = strength * (z @ [1.0, 0.5]) + 0.5 * w + v
    y = 1 + 2 * x + w + 0.8 * v + 0.5 * rng.normal(size=n) * (1 + abs(z[:, 0]))
    return np.column_stack([x, w]), y, np.column_stack([z, w])


def closed_form(X, y, Z, weight=None):
    """2SLS with a constant, and its robust covariance, from the textbook."""
    weight = np.ones(len(X)) if weight is None else weight
    A, B = (np.column_stack([np.ones(len(X)), part]) for part in (X, Z))
    fitted = B @ np.linalg.solve(B.T @ (weight[:, None] * B), B.T @ (weight[:, None] * A))
    inverse = np.linalg.inv(fitted.T @ (weight[:, None] * A))
    beta = inverse @ fitted.T @ (weight * y)
    scores = fitted * (weight * (y - A @ beta))[:, None]
    n, p = A.shape
    return beta, inverse @ scores.T @ scores @ inverse.T * n / (n - p)


@pytest.mark.parametrize("weighted", [False, True])
def test_two_stage_least_squares_is_the_closed_form(weighted):
    X, y, Z = linear_design()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X)) if weighted else None
    model = TwoStageLeastSquares().fit(X, y, Z=Z, sample_weight=weight)
    beta, covariance = closed_form(X, y, Z, weight)
    np.testing.assert_allclose([model.intercept_, *model.coef_], beta, rtol=1e-9)
    np.testing.assert_allclose(model.covariance_, covariance, rtol=1e-8)
    np.testing.assert_allclose(model.predict(X), beta[0] + X @ beta[1:], rtol=1e-9)
    np.testing.assert_array_equal(model.average_derivative(X), model.coef_)
    assert list(model.endogenous_) == [True, False]
    assert model.n_instruments_in_ == 3


def test_two_stage_sieve_is_the_closed_form_of_its_columns():
    X, y, Z = linear_design()
    X, Z = X[:, :1], Z[:, :2]
    basis = PolynomialFeatures(2, include_bias=False)
    model = TwoStageLeastSquares(basis, PolynomialFeatures(3)).fit(X, y, Z=Z)
    A, B = basis.fit_transform(X), PolynomialFeatures(3, include_bias=False).fit_transform(Z)
    beta, _ = closed_form(A, y, B)
    np.testing.assert_allclose([model.intercept_, *model.coef_], beta, rtol=1e-7)
    np.testing.assert_allclose(
        model.average_derivative(X), [np.mean(beta[1] + 2 * beta[2] * X[:, 0])], rtol=1e-6
    )
    penalised = clone(model).set_params(alpha=1e3).fit(X, y, Z=Z)
    assert abs(penalised.coef_).max() < abs(model.coef_).max()
    # More columns than instruments identify: refused, unless a ridge chooses among solutions.
    wide = TwoStageLeastSquares(PolynomialFeatures(5))
    with pytest.raises(ValueError, match="more instruments"):
        wide.fit(X, y, Z=Z)
    assert np.isfinite(wide.set_params(alpha=1.0).fit(X, y, Z=Z).coef_).all()


def test_the_ridge_is_of_standardised_columns_and_spares_the_constant():
    X, y, Z = linear_design()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X))
    weight /= weight.mean()
    model = TwoStageLeastSquares(alpha=30.0).fit(X, y, Z=Z, sample_weight=weight)
    mean = np.average(X, axis=0, weights=weight)
    scale = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    A, B = (np.column_stack([np.ones(len(X)), V]) for V in ((X - mean) / scale, Z))
    fitted = B @ np.linalg.solve(B.T @ (weight[:, None] * B), B.T @ (weight[:, None] * A))
    inverse = np.linalg.inv(fitted.T @ (weight[:, None] * fitted) + 30.0 * np.diag([0, 1, 1]))
    beta = inverse @ fitted.T @ (weight * y)
    np.testing.assert_allclose(model.predict(X), A @ beta, rtol=1e-9)
    scores = fitted * (weight * (y - A @ beta))[:, None]
    n, p = A.shape
    covariance = inverse @ scores.T @ scores @ inverse.T * n / (n - p)
    found, columns = model.covariance_, np.column_stack([np.ones(n), X])
    spread = np.einsum("ij,jk,ik->i", A, covariance, A)
    np.testing.assert_allclose(
        np.einsum("ij,jk,ik->i", columns, found, columns), spread, rtol=1e-8
    )
    tiny = TwoStageLeastSquares(PolynomialFeatures(5), alpha=1e-300)
    with pytest.raises(ValueError, match="lost in rounding"):
        tiny.fit(X[:, :1], y, Z=Z[:, :1])


@pytest.mark.slow
def test_more_columns_than_samples():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 20)), rng.normal(size=12)
    Z = rng.normal(size=(12, 2))
    with pytest.raises(ValueError, match="more instruments"):
        TwoStageLeastSquares().fit(X, y, Z=Z)
    with pytest.warns(WeakInstrumentWarning):
        assert np.isfinite(KernelIVRegressor(**QUICK).fit(X, y, Z=Z).predict(X)).all()


def test_without_instruments_it_is_least_squares():
    X, y, _ = linear_design()
    ours, theirs = TwoStageLeastSquares().fit(X, y), LinearRegression().fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9)
    assert ours.first_stage_statistic_ == np.inf
    assert ours.average_derivative(X)[0] > 2.1  # biased: x is endogenous


def test_the_first_stage_f_is_the_textbook_one():
    X, y, Z = linear_design()
    model = TwoStageLeastSquares().fit(X, y, Z=Z)
    sse = [
        np.linalg.lstsq(np.column_stack([np.ones(300), part]), X[:, 0], rcond=None)[1][0]
        for part in (Z[:, 2:], Z)
    ]
    np.testing.assert_allclose(
        model.first_stage_statistic_, (sse[0] - sse[1]) / 2 / (sse[1] / (300 - 4)), rtol=1e-9
    )
    np.testing.assert_allclose(model.first_stage_strength_, 1 - sse[1] / sse[0], rtol=1e-9)


def coverage(draws):
    truth, grid = 1 + 2 * np.linspace(-1, 1, 5), np.column_stack([np.linspace(-1, 1, 5), np.zeros(5)])
    inside = []
    for seed in range(draws):
        X, y, Z = linear_design(400, seed)
        lower, upper = TwoStageLeastSquares().fit(X, y, Z=Z).confidence_band(grid, level=0.9)
        inside.append((lower <= truth) & (truth <= upper))
    return np.mean(inside, 0)


def test_confidence_bands_cover():
    found = coverage(300)  # standard error 0.017
    assert (abs(found - 0.9) < 0.06).all(), found


@pytest.mark.slow
def test_confidence_bands_cover_to_the_last_digit():
    found = coverage(4000)
    assert (abs(found - 0.9) < 0.02).all(), found


def test_bands_refuse_levels_and_the_kernel_estimator_has_none():
    X, y, Z = linear_design()
    model = TwoStageLeastSquares().fit(X, y, Z=Z)
    with pytest.raises(ValueError, match="level"):
        model.confidence_band(X, level=1.0)
    assert not hasattr(KernelIVRegressor(), "confidence_band")
    assert "no confidence band" in KernelIVRegressor.__doc__


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


@BOTH
def test_copies_and_metadata(model):
    X, y, Z = linear_design(120)
    fitted = clone(model).fit(X, y, Z=Z)
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    for value in vars(fitted).values():
        assert not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(value))
        if isinstance(value, np.ndarray):
            assert value.flags.writeable
    assert fitted.score(X, y) == sklearn.metrics.r2_score(y, fitted.predict(X))


@BOTH
@pytest.mark.parametrize("routing", [pytest.param(False, marks=pytest.mark.slow), True])
def test_grid_search_slices_the_instruments(model, routing):
    X, y, Z = linear_design(120)
    name, values = ("alpha", [0.0, 1.0]) if hasattr(model, "alpha") else ("ard", [True])
    folds = KFold(2)
    with sklearn.config_context(enable_metadata_routing=routing):
        search = GridSearchCV(model, {name: values}, cv=folds, error_score="raise").fit(X, y, Z=Z)
    train, test = next(folds.split(X))
    first = clone(model).set_params(**{name: values[0]}).fit(X[train], y[train], Z=Z[train])
    np.testing.assert_allclose(
        search.cv_results_["split0_test_score"][0], first.score(X[test], y[test]), rtol=1e-9
    )


@BOTH
@pytest.mark.parametrize("argument", ["X", "y", "Z"])
def test_missing_values_are_named(model, argument):
    X, y, Z = linear_design(60)
    {"X": X, "y": y, "Z": Z}[argument][3] = np.nan
    with pytest.raises(ValueError, match=rf"\b{argument}\b.*NaN"):
        clone(model).fit(X, y, Z=Z)


@BOTH
def test_instruments_that_cannot_be(model):
    X, y, Z = linear_design(60)
    with pytest.raises(ValueError, match="no first stage"):
        clone(model).fit(X, y, Z=np.ones((60, 1)))
    with pytest.raises(ValueError, match="no first stage"):
        clone(model).fit(X, y, Z=X[:, 1:])
    with pytest.raises(ValueError, match=r"reshape\(-1, 1\)"):
        clone(model).fit(X, y, Z=Z[:, 0])
    with pytest.raises(ValueError, match="inconsistent"):
        clone(model).fit(X, y, Z=Z[:50])


@BOTH
def test_weak_instruments_warn_and_strong_ones_do_not(model):
    X, y, Z = linear_design(200)
    with warnings.catch_warnings():
        warnings.simplefilter("error", WeakInstrumentWarning)
        strong = clone(model).fit(X, y, Z=Z)
    assert strong.first_stage_statistic_ > 10
    with pytest.warns(WeakInstrumentWarning, match="below 10"):
        noise = np.random.default_rng(5).normal(size=200)
        irrelevant = clone(model).fit(X, y, Z=np.column_stack([noise, X[:, 1]]))
    assert irrelevant.first_stage_strength_ < 0.1
    X, y, Z = linear_design(200, strength=0.05)
    with pytest.warns(WeakInstrumentWarning):
        clone(model).fit(X, y, Z=Z)


@pytest.mark.parametrize("change", [
    {"kernel": "linear"}, {"criterion": "loo"}, {"n_components": 0}, {"solver": "magic"},
    {"n_centers": 0}, {"max_iter": 0}, {"tol": 0.0}, {"ard": "yes"}, {"device": "tpu"},
    {"cv": "five"}, {"random_state": "a"}, {"verbose": -1},
])
def test_bad_parameters_are_named(change):
    X, y, Z = linear_design(60)
    with pytest.raises(ValueError, match=next(iter(change))):
        KernelIVRegressor(**change).fit(X, y, Z=Z)


def test_bad_settings_of_least_squares_are_named():
    X, y, Z = linear_design(60)
    for change in ({"alpha": -1.0}, {"treatment_basis": 3}, {"instrument_basis": "spline"}):
        with pytest.raises(ValueError, match=next(iter(change))):
            TwoStageLeastSquares(**change).fit(X, y, Z=Z)


def test_progress_and_convergence_are_reported(capsys):
    X, y, Z = linear_design(60)
    with pytest.warns(ConvergenceWarning, match="stage: .*max_iter"):
        KernelIVRegressor(max_iter=1, tol=1e-12, n_components=40, verbose=1).fit(X, y, Z=Z)
    assert "kbo.minimize" in capsys.readouterr().err


def test_the_projected_error_prefers_the_structural_function():
    data = datasets.make_iv_linear(800, random_state=0)
    naive = KernelRidge(kernel="rbf", alpha=1.0).fit(data.X, data.y).predict(data.X)
    truth = data.true_function(data.X)
    assert np.mean((data.y - naive) ** 2) < np.mean((data.y - truth) ** 2)
    structural, regression = (projected_mse(data.y, h, Z=data.Z) for h in (truth, naive))
    assert structural < 0.2 * regression
    assert abs(structural) < 0.02
    assert projected_mse(data.y, truth + 1, Z=data.Z, alpha=1.0) == pytest.approx(1, abs=0.2)
    weight = np.random.default_rng(0).integers(0, 2, 800)
    kept = weight > 0
    assert projected_mse(data.y, naive, Z=data.Z, sample_weight=weight) == pytest.approx(
        projected_mse(data.y[kept], naive[kept], Z=data.Z[kept]), rel=1e-9
    )


def test_the_projected_error_on_few_samples_is_leave_one_out():
    rng = np.random.default_rng(0)
    Z, residual = rng.normal(size=(25, 1)), rng.normal(size=25)
    from kbo.metrics import _left_out

    found = _left_out(Z, residual, np.ones(25), (0.7,))[0]
    # The mean without i is not refitted along with g: leave out by brute force, jointly.
    z = (Z - Z.mean(0)) / Z.std(0)
    apart = ((z - z.T) ** 2)[np.triu_indices(25, 1)]
    K = np.exp(-0.5 * (z - z.T) ** 2 / np.median(apart))
    for i in (0, 7):
        keep = np.arange(25) != i
        A = K[np.ix_(keep, keep)]
        ones = np.ones(24)
        inverse = np.linalg.inv(A + 0.7 * np.eye(24))
        mean = ones @ inverse @ residual[keep] / (ones @ inverse @ ones)
        guess = mean + K[i, keep] @ inverse @ (residual[keep] - mean)
        np.testing.assert_allclose(found[i], guess, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"Z": None}, "routing"), ({"alpha": -1.0}, "alpha"), ({"Z": np.full((9, 1), np.nan)}, "Z"),
     ({"sample_weight": [1.0] + [0.0] * 8}, "two samples")],
)
def test_the_projected_error_refuses(change, message):
    given = {"Z": np.arange(9.0)[:, None], **change}
    with pytest.raises(ValueError, match=message):
        projected_mse(np.arange(9.0), np.zeros(9), **given)


def test_the_scorer_gets_its_instruments_by_routing():
    X, y, Z = linear_design(200)
    model = make_pipeline(TwoStageLeastSquares(SplineTransformer(4), SplineTransformer(6)))
    grid = {"twostageleastsquares__alpha": [1e-3, 1e6]}
    scorer = projected_mse_scorer(alpha=1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(model, grid, scoring=scorer, cv=KFold(2), error_score="raise")
        search.fit(X, y, Z=Z)
    train, test = next(KFold(2).split(X))
    first = clone(model).set_params(twostageleastsquares__alpha=1e-3)
    first.fit(X[train], y[train], twostageleastsquares__Z=Z[train])
    np.testing.assert_allclose(
        search.cv_results_["split0_test_score"][0],
        -projected_mse(y[test], first.predict(X[test]), Z=Z[test], alpha=1.0), rtol=1e-9,
    )
    assert search.best_params_ == {"twostageleastsquares__alpha": 1e-3}
    with pytest.raises(ValueError, match="routing"):
        scorer(first, X, y)


def test_columns_that_share_a_unit_keep_it():
    """As pixels: thirty columns of faint noise beside the treatment drown it where each counts."""
    data = datasets.make_iv_sigmoid(300, random_state=0)
    rng = np.random.default_rng(0)
    noisy = lambda X: np.hstack([X, 1e-3 * rng.normal(size=(len(X), 30))])
    X, X_test = noisy(data.X), noisy(data.X_test)
    errors = {}
    for standardize in (True, False):
        model = KernelIVRegressor(ard=False, standardize=standardize).fit(X, data.y, Z=data.Z)
        errors[standardize] = np.mean((model.predict(X_test) - data.y_test) ** 2)
        scaled = clone(model).fit(7 * X, data.y, Z=data.Z)  # one unit for all changes nothing
        np.testing.assert_allclose(
            scaled.predict(7 * X_test), model.predict(X_test), rtol=1e-4, atol=1e-4
        )
    assert errors[False] < 0.1 and 4 * errors[False] < errors[True]


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
def test_a_hundred_thousand_samples():
    data = datasets.make_iv_sigmoid(100_000, random_state=0)
    started = time.perf_counter()
    model = KernelIVRegressor(max_iter=5).fit(data.X, data.y, Z=data.Z)
    assert np.mean((model.predict(data.X_test) - data.y_test) ** 2) < 0.025
    assert "centres" in model.solver_
    assert time.perf_counter() - started < 1800
