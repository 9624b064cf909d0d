"""No prediction depends on the units of a column."""

import numpy as np
import pytest
from sklearn.base import clone

from kbo import KernelBilevelClassifier, KernelBilevelRegressor, SampleReweightingClassifier


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
