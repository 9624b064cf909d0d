"""HypergradientSearchCV in GridSearchCV's place, against scikit-learn's own refits."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_linnerud, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    ExpSineSquared,
    Matern,
    RationalQuadratic,
    WhiteKernel,
)
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Lars, LogisticRegression, Ridge
from sklearn.metrics import hinge_loss, log_loss, mean_squared_error
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    PredefinedSplit,
    RepeatedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.utils.estimator_checks import parametrize_with_checks

import kbo
from kbo import HypergradientSearchCV
from kbo.estimators._common.validation import computing
from kbo.estimators.search.problem import search_problem

X, Y = load_diabetes(return_X_y=True)
X, Y = X[:150] / X.std(0), Y[:150] - Y[:150].mean()
B, CANCER = load_breast_cancer(return_X_y=True)
B, CANCER = StandardScaler().fit_transform(B)[:150], CANCER[:150]
W, WINE = load_wine(return_X_y=True)
W = StandardScaler().fit_transform(W)
RIDGE = {"alpha": (1e-3, 1e3)}
BOTH = {"alpha": (1e-3, 1e2), "gamma": (1e-4, 1.0)}
FOLDS = KFold(4, shuffle=True, random_state=0)


def rbf(**given):
    return KernelRidge(kernel="rbf", alpha=0.3, gamma=0.05).set_params(**given)


def process(kernel, **given):
    return GaussianProcessRegressor(kernel, optimizer=None, **given)


def squared(model, x, y):
    return mean_squared_error(y, model.predict(x)) / 2 * (1 if y.ndim == 1 else y.shape[1])


def likelihood(model, x, y):
    return log_loss(y, model.predict_proba(x), labels=model.classes_)


# name -> estimator, space, data, the outer loss of a fitted model
EXACT = {
    "rbf": (rbf(), BOTH, (X, Y), squared),
    "rbf default gamma": (rbf(gamma=None), RIDGE, (X, Y), squared),
    "laplacian": (rbf(kernel="laplacian"), BOTH, (X, Y), squared),
    "linear": (rbf(kernel="linear"), RIDGE, (X, Y), squared),
    "poly": (
        rbf(kernel="poly", degree=2, coef0=1.5, alpha=5), {**BOTH, "coef0": (0.5, 3.0)}, (X, Y),
        squared,
    ),
    "sigmoid": (
        rbf(kernel="sigmoid", gamma=1e-3, coef0=0.5, alpha=2.0),
        {"alpha": (0.5, 9.0), "gamma": (1e-4, 1e-2), "coef0": (0.1, 1.0)}, (X, Y), squared,
    ),
    "many outputs": (rbf(), BOTH, (X, np.stack([Y, Y**2 / 50], 1)), squared),
    "ridge": (Ridge(2.0), RIDGE, (X, Y + 100), squared),
    "ridge without intercept": (Ridge(2.0, fit_intercept=False), RIDGE, (X, Y), squared),
    "ridge of many outputs": (Ridge(2.0), RIDGE, (X, np.stack([Y, 3 * Y + X[:, 0]], 1)), squared),
    "logistic without intercept": (
        LogisticRegression(C=0.1, fit_intercept=False, tol=1e-9, max_iter=9999), {"C": (1e-3, 10)},
        (B, CANCER), likelihood,
    ),
    "softmax without intercept": (
        LogisticRegression(C=0.1, fit_intercept=False, tol=1e-9, max_iter=9999), {"C": (1e-3, 10)},
        (W, WINE), likelihood,
    ),
    "process": (
        process(ConstantKernel(2.0) * RBF(3.0) + WhiteKernel(0.5), normalize_y=True),
        {"alpha": (1e-3, 1.0), "kernel__k1__k1__constant_value": (0.1, 9.0),
         "kernel__k1__k2__length_scale": (0.5, 20.0), "kernel__k2__noise_level": (0.01, 5.0)},
        (X, Y), squared,
    ),
    "process with one lengthscale a feature": (
        process(ConstantKernel(900.0) * Matern(np.linspace(2, 5, 10), nu=1.5), alpha=500.0),
        {"kernel__k2__length_scale": (0.5, 20.0)}, (X, Y), squared,
    ),
    "process of rougher kernels": (
        process(
            ConstantKernel(900.0) * Matern(4.0, nu=0.5) + 900.0 * Matern(3.0, nu=2.5)
            + 100.0 * RationalQuadratic(3.0, 0.7), alpha=900.0,
        ),
        {"alpha": (10.0, 1e4), "kernel__k1__k1__k2__length_scale": (0.5, 20.0),
         "kernel__k1__k2__k2__length_scale": (0.5, 20.0), "kernel__k2__k2__alpha": (0.1, 5.0)},
        (X, Y), squared,
    ),
    "process of waves and lines": (
        process(ExpSineSquared(2.0, 9.0) + DotProduct(0.5), alpha=0.5),
        {"alpha": (0.01, 9.0), "kernel__k1__length_scale": (0.5, 9.0),
         "kernel__k1__periodicity": (5.0, 20.0), "kernel__k2__sigma_0": (0.1, 3.0)},
        (X, Y), squared,
    ),
    "pipeline": (
        make_pipeline(StandardScaler(), PCA(5), rbf()),
        {"kernelridge__alpha": (1e-3, 1e2), "kernelridge__gamma": (1e-3, 1.0)}, (X * 7, Y), squared,
    ),
    "kbo regressor": (
        kbo.KernelBilevelRegressor(tune=(), alpha=0.05, lengthscale=np.full(10, 3.0)),
        {"alpha": (1e-3, 10.0), "lengthscale": (0.5, 50.0)}, (X, Y + 150), squared,
    ),
    "kbo regressor, huber": (
        kbo.KernelBilevelRegressor(tune=(), alpha=0.05, lengthscale=3.0, loss="huber", ard=False),
        {"alpha": (1e-3, 10.0), "lengthscale": (0.5, 50.0)}, (X, Y + 150), squared,
    ),
    "kbo classifier": (
        kbo.KernelBilevelClassifier(tune=(), alpha=0.01, lengthscale=4.0, ard=False),
        {"alpha": (1e-3, 1.0), "lengthscale": (0.5, 50.0)}, (B, CANCER), likelihood,
    ),
}


def refitted_criterion(estimator, loss, data, weight=None):
    """The mean over folds of the mean outer loss of scikit-learn's own fits."""
    x, y = data
    values = []
    for train, test in FOLDS.split(x):
        model = clone(estimator)
        extra = {} if weight is None else {"sample_weight": weight[train]}
        model.fit(x[train], y[train], **extra)
        values.append(loss(model, x[test], y[test]))
    return np.mean(values)


