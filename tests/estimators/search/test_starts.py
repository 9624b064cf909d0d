"""Searches that begin where the criterion is flat, end at bounds, or run out of time."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

import kbo
from kbo import HypergradientSearchCV
from kbo.estimators.search.problem import SearchProblem
from kbo.estimators.search.trace import Trace

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 2))
TRUTH = np.sin(2 * X[:, 0]) + X[:, 1]
Y = TRUTH + 0.1 * rng.normal(size=60)
LABELS = np.where(TRUTH > 0, "yes", "no")
ALPHA, WIDE = (1e-4, 1e2), (1e-9, 1e9)


def rbf(**given):
    return KernelRidge(kernel="rbf").set_params(**given)


def process(length_scale):
    kernel = ConstantKernel() * RBF(length_scale) + WhiteKernel(0.1)
    return GaussianProcessRegressor(kernel, optimizer=None)


# name -> estimator that starts where all is flat, space, X, y
STUCK = {
    "gram is the identity": (rbf(gamma=1e6), {"alpha": ALPHA, "gamma": WIDE}, X, Y),
    "gram is constant": (rbf(gamma=1e-9), {"alpha": ALPHA, "gamma": WIDE}, X, Y),
    "points far apart": (rbf(), {"alpha": ALPHA, "gamma": (1e-14, 1e2)}, 1e4 * X, Y),
    "alpha too large": (rbf(alpha=1e12, gamma=0.3), {"alpha": (1e-6, 1e12)}, X, Y),
    "laplacian": (
        KernelRidge(kernel="laplacian", gamma=1.0), {"alpha": ALPHA, "gamma": (1e-9, 10.0)},
        1e4 * X, Y,
    ),
    "pipeline": (
        make_pipeline(StandardScaler(), rbf(gamma=1e6)),
        {"kernelridge__alpha": ALPHA, "kernelridge__gamma": WIDE}, 1e3 * X, Y,
    ),
    "ridge": (Ridge(1e13), {"alpha": (1e-6, 1e13)}, X, Y),
    "logistic": (LogisticRegression(C=1e-12), {"C": (1e-12, 1e4)}, X, LABELS),
    "kbo": (
        kbo.KernelBilevelRegressor(tune=(), lengthscale=1e-6, ard=False),
        {"alpha": ALPHA, "lengthscale": (1e-6, 1e6)}, X, Y,
    ),
    "process": (
        process(1e-6),
        {"kernel__k1__k2__length_scale": (1e-6, 1e6), "kernel__k2__noise_level": (1e-4, 10.0)},
        X, Y,
    ),
    "process, one lengthscale a feature": (
        process([1e6, 1e6]),
        {"kernel__k1__k2__length_scale": (1e-6, 1e6), "kernel__k2__noise_level": (1e-4, 10.0)},
        X, Y,
    ),
    "svc": (SVC(gamma=1e6), {"C": (1e-2, 1e2), "gamma": (1e-6, 1e6)}, X, LABELS),
    "svr": (SVR(gamma=1e6, epsilon=0.05), {"C": (1e-2, 1e2), "gamma": (1e-6, 1e6)}, X, Y),
}
QUICK = {"gram is the identity", "gram is constant", "logistic", "process"}


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in STUCK]
)
def test_a_flat_start_is_left(name):
    """What a grid over the same ranges finds is found, and row 0 is still the start."""
    estimator, space, x, y = STUCK[name]
    scoring = "neg_log_loss" if name == "logistic" else None
    search = HypergradientSearchCV(estimator, space, cv=3, scoring=scoring).fit(x, y)
    first = search.cv_results_["params"][0]
    own = estimator.get_params()
    assert all(np.allclose(first[k], own[k] if own[k] else 0.5, rtol=1e-9) for k in space)
    assert search.cv_results_["restart"][0] == 0
    grid = {k: np.geomspace(*ends, 30 if len(space) == 1 else 8) for k, ends in space.items()}
    found = GridSearchCV(estimator, grid, cv=3, scoring=scoring).fit(x, y)
    assert search.best_score_ >= found.best_score_ - 0.03
    assert search.best_score_ > search.cv_results_["mean_test_score"][0] + 0.2


@pytest.mark.parametrize(
    ("estimator", "space", "y"),
    [
        (rbf(gamma=1e7), {"alpha": ALPHA, "gamma": (1e6, 1e9)}, Y),
        pytest.param(rbf(alpha=1e13), {"alpha": (1e12, 1e15)}, Y, marks=pytest.mark.slow),
        pytest.param(Ridge(1e13), {"alpha": (1e12, 1e15)}, Y, marks=pytest.mark.slow),
        (LogisticRegression(C=1e-12), {"C": (1e-13, 1e-11)}, LABELS),
        pytest.param(
            process(1e-7), {"kernel__k1__k2__length_scale": (1e-9, 1e-6)}, Y,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["kernel", "alpha", "ridge", "logistic", "process"],
)
def test_where_all_is_flat_a_warning_says_so(estimator, space, y):
    with pytest.warns(ConvergenceWarning, match=r"flat.*StandardScaler.*param_space"):
        search = HypergradientSearchCV(estimator, space).fit(X, y)
    assert set(search.cv_results_["restart"]) == {0}


def kinds(caught):
    return [str(w.message) for w in caught if issubclass(w.category, ConvergenceWarning)]


@pytest.fixture(scope="module")
def plain():
    space = {"alpha": ALPHA, "gamma": (1e-3, 1e2)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return HypergradientSearchCV(rbf(gamma=0.5, alpha=0.1), space).fit(X, Y)


def test_a_start_at_the_optimum_is_believed(plain):
    """Nothing moves there either, but no other point is lower: no second search, no warning."""
    best = clone(plain.estimator).set_params(**plain.best_params_)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = HypergradientSearchCV(best, plain.param_space).fit(X, Y)
    assert set(again.cv_results_["restart"]) == {0}
    assert again.best_score_ == pytest.approx(plain.best_score_, abs=1e-4)


def test_where_there_is_nothing_to_learn_the_start_is_not_made_worse():
    y = rng.normal(size=60)
    search = HypergradientSearchCV(
        rbf(alpha=50.0, gamma=1e6), {"alpha": ALPHA, "gamma": WIDE}
    ).fit(X, y)
    assert search.best_score_ >= search.cv_results_["mean_test_score"][0]


@pytest.mark.parametrize(
    ("estimator", "space", "told"),
    [
        (rbf(gamma=0.5), {"alpha": (10.0, 100.0)}, ["alpha is at the lower end of its range, 10"]),
        (
            rbf(gamma=0.5), {"alpha": (5.0, 9.0), "gamma": (1e-3, 2e-3)},
            ["alpha is at the lower end", "gamma is at the upper end of its range, 0.002"],
        ),
        (
            make_pipeline(StandardScaler(), rbf(gamma=0.5)), {"kernelridge__alpha": [10, 100]},
            ["kernelridge__alpha is at the lower end of its range, 10"],
        ),
        pytest.param(
            SVR(kernel="poly", coef0=1.0, epsilon=0.0, gamma=0.1), {"coef0": (-0.1, 0.1)},
            ["coef0 is at the upper end of its range, 0.1"], marks=pytest.mark.slow,
        ),
        (LogisticRegression(), {"C": (1e-4, 1e-3)}, ["C is at the upper end of its range, 0.001"]),
        pytest.param(
            process([1.0, 1.0]), {"kernel__k1__k2__length_scale": (20.0, 30.0)},
            [r"length_scale\[0\] is at the lower end", r"length_scale\[1\] is at the lower end"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["alpha", "two", "pipeline", "coef0", "C", "vector"],
)
def test_values_at_their_bounds_are_told_once(estimator, space, told):
    y = LABELS if isinstance(estimator, LogisticRegression) else Y
    with pytest.warns(ConvergenceWarning) as caught:
        HypergradientSearchCV(estimator, space).fit(X, y)
    said = [text for text in kinds(caught) if "end of its range" in text]
    assert len(said) == 1
    for words in told:
        with pytest.warns(UserWarning, match=words):  # its matching, for escapes
            warnings.warn(said[0], UserWarning, stacklevel=1)
    assert "param_space" in said[0]


def test_time_that_runs_out_is_told(plain):
    """No evaluation is begun after max_time; the first is always made."""
    space = plain.param_space
    with pytest.warns(ConvergenceWarning) as caught:
        search = HypergradientSearchCV(plain.estimator, space, max_time=1e-6, n_restarts=3).fit(X, Y)
    assert search.n_evaluations_ == len(search.cv_results_["params"]) == 1
    said = kinds(caught)
    assert len(said) == 1
    assert "max_time=1e-06 s ran out after 1 evaluation" in said[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enough = HypergradientSearchCV(plain.estimator, space, max_time=600).fit(X, Y)
    assert enough.cv_results_["params"] == plain.cv_results_["params"]
    with pytest.raises(ValueError, match="max_time"):
        HypergradientSearchCV(plain.estimator, space, max_time=0).fit(X, Y)


def test_the_look_for_a_start_keeps_the_time_too(monkeypatch):
    """Of the sixteen values of the design only those are computed for which there is time."""
    seen, time_left = [], iter([True] * 4)
    value = SearchProblem.value
    monkeypatch.setattr(Trace, "_in_time", lambda self: next(time_left, False))
    monkeypatch.setattr(SearchProblem, "value", lambda *a: seen.append(1) or value(*a))
    estimator, space, x, y = STUCK["gram is the identity"]
    with pytest.warns(ConvergenceWarning, match="max_time=99 s ran out"):
        HypergradientSearchCV(estimator, space, max_time=99, cv=3).fit(x, y)
    assert len(seen) == 4


def test_missed_tolerances_are_told_once_with_what_to_do(plain):
    with pytest.warns(ConvergenceWarning) as caught:
        HypergradientSearchCV(
            plain.estimator, plain.param_space, max_iter=1, n_restarts=2, random_state=0
        ).fit(X, Y)
    said = kinds(caught)
    assert len([text for text in said if "max_iter" in text]) == 1
    assert len(said) == len(set(said))
