"""No prediction depends on the units of a column; which columns share a lengthscale."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.model_selection import KFold

from kbo import KernelBilevelClassifier, KernelBilevelRegressor, SampleReweightingClassifier
from kbo.estimators._common.scale import center_and_spread
from kbo.kernels import Gaussian

X, Y = load_diabetes(return_X_y=True)
X, Y = X[:60, :5] * 20, Y[:60]
CLASSES = (np.median(Y) < Y).astype(int)
START = KernelBilevelRegressor(tune=()).fit(X, Y).lengthscale_


@pytest.mark.parametrize("labels", [
    [3, 3, 0, 0, -1], np.array([0, 1, 0, 1, 0], np.int8), [7, 7, 7, 7, 7], np.arange(5),
])
@pytest.mark.parametrize(("estimator", "target"), [
    (KernelBilevelRegressor("gaussian", max_iter=4), Y),
    (KernelBilevelClassifier(loss="squared", max_iter=4), CLASSES),
])
def test_groups_of_columns_share_a_lengthscale(estimator, target, labels):
    model = clone(estimator.set_params(ard=labels)).fit(X, target)
    assert model.get_params()["ard"] is model.ard
    factor = model.lengthscale_ / START
    assert model.lengthscale_.shape == (5,)
    for a in range(5):
        for b in range(5):
            same = labels[a] == labels[b]
            assert (abs(np.log(factor[a] / factor[b])) < 1e-9) == same
    assert np.abs(np.log(factor)).max() > 1e-2  # they are tuned


def test_labels_of_every_kind_are_the_same_model_and_compile_once():
    from .test_estimators import compilations

    fit = lambda labels: KernelBilevelRegressor("gaussian", ard=labels, max_iter=2).fit(X, Y)
    first = fit([0, 0, 1, 1, 2])
    found = compilations(lambda: fit([2, 0, 1, 2, 2]))  # other columns, as many groups
    assert not found, found
    np.testing.assert_array_equal(fit(np.array([9, 9, -4, -4, 30]) + 5).predict(X),
                                  fit([1, 1, 0, 0, 2]).predict(X))
    np.testing.assert_allclose(first.predict(X), fit([1, 1, 0, 0, 2]).predict(X), rtol=1e-6)
    each = KernelBilevelRegressor("gaussian", max_iter=2).fit(X, Y)
    np.testing.assert_allclose(fit(np.arange(5)).predict(X), each.predict(X), rtol=1e-9)


def test_labels_are_of_columns_within_additive_groups_too():
    model = KernelBilevelRegressor(
        "gaussian", ard=[0, 0, 1, 1, 1], groups=["a", "a", "a", "b", "b"], max_iter=4,
        standard_errors=True, cv=KFold(3),
    ).fit(X, Y)
    factor = model.lengthscale_ / (np.sqrt(np.array([3, 3, 3, 2, 2]) / 5) * START)
    np.testing.assert_allclose(factor[[0, 3]], factor[[1, 4]], rtol=1e-9)
    assert np.shape(model.standard_errors_["lengthscale_0"]) == (2,)
    assert np.shape(model.standard_errors_["lengthscale_1"]) == (1,)


@pytest.mark.parametrize("labels", [
    [0, 1], np.zeros((5, 1), int), [0.0, 1.0, 2.0, 3.0, 4.0], ["a"] * 5, None, 1, "yes",
    [True, False, True, False, True],
])
@pytest.mark.parametrize("groups", [None, [0, 0, 1, 1, 1]])
def test_bad_labels_are_refused(labels, groups):
    with pytest.raises(ValueError, match="ard="):
        KernelBilevelRegressor("gaussian", ard=labels, groups=groups).fit(X, Y)


def test_labels_need_a_kernel_by_name():
    with pytest.raises(ValueError, match="kernels given by name"):
        KernelBilevelRegressor(Gaussian(), ard=[0, 0, 1, 1, 1]).fit(X, Y)


def mixed(n, seed=0):
    """A normal, a skewed, a count, a rare dummy, a constant and a doubled column; targets."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=n)
    Z = np.stack([
        first, np.exp(rng.normal(size=n)), rng.poisson(0.4, n), np.arange(n) % 29 == 0,
        np.full(n, 3.0), first,
    ], axis=1)
    y = np.sin(Z[:, 0]) + 0.5 * np.log(Z[:, 1]) + Z[:, 2] + Z[:, 3] + 0.1 * rng.normal(size=n)
    return Z, y


Z, T = mixed(90)
NEW = mixed(40, seed=1)[0] + np.array([0, 0, 0, 0, 5.0, 0])  # what was constant is so no longer
WEIGHTS = np.random.default_rng(2).integers(0, 3, 90).astype(float)
ARDS = [True, False, [0, 0, 1, 1, 2, 2]]


def rescaled(points, rng):
    """Every column in other units, of either sign, and from another zero."""
    factor = 10.0 ** rng.uniform(-6, 6, 6) * rng.choice([-1, 1], 6)
    return points * factor + factor * rng.normal(size=6) * 30


