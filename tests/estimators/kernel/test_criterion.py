"""Criteria of one factorisation in the estimators."""

import numpy as np
import pytest

import kbo


def diabetes(n=120):
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    return X[:n], y[:n]


def test_estimators_take_many_folds_and_loo_from_one_factorisation(monkeypatch):
    from sklearn.model_selection import LeaveOneOut

    X, y = diabetes(60)
    # Rounding decides where a search of many steps ends; two steps do not amplify it.
    start = kbo.KernelBilevelRegressor(cv="loo", max_iter=2).fit(X, y)
    assert start.n_splits_ == 60
    monkeypatch.setattr(kbo.estimators.kernel.criterion, "FEW_FOLDS", 1000)
    slow = kbo.KernelBilevelRegressor(cv=LeaveOneOut(), max_iter=2).fit(X, y)
    np.testing.assert_allclose(start.criterion_, slow.criterion_, rtol=1e-7)
    np.testing.assert_allclose(start.predict(X), slow.predict(X), rtol=1e-5)
    slow = kbo.KernelBilevelRegressor(cv=10, max_iter=2).fit(X, y)
    monkeypatch.undo()
    fast = kbo.KernelBilevelRegressor(cv=10, max_iter=2).fit(X, y)
    np.testing.assert_allclose(fast.criterion_, slow.criterion_, rtol=1e-7)
    np.testing.assert_allclose(fast.criterion_start_, slow.criterion_start_, rtol=1e-10)


@pytest.mark.parametrize("criterion", [
    "loo", "marginal_likelihood",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("gcv", "complexity")),
])
def test_every_criterion_of_the_estimators_tunes_well(criterion):
    X, y = diabetes(400)
    solver = {"solver": "nystrom", "n_centers": 60} if criterion == "complexity" else {}
    model = kbo.KernelBilevelRegressor(criterion=criterion, max_iter=30, **solver)
    model.fit(X[:300], y[:300])
    assert model.criterion_ < model.criterion_start_
    assert model.score(X[300:], y[300:]) > 0.4
    assert hasattr(model, "n_splits_") == (criterion == "loo")
    scaled = kbo.KernelBilevelRegressor(criterion=criterion, max_iter=30, **solver)
    scaled.fit(X[:300], 1e3 * y[:300])
    np.testing.assert_allclose(scaled.predict(X[300:]), 1e3 * model.predict(X[300:]), rtol=0.02)


@pytest.mark.slow
def test_a_classifier_leaves_one_out():
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    model = kbo.KernelBilevelClassifier(loss="squared", cv="loo", ard=False).fit(X[:300], y[:300])
    assert model.score(X[300:], y[300:]) > 0.93
    assert model.criterion_ < model.criterion_start_


@pytest.mark.parametrize(
    ("match", "arguments"),
    [
        ("criterion='aic'", {"criterion": "aic"}),
        ("only string", {"cv": "five"}),
        ("only string", {"cv": "loo", "criterion": "gcv"}),
        ("LeaveOneOut", {"cv": "loo", "loss": "huber"}),
        ("solver='exact'", {"criterion": "gcv", "solver": "nystrom"}),
        ("nystrom", {"criterion": "complexity"}),
        ("outer_loss", {"criterion": "gcv", "outer_loss": "squared"}),
    ],
)
def test_bad_criteria_are_refused(match, arguments):
    X, y = diabetes(30)
    with pytest.raises(ValueError, match=match):
        kbo.KernelBilevelRegressor(**arguments).fit(X, y)
    if arguments == {"criterion": "aic"}:
        with pytest.raises(ValueError, match="regression"):
            kbo.KernelBilevelClassifier(criterion="gcv").fit(X, y > 100)
