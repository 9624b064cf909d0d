"""A few wild cells in X or y, of any size, do not ruin a fit."""

import numpy as np
import pytest
from sklearn.model_selection import KFold

from kbo import KernelBilevelClassifier, KernelBilevelRegressor

SIZES = [1e1, 1e2, 1e3, 1e4, 1e6]


def smooth(n, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    return X, np.sin(2 * X[:, 0])


@pytest.mark.parametrize("ard", [True, False])
@pytest.mark.parametrize("size", [1e2, 1e3, 1e6])
def test_one_wild_cell_among_the_inputs(size, ard):
    X, y = smooth(150)
    X[3, 0] = size
    X_new, y_new = smooth(200, seed=1)
    model = KernelBilevelRegressor(ard=ard, cv=3).fit(X, y)
    assert model.score(X_new, y_new) > 0.98
    assert model.lengthscale_[0] < 20


def test_wild_cells_of_a_classifier():
    X, y = smooth(150)
    for k, size in enumerate(SIZES):
        X[k, k % 2] = size
    X_new, y_new = smooth(300, seed=1)
    model = KernelBilevelClassifier(loss="squared", cv=3).fit(X, y > 0)
    assert model.score(X_new, y_new > 0) > 0.95


def linear(X):
    return 2 * X[:, 0] - X[:, 1]


def wave(X):
    return np.sin(2 * X[:, 0]) + 0.3 * X[:, 1]


@pytest.mark.parametrize(("truth", "share", "sides"), [
    (linear, 0.03, 1), (wave, 0.03, -1), (wave, 0.02, 0),
])
def test_outliers_of_any_size_move_a_robust_fit_alike(truth, share, sides):
    rng = np.random.default_rng(0)
    X, X_new = rng.normal(size=(2, 100, 2))
    clean = truth(X) + 0.1 * rng.normal(size=100)
    bad = rng.choice(100, round(share * 100), replace=False)
    sign = sides or rng.choice([-1, 1], len(bad))
    rmse = lambda model, y: np.sqrt(np.mean((model.fit(X, y).predict(X_new) - truth(X_new)) ** 2))
    for options in ({"loss": "huber"}, {"loss": "quantile"}):
        model = KernelBilevelRegressor(cv=KFold(3), **options)
        alone = rmse(model, clean)
        errors = []
        for size in (1e1, 1e3, 1e6):
            y = clean.copy()
            y[bad] += sign * size
            errors.append(rmse(model, y))
        assert max(errors) < 1.6 * alone + 0.03, (alone, errors)
        np.testing.assert_allclose(errors[1:], errors[1], rtol=1e-3)


@pytest.mark.parametrize("quantile", [0.2, 0.8])
def test_quantiles_hold_among_outliers(quantile):
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, size=(250, 1))
    noise = rng.normal(size=250)
    y = X[:, 0] + 0.3 * noise
    y[:4], y[4:8] = 1e5, -1e5
    model = KernelBilevelRegressor(loss="quantile", quantile=quantile, cv=3).fit(X, y)
    true = X[:, 0] + 0.3 * {0.2: -0.8416, 0.8: 0.8416}[quantile]
    assert np.sqrt(np.mean((model.predict(X) - true) ** 2)) < 0.12


def test_the_outer_loss_alone_may_be_robust():
    rng = np.random.default_rng(0)
    X, X_new = rng.normal(size=(2, 100, 2))
    y = wave(X) + 0.1 * rng.normal(size=100)
    model = KernelBilevelRegressor(outer_loss="huber", cv=3).fit(X, y)
    assert 0.03 < model.outer_parameters_["delta"] < 1.0  # of the residuals, not of y
    assert model.score(X_new, wave(X_new)) > 0.95
