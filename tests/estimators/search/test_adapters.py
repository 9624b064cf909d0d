"""Estimators of users, made known to HypergradientSearchCV."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.kernel_ridge import KernelRidge

import kbo
from kbo import losses
from kbo.estimators.search import adapters

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.3 * RANDOM.normal(size=60)


class Shrunk(RegressorMixin, BaseEstimator):
    """Least squares with the penalty alpha‖w‖², without an intercept."""

    def __init__(self, alpha=1.0):
        self.alpha = alpha

    def fit(self, X, y):
        gram = X.T @ X + self.alpha * np.eye(X.shape[1])
        self.coef_ = np.linalg.solve(gram, X.T @ y)
        return self

    def predict(self, X):
        return X @ self.coef_


class OfShrunk(adapters.Adapter):
    """alpha."""

    def __init__(self, estimator, X, y):
        self.defaults = {"alpha": estimator.alpha}

    def problem(self, values, train, test, outer_loss):
        inner, outer = adapters.samples(train, test)
        ridge = adapters.RidgeOf(values, "alpha", train.weights.sum(1))
        return kbo.BilevelProblem(
            losses.Squared(), outer_loss, inner, outer, adapters.FixedSpace(0.0), ridge
        )


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(adapters.base, "ADAPTERS", known := dict(adapters.ADAPTERS))
    monkeypatch.setattr("kbo.estimators.search.problem.ADAPTERS", known)
    kbo.register_adapter(Shrunk, OfShrunk)
    return known


def test_an_estimator_of_ones_own_is_searched(registered):
    """The same alpha and predictions as the linear KernelRidge, which it is."""
    space = {"alpha": (1e-3, 1e3)}
    own = kbo.HypergradientSearchCV(Shrunk(), space, max_iter=20).fit(X, Y)
    known = kbo.HypergradientSearchCV(KernelRidge(kernel="linear"), space, max_iter=20).fit(X, Y)
    assert own.best_params_["alpha"] == pytest.approx(known.best_params_["alpha"], rel=1e-3)
    np.testing.assert_allclose(own.predict(X), known.predict(X), rtol=1e-6)

    class Sub(Shrunk):
        pass

    found = kbo.HypergradientSearchCV(Sub(), space, max_iter=20).fit(X, Y)
    assert found.best_params_["alpha"] == own.best_params_["alpha"]


def test_as_a_decorator_the_adapter_stays_what_it_is(registered):
    @kbo.register_adapter(Shrunk)
    class Another(OfShrunk):
        pass

    assert registered[Shrunk] is Another and issubclass(Another, OfShrunk)


def test_what_is_no_class_or_no_adapter_is_refused():
    with pytest.raises(TypeError, match="estimator_class"):
        kbo.register_adapter(Shrunk(), OfShrunk)
    with pytest.raises(TypeError, match="adapter"):
        kbo.register_adapter(Shrunk, Shrunk)
    with pytest.raises(ValueError, match="not differentiable here"):
        kbo.HypergradientSearchCV(Shrunk(), {"alpha": (1e-3, 1e3)}).fit(X, Y)