@pytest.mark.parametrize("ard", ARDS, ids=["each", "one", "groups"])
@pytest.mark.parametrize(("estimator", "target"), [
    (KernelBilevelRegressor(max_iter=6), T),
    (KernelBilevelRegressor("linear", max_iter=6), T),
    pytest.param(KernelBilevelRegressor("polynomial", max_iter=6), T, marks=pytest.mark.slow),
    pytest.param(KernelBilevelRegressor(["gaussian", "linear"], max_iter=6), T, marks=pytest.mark.slow),
    pytest.param(KernelBilevelRegressor("laplacian", max_iter=3, n_centers=20, random_state=0), T, marks=pytest.mark.slow),
    pytest.param(KernelBilevelRegressor(max_iter=6, groups=[0, 0, 1, 1, 1, 2]), T, marks=pytest.mark.slow),
    pytest.param(KernelBilevelRegressor(loss="huber", max_iter=3), T, marks=pytest.mark.slow),
    (KernelBilevelClassifier(max_iter=4), np.median(T) < T),
    pytest.param(KernelBilevelClassifier(loss="squared", max_iter=4), np.digitize(T, [0.0, 1.0]), marks=pytest.mark.slow),
])
def test_no_prediction_depends_on_units(estimator, target, ard):
    model = clone(estimator).set_params(ard=ard)
    see = lambda fitted, points: (
        fitted.decision_function if hasattr(fitted, "classes_") else fitted.predict
    )(points)
    for weight in (None, WEIGHTS):
        expected = see(model.fit(Z, target, weight), NEW)
        start = model.criterion_start_
        for seed in range(4):
            other = model.fit(rescaled(Z, np.random.default_rng(seed)), target, weight)
            np.testing.assert_allclose(other.criterion_start_, start, rtol=1e-7)
            found = see(other, rescaled(NEW, np.random.default_rng(seed)))
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.ptp(expected))


@pytest.mark.parametrize("options", [
    {}, {"loss": "huber"}, pytest.param({"loss": "quantile", "quantile": 0.7}, marks=pytest.mark.slow), {"criterion": "loo"},
    pytest.param({"criterion": "gcv"}, marks=pytest.mark.slow), {"criterion": "marginal_likelihood"},
    pytest.param({"criterion": "complexity", "solver": "nystrom", "n_centers": 20, "random_state": 0}, marks=pytest.mark.slow),
])
def test_predictions_come_in_the_units_of_y(options):
    expected = KernelBilevelRegressor(max_iter=4, **options).fit(Z, T).predict(NEW)
    for factor, zero in ((1e-6, 0.0), (-1.0, 3.0), (1e5, -2e5)):
        model = KernelBilevelRegressor(max_iter=4, **options)
        if factor < 0 and "quantile" in options:
            model.set_params(quantile=1 - options["quantile"])
        found = (model.fit(Z, factor * T + zero).predict(NEW) - zero) / factor
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.ptp(expected))


def test_weights_of_samples_do_not_depend_on_units():
    fit = lambda points: SampleReweightingClassifier(random_state=0, max_iter=5).fit(
        points, np.median(T) < T, trusted=np.arange(90) % 4 == 0
    )
    expected = fit(Z)
    found = fit(rescaled(Z, np.random.default_rng(0)))
    np.testing.assert_allclose(found.sample_weight_, expected.sample_weight_, rtol=1e-5)


def test_the_spread_is_that_of_what_is_not_wild():
    rng = np.random.default_rng(0)
    n, one = 300, np.ones(300)
    normal = rng.normal(size=n)
    for wild in (10.0, 1e3, 1e6, -1e9, 1e15):
        column = normal.copy()
        column[7] = wild
        center, spread = center_and_spread(column[:, None], one)
        assert abs(center[0]) < 0.15 and 0.9 < spread[0] < 1.1
    for rare in (1, 2, 30, 150, 299):  # a dummy of any frequency, in any coding
        column = np.where(np.arange(n) < rare, 7.0, 4.0)
        np.testing.assert_allclose(center_and_spread(column[:, None], one)[1], 1.5)
    counts = np.where(np.arange(n) % 3 == 0, np.arange(n) % 7, 0).astype(float)
    np.testing.assert_allclose(center_and_spread(counts[:, None], one)[1], counts.std())
    np.testing.assert_array_equal(center_and_spread(np.full((n, 1), 0.1), one)[1], 0.0)
    weight = rng.integers(0, 4, n)
    repeated = np.repeat(normal, weight)[:, None]
    for ours, theirs in zip(
        center_and_spread(normal[:, None], weight.astype(float)),
        center_and_spread(repeated, np.ones(len(repeated))), strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_constant_column_is_ignored():
    with_it, without = (
        KernelBilevelRegressor(max_iter=3).fit(points, T) for points in (Z, np.delete(Z, 4, 1))
    )
    assert np.isinf(with_it.lengthscale_[4])
    np.testing.assert_allclose(
        with_it.predict(NEW), without.predict(np.delete(NEW, 4, 1)), rtol=1e-9, atol=1e-9
    )
    nothing = KernelBilevelRegressor(max_iter=3).fit(np.ones((30, 2)), T[:30])
    np.testing.assert_allclose(nothing.predict(NEW[:, :2]), np.mean(T[:30]), atol=0.1)