def gradient(estimator, space, data, splits):
    """What the search follows, at its start, one number a coordinate."""
    with computing(None):
        found = search_problem(estimator, space, *data, splits, np.ones(len(data[0])), None)
        hg = kbo.value_and_hypergradient(found.problem, found.start(), method=found.method)
    return np.concatenate([np.ravel(hg.grad[d.name]) for d in found.dimensions])


def by_differences(estimator, space, criterion, step=1e-4):
    """The norm of the gradient in logs, by central differences of refits."""
    slopes = []
    for name in space:
        value = np.asarray(estimator.get_params()[name], float)
        for k in np.ndindex(value.shape):
            sides = []
            for sign in (1, -1):
                moved = value.copy()
                moved[k] *= np.exp(sign * step)
                moved = float(moved) if moved.ndim == 0 else moved
                sides.append(criterion(clone(estimator).set_params(**{name: moved})))
            slopes.append((sides[0] - sides[1]) / (2 * step))
    return slopes


@pytest.mark.parametrize("name", EXACT)
def test_value_and_gradient_are_those_of_refits(name):
    estimator, space, data, loss = EXACT[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search = HypergradientSearchCV(estimator, space, cv=FOLDS, max_iter=2).fit(*data)
    criterion = lambda model: refitted_criterion(model, loss, data)
    start = {k: v for k, v in search.cv_results_["params"][0].items()}
    found = clone(estimator).set_params(**start)
    value = criterion(found)
    assert search.cv_results_["outer_loss"][0] == pytest.approx(value, rel=1e-6)
    slopes = by_differences(found, space, criterion)
    np.testing.assert_allclose(
        gradient(estimator, space, data, list(FOLDS.split(data[0]))), slopes, rtol=2e-4,
        atol=1e-6 * value,
    )
    best = clone(estimator).set_params(**search.best_params_)
    assert search.best_score_ == cross_val_score(best, *data, cv=FOLDS).mean()
    assert criterion(clone(estimator).set_params(**search.cv_results_["params"][-1])) < value


@pytest.mark.parametrize(
    ("estimator", "space", "data", "loss", "close"),
    [
        (LogisticRegression(C=0.1, max_iter=999), {"C": (1e-3, 10.0)}, (B, CANCER), likelihood, .02),
        (LogisticRegression(C=0.1, max_iter=999), {"C": (1e-3, 10.0)}, (W, WINE), likelihood, .02),
        pytest.param(
            SVR(C=50.0, gamma=0.02, epsilon=9.0),
            {"C": (1.0, 1e3), "gamma": (1e-3, 1.0), "epsilon": (1.0, 50.0)}, (X, Y + 150), squared,
            .02, marks=pytest.mark.slow,
        ),
        (SVR(kernel="poly", degree=2, C=9.0, gamma=0.02, coef0=1.0, epsilon=9.0),
         {"C": (1.0, 1e3), "coef0": (0.1, 9.0)}, (X, Y + 150), squared, .02),
    ],
    ids=["logistic", "softmax", "svr", "svr poly"],
)
def test_intercepts_and_smoothed_losses_are_close_to_refits(estimator, space, data, loss, close):
    search = HypergradientSearchCV(estimator, space, cv=FOLDS, max_iter=3).fit(*data)
    assert search.cv_results_["outer_loss"][0] == pytest.approx(
        refitted_criterion(estimator, loss, data), rel=close
    )
    assert search.cv_results_["outer_loss"][-1] < search.cv_results_["outer_loss"][0]


def test_svc_has_the_smoothed_machine_for_its_criterion():
    """Scores of the smoothed machine are near the SVC's: the hinge loss as outer loss tells."""
    import jax.numpy as jnp

    hinge = lambda w, v, t: jnp.maximum(1 - t * v, 0.0)
    machine = SVC(C=2.0, gamma=0.02)
    search = HypergradientSearchCV(
        machine, {"C": (0.1, 1e2), "gamma": (1e-3, 1.0)}, cv=FOLDS, outer_loss=hinge, max_iter=3
    ).fit(B, CANCER)
    judged = lambda model, x, y: hinge_loss(y, model.decision_function(x))
    refits = refitted_criterion(machine, judged, (B, CANCER))
    assert search.cv_results_["outer_loss"][0] == pytest.approx(refits, rel=0.1)
    assert search.cv_results_["outer_loss"][-1] < search.cv_results_["outer_loss"][0]


def test_results_are_grid_searchs_and_more():
    grid = GridSearchCV(rbf(), {"alpha": [0.1, 1.0]}, cv=FOLDS, return_train_score=True).fit(X, Y)
    search = HypergradientSearchCV(rbf(), RIDGE, cv=FOLDS, return_train_score=True).fit(X, Y)
    more = {"outer_iter", "restart", "outer_loss", "grad_norm", "inner_residual"}
    assert set(search.cv_results_) == set(grid.cv_results_) | more
    assert {k for k in vars(grid) if k.endswith("_") and not k.startswith("_")} <= set(vars(search))
    assert search.cv_results_["params"][0] == {"alpha": pytest.approx(0.3)}
    table = pd.DataFrame(search.cv_results_)
    assert list(table.outer_iter) == list(range(len(table)))
    assert (np.diff(table.outer_loss) < 0).all()
    assert set(table.restart) == {0}
    assert (table.inner_residual < 1e-8).all()
    assert search.n_iter_ == len(table) - 1 < search.n_evaluations_ + 1
    assert search.search_time_ > 0
    assert type(search.best_estimator_) is KernelRidge
    assert search.best_estimator_.alpha == search.best_params_["alpha"]
    np.testing.assert_array_equal(search.predict(X), search.best_estimator_.predict(X))


def test_it_finds_what_a_fine_grid_finds():
    fine = {"alpha": np.logspace(-3, 2, 21), "gamma": np.logspace(-4, 0, 21)}
    scoring = "neg_mean_squared_error"
    grid = GridSearchCV(rbf(), fine, cv=FOLDS, scoring=scoring).fit(X, Y)
    search = HypergradientSearchCV(
        rbf(), fine, cv=FOLDS, scoring=scoring, n_restarts=2, random_state=0
    ).fit(X, Y)
    assert search.best_score_ >= grid.best_score_
    assert set(search.cv_results_["restart"]) == {0, 1, 2}


def test_lists_pairs_and_distributions():
    spaces = [
        {"alpha": [1e-2, 10.0, 0.5]}, {"alpha": (1e-2, 10.0)}, {"alpha": np.array([1e-2, 10.0])},
        {"alpha": stats.loguniform(1e-2, 10.0)},
    ]
    found = [HypergradientSearchCV(rbf(), s, cv=FOLDS).fit(X, Y).best_params_ for s in spaces]
    assert all(f["alpha"] == pytest.approx(found[0]["alpha"], rel=1e-9) for f in found)
    tails = HypergradientSearchCV(rbf(), {"alpha": stats.lognorm(2.0)}, cv=FOLDS).fit(X, Y)
    assert np.isfinite(tails.best_score_)
    edge = HypergradientSearchCV(rbf(), {"alpha": (50.0, 60.0)}, cv=FOLDS).fit(X, Y)
    assert edge.cv_results_["params"][0]["alpha"] == 50.0  # nearest to the estimator's own
    start = HypergradientSearchCV(  # not positive: searched as it is, not in logs
        rbf(kernel="poly", degree=2, coef0=0.0), {"coef0": (0.0, 3.0)}, cv=FOLDS
    ).fit(X, Y)
    assert start.cv_results_["params"][0]["coef0"] == 0.0 < start.best_params_["coef0"] <= 3.0


@pytest.mark.parametrize(
    ("estimator", "space", "message"),
    [
        (Lars(), RIDGE, r"Lars.*KernelRidge.*Ridge.*SVR"),
        (make_pipeline(StandardScaler(), Lars()), RIDGE, "Lars"),
        (rbf(), {"kernel": ["rbf", "linear"]}, r"kernel.*alpha.*gamma"),
        (rbf(kernel="linear"), BOTH, r"gamma.*\['alpha'\]"),
        (make_pipeline(StandardScaler(), Ridge()), RIDGE, r"\['ridge__alpha'\]"),
        (rbf(), {}, "empty"),
        (rbf(), {"alpha": (1.0, 0.1)}, "low < high"),
        (rbf(), {"alpha": [1.0]}, "low < high"),
        (rbf(), {"alpha": (1.0, np.inf)}, "alpha"),
        (rbf(), {"alpha": ["a", "b"]}, "alpha"),
        (rbf(), {"alpha": (0.1, 1.0, 2.0)}, "alpha"),
        (rbf(), {"alpha": 1.0}, "alpha"),
        (rbf(kernel="cosine"), RIDGE, "cosine.*rbf"),
        (rbf(alpha=[1.0, 2.0]), RIDGE, "alpha"),
        (Ridge([1.0, 2.0]), RIDGE, "alpha"),
        (Ridge(positive=True), RIDGE, "positive"),
        (GaussianProcessRegressor(RBF()), RIDGE, "optimizer=None"),
        (process(None), RIDGE, "kernel"),
        (process(WhiteKernel()), RIDGE, "noise"),
        (process(RBF() * WhiteKernel()), RIDGE, "add it"),
        (process(RBF() ** 2), RIDGE, "RBF.*not differentiable"),
        (SVR(kernel="precomputed"), {"C": (0.1, 9.0)}, "precomputed"),
        (SVR(kernel="poly", degree=2.5), {"C": (0.1, 9.0)}, "degree"),
        (kbo.KernelBilevelRegressor(), RIDGE, r"tune=\(\)"),
        (kbo.KernelBilevelRegressor(tune=(), loss="poisson"), RIDGE, "poisson"),
    ],
)
def test_what_cannot_be_searched_says_what_can(estimator, space, message):
    with pytest.raises(ValueError, match=message):
        HypergradientSearchCV(estimator, space, error_score="raise").fit(X, Y)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LogisticRegression(l1_ratio=0.5, solver="saga"), "l2"),
        (LogisticRegression(class_weight="balanced"), "class_weight"),
        (SVC(), "two classes"),
    ],
)
def test_classifiers_that_cannot_be_searched(estimator, message):
    with pytest.raises(ValueError, match=message):
        HypergradientSearchCV(estimator, {"C": (0.1, 9.0)}).fit(W, WINE)


