"""Two-stage least squares against its closed form."""

import numpy as np
import pytest
from scipy.stats import chi2
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import PolynomialFeatures

from kbo.estimators import KernelIVRegressor, TwoStageLeastSquares
from tests.estimators.instruments.common import linear_design

pytestmark = pytest.mark.filterwarnings("ignore::kbo.estimators.WeakInstrumentWarning")


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


def test_bad_settings_of_least_squares_are_named():
    X, y, Z = linear_design(60)
    for change in ({"alpha": -1.0}, {"treatment_basis": 3}, {"instrument_basis": "spline"}):
        with pytest.raises(ValueError, match=next(iter(change))):
            TwoStageLeastSquares(**change).fit(X, y, Z=Z)


def wald_of_instruments(difference, Z, w, weight=None):
    """HC1 Wald statistic of the instruments beside w in a regression, from the textbook."""
    weight = np.ones(len(Z)) if weight is None else weight
    B = np.column_stack([Z, np.ones(len(Z)), w])
    inverse = np.linalg.inv(B.T @ (weight[:, None] * B))
    beta = inverse @ B.T @ (weight * difference)
    scores = B * (weight * (difference - B @ beta))[:, None]
    covariance = inverse @ scores.T @ scores @ inverse * len(B) / (len(B) - B.shape[1])
    k = Z.shape[1]
    return beta[:k] @ np.linalg.solve(covariance[:k, :k], beta[:k])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("strength", "instruments"), [(1.0, 2), (0.05, 2), (1.0, 1), (0.02, 1)])
def test_the_anderson_rubin_set_holds_what_its_test_does_not_reject(weighted, strength, instruments):
    X, y, Z = linear_design(strength=strength)
    Z = np.column_stack([Z[:, :instruments], X[:, 1]])
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X)) if weighted else None
    model = TwoStageLeastSquares().fit(X, y, Z, sample_weight=weight)
    np.testing.assert_allclose(model.standard_errors_**2, np.diag(model.covariance_)[1:])
    found = model.anderson_rubin(0.9)
    quantile = chi2.ppf(0.9, instruments)
    ends = found[np.isfinite(found)]
    tried = np.concatenate([np.linspace(-60, 60, 400), ends - 1e-6, ends + 1e-6])
    for b in tried:
        inside = ((found[:, 0] <= b) & (b <= found[:, 1])).any()
        own = wald_of_instruments(y - b * X[:, 0], Z[:, :instruments], X[:, 1], weight)
        assert inside == (own <= quantile), b
    robust = wald_of_instruments(X[:, 0], Z[:, :instruments], X[:, 1], weight)
    assert np.isinf(found).any() == (robust <= quantile)  # unbounded where Z may be irrelevant
    if instruments == 1:
        np.testing.assert_allclose(model.effective_f_, robust, rtol=1e-8)


def test_the_anderson_rubin_set_covers_where_the_band_does_not():
    """Instruments that explain next to nothing: the slope is 2."""
    held, by_errors = 0, 0
    for seed in range(200):
        X, y, Z = linear_design(100, seed, strength=0.03)
        y = y + 4 * (X[:, 0] - 0.5 * X[:, 1] - 0.03 * Z[:, :2] @ [1.0, 0.5])  # more confounding
        model = TwoStageLeastSquares().fit(X, y, Z)
        found = model.anderson_rubin()
        held += ((found[:, 0] <= 2) & (found[:, 1] >= 2)).any()
        by_errors += abs(model.coef_[0] - 2) <= 1.96 * model.standard_errors_[0]
    assert 180 <= held <= 199
    assert by_errors < 170


def test_a_set_without_its_model_is_refused():
    X, y, Z = linear_design()
    with pytest.raises(ValueError, match="level=1"):
        TwoStageLeastSquares().fit(X, y, Z).anderson_rubin(1)
    several = TwoStageLeastSquares(PolynomialFeatures(2), PolynomialFeatures(2)).fit(X, y, Z)
    assert several.effective_f_ is None
    with pytest.raises(ValueError, match="one endogenous column"):
        several.anderson_rubin()
    with pytest.raises(ValueError, match="one endogenous column"):
        TwoStageLeastSquares().fit(X, y).anderson_rubin()
    # Instruments that contradict each other leave nothing.
    contrary = y + 20 * Z[:, 0]
    assert TwoStageLeastSquares().fit(X, contrary, Z).anderson_rubin().shape == (0, 2)
