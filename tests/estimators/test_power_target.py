"""A power of the target is taken where it predicts the target better, and means are of the target."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from kbo import KernelBilevelRegressor, PowerTargetRegressor
from kbo.estimators import power_target

rng = np.random.default_rng(0)
X, X_NEW = rng.uniform(-2, 2, size=(150, 2)), rng.uniform(-2, 2, size=(3000, 2))
QUICK = KernelBilevelRegressor("gaussian", ard=False, criterion="loo", max_iter=15)


def log_of(x):
    return 1 + x[:, 0] + np.sin(2 * x[:, 1])


def prices(x, noise=0.6):
    return np.exp(log_of(x) + noise * rng.normal(size=len(x)))


COPIES = "a sample of weight 2 is left out as a whole, and one of two copies alone"


@parametrize_with_checks(
    [PowerTargetRegressor(QUICK)],
    expected_failed_checks=lambda _: {"check_sample_weight_equivalence_on_dense_data": COPIES},
)
def test_sklearn_contract(estimator, check):
    check(estimator)


def test_a_price_is_not_modelled_as_it_is():
    price = prices(X, 0.2)
    model = PowerTargetRegressor(QUICK).fit(X, price)
    assert model.power_ < 1 and set(model.errors_) == {1.0, 0.5, 0.0}
    assert model.errors_[model.power_] == min(model.errors_.values())
    truth = np.exp(log_of(X_NEW) + 0.5 * 0.2**2)  # the mean of a log-normal variable
    error = lambda guess: np.sqrt(np.mean((guess - truth) ** 2))
    assert error(model.predict(X_NEW)) < 0.85 * error(QUICK.fit(X, price).predict(X_NEW))


def test_the_prediction_is_the_mean_of_the_target_and_intervals_hold_it():
    price_new = prices(X_NEW)
    model = PowerTargetRegressor(QUICK, powers=0).fit(X, prices(X))
    truth = np.exp(log_of(X_NEW) + 0.5 * 0.6**2)
    mean, median = model.predict(X_NEW), np.exp(model.regressor_.predict(X_NEW))
    assert abs(mean.mean() / truth.mean() - 1) < 0.1 < abs(median.mean() / truth.mean() - 1)
    ends = model.predict_interval(X_NEW)
    assert (ends > 0).all() and (ends[:, 0] < ends[:, 1]).all()
    assert abs(np.mean((ends[:, 0] <= price_new) & (price_new <= ends[:, 1])) - 0.9) < 0.05


def test_a_symmetric_target_is_left_as_it_is_and_so_is_a_negative_one():
    plain = 20 + log_of(X) + 0.1 * rng.normal(size=150)
    one = PowerTargetRegressor(QUICK).fit(X, plain)
    assert abs(one.errors_[1.0] / one.errors_[0.0] - 1) < 0.1  # powers differ little far from 0
    negative = PowerTargetRegressor(QUICK).fit(X, plain - 20)
    assert negative.power_ == 1 and set(negative.errors_) == {1.0}
    known = QUICK.fit(X, plain - 20)
    np.testing.assert_allclose(negative.predict(X_NEW), known.predict(X_NEW), rtol=1e-10)
    np.testing.assert_allclose(
        negative.predict_interval(X_NEW[:9]), known.predict_interval(X_NEW[:9]), rtol=1e-10)


@pytest.mark.parametrize("power", [1.0, 0.5, 0.0])
def test_the_error_is_that_of_samples_left_out(power, x64):
    """Against a fit without each sample, at the same hyperparameters."""
    price = prices(X[:40])
    model = PowerTargetRegressor(QUICK, powers=power).fit(X[:40], price)
    g = {1.0: lambda y: y, 0.5: lambda y: 2 * (np.sqrt(y) - 1), 0.0: np.log}[power]
    back = {1.0: lambda u: u, 0.5: lambda u: np.maximum(1 + u / 2, 0) ** 2, 0.0: np.exp}[power]
    target, fitted = g(price), model.regressor_
    gram, rest = np.asarray(fitted.kernel_.matrix(X[:40], X[:40])), target - fitted.intercept_
    alone = np.empty(40)
    for k in range(40):
        others = np.arange(40) != k
        system = gram[np.ix_(others, others)] + fitted.alpha_ * np.eye(39)
        alone[k] = fitted.intercept_ + gram[k, others] @ np.linalg.solve(system, rest[others])
    np.testing.assert_allclose(fitted.predict_left_out(), alone, rtol=1e-7)
    rest = target - alone
    if power == 1:
        mean = alone
    else:
        mean = np.array([back(alone[k] + rest[np.arange(40) != k]).mean() for k in range(40)])
    assert model.errors_[power] == pytest.approx(np.mean((mean - price) ** 2), rel=1e-7)


def test_zeros_have_a_logarithm_too():
    counts = rng.poisson(np.exp(log_of(X)))
    assert (counts == 0).any()
    model = PowerTargetRegressor(QUICK, powers=(0.5, 0)).fit(X, counts)
    assert np.isfinite(model.predict(X_NEW)).all() and np.isfinite(list(model.errors_.values())).all()
    logs = PowerTargetRegressor(QUICK, powers=[0.0]).fit(X, counts)
    ends = logs.predict_interval(X_NEW)
    assert ends.min() >= 0 and model.predict(X_NEW).min() >= 0  # although a half was added


def test_weights_groups_and_names_go_through(monkeypatch):
    monkeypatch.setattr(power_target, "ENTRIES", 1000)  # so that points are done in blocks
    frame, price = pd.DataFrame(X, columns=["size", "age"]), prices(X)
    weight = np.where(np.arange(150) < 20, 0.0, 1.0)
    one = PowerTargetRegressor(QUICK).fit(frame, price, sample_weight=weight)
    two = PowerTargetRegressor(QUICK).fit(frame[20:], price[20:])
    np.testing.assert_allclose(one.predict(frame), two.predict(frame), rtol=1e-4)
    assert list(one.feature_names_in_) == ["size", "age"] and one.n_features_in_ == 2
    folds = KernelBilevelRegressor("gaussian", ard=False, max_iter=5)
    grouped = PowerTargetRegressor(folds, powers=0).fit(X, price, groups=np.arange(150) // 10)
    assert grouped.errors_[0.0] != PowerTargetRegressor(folds, powers=0).fit(X, price).errors_[0.0]
    assert np.mean(cross_val_score(PowerTargetRegressor(QUICK), X, price, cv=KFold(3))) > 0.2


def test_what_is_added_to_zeros_is_in_the_unit_of_the_target():
    price = prices(X)
    price[:8] = 0
    one, other = (PowerTargetRegressor(QUICK, powers=0).fit(X, k * price) for k in (1.0, 1e4))
    assert other.errors_[0.0] == pytest.approx(1e8 * one.errors_[0.0], rel=1e-3)
    np.testing.assert_allclose(other.predict(X_NEW), 1e4 * one.predict(X_NEW), rtol=1e-3)
    with np.errstate(divide="ignore"):
        logs = np.log(price[8:])
    assert logs.min() > np.log(2 * one._shift) - 1e-12


@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_samples_without_weight_decide_nothing(value):
    price, weight = prices(X), np.where(np.arange(150) < 1, 0.0, 1.0)
    price[0] = value
    with_it = PowerTargetRegressor(QUICK).fit(X, price, sample_weight=weight)
    without = PowerTargetRegressor(QUICK).fit(X[1:], price[1:])
    assert with_it.power_ == without.power_ < 1
    np.testing.assert_allclose(with_it.predict(X_NEW), without.predict(X_NEW), rtol=1e-3)


def test_the_error_of_groups_leaves_out_the_residuals_of_the_group_too(x64):
    groups = np.arange(60) % 3
    price = np.exp(0.3 * X[:60, 0] + 2.0 * groups)
    folds = KernelBilevelRegressor("gaussian", ard=False, max_iter=3)
    model = PowerTargetRegressor(folds, powers=0).fit(X[:60], price, groups=groups)
    guess = model.regressor_.predict_left_out()
    rest, left = np.log(price) - guess, np.empty(60)
    for k in range(60):
        left[k] = np.exp(guess[k] + rest[groups != groups[k]]).mean()
    assert model.errors_[0.0] == pytest.approx(np.mean((left - price) ** 2), rel=1e-10)


def test_a_power_near_zero_is_nearly_the_logarithm():
    price = prices(X)
    near = PowerTargetRegressor(QUICK, powers=1e-9).fit(X, price)
    log = PowerTargetRegressor(QUICK, powers=0).fit(X, price)
    np.testing.assert_allclose(near.predict(X_NEW), log.predict(X_NEW), rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "target", "words"), [
        ({}, np.array(["1.0"] * 150), "text"),
        ({"powers": ()}, X[:, 0], "powers="), ({"powers": 2.0}, X[:, 0], "from 0"),
        ({"powers": "log"}, X[:, 0], "powers="), ({"regressor": Ridge()}, X[:, 0], "left out"),
        ({}, X, "1d array"),
        ({"regressor": KernelBilevelRegressor(loss="huber", max_iter=1)}, X[:, 0], "squared"),
    ],
)
def test_wrong_arguments_are_named(options, target, words):
    with pytest.raises(ValueError, match=words):
        PowerTargetRegressor(**options).fit(X, target)


def test_a_second_fit_forgets_the_names_of_the_first():
    model = PowerTargetRegressor(QUICK, powers=0.5).fit(pd.DataFrame(X[:30], columns=["a", "b"]), prices(X[:30]))
    assert list(model.feature_names_in_) == ["a", "b"]
    assert not hasattr(model.fit(X[:30], prices(X[:30])), "feature_names_in_")


def test_means_in_blocks_are_those_of_one(monkeypatch):
    price = prices(X[:40])
    model = PowerTargetRegressor(QUICK, powers=0).fit(X[:40], price)
    whole, error = model.predict(X_NEW[:20]), model.errors_[0.0]
    monkeypatch.setattr(power_target, "ENTRIES", 100)  # two rows at a time
    np.testing.assert_allclose(model.predict(X_NEW[:20]), whole, rtol=1e-12)
    again = PowerTargetRegressor(QUICK, powers=0).fit(X[:40], price)
    np.testing.assert_allclose(again.errors_[0.0], error, rtol=1e-12)


def test_many_residuals_are_averaged_in_bins(monkeypatch):
    price = prices(X)
    whole = PowerTargetRegressor(QUICK, powers=0).fit(X, price)
    monkeypatch.setattr(power_target, "MOST", 60)
    binned = PowerTargetRegressor(QUICK, powers=0).fit(X, price)
    assert len(binned._residuals[0]) == 60
    np.testing.assert_allclose(binned._residuals[1].sum(), 1)
    np.testing.assert_allclose(binned.predict(X_NEW[:50]), whole.predict(X_NEW[:50]), rtol=0.01)
    np.testing.assert_allclose(binned.errors_[0.0], whole.errors_[0.0], rtol=0.05)


def test_a_large_group_is_left_out_of_many_residuals_too(monkeypatch):
    """Against the same without bins; a group's own residuals would halve the error."""
    group = np.arange(150) % 3
    price = np.exp(0.3 * X[:, 0] + 2 * group + 0.1 * rng.normal(size=150))
    folds = KernelBilevelRegressor("gaussian", ard=False, max_iter=3)
    fit = lambda: PowerTargetRegressor(folds, powers=0).fit(X, price, groups=group).errors_[0.0]
    exact = fit()
    monkeypatch.setattr(power_target, "MOST", 80)
    np.testing.assert_allclose(fit(), exact, rtol=0.02)
    monkeypatch.setattr(power_target, "LARGE", 1.0)
    assert fit() < 0.8 * exact


def test_powers_that_negative_targets_do_not_have():
    with pytest.raises(ValueError, match="add 1, or leave powers out"):
        PowerTargetRegressor(QUICK, powers=0).fit(X, prices(X) - 5)