def test_bad_arguments():
    with pytest.raises(ValueError, match="outer_loss"):
        HypergradientSearchCV(rbf(), RIDGE, outer_loss="hinge").fit(X, Y)
    with pytest.raises(ValueError, match="max_iter"):
        HypergradientSearchCV(rbf(), RIDGE, max_iter=0).fit(X, Y)
    with pytest.raises(ValueError, match="requires y"):
        HypergradientSearchCV(rbf(), RIDGE).fit(X)


def test_preprocessing_is_refitted_in_each_fold():
    """A scaler fitted to all rows would see the outlier of one fold's test set."""
    x = X.copy()
    x[0] *= 1e3
    pipe = make_pipeline(StandardScaler(), rbf())
    search = HypergradientSearchCV(
        pipe, {"kernelridge__alpha": (1e-3, 1e2)}, cv=FOLDS, max_iter=1
    ).fit(x, Y)
    assert search.cv_results_["outer_loss"][0] == pytest.approx(
        refitted_criterion(pipe, squared, (x, Y)), rel=1e-9
    )


def test_nested_and_in_every_split():
    search = HypergradientSearchCV(rbf(), RIDGE, cv=3)
    outer = cross_validate(search, X, Y, cv=3, return_estimator=True)
    assert all(0.001 <= s.best_params_["alpha"] <= 1e3 for s in outer["estimator"])
    groups = np.arange(len(X)) % 7
    for cv, extra in [
        (PredefinedSplit(np.repeat([-1, 0], [100, 50])), {}),
        (GroupKFold(3), {"groups": groups}),
        (RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), {}),
        ([(np.arange(100), np.arange(100, 150))], {}),
    ]:
        found = HypergradientSearchCV(rbf(), RIDGE, cv=cv).fit(X, Y, **extra)
        grid = GridSearchCV(rbf(), {"alpha": [found.best_params_["alpha"]]}, cv=cv).fit(X, Y, **extra)
        assert found.best_score_ == grid.best_score_
        assert found.n_splits_ == grid.n_splits_


