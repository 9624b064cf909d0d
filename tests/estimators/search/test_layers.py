"""HypergradientSearchCV through transformed targets, subclasses, weights and groups."""

import jax.numpy as jnp
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegressionCV, Ridge
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, LeaveOneGroupOut, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from kbo import HypergradientSearchCV

from .test_search import FOLDS, X, by_differences, gradient, rbf, refitted_criterion, squared

X = X[:60]
Y = 150 + 40 * X[:, 2] + 20 * np.sin(2 * X[:, 8]) + 5 * np.random.default_rng(0).normal(size=60)
BOTH = np.stack([Y, Y**2 / 100], 1)
RANGES = {"alpha": (1e-3, 1e2), "gamma": (1e-4, 1.0)}


def named(prefix):
    return {prefix + name: ends for name, ends in RANGES.items()}


def softplus(v):
    return jnp.logaddexp(v, 0.0) * 9.0


def softplus_inverse(y):
    return np.log(np.expm1(y / 9.0))


# name -> estimator around rbf(), prefix of its parameters, y
AROUND = {
    "standardised": (TransformedTargetRegressor(rbf(), transformer=StandardScaler()), "", Y),
    "in [0, 1]": (TransformedTargetRegressor(rbf(), transformer=MinMaxScaler()), "", Y),
    "logarithm": (
        TransformedTargetRegressor(rbf(), func=np.log1p, inverse_func=np.expm1), "", Y,
    ),
    "written with jax": (
        TransformedTargetRegressor(
            rbf(), func=softplus_inverse, inverse_func=softplus, check_inverse=False
        ), "", Y,
    ),
    "nothing": (TransformedTargetRegressor(rbf()), "", Y),
    "affine functions": (
        TransformedTargetRegressor(
            rbf(), func=lambda y: (y - 150) / 30, inverse_func=lambda v: 150 + 30 * v
        ), "", Y,
    ),
    "two targets": (TransformedTargetRegressor(rbf(), transformer=RobustScaler()), "", BOTH),
    "around a pipeline": (
        TransformedTargetRegressor(
            make_pipeline(StandardScaler(), rbf()), transformer=StandardScaler()
        ), "kernelridge__", Y,
    ),
}


QUICK = {"standardised", "logarithm", "around a pipeline", "three"}


def quick_or_slow(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", quick_or_slow(AROUND))
def test_a_transformed_target_is_judged_in_its_own_units(name):
    """Value and gradient are those of scikit-learn's refits, errors in the units of y."""
    estimator, inner, y = AROUND[name]
    space = named(f"regressor__{inner}")
    criterion = lambda model: refitted_criterion(model, squared, (X, y))
    start = clone(estimator)
    slopes = by_differences(start, space, criterion)
    np.testing.assert_allclose(
        gradient(estimator, space, (X, y), list(FOLDS.split(X))), slopes, rtol=1e-3,
        atol=1e-5 * criterion(start),
    )
    search = HypergradientSearchCV(
        estimator, space, cv=FOLDS, max_iter=2, scoring="neg_mean_squared_error"
    ).fit(X, y)
    assert search.cv_results_["outer_loss"][0] == pytest.approx(criterion(start), rel=1e-5)
    assert search.best_score_ > search.cv_results_["mean_test_score"][0]
    assert type(search.best_estimator_) is TransformedTargetRegressor


def test_a_transformed_target_at_the_end_of_a_pipeline():
    inside = TransformedTargetRegressor(rbf(), transformer=StandardScaler())
    pipe = Pipeline([("scale", StandardScaler()), ("model", inside)])
    search = HypergradientSearchCV(
        pipe, named("model__regressor__"), cv=FOLDS, max_iter=2
    ).fit(X, Y)
    assert search.cv_results_["outer_loss"][0] == pytest.approx(
        refitted_criterion(pipe, squared, (X, Y)), rel=1e-6
    )
    twice = TransformedTargetRegressor(inside, func=np.log, inverse_func=np.exp)
    search = HypergradientSearchCV(
        twice, named("regressor__regressor__"), cv=FOLDS, max_iter=1
    ).fit(X, Y)
    assert search.cv_results_["outer_loss"][0] == pytest.approx(
        refitted_criterion(twice, squared, (X, Y)), rel=1e-6
    )


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (TransformedTargetRegressor(rbf(), transformer=PowerTransformer()), "PowerTransformer"),
        (
            TransformedTargetRegressor(rbf(), transformer=QuantileTransformer(n_quantiles=9)),
            "QuantileTransformer.*StandardScaler.*expm1",
        ),
        (
            TransformedTargetRegressor(
                rbf(), func=np.log, inverse_func=lambda v: np.exp(np.asarray(v))
            ), "jax.numpy",
        ),
        (TransformedTargetRegressor(), "LinearRegression|NoneType"),
        (TransformedTargetRegressor(Ridge(), transformer=StandardScaler()), "regressor__alpha"),
    ],
)
def test_what_cannot_be_looked_through_says_what_can(estimator, message):
    with pytest.raises(ValueError, match=message):
        HypergradientSearchCV(estimator, named("regressor__")).fit(X, Y)


