"""Sparse linear models, and estimators of users, in HypergradientSearchCV."""

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import ElasticNet, Lasso
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

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


SPARSE = np.hstack([X, RANDOM.normal(size=(60, 12))])


@pytest.mark.parametrize(
    ("estimator", "space"),
    [
        (Lasso(), {"alpha": (1e-3, 10.0)}),
        (Lasso(fit_intercept=False), {"alpha": (1e-3, 10.0)}),
        (ElasticNet(0.1), {"alpha": (1e-3, 10.0), "l1_ratio": (0.1, 0.9)}),
        (make_pipeline(StandardScaler(), Lasso()), {"lasso__alpha": (1e-3, 10.0)}),
    ],
    ids=str,
)
def test_sparse_models_have_scikit_learns_losses_and_beat_its_grids(estimator, space):
    y = Y + 5.0
    search = kbo.HypergradientSearchCV(estimator, space, cv=4)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*end of its range")
        search.fit(SPARSE, y)
    of = lambda model: -cross_val_score(
        model, SPARSE, y, cv=4, scoring="neg_mean_squared_error"
    ).mean() / 2
    found = clone(search.best_estimator_)
    own = search.cv_results_["outer_loss"][search.best_index_]
    assert own == pytest.approx(of(found), rel=1e-3)
    grid = [
        of(clone(estimator).set_params(**dict.fromkeys(space, 0.5) | {name: value}))
        for name in space if "alpha" in name for value in np.logspace(-3, 1, 21)
    ]
    assert of(found) <= min(grid) * (1 + 1e-4)


@pytest.mark.parametrize(
    "estimator", [Lasso(positive=True), ElasticNet(l1_ratio=0.0), ElasticNet(positive=True)]
)
def test_sparse_models_that_are_not_posed_are_refused(estimator):
    with pytest.raises(ValueError, match=r"positive=False|Ridge"):
        kbo.HypergradientSearchCV(estimator, {"alpha": (0.1, 1.0)}).fit(X, Y)