def test_multimetric_and_refit():
    scoring = {"r2": "r2", "mae": "neg_mean_absolute_error"}
    search = HypergradientSearchCV(rbf(), BOTH, cv=FOLDS, scoring=scoring, refit="mae").fit(X, Y)
    assert search.multimetric_
    assert search.best_index_ == np.argmax(search.cv_results_["mean_test_mae"])
    assert set(search.scorer_) == {"r2", "mae"}
    last = HypergradientSearchCV(
        rbf(), BOTH, cv=FOLDS, scoring=scoring, refit=lambda results: len(results["params"]) - 1
    ).fit(X, Y)
    assert last.best_params_ == last.cv_results_["params"][-1]
    none = HypergradientSearchCV(rbf(), BOTH, cv=FOLDS, refit=False).fit(X, Y)
    assert not hasattr(none, "best_estimator_")
    assert none.best_params_
    with pytest.raises(AttributeError):
        none.predict(X)


def test_classifiers_delegate():
    search = HypergradientSearchCV(
        LogisticRegression(max_iter=500), {"C": (1e-3, 10.0)}, cv=3, scoring="neg_log_loss"
    ).fit(W, np.array(["a", "b", "c"])[WINE])
    assert list(search.classes_) == ["a", "b", "c"]
    assert search.predict_proba(W).shape == (len(W), 3)
    assert search.decision_function(W).shape == (len(W), 3)
    assert search.n_features_in_ == W.shape[1]
    assert not hasattr(HypergradientSearchCV(SVC(), {"C": (0.1, 9.0)}).fit(B, CANCER), "predict_proba")
    frame = pd.DataFrame(X, columns=[f"x{k}" for k in range(10)])
    assert list(HypergradientSearchCV(rbf(), RIDGE).fit(frame, Y).feature_names_in_) == list(frame)
    assert cross_val_predict(search, W, WINE, cv=3).shape == WINE.shape


