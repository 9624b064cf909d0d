"""A ridge for each output, and for each group of features."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_linnerud
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_score
from sklearn.preprocessing import scale

from kbo import HypergradientSearchCV, KernelBilevelClassifier, KernelBilevelRegressor
from kbo.inspection import relevance

X, Y = load_linnerud(return_X_y=True)
X, Y = scale(X), scale(Y)
CV = KFold(4)


def test_a_ridge_for_each_output_is_kernel_ridges():
    alphas = np.array([0.3, 2.0, 40.0])
    fixed = {"kernel": "gaussian", "lengthscale": 2.0, "ard": False, "tune": ()}
    ours = KernelBilevelRegressor(alpha=alphas, **fixed).fit(X, Y)
    theirs = KernelRidge(kernel="rbf", gamma=1 / 8, alpha=alphas).fit(X, Y)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(ours.alpha_, alphas)


def test_outputs_with_their_own_ridges_are_tuned_as_if_alone():
    """With the kernel held the criterion is a sum over the outputs."""
    settings = {"kernel": "gaussian", "tune": "alpha", "cv": CV, "tol": 1e-9, "max_iter": 300}
    together = KernelBilevelRegressor(alpha=[1.0, 1.0, 1.0], **settings).fit(X, Y)
    alone = [KernelBilevelRegressor(alpha=1.0, **settings).fit(X, y).alpha_ for y in Y.T]
    assert np.ptp(np.log(alone)) > 0.1
    # Beyond 1e8 an output is its mean, and nothing tells its ridges apart.
    kept = lambda alpha: np.minimum(alpha, 1e8)
    np.testing.assert_allclose(kept(together.alpha_), kept(alone), rtol=1e-2)


@pytest.mark.parametrize("estimator", [
    KernelRidge(kernel="rbf", alpha=np.ones(3)), Ridge(alpha=np.ones(3)),
    Ridge(alpha=np.ones(3), fit_intercept=False),
])
def test_search_over_a_ridge_for_each_output(estimator):
    settings = {"cv": CV, "scoring": "neg_mean_squared_error", "tol": 1e-8}
    space = {"alpha": (1e-2, 1e3)}
    search = HypergradientSearchCV(estimator, space, **settings).fit(X, Y)
    best = search.best_params_["alpha"]
    assert best.shape == (3,) and isinstance(search.best_estimator_, type(estimator))
    score = cross_val_score(
        clone(estimator).set_params(alpha=best), X, Y, cv=CV, scoring="neg_mean_squared_error"
    ).mean()
    np.testing.assert_allclose(search.best_score_, score, rtol=1e-12)
    one = HypergradientSearchCV(clone(estimator).set_params(alpha=1.0), space, **settings)
    assert search.best_score_ >= one.fit(X, Y).best_score_ - 1e-9


def test_groups_of_a_linear_kernel_are_ridge_regression_with_banded_ridges():
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X), scale(y)
    groups = np.array(["b", "a", "b", "b", "a", "c", "c", "c", "a", "a"])
    model = KernelBilevelRegressor(
        "linear", groups=groups, ard=False, lengthscale=1.0, tune=("alpha", "scale"), cv=CV
    ).fit(X, y)
    assert model.criterion_ < model.criterion_start_
    ridges = model.group_alpha_[np.searchsorted(["a", "b", "c"], groups)]
    w = np.linalg.solve(X.T @ X + np.diag(ridges), X.T @ (y - model.intercept_))
    np.testing.assert_allclose(model.predict(X), X @ w + model.intercept_, rtol=1e-8, atol=1e-10)


def test_a_group_of_noise_gets_a_large_ridge():
    X, y = load_diabetes(return_X_y=True)
    X = np.hstack([scale(X), np.random.default_rng(0).normal(size=(len(X), 10))])
    model = KernelBilevelRegressor("gaussian", groups=[0] * 10 + [1] * 10, ard=False,
                                   tune=("alpha", "scale"))
    model.fit(X[:300], y[:300])
    assert model.group_alpha_[1] > 10 * model.group_alpha_[0]
    assert model.lengthscale_.shape == (20,)
    names, strength = relevance(model)
    order = np.argsort([int(name[1:]) for name in names])
    assert strength[order][10:].max() < 0.3 * strength[order][:10].max()
    # Each group's function depends on its own features alone.
    moved = X[:5].copy()
    moved[:, 3] += 1.0
    other = X[:5].copy()
    other[:, 13] += 1.0
    both = moved.copy()
    both[:, 13] += 1.0
    change = model.predict(moved) + model.predict(other) - model.predict(both)
    np.testing.assert_allclose(change, model.predict(X[:5]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("settings", "y", "message"), [
    ({"alpha": [1.0, 2.0]}, Y, "alpha"), ({"alpha": [1.0, 2.0, 3.0]}, Y[:, 0], "alpha"),
    ({"alpha": [1.0, 2.0, 3.0], "loss": "huber"}, Y, "alpha"),
    ({"alpha": [1.0, -2.0, 3.0]}, Y, "alpha"), ({"groups": [0, 1]}, Y, "groups"),
    ({"groups": [0, 1, 1], "kernel": ["gaussian", "linear"]}, Y, "kernel"),
    ({"groups": [0, 1, 1], "alpha": [1.0, 2.0, 3.0]}, Y, "groups"),
    ({"groups": [0, 1, 1], "lengthscale": [1.0, 2.0]}, Y, "lengthscale"),
    ({"alpha": [1.0, 2.0, 3.0], "cv": "loo"}, Y, "alpha"),
    ({"alpha": [1.0, 2.0, 3.0], "criterion": "gcv"}, Y, "alpha"),
])
def test_bad_input(settings, y, message):
    with pytest.raises(ValueError, match=message):
        KernelBilevelRegressor(**settings).fit(X, y)


def test_bad_input_elsewhere():
    with pytest.raises(ValueError, match="alpha"):
        KernelBilevelClassifier(alpha=[1.0, 2.0]).fit(X, Y[:, 0] > 0)
    for estimator in (KernelRidge(alpha=[1.0, 2.0]), Ridge(alpha=[1.0, 2.0])):
        with pytest.raises(ValueError, match="alpha"):
            HypergradientSearchCV(estimator, {"alpha": (0.1, 10)}).fit(X, Y)
    for settings in ({"groups": [0, 1, 1]}, {"alpha": [1.0, 2.0, 3.0]}):
        estimator = KernelBilevelRegressor(tune=(), **settings)
        with pytest.raises(ValueError, match="groups"):
            HypergradientSearchCV(estimator, {"alpha": (0.1, 10)}).fit(X, Y)


def test_standard_errors_of_groups_are_those_of_their_ridges():
    rng = np.random.default_rng(0)
    X = rng.uniform(-3, 3, size=(150, 2))
    y = np.sin(2 * X[:, 0]) + np.cos(X[:, 1]) + 0.2 * rng.normal(size=150)
    model = KernelBilevelRegressor("gaussian", groups=[0, 1], tol=1e-6, prior=0.0, standard_errors=True)
    errors = model.fit(X, y).standard_errors_
    assert set(errors) == {"criterion", *[f"{k}_{g}" for k in ("scale", "lengthscale") for g in (0, 1)]}
    assert all(0 < error < 5 for error in errors.values())


def test_standard_errors_that_cannot_be_had_cost_nothing_else():
    X, y = load_diabetes(return_X_y=True)
    broken = KernelBilevelRegressor(
        outer_loss=lambda w, v, t: np.nan * v, standard_errors=True, max_iter=1
    )
    assert not hasattr(broken.fit(X[:60], y[:60]), "standard_errors_")
