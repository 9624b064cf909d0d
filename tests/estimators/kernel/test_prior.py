"""The prior of the lengthscales, the default criterion, and the loss on folds not searched on."""

import jax
import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, KFold, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import kbo
from kbo import KernelBilevelClassifier, KernelBilevelRegressor
from kbo.criteria import GCV, MarginalLikelihood, Regularized
from kbo.estimators.kernel.prior import KernelPrior
from kbo.parameters import Tunable

rng = np.random.default_rng(0)
X = rng.normal(size=(80, 4))
Y = np.sin(2 * X[:, 0]) + 0.3 * rng.normal(size=80)


def test_the_formula(x64):
    kernel = kbo.kernels.Gaussian(np.ones(3)) + kbo.kernels.Matern32(np.array(2.0))
    every = [np.full(3, True), np.array(True)]
    prior = KernelPrior.of(Tunable.of(kernel), 2.0, True, every)
    s, single = np.array([0.3, -0.2, 1.1]), np.array(0.4)
    expected = np.sum((s - s.mean()) ** 2) + (s.mean() - 1) ** 2 + (single - 1) ** 2
    assert float(prior({"kernel": [s, single]})) == pytest.approx(expected)
    level_free = KernelPrior.of(Tunable.of(kernel), 2.0, False, every)
    assert float(level_free({"kernel": [s, single]})) == pytest.approx(
        np.sum((s - s.mean()) ** 2)
    )
    mixed = kbo.kernels.Warped(
        kbo.kernels.Gaussian(np.array(1.0)) * 2.0, np.zeros(3), np.ones(3), np.ones(3)
    )
    part = KernelPrior.of(
        Tunable.of(kernel), 2.0, False, [np.array([True, True, False]), every[1]]
    )
    assert float(part({"kernel": [s, single]})) == pytest.approx(0.5 * (s[0] - s[1]) ** 2)
    masks = {"lengthscale": every[1], "scale": every[1], "skew": every[0]}
    used = [masks[name] for name in Tunable.of(mixed).names()]
    prior = KernelPrior.of(Tunable.of(mixed), 2.0, False, used)
    logs = {"lengthscale": single, "scale": np.array(-1.2), "skew": s}
    omega = {"kernel": [logs[name] for name in Tunable.of(mixed).names()]}
    assert float(prior(omega)) == pytest.approx((1.2 / 3) ** 2 + np.sum((2 * s) ** 2))


def test_regularized_values_are_their_formulas(x64):
    from tests.criteria.test_criteria import OMEGA, problem_of

    problem, prior = problem_of(), lambda w: jax.numpy.sum(jax.numpy.stack(
        [jax.numpy.sum(leaf**2) for leaf in jax.tree.leaves(w)]
    ))
    P = float(prior(OMEGA))
    of = lambda method: kbo.value_and_hypergradient(problem, OMEGA, method=method).value
    square = of(Regularized(GCV(), prior, 30.0))
    assert square == pytest.approx(of(GCV()) * np.exp(P / 15))
    nats = Regularized(MarginalLikelihood(), prior, 30.0, "nats")
    assert nats.plain(of(nats)) == pytest.approx(of(MarginalLikelihood()) + P)
    with pytest.raises(ValueError, match="kind='other'"):
        Regularized(GCV(), prior, 30.0, "other")


def spread(model):
    logs = np.log(model.lengthscale_ / X.std(0))
    return np.std(logs)


@pytest.mark.parametrize("criterion", ["cv", "loo", "gcv", "marginal_likelihood"])
def test_a_stronger_prior_ties_the_lengthscales(criterion):
    spreads = [
        spread(KernelBilevelRegressor(criterion=criterion, prior=strength).fit(X, Y))
        for strength in (0.0, 30.0, 1e3)
    ]
    assert spreads[0] > spreads[1] > spreads[2]
    assert spreads[2] < 0.15


def test_without_a_prior_what_is_minimised_is_the_criterion_itself():
    model = KernelBilevelRegressor(criterion="cv", prior=0.0, cv=KFold(4), tune="alpha").fit(X, Y)
    gamma = model.lengthscale_
    errors = []
    for train, test in KFold(4).split(X):
        c = Y.mean()
        fit = KernelRidge(alpha=model.alpha_, kernel=lambda a, b: matern(a, b, gamma)).fit(
            X[train], Y[train] - c
        )
        errors.append(np.mean((Y[test] - c - fit.predict(X[test])) ** 2))
    assert model.criterion_ == pytest.approx(0.5 * np.mean(errors), rel=1e-8)
    assert model.cv_loss_ == pytest.approx(model.criterion_, rel=1e-8)  # the user's folds


def matern(a, b, lengthscale):
    r = np.sqrt(3 * np.sum(((a - b) / lengthscale) ** 2))
    return (1 + r) * np.exp(-r)


