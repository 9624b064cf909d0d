"""The estimators with every solver."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone

import kbo
from kbo import KernelBilevelClassifier, KernelBilevelRegressor


def large_regression(n=900, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    return X, np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] + 0.05 * rng.normal(size=n)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["nystrom", "falkon", "full_cg", kbo.solvers.Nystrom(80)])
def test_every_solver_fits_as_well_as_the_exact_one(solver):
    X, y = large_regression()
    exact = KernelBilevelRegressor(max_iter=16, solver="exact").fit(X[:500], y[:500])
    model = KernelBilevelRegressor(max_iter=16, solver=solver).fit(X[:500], y[:500])
    assert model.score(X[500:], y[500:]) > exact.score(X[500:], y[500:]) - 0.005
    assert exact.solver_ == "Exact"
    if solver != "full_cg":
        assert "centres" in model.solver_
        assert len(model.X_fit_) == len(model.dual_coef_) < 500
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X[:5]), model.predict(X[:5]))
    np.testing.assert_array_equal(clone(model).fit(X[:500], y[:500]).dual_coef_, model.dual_coef_)


def test_classifier_with_centres_and_drawn_by_the_seed():
    X, y = large_regression()
    labels = np.digitize(y, [-0.5, 0.5])
    fit = lambda seed: KernelBilevelClassifier(
        max_iter=3, n_centers=40, random_state=seed, ard=True
    ).fit(X[:200], labels[:200])
    model = fit(0)
    assert model.solver_ == "Nystrom, 40 centres"
    assert model.score(X[300:], labels[300:]) > 0.8
    np.testing.assert_array_equal(model.X_fit_, fit(np.random.RandomState(0)).X_fit_)
    assert not np.array_equal(model.X_fit_, fit(1).X_fit_)


def test_auto_changes_from_exact_to_centres_by_size():
    X, y = large_regression(3200)
    small = KernelBilevelRegressor(tune=()).fit(X[:600], y[:600])
    large = KernelBilevelRegressor(tune=()).fit(X, y)
    assert (small.solver_, large.solver_) == ("Exact", "Nystrom, 566 centres")
    assert kbo.solvers.Auto(5000).n_centers > kbo.solvers.auto.DIRECT_CENTERS


@pytest.mark.parametrize(
    "change",
    [
        {"solver": "magic"}, {"solver": 3}, {"n_centers": 0}, {"n_centers": 2.5},
        {"n_centers": 5, "solver": "exact"}, {"n_centers": 1000, "solver": "nystrom"},
        {"max_time": 0}, {"max_time": "1"},
    ],
)
def test_bad_solver_settings_name_the_argument(change):
    X, y = large_regression(60)
    with pytest.raises(ValueError, match=next(iter(change))):
        KernelBilevelRegressor(**change).fit(X, y)


def test_max_time_ends_the_search_and_keeps_the_best():
    X, y = large_regression(400)
    model = KernelBilevelRegressor(max_time=1e-9).fit(X, y)
    assert (model.status_, model.n_evaluations_, len(model.history_)) == ("STOPPED", 1, 1)
    assert model.criterion_ == model.criterion_start_
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.slow
def test_learned_centres_are_better_than_drawn_ones():
    X, y = large_regression(500)
    settings = {"n_centers": 12, "max_iter": 25, "tol": 1e-4, "cv": 2}
    drawn = KernelBilevelRegressor(**settings).fit(X[:300], y[:300])
    learned = KernelBilevelRegressor(
        tune=("alpha", "lengthscale", "centers"), **settings
    ).fit(X[:300], y[:300])
    assert not np.allclose(learned.X_fit_, drawn.X_fit_)
    assert learned.criterion_ < 0.8 * drawn.criterion_
    assert learned.score(X[300:], y[300:]) > drawn.score(X[300:], y[300:])
    with pytest.raises(ValueError, match="centers"):
        KernelBilevelRegressor(tune="centers").fit(X[:100], y[:100])