def test_sample_weights_enter_the_search():
    """Training weights are the estimator's own; the criterion weighs test samples as well."""
    weight = np.random.default_rng(0).uniform(0, 3, len(X))
    search = HypergradientSearchCV(rbf(), BOTH, cv=FOLDS).fit(X, Y, sample_weight=weight)
    values = []
    for train, test in FOLDS.split(X):
        model = rbf().fit(X[train], Y[train], sample_weight=weight[train])
        error = (model.predict(X[test]) - Y[test]) ** 2 / 2
        values.append(np.average(error, weights=weight[test]))
    assert search.cv_results_["outer_loss"][0] == pytest.approx(np.mean(values), rel=1e-9)


@pytest.mark.parametrize("loss", ["huber", kbo.losses.Huber(0.5), lambda w, v, t: abs(v - t) ** 1.5])
def test_outer_losses(loss):
    search = HypergradientSearchCV(rbf(), RIDGE, cv=FOLDS, outer_loss=loss, max_iter=5).fit(X, Y)
    squares = HypergradientSearchCV(rbf(), RIDGE, cv=FOLDS, max_iter=5).fit(X, Y)
    assert search.cv_results_["outer_loss"][0] != squares.cv_results_["outer_loss"][0]
    assert search.cv_results_["outer_loss"][-1] < search.cv_results_["outer_loss"][0]