class Renamed(KernelRidge):
    """Other defaults, and a score of its own."""

    def __init__(self, alpha=0.3, *, kernel="rbf", gamma=0.05, degree=3, coef0=1, kernel_params=None):
        super().__init__(
            alpha, kernel=kernel, gamma=gamma, degree=degree, coef0=coef0,
            kernel_params=kernel_params,
        )

    def score(self, X, y, sample_weight=None):
        return -np.abs(self.predict(X) - y).mean()

    def helper(self):
        return 1


class Bounded(KernelRidge):
    def predict(self, X):
        return np.clip(super().predict(X), 0, None)


class OtherKernel(KernelRidge):
    def _get_kernel(self, X, Y=None):
        return super()._get_kernel(X, Y) ** 2


class Sampling(Pipeline):
    def fit(self, X, y=None, **params):
        return super().fit(X[::2], y[::2], **params)


def test_a_subclass_is_searched_like_its_parent():
    ours = HypergradientSearchCV(Renamed(), RANGES, cv=FOLDS, max_iter=3).fit(X, Y)
    parents = HypergradientSearchCV(rbf(), RANGES, cv=FOLDS, max_iter=3).fit(X, Y)
    np.testing.assert_array_equal(
        ours.cv_results_["outer_loss"], parents.cv_results_["outer_loss"]
    )
    assert type(ours.best_estimator_) is Renamed
    assert ours.best_score_ < 0  # its own score


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (Bounded(kernel="rbf"), r"Bounded replaces \['predict'\] of KernelRidge.*GridSearchCV"),
        (OtherKernel(kernel="rbf"), r"OtherKernel replaces \['_get_kernel'\]"),
        (LogisticRegressionCV(), "LogisticRegressionCV replaces .*'fit'"),
        (Sampling([("kernelridge", rbf())]), r"Sampling replaces \['fit'\] of Pipeline"),
    ],
)
def test_a_subclass_that_works_otherwise_is_refused(estimator, message):
    with pytest.raises(ValueError, match=message):
        HypergradientSearchCV(estimator, RANGES).fit(X, (Y > 150).astype(int))


GROUPS = np.arange(60) % 6


@pytest.mark.parametrize(
    ("cv", "groups"),
    [
        (GroupKFold(3), GROUPS.tolist()), (LeaveOneGroupOut(), np.array(list("abcdef"))[GROUPS]),
    ],
    ids=["list", "strings"],
)
def test_groups_reach_the_folds(cv, groups):
    """No group is in both sides of a fold: the criterion is that of the splitter's own splits."""
    search = HypergradientSearchCV(rbf(), RANGES, cv=cv, max_iter=1).fit(X, Y, groups=groups)
    errors = [squared(rbf().fit(X[a], Y[a]), X[b], Y[b]) for a, b in cv.split(X, Y, GROUPS)]
    assert search.cv_results_["outer_loss"][0] == pytest.approx(np.mean(errors), rel=1e-9)
    assert search.n_splits_ == len(errors)


def test_without_groups_a_group_splitter_says_so():
    with pytest.raises(ValueError, match="groups"):
        HypergradientSearchCV(rbf(), RANGES, cv=GroupKFold(3)).fit(X, Y)


@pytest.mark.parametrize("routing", [False, True])
def test_nested_in_cross_validate_with_groups(routing):
    """Inner and outer folds keep groups together, with metadata routing and without."""
    with sklearn.config_context(enable_metadata_routing=routing):
        settings = dict(cv=GroupKFold(2), refit=True)
        search = HypergradientSearchCV(rbf(), {"alpha": (1e-3, 1e2)}, max_iter=2, **settings)
        given = {"params": {"groups": GROUPS}}
        if not routing:
            given["groups"] = GROUPS
        outer = cross_validate(search, X, Y, cv=GroupKFold(3), return_estimator=True, **given)
        for found, (rows, _) in zip(
            outer["estimator"], GroupKFold(3).split(X, Y, GROUPS), strict=True
        ):
            alone = GridSearchCV(rbf(), {"alpha": [found.best_params_["alpha"]]}, **settings)
            alone.fit(X[rows], Y[rows], groups=GROUPS[rows])
            assert found.best_score_ == pytest.approx(alone.best_score_, rel=1e-12)