def test_the_loss_on_other_folds_is_that_of_scikit_learn():
    model = KernelBilevelRegressor("matern32").fit(X, Y)
    found = []
    for seed in (1, 2, 3):
        errors = []
        for train, test in KFold(5, shuffle=True, random_state=seed).split(X):
            fit = KernelRidge(
                alpha=model.alpha_, kernel=lambda a, b: matern(a, b, model.lengthscale_)
            ).fit(X[train], Y[train] - Y.mean())
            errors.append(np.mean((Y[test] - Y.mean() - fit.predict(X[test])) ** 2))
        found.append(0.5 * np.mean(errors))
    assert model.cv_loss_ == pytest.approx(np.mean(found), rel=1e-8)


@pytest.mark.parametrize("options", [
    {"loss": "huber"}, {"solver": "nystrom", "n_centers": 30}, {"cv": TimeSeriesSplit(3)},
    {"max_time": 60.0}, {"kernel": "linear"},
])
def test_every_search_has_a_loss_on_folds(options):
    model = KernelBilevelRegressor(max_iter=3, **options).fit(X, Y)
    assert 0 < model.cv_loss_ < np.var(Y)


def test_groups_of_samples_stay_together_in_the_loss():
    groups = np.repeat(np.arange(16), 5)
    target = rng.normal(size=16)[groups]  # known within a group only
    points = groups[:, None] + 0.01 * X[:, :1]
    loose = KernelBilevelRegressor().fit(points, target)
    kept = KernelBilevelRegressor().fit(points, target, groups=groups)
    own = KernelBilevelRegressor(cv=GroupKFold(4)).fit(points, target, groups=groups)
    assert min(kept.cv_loss_, own.cv_loss_) > 3 * loose.cv_loss_


CHOICES = {
    "plain": ({}, {}, True),
    "many outputs": ({"y": np.column_stack([Y, Y**2])}, {}, True),
    "folds": ({}, {"cv": 5}, False),
    "another loss": ({}, {"loss": "huber"}, False),
    "an outer loss": ({}, {"outer_loss": "huber"}, False),
    "a solver of centres": ({}, {"solver": "nystrom", "n_centers": 20}, False),
    "errors": ({}, {"standard_errors": True}, False),
    "weights": ({"sample_weight": 1.0 + np.arange(80) % 2}, {}, False),
    "equal weights": ({"sample_weight": np.full(80, 2.0)}, {}, True),
    "constant targets": ({"y": np.ones(80)}, {}, False),
    "ridges": ({"y": np.column_stack([Y, Y**2])}, {"alpha": [0.1, 0.1]}, False),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_default_criterion_is_the_marginal_likelihood_where_there_is_one(name):
    data, options, likelihood = CHOICES[name]
    model = KernelBilevelRegressor(max_iter=2, **options).fit(X, **{"y": Y, **data})
    assert hasattr(model, "n_splits_") is not likelihood


def test_folds_are_shuffled_unless_the_user_makes_them():
    order = np.argsort(X[:, 0])  # sorted by what decides the target
    default = KernelBilevelRegressor(cv=5, tune="alpha").fit(X[order], Y[order])
    sorted_folds = KernelBilevelRegressor(cv=KFold(5), tune="alpha").fit(X[order], Y[order])
    assert default.criterion_ < 0.7 * sorted_folds.criterion_
    again = KernelBilevelRegressor(cv=5, tune="alpha").fit(X[order], Y[order])
    assert again.criterion_ == default.criterion_
    other = KernelBilevelRegressor(cv=5, tune="alpha", random_state=1).fit(X[order], Y[order])
    assert other.criterion_ != default.criterion_


@pytest.mark.parametrize("value", [-1.0, np.nan, 1e4, "strong", None])
def test_a_bad_prior_is_named(value):
    with pytest.raises(ValueError, match="prior="):
        KernelBilevelRegressor(prior=value).fit(X, Y)


def test_the_classifier_has_a_prior_and_a_loss_too():
    labels = Y > 0
    tied = KernelBilevelClassifier(ard=True, prior=1e3, max_iter=10).fit(X, labels)
    free = KernelBilevelClassifier(ard=True, prior=0.0, max_iter=10).fit(X, labels)
    assert spread(tied) < 0.2 < spread(free)
    assert 0 < tied.cv_loss_ < 0.75


@pytest.mark.slow
def test_columns_of_noise_do_not_spoil_the_default():
    data, target = load_diabetes(return_X_y=True)
    train, test = np.arange(300), np.arange(300, len(data))

    def score(model, seed):
        noise = np.random.default_rng(seed).normal(size=(len(data), 20))
        noisy = np.column_stack([data, noise])
        return model.fit(noisy[train], target[train]).score(noisy[test], target[test])

    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 4, 20)))
    mean = lambda model: np.mean([score(model, seed) for seed in range(3)])
    bar = mean(ridge) - 0.05
    assert mean(KernelBilevelRegressor()) > bar
    # What the prior and the likelihood guard against: free lengthscales fitted to the folds.
    assert mean(KernelBilevelRegressor("matern32", criterion="cv", prior=0.0)) < bar - 0.05
