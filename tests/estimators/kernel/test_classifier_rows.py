"""The classifier is tuned on as many samples as Newton's method is quick with, fitted on all."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import KFold

from kbo import KernelBilevelClassifier, losses
from kbo.estimators.kernel import fit as fitting

X, Y = load_iris(return_X_y=True)


def test_shares_of_classes_are_kept_and_none_is_lost():
    labels = np.repeat([0, 1, 2, 3], [600, 300, 92, 8])
    weight = np.ones(1000)
    weight[:100] = 0.0
    rows = fitting.some_rows(200, weight, 0, labels)
    counts = np.bincount(labels[rows])
    assert len(np.unique(rows)) == 200 and (weight[rows] > 0).all() and (np.diff(rows) > 0).all()
    np.testing.assert_allclose(counts, [112, 67, 20, 3], atol=3)
    assert set(np.flatnonzero(labels == 3)) == set(fitting.some_rows(990, np.ones(1000), 1, labels)[-8:])
    assert (fitting.some_rows(200, weight, 1, labels) != rows).any()


def test_tuned_on_some_fitted_on_all(monkeypatch):
    monkeypatch.setattr(fitting, "SEEN_BY_NEWTON", 100)
    model = KernelBilevelClassifier(max_iter=3).fit(X, Y)
    assert model.n_tuned_ == int(100 / 3 ** (1 / 3)) == 69
    assert model.X_fit_.shape == X.shape
    rows = fitting.some_rows(69, np.ones(150), 0, Y)
    alone = KernelBilevelClassifier(max_iter=3).fit(X[rows], Y[rows])
    # The start is in units of all samples and of some: close, not the same.
    np.testing.assert_allclose(np.log(model.alpha_ / alone.alpha_), 0, atol=0.5)
    by_hand = KernelBilevelClassifier(model.kernel_, alpha=model.alpha_, tune=()).fit(X, Y)
    np.testing.assert_allclose(model.predict_proba(X), by_hand.predict_proba(X), atol=1e-8)
    squared = KernelBilevelClassifier(loss="squared", max_iter=1).fit(X, Y)
    assert squared.n_tuned_ == 150


@pytest.mark.parametrize("options", [
    {"cv": 3}, {"cv": KFold(3, shuffle=True, random_state=0)}, {"criterion": "cv"},
    {"solver": "nystrom", "n_centers": 20}, {"max_time": 60.0}, {"groups": [0, 0, 1, 1]}, {"standard_errors": True},
    {"outer_loss": lambda omega, h, label: -h[label] + 0.1 * (h @ h)},
])
def test_what_the_user_chooses_is_of_all_samples(monkeypatch, options):
    monkeypatch.setattr(fitting, "SEEN_BY_NEWTON", 100)
    assert KernelBilevelClassifier(max_iter=1, **options).fit(X, Y).n_tuned_ == 150


def test_many_classes_are_all_seen():
    labels = np.repeat(np.arange(60), 20)
    rows = fitting.some_rows(180, np.ones(1200), 0, labels)
    assert (np.bincount(labels[rows]) == 3).all()
    most = KernelBilevelClassifier()._most_tuned
    assert most("cv", losses.Multinomial(), 600, None) == 1800
    assert most("cv", losses.Multinomial(), 8, None) == 500