def test_weights_are_those_of_the_last_step():
    weight = np.random.default_rng(0).uniform(0, 3, len(X))
    pipe = make_pipeline(StandardScaler(), rbf())
    space = {"kernelridge__alpha": (1e-3, 1e2)}
    search = HypergradientSearchCV(pipe, space, cv=FOLDS, max_iter=1)
    search.fit(X, Y, kernelridge__sample_weight=weight)
    errors = []
    for a, b in FOLDS.split(X):
        model = clone(pipe).fit(X[a], Y[a], kernelridge__sample_weight=weight[a])
        errors.append(np.average((model.predict(X[b]) - Y[b]) ** 2 / 2, weights=weight[b]))
    assert search.cv_results_["outer_loss"][0] == pytest.approx(np.mean(errors), rel=1e-9)
    with pytest.raises(ValueError, match=r"standardscaler__sample_weight.*kernelridge"):
        search.fit(X, Y, standardscaler__sample_weight=weight)
    process = GaussianProcessRegressor(RBF(), optimizer=None)
    with pytest.raises(ValueError, match="GaussianProcessRegressor takes no sample_weight"):
        HypergradientSearchCV(process, {"alpha": (0.1, 1.0)}).fit(X, Y, sample_weight=weight)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=True),
            rbf().set_fit_request(sample_weight=True),
        )
        with pytest.raises(ValueError, match=r"standardscaler.*last step"):
            HypergradientSearchCV(routed, space).fit(X, Y, sample_weight=weight)
        routed = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False),
            rbf().set_fit_request(sample_weight=True),
        )
        scoring = get_scorer("r2").set_score_request(sample_weight=False)
        again = HypergradientSearchCV(routed, space, cv=FOLDS, max_iter=1, scoring=scoring)
        again.fit(X, Y, sample_weight=weight)
    np.testing.assert_array_equal(
        again.cv_results_["outer_loss"], search.cv_results_["outer_loss"]
    )


def designed(seed, n=60):
    random = np.random.default_rng(seed)
    x = random.uniform(0, 10, (n + 1000, 1))
    y = 5 * np.sin(x[:, 0]) + 0.5 * random.normal(size=n + 1000)
    return x[:n], y[:n], x[n:], y[n:]


KERNEL = ConstantKernel() * RBF() + WhiteKernel()
VARIANCES = {
    "kernel__k1__k1__constant_value": (1e-3, 1e3), "kernel__k1__k2__length_scale": (1e-1, 1e1),
    "kernel__k2__noise_level": (1e-4, 1e2),
}
INTERVALS = {  # kernel's parameters -> GaussianProcessRegressor, space
    "three": (GaussianProcessRegressor(KERNEL, optimizer=None), VARIANCES),
    "normalised": (
        GaussianProcessRegressor(KERNEL, optimizer=None, normalize_y=True), VARIANCES,
    ),
    "with alpha besides": (
        GaussianProcessRegressor(KERNEL, alpha=0.01, optimizer=None), VARIANCES,
    ),
    "sum": (
        GaussianProcessRegressor(
            RBF() * ConstantKernel() + (ConstantKernel() + WhiteKernel()), optimizer=None
        ),
        {"kernel__k1__k2__constant_value": (1e-3, 1e3), "kernel__k1__k1__length_scale": (0.1, 10.0),
         "kernel__k2__k1__constant_value": (1e-3, 1e3), "kernel__k2__k2__noise_level": (1e-4, 1e2)},
    ),
}


@pytest.mark.parametrize("name", quick_or_slow(INTERVALS))
def test_intervals_of_a_process_hold_what_they_say(name):
    process, space = INTERVALS[name]
    x, y, new, truth = designed(0)
    search = HypergradientSearchCV(process, space, cv=FOLDS).fit(x, y)
    assert search.cv_results_["params"][0] == pytest.approx(
        {k: process.get_params()[k] for k in space}
    )
    mean, deviation = search.predict(new), search.best_estimator_.predict(new, return_std=True)[1]
    covered = np.mean(np.abs(truth - mean) < 1.96 * deviation)
    assert 0.9 <= covered <= 0.995  # one sample of 60: on the mean of many it is 0.94
    # The closed form: mean one of the squared errors left out over their variances.
    squares = []
    for a, b in FOLDS.split(x):
        model = clone(search.best_estimator_).fit(x[a], y[a])
        mean, deviation = model.predict(x[b], return_std=True)
        scale = y[a].std() if process.normalize_y else 1.0
        squares.append((y[b] - mean) ** 2 / (deviation**2 + process.alpha * scale**2))
    assert np.mean(np.concatenate(squares)) == pytest.approx(1.0, rel=1e-6)
    # The criterion at the parameters handed out is the one that was minimised.
    rows = search.cv_results_
    np.testing.assert_allclose(
        search.outer_loss_at(x, y, rows["params"][-1:]), rows["outer_loss"][-1:], rtol=1e-8
    )


@pytest.mark.parametrize(
    ("process", "space", "names"),
    [
        pytest.param(  # nothing in the space can take up the scale
            GaussianProcessRegressor(RBF() + WhiteKernel(), optimizer=None),
            {"kernel__k1__length_scale": (0.1, 10.0), "kernel__k2__noise_level": (1e-6, 1e2)},
            "noise_level", marks=pytest.mark.slow,
        ),
        (  # the ranges do not let it
            GaussianProcessRegressor(KERNEL, optimizer=None),
            {**VARIANCES, "kernel__k1__k1__constant_value": (0.5, 1.0)}, "constant_value",
        ),
    ],
    ids=["no constant", "narrow"],
)
def test_deviations_that_cannot_be_right_are_told(process, space, names):
    x, y, *_ = designed(0)
    with pytest.warns(UserWarning, match=f"times too small.*{names}.*ConstantKernel"):
        HypergradientSearchCV(process, space, cv=FOLDS).fit(x, y)