@pytest.mark.slow
def test_named_outer_losses_of_classifiers():
    machine, space = LogisticRegression(max_iter=500), {"C": (1e-3, 10.0)}
    default = HypergradientSearchCV(machine, space, max_iter=3).fit(B, CANCER)
    named = HypergradientSearchCV(machine, space, max_iter=3, outer_loss="logistic").fit(B, CANCER)
    np.testing.assert_array_equal(
        default.cv_results_["outer_loss"], named.cv_results_["outer_loss"]
    )
    squares = HypergradientSearchCV(machine, space, max_iter=3, outer_loss="squared").fit(B, CANCER)
    assert squares.cv_results_["outer_loss"][0] != default.cv_results_["outer_loss"][0]
    three = [
        HypergradientSearchCV(machine, space, max_iter=3, outer_loss=loss).fit(W, WINE)
        for loss in (None, "multinomial")
    ]
    assert three[0].best_params_ == three[1].best_params_


def test_callback_sees_the_iterates_and_stops_the_search():
    seen = []
    search = HypergradientSearchCV(
        rbf(), BOTH, cv=FOLDS, callback=lambda step: seen.append(step) or len(seen) == 3, n_restarts=4
    ).fit(X, Y)
    assert len(search.cv_results_["params"]) == len(seen) == 3
    assert [s["params"] for s in seen] == search.cv_results_["params"]
    assert set(seen[0]) == {
        "restart", "outer_iter", "outer_loss", "grad_norm", "inner_residual", "seconds", "params"
    }


class Listener:
    """Counts the tasks that scikit-learn announces."""

    def __init__(self):
        self.tasks = []

    def setup(self, estimator, context):
        self.tasks.append("setup")

    def teardown(self, estimator, context):
        self.tasks.append("teardown")

    def on_fit_task_begin(self, estimator, context, **_):
        self.tasks.append(context.task_name)

    def on_fit_task_end(self, estimator, context, **_):
        self.tasks.append("end")


