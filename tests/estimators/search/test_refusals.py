"""What HypergradientSearchCV refuses before it computes anything, and what it says then."""

import re

import numpy as np
import pytest
from scipy import stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, make_scorer, mean_absolute_error, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

import kbo
from kbo import HypergradientSearchCV
from kbo.estimators.search.space import read_dimension

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 2))
Y = X[:, 0] + 0.1 * rng.normal(size=40)
LABELS = (Y > 0).astype(int)
RIDGE, MACHINE = Ridge(), LogisticRegression()
ALPHA, C = {"alpha": (1e-3, 1e2)}, {"C": (1e-2, 1e2)}


@pytest.mark.parametrize(
    "scoring",
    [
        "accuracy", "balanced_accuracy", "f1", "roc_auc", "neg_log_loss", "average_precision",
        "v_measure_score", "positive_likelihood_ratio", make_scorer(accuracy_score),
        ["r2", "accuracy"], {"a": "r2", "b": "f1_macro"},
    ],
    ids=str,
)
@pytest.mark.parametrize("y", [Y, LABELS.astype(float)], ids=["numbers", "zeros and ones"])
def test_scores_of_classes_are_refused_for_regressors(scoring, y):
    refit = "r2" if isinstance(scoring, list) else "a" if isinstance(scoring, dict) else True
    with pytest.raises(ValueError, match=r"scoring=.*classes.*regressor.*neg_mean_squared_error"):
        HypergradientSearchCV(RIDGE, ALPHA, scoring=scoring, refit=refit).fit(X, y)


@pytest.mark.parametrize(
    "scoring",
    ["r2", "neg_mean_squared_error", "neg_median_absolute_error", "d2_absolute_error_score",
     make_scorer(mean_absolute_error, greater_is_better=False), ["accuracy", "r2"]],
    ids=str,
)
@pytest.mark.parametrize(
    ("estimator", "space"),
    [(MACHINE, C), (make_pipeline(StandardScaler(), SVC()), {"svc__C": (0.1, 1.0)})],
    ids=["plain", "pipeline"],
)
def test_scores_of_numbers_are_refused_for_classifiers(estimator, space, scoring):
    refit = "accuracy" if isinstance(scoring, list) else True
    with pytest.raises(ValueError, match=r"scoring=.*numbers.*classifier.*neg_log_loss"):
        HypergradientSearchCV(estimator, space, scoring=scoring, refit=refit).fit(X, LABELS)


@pytest.mark.parametrize(
    "scoring",
    [make_scorer(roc_auc_score), lambda model, x, y: -np.abs(model.predict(x) - y).max(), None,
     ("r2", "neg_mean_absolute_error")],
    ids=["ranks of predictions", "callable", "none", "tuple"],
)
def test_scores_that_suit_are_taken(scoring):
    refit = "r2" if isinstance(scoring, tuple) else True
    search = HypergradientSearchCV(RIDGE, ALPHA, scoring=scoring, refit=refit, max_iter=1)
    assert np.isfinite(search.fit(X, LABELS.astype(float)).best_score_)


POSITIVE = [
    (Ridge(), "alpha"), (KernelRidge(kernel="rbf"), "gamma"), (LogisticRegression(), "C"),
    (SVR(), "C"), (GaussianProcessRegressor(RBF(), optimizer=None), "kernel__length_scale"),
    (kbo.KernelBilevelRegressor(tune=()), "lengthscale"),
]


@pytest.mark.parametrize(("estimator", "name"), POSITIVE, ids=lambda v: str(v)[:20])
@pytest.mark.parametrize("given", [(-1.0, 10.0), (0, 10), [0, 1, 10], [-3, -1], stats.norm()])
def test_what_is_searched_in_logs_must_be_positive(estimator, name, given):
    y = LABELS if isinstance(estimator, LogisticRegression) else Y
    with pytest.raises(ValueError, match=re.escape(f"param_space['{name}']")) as error:
        HypergradientSearchCV(estimator, {name: given}).fit(X, y)
    assert "must be positive" in str(error.value)
    assert "give a range such as" in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((10.0, 1.0), r"low < high: give \(1.0, 10.0\)"), ((1.0, 1.0), "low < high"),
        ([2.0], "low < high"), ([], "list of numbers"), ((0.1, np.nan), "finite"),
        ([0.1, np.nan, 1.0], "finite"), ((0.1, np.inf), "finite"), ([True, False], "list of numbers"),
        (["1", "10"], "list of numbers"), ([[0.1, 1.0], [2.0, 3.0]], "list of numbers"),
        (np.ones((1, 2)), "list of numbers"), ({0.1, 1.0}, "list of numbers"),
        ("0.1", "list of numbers"), (None, "list of numbers"), ((0.1, 1.0, 2.0), "pair"),
    ],
    ids=str,
)
def test_ranges_that_are_none(given, message):
    with pytest.raises(ValueError, match=rf"param_space\['alpha'\].*{message}"):
        HypergradientSearchCV(Ridge(), {"alpha": given}).fit(X, Y)


def test_whole_numbers_are_numbers():
    """A list of whole numbers is the same range as of floats; so are NumPy's and distributions."""
    for given in ([1, 10, 100], (1, 100), np.array([1, 100]), stats.loguniform(1, 100)):
        found = read_dimension("alpha", given, 5)
        assert found[:4] == ("alpha", 1.0, 100.0, True)
        assert found.start == 5.0


def test_ranges_of_parameters_that_may_be_zero():
    assert read_dimension("epsilon", (0.0, 1.0), 0.1)[:4] == ("epsilon", 0.0, 1.0, False)
    assert read_dimension("coef0", (-2.0, 1.0), 0.1)[:4] == ("coef0", -2.0, 1.0, False)
    with pytest.raises(ValueError, match="epsilon may not be negative"):
        read_dimension("epsilon", (-0.1, 1.0), 0.1)
    low, high = read_dimension("alpha", stats.uniform(0, 2), 0.1)[1:3]
    assert (low, high) == (pytest.approx(2e-3), 2.0)  # the 0.1 % quantile
    with pytest.raises(ValueError, match="starts at alpha"):
        read_dimension("alpha", (0.1, 1.0), np.nan)


@pytest.mark.parametrize(
    ("estimator", "space", "message"),
    [
        (Ridge(), {"ridge": (0.1, 1.0)}, r"\['ridge'\].*\['alpha'\]"),
        (KernelRidge(kernel="rbf"), {"degree": [2, 3]}, r"degree.*\['alpha', 'gamma'\]"),
        (
            make_pipeline(StandardScaler(), SVR()), {"C": (0.1, 1.0)},
            r"\['C'\].*\['svr__C', 'svr__epsilon', 'svr__gamma'\]",
        ),
        (
            GaussianProcessRegressor(RBF(), optimizer=None), {"length_scale": (0.1, 1.0)},
            "kernel__length_scale",
        ),
    ],
)
def test_unknown_parameters_name_the_known(estimator, space, message):
    with pytest.raises(ValueError, match=message):
        HypergradientSearchCV(estimator, space).fit(X, Y)
