"""The projected error of instrumental variables."""

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from kbo import datasets
from kbo.estimators import TwoStageLeastSquares
from kbo.metrics import projected_mse, projected_mse_scorer
from tests.estimators.instruments.common import linear_design

pytestmark = pytest.mark.filterwarnings("ignore::kbo.estimators.WeakInstrumentWarning")


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