def test_scikit_learns_own_callbacks():
    pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")
    listener = Listener()
    search = HypergradientSearchCV(rbf(), RIDGE, cv=FOLDS).set_callbacks(listener).fit(X, Y)
    assert listener.tasks[0] == "setup"
    assert listener.tasks[-1] == "teardown"
    assert "search" in listener.tasks
    assert len(listener.tasks) > len(search.cv_results_["params"]) * 4


def test_verbose_shows_a_line(capfd):
    HypergradientSearchCV(rbf(), RIDGE, cv=FOLDS, verbose=1).fit(X, Y)
    assert "step/s" in capfd.readouterr().err


def test_restarts_are_reproducible_and_iterations_limited():
    search = lambda seed: HypergradientSearchCV(
        rbf(), BOTH, cv=FOLDS, n_restarts=1, random_state=seed, max_iter=2
    ).fit(X, Y).cv_results_["params"]
    assert search(0) == search(0) != search(1)
    assert len(search(0)) <= 6
    count = lambda tol: len(
        HypergradientSearchCV(rbf(), BOTH, cv=FOLDS, tol=tol).fit(X, Y).cv_results_["params"]
    )
    assert count(0.1) < count(1e-8)


def test_processes_and_targets_of_many_columns():
    x, y = load_linnerud(return_X_y=True)
    one = HypergradientSearchCV(rbf(), RIDGE, cv=FOLDS, n_jobs=1).fit(x, y)
    two = HypergradientSearchCV(rbf(), RIDGE, cv=FOLDS, n_jobs=2).fit(x, y)
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )


def test_failures():
    """A fit that fails is scored error_score or raised, as a grid's."""
    bad = process(ConstantKernel(1.0) * RBF(1.0), alpha=1e-300)
    x, y = np.repeat(X[:5], 30, 0), Y
    space = {"alpha": (1e-300, 1e-299)}
    with pytest.raises(ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        HypergradientSearchCV(bad, space, cv=FOLDS, error_score="raise").fit(x, y)


EXPECTED = {"check_supervised_y_2d": "the search, like GridSearchCV, passes y on as it is"}


@parametrize_with_checks(
    [HypergradientSearchCV(Ridge(), RIDGE, cv=2, max_iter=2)],
    expected_failed_checks=lambda estimator: EXPECTED,
)
def test_scikit_learn_checks_of_regressors(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [HypergradientSearchCV(LogisticRegression(), {"C": (0.1, 10.0)}, cv=2, max_iter=2)],
    expected_failed_checks=lambda estimator: EXPECTED,
)
def test_scikit_learn_checks_of_classifiers(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize("steps", [
    pytest.param((), marks=pytest.mark.slow), (StandardScaler(),)
])
def test_search_reports_them_by_name(steps):
    X, y = load_diabetes(return_X_y=True)
    y = y - y.mean()
    prefix = "kernelridge__" if steps else ""
    estimator = make_pipeline(*steps, KernelRidge(kernel="rbf")) if steps else (
        KernelRidge(kernel="rbf")
    )
    space = {f"{prefix}alpha": (1e-4, 1e2), f"{prefix}gamma": (1e-4, 1e2)}
    search = HypergradientSearchCV(
        estimator, space, cv=KFold(4), standard_errors=True, scoring="neg_mean_squared_error",
    ).fit(X, y)
    errors = search.standard_errors_
    assert set(errors) == {"outer_loss", *space}
    best = np.argmin(search.cv_results_["outer_loss"])  # the outer loss is half the squared error
    expected = np.std([search.cv_results_[f"split{k}_test_score"][best] for k in range(4)], ddof=1)
    np.testing.assert_allclose(errors["outer_loss"], 0.5 * expected / 2, rtol=1e-6)
    assert not hasattr(search.set_params(standard_errors=False).fit(X, y), "standard_errors_")
