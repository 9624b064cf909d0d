"""Conventions and probabilities of the classifier."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kbo import KernelBilevelClassifier


def test_classifier_conventions():
    X, y = load_breast_cancer(return_X_y=True)
    X, names = StandardScaler().fit_transform(X)[:200], np.array(["benign", "malign"])[y[:200]]
    model = KernelBilevelClassifier(loss="squared", max_iter=5, tol=0.1).fit(X, names)
    assert list(model.classes_) == ["benign", "malign"]
    assert model.decision_function(X).shape == (200,)
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)
    assert set(model.predict(X)) <= set(model.classes_)
    with pytest.raises(ValueError, match="class"):
        KernelBilevelClassifier().fit(X, np.zeros(200))


def test_probabilities_are_calibrated_by_the_tuned_scale():
    X, y = load_wine(return_X_y=True)
    model = make_pipeline(StandardScaler(), KernelBilevelClassifier(loss="squared")).fit(X, y)
    assert model[-1].outer_parameters_["scale"] > 0
    assert np.mean(model.predict_proba(X)[np.arange(len(y)), y]) > 0.9


@pytest.mark.parametrize("tune", [(), "alpha", ("alpha", "lengthscale")])
def test_probabilities_use_the_scale_that_was_judged(tune):
    X, y = load_iris(return_X_y=True)
    model = KernelBilevelClassifier(loss="squared", tune=tune, max_iter=2).fit(X, y)
    scores = 2.0 * model.decision_function(X[:5])
    expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X[:5]), expected)
