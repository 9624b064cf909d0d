"""What kernel and linear instrumental variables have in common."""

import pickle
import warnings

import jax
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from kbo import datasets
from kbo.estimators import KernelIVRegressor, TwoStageLeastSquares, WeakInstrumentWarning
from tests.estimators.instruments.common import linear_design

pytestmark = pytest.mark.filterwarnings("ignore::kbo.estimators.WeakInstrumentWarning")

FAST = {"max_iter": 3, "cv": 2}
QUICK = {"n_components": 40, **FAST}
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


@pytest.mark.slow
def test_more_columns_than_samples():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 20)), rng.normal(size=12)
    Z = rng.normal(size=(12, 2))
    with pytest.raises(ValueError, match="more instruments"):
        TwoStageLeastSquares().fit(X, y, Z=Z)
    with pytest.warns(WeakInstrumentWarning):
        assert np.isfinite(KernelIVRegressor(**QUICK).fit(X, y, Z=Z).predict(X)).all()


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
