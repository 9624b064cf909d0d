"""The estimators as scikit-learn's users know them (the checklist's points, in order)."""

import pickle
import threading
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    ShuffleSplit,
    StratifiedGroupKFold,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils.estimator_checks import parametrize_with_checks

import kbo
from kbo import KernelBilevelClassifier, KernelBilevelRegressor
from tests.helpers import compilations

DIABETES = load_diabetes(return_X_y=True)
SMALL = (DIABETES[0][:120] * 20, DIABETES[1][:120])


@parametrize_with_checks([
    KernelBilevelRegressor(max_iter=3),
    KernelBilevelClassifier(max_iter=3),
])
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


# Rounding differs between rows that are repeated and rows of weight two, and a search amplifies it:
# after ten steps of the classifier the two ends agree to 1e-5 only, where the check asks for 1e-7.
@pytest.mark.slow
@parametrize_with_checks([KernelBilevelRegressor(), KernelBilevelClassifier(max_iter=10)])
def test_scikit_learn_checks_with_all_defaults(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


def test_nothing_tuned_is_kernel_ridge():
    X, y = SMALL
    ours = KernelBilevelRegressor(
        "gaussian", lengthscale=3.0, alpha=0.5, ard=False, tune=()
    ).fit(X, y)
    mean = y.mean()
    theirs = KernelRidge(kernel="rbf", gamma=1 / 18, alpha=0.5).fit(X, y - mean)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X) + mean, rtol=1e-9)
    assert ours.alpha_ == 0.5
    np.testing.assert_array_equal(ours.lengthscale_, np.full(10, 3.0))


def test_criterion_is_what_cross_val_score_computes():
    X, y = SMALL
    cv = KFold(4)
    model = KernelBilevelRegressor(cv=cv, max_iter=5, kernel="matern52", prior=0.0).fit(X, y)
    # The folds of the search share alpha and the offset of all samples.
    errors = []
    for train, test in cv.split(X):
        K = lambda a, b: np.asarray(model.kernel_.matrix(jax.numpy.asarray(a), jax.numpy.asarray(b)))
        with jax.enable_x64(True):
            A = K(X[train], X[train]) + model.alpha_ * np.eye(len(train))
            h = K(X[test], X[train]) @ np.linalg.solve(A, y[train] - y.mean())
        errors.append(0.5 * np.mean((h + y.mean() - y[test]) ** 2))
    np.testing.assert_allclose(model.criterion_, np.mean(errors), rtol=1e-8)


@pytest.mark.parametrize(
    ("estimator", "data"),
    [
        (KernelBilevelRegressor(), SMALL),
        pytest.param(KernelBilevelRegressor(loss="huber"), SMALL, marks=pytest.mark.slow),
        (KernelBilevelRegressor(loss="quantile", quantile=0.8), SMALL),
        (KernelBilevelRegressor(loss="poisson", alpha=1.0), (SMALL[0], np.round(SMALL[1] / 50))),
        pytest.param(KernelBilevelRegressor(loss="huber", outer_loss=kbo.losses.Squared()), SMALL, marks=pytest.mark.slow),
        pytest.param(KernelBilevelRegressor(outer_loss=lambda w, v, t: abs(v - t) ** 1.5), SMALL, marks=pytest.mark.slow),
        (KernelBilevelRegressor(kernel=["gaussian", "linear"]), SMALL),
        pytest.param(KernelBilevelRegressor(kernel="rational_quadratic", ard=False), SMALL, marks=pytest.mark.slow),
        (KernelBilevelRegressor(kernel=kbo.kernels.Matern32(2.0) * 0.5), SMALL),
        (KernelBilevelRegressor(kernel=lambda x, z: jax.numpy.exp(-((x - z) ** 2).sum() / 20)), SMALL),
        (KernelBilevelRegressor(tune="alpha"), SMALL),
        pytest.param(
            KernelBilevelClassifier(loss="squared"), load_wine(return_X_y=True),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            KernelBilevelClassifier(max_iter=5), load_iris(return_X_y=True), marks=pytest.mark.slow
        ),
        pytest.param(
            KernelBilevelClassifier(loss="squared", outer_loss=kbo.losses.Multinomial()),
            load_iris(return_X_y=True), marks=pytest.mark.slow,
        ),
    ],
)
def test_never_worse_than_the_start_and_bit_identical(estimator, data):
    X, y = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model, again = (clone(estimator).fit(X, y) for _ in range(2))
    assert model.criterion_ <= model.criterion_start_
    assert model.n_iter_ >= 1
    likelihood = model.criterion_ == again.criterion_ and not hasattr(model, "n_splits_")
    assert likelihood or model.n_splits_ == 5
    np.testing.assert_array_equal(model.predict(X), again.predict(X))
    np.testing.assert_array_equal(model.dual_coef_, again.dual_coef_)
    assert model.score(X, y) > 0
    assert kbo.Status[model.status_].usable
    # What was not asked for was not tuned.
    if estimator.get_params()["tune"] == "alpha":
        spread = np.maximum(X.std(0), 0.5 * (X[:, 1].max() - X[:, 1].min()) * (np.arange(10) == 1))
        np.testing.assert_allclose(model.lengthscale_, spread * np.sqrt(10), rtol=1e-12)


@pytest.mark.slow
def test_loss_parameters_are_tuned_and_quantiles_are_quantiles():
    X, y = SMALL
    assert set(KernelBilevelRegressor(loss="huber").fit(X, y).loss_parameters_) == {"delta"}
    for q in (0.1, 0.9):
        model = KernelBilevelRegressor(loss="quantile", quantile=q, alpha=1.0).fit(X, y)
        assert abs(np.mean(y <= model.predict(X)) - q) < 0.12


@pytest.mark.parametrize(
    "cv",
    [None, 3, KFold(3, shuffle=True, random_state=1), PredefinedSplit(np.arange(120) % 4 - 1),
     ShuffleSplit(2, random_state=0), [(np.arange(80), np.arange(80, 120))]],
)
def test_every_kind_of_cv(cv):
    model = KernelBilevelRegressor(cv=cv, max_iter=3, tol=1e-1).fit(*SMALL)
    assert model.criterion_ <= model.criterion_start_


def test_weights_are_repetitions_in_both_losses():
    X, y = SMALL[0][:40], SMALL[1][:40]
    weight = np.random.default_rng(0).integers(0, 4, 40)
    repeated = np.repeat(np.arange(40), weight)
    splits = lambda rows: [
        (np.flatnonzero(rows % 3 != f), np.flatnonzero(rows % 3 == f)) for f in range(3)
    ]
    # With ARD and without, and for a Newton loss.
    for options in ({}, {"ard": False}, {"loss": "huber"}):
        make = lambda cv, o=options: KernelBilevelRegressor(cv=cv, max_iter=4, **o)
        weighted = make(splits(np.arange(40))).fit(X, y, sample_weight=weight)
        twice = make(splits(repeated)).fit(X[repeated], y[repeated])
        np.testing.assert_allclose(weighted.predict(X), twice.predict(X), rtol=1e-7)


@pytest.mark.parametrize("flag", [False, True])
def test_the_process_wide_flag_does_not_matter_and_is_left_alone(flag):
    reference = KernelBilevelRegressor(max_iter=3).fit(*SMALL).predict(SMALL[0])
    out = {}

    def work():
        with jax.enable_x64(flag):
            model = KernelBilevelRegressor(max_iter=3).fit(*SMALL)
            out["predictions"] = model.predict(SMALL[0])
            out["flag"] = jax.config.jax_enable_x64

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    np.testing.assert_array_equal(out["predictions"], reference)
    assert out["flag"] is flag
    assert not jax.config.jax_enable_x64


def jax_arrays(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [found for item in value for found in jax_arrays(item)]
    return [leaf for leaf in jax.tree.leaves(value) if isinstance(leaf, jax.Array)]


def test_fitted_attributes_are_plain_pickle_and_writeable():
    model = KernelBilevelRegressor(max_iter=3).fit(*SMALL)
    for name, value in vars(model).items():
        assert not jax_arrays(value), name
        if isinstance(value, np.ndarray):
            assert value.flags.writeable, name
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict(SMALL[0]), model.predict(SMALL[0]))


@pytest.mark.slow
def test_forty_sample_sizes_cost_at_most_nine_compilations():
    """Three padded sizes, for each of the likelihood, the folds and leaving one out."""
    X, y = DIABETES[0][:, :7] * 20, DIABETES[1]
    sizes = np.linspace(30, 440, 40).astype(int)

    def run():
        for n in sizes:
            KernelBilevelRegressor(max_iter=1).fit(X[:n], y[:n]).predict(X[: n // 2])

    found = compilations(run)
    assert found, "nothing was counted"
    assert max(found.values()) <= 9, found


def test_types_of_hyperparameters_add_no_compilation():
    X, y = SMALL
    fit = lambda alpha: KernelBilevelRegressor(max_iter=1, alpha=alpha, lengthscale=alpha).fit(X, y)
    fit(1.0)
    found = compilations(lambda: [fit(kind(2)) for kind in (int, float, np.float32, np.float64)])
    assert not found, found


def test_padding_changes_nothing(monkeypatch):
    from kbo.estimators._common import folds as _folds
    from kbo.estimators.kernel import task as _task

    X, y = SMALL
    padded = KernelBilevelRegressor(max_iter=5).fit(X, y)
    monkeypatch.setattr(_task, "bucket", lambda n: n)
    exact = KernelBilevelRegressor(max_iter=5).fit(X, y)
    np.testing.assert_allclose(padded.predict(X), exact.predict(X), rtol=1e-10)
    assert _folds.bucket(1300) == 1536


def test_non_finite_criterion_warns_or_raises():
    X, y = SMALL
    bad = lambda w, v, t: jax.numpy.nan * v
    with pytest.warns(ConvergenceWarning, match="not finite"):
        KernelBilevelRegressor(outer_loss=bad).fit(X, y)
    with pytest.raises(ValueError, match="not finite"):
        KernelBilevelRegressor(outer_loss=bad, error_score="raise").fit(X, y)


def test_convergence_warning_is_the_remedy():
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        KernelBilevelRegressor(max_iter=1, tol=1e-12).fit(*SMALL)


def test_names_pipelines_and_frames():
    X, y = SMALL
    frame = pd.DataFrame(X, columns=[f"c{k}" for k in range(10)])
    model = KernelBilevelRegressor(max_iter=2, tol=0.1).fit(frame, y)
    assert list(model.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[frame.columns[::-1]])
    assert "KernelBilevelRegressor" in model._repr_html_()
    columns = make_column_transformer((StandardScaler().set_output(transform="pandas"), ["c1", "c2"]))
    pipe = make_pipeline(columns, KernelBilevelRegressor(max_iter=2, tol=0.1))
    assert np.isfinite(pipe.fit(frame, y).predict(frame)).all()


def test_a_distant_mean_is_fitted_as_well():
    X, y = SMALL
    near = KernelBilevelRegressor(max_iter=20).fit(X, y - y.mean())
    far = KernelBilevelRegressor(max_iter=20).fit(X, y - y.mean() + 1e6)
    np.testing.assert_allclose(far.predict(X) - 1e6, near.predict(X), atol=1e-2 * y.std())


def test_devices():
    assert KernelBilevelRegressor(device="cpu", max_iter=1, tol=1).fit(*SMALL).n_iter_ == 1
    with pytest.raises(ValueError, match="device='tpu'"):
        KernelBilevelRegressor(device="tpu").fit(*SMALL)
    if not any(d.platform == "gpu" for d in jax.devices()):
        with pytest.raises(ValueError, match="GPU"):
            KernelBilevelRegressor(device="gpu").fit(*SMALL)


@pytest.mark.gpu
def test_gpu_equals_cpu():
    if not any(d.platform == "gpu" for d in jax.devices()):
        pytest.skip("no GPU that JAX can see")
    on_cpu, on_gpu = (KernelBilevelRegressor(device=d).fit(*SMALL) for d in ("cpu", "gpu"))
    np.testing.assert_allclose(on_gpu.predict(SMALL[0]), on_cpu.predict(SMALL[0]), rtol=1e-4)


def test_settable_parameters_search_and_workers():
    X, y = SMALL
    grid = {"ard": [True, False], "alpha": [0.1]}
    model = KernelBilevelRegressor(max_iter=2, tol=0.1)
    one, two = (GridSearchCV(model, grid, cv=2, n_jobs=k).fit(X, y) for k in (1, 2))
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )
    scores = cross_validate(model, X, y, cv=2)
    assert np.isfinite(scores["test_score"]).all()


def test_restarts_keep_the_best_end():
    X, y = SMALL
    alone, best = (
        KernelBilevelRegressor(criterion="marginal_likelihood", n_restarts=k).fit(X, y)
        for k in (0, 2)
    )
    assert best.criterion_ <= alone.criterion_
    assert best.criterion_ == min(step["value"] for step in best.history_)
    assert [step["restart"] for step in best.history_] == sorted(s["restart"] for s in best.history_)
    assert {step["restart"] for step in best.history_} == {0, 1, 2}
    assert best.history_[0]["value"] <= best.criterion_start_ == alone.criterion_start_
    for name in ("seconds", "evaluations"):
        values = [step[name] for step in best.history_]
        assert values == sorted(values)
    starts = [next(s for s in best.history_ if s["restart"] == k)["lengthscale"] for k in range(3)]
    first = KernelBilevelRegressor(tune=()).fit(X, y).lengthscale_
    np.testing.assert_allclose(starts[1], first / 2)
    np.testing.assert_allclose(starts[2], first / 4)


def test_random_state_shuffles_folds():
    X, y = SMALL
    plain = KernelBilevelRegressor(max_iter=2, criterion="cv")
    make = lambda s: clone(plain).set_params(cv=5, random_state=s).fit(X, y).criterion_
    assert make(0) == make(np.random.RandomState(0))
    assert make(0) != make(1)
    shuffled = KFold(5, shuffle=True, random_state=0)
    assert make(None) == clone(plain).set_params(cv=shuffled).fit(X, y).criterion_


def test_multi_output():
    X, y = SMALL
    both = KernelBilevelRegressor(max_iter=3).fit(X, np.stack([y, -y], 1))
    assert both.dual_coef_.shape == (120, 2)
    np.testing.assert_allclose(both.predict(X)[:, 0] - y.mean(), -both.predict(X)[:, 1] - y.mean())


def test_callback_verbose_and_checkpoint(tmp_path, capsys):
    X, y = SMALL
    seen = []
    KernelBilevelRegressor(callback=lambda step: seen.append(step) or len(seen) == 2).fit(X, y)
    assert len(seen) == 2
    assert {"value", "alpha", "lengthscale", "seconds"} <= set(seen[0])
    KernelBilevelRegressor(max_iter=2, verbose=1).fit(X, y)
    assert "kbo.minimize" in capsys.readouterr().err
    path = tmp_path / "search"
    first = KernelBilevelRegressor(n_restarts=1, checkpoint=path).fit(X, y)
    evaluated = first.n_evaluations_
    again = KernelBilevelRegressor(n_restarts=1, checkpoint=path).fit(X, y)
    np.testing.assert_array_equal(first.predict(X), again.predict(X))
    assert again.n_evaluations_ == evaluated
    written = sorted(p.name for p in tmp_path.iterdir() if ".loo" not in p.name)
    assert written == ["search", "search.1"]  # the likelihood has no warm start


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": "rbf"}, "kernel"), ({"kernel": []}, "kernel"), ({"alpha": 0}, "alpha"),
        ({"alpha": np.nan}, "alpha"), ({"tol": -1.0}, "tol"), ({"max_iter": 0}, "max_iter"),
        ({"lengthscale": -1.0}, "lengthscale"), ({"loss": "hinge"}, "loss"),
        ({"tune": ["gamma"]}, "tune"), ({"error_score": "warn"}, "error_score"),
        ({"n_restarts": -1}, "n_restarts"), ({"loss": "quantile", "quantile": 1.0}, "quantile"),
        ({"loss": "poisson"}, "negative"), ({"cv": [(np.arange(5), np.array([], int))]}, "cv"),
        ({"alpha": -0.1}, "alpha=-0.1"), ({"alpha": "small"}, "alpha"), ({"alpha": []}, "alpha"),
        ({"alpha": np.inf}, "alpha"), ({"lengthscale": 0}, "lengthscale=0"), ({"tune": 3}, "tune"),
        ({"lengthscale": np.nan}, "lengthscale"), ({"tune": [1]}, "tune"), ({"max_iter": True}, "max_iter"),
        ({"callback": "print"}, "callback"), ({"kernel": ["gaussian", 3]}, "kernel"),
        ({"loss": "quantile", "quantile": "half"}, "quantile"), ({"max_time": np.nan}, "max_time"),
        ({"lengthscale": [[1.0]]}, "lengthscale"), ({"lengthscale": [-1.0] * 10}, "lengthscale"),
    ],
)
def test_bad_parameters_are_named(change, message):
    X, y = SMALL
    with pytest.raises(ValueError, match=message):
        KernelBilevelRegressor(**change).fit(X, y - y.mean())


@pytest.mark.slow
def test_ard_switches_off_noise():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    y = np.sin(2 * X[:, 0]) + X[:, 1] ** 2
    model = KernelBilevelRegressor().fit(X, y)
    assert model.lengthscale_[2:].min() > 3 * model.lengthscale_[:2].max()
    plain = cross_val_score(KernelBilevelRegressor(ard=False), X, y).mean()
    assert cross_val_score(KernelBilevelRegressor(), X, y).mean() > plain


def test_a_given_outer_loss_is_used_as_it_is():
    X, y = SMALL
    given = KernelBilevelRegressor(
        loss="huber", outer_loss=kbo.losses.Huber(delta=3.0), max_iter=2
    ).fit(X, y)
    assert given.outer_parameters_["delta"] == 3.0
    named = KernelBilevelRegressor(outer_loss="huber", max_iter=2).fit(X, y)
    assert 0.3 * y.std() < named.outer_parameters_["delta"] < 2 * y.std()  # of the residuals
    quantile = KernelBilevelRegressor(
        outer_loss="quantile", quantile=0.9, max_iter=2
    ).fit(X, y)
    assert quantile.outer_parameters_["quantile"] == 0.9


class Asymmetric(kbo.losses.Loss):
    """A loss whose minimum over its own parameter is worthless."""

    cost: float = 2.0

    def __call__(self, omega, prediction, target):
        return self.cost * (prediction - target) ** 2


def test_the_outer_loss_is_not_tuned_away():
    X, y = SMALL
    model = KernelBilevelRegressor(outer_loss=Asymmetric(), max_iter=3).fit(X, y)
    assert model.outer_parameters_["cost"] == 2.0


def test_poisson_judged_by_another_loss_is_judged_on_the_mean():
    X, y = SMALL[0], np.round(SMALL[1] / 50)
    model = KernelBilevelRegressor(loss="poisson", outer_loss="squared", max_iter=3).fit(X, y)
    assert model.criterion_ < 0.5 * y.var()
    with pytest.raises(ValueError, match="outer_loss"):
        KernelBilevelRegressor(outer_loss="poisson").fit(X, y)


def test_kernels_with_jax_numbers_are_tuned_and_stored_as_numpy():
    X, y = SMALL
    kernel = kbo.kernels.Gaussian(jax.numpy.full(X.shape[1], 3.0))
    model = KernelBilevelRegressor(kernel, max_iter=3).fit(X, y)
    assert isinstance(model.kernel_.lengthscale, np.ndarray)
    assert not np.allclose(model.lengthscale_, 3.0)


def test_a_second_fit_leaves_nothing_of_the_first():
    X, y = SMALL
    model = KernelBilevelRegressor("gaussian", max_iter=2).fit(X, y)
    assert hasattr(model, "lengthscale_")
    model.set_params(kernel=lambda x, z: x @ z, tune=()).fit(X, y)
    for name in ("lengthscale_", "criterion_", "criterion_start_", "n_splits_"):
        assert not hasattr(model, name), name


def test_restarts_stay_in_bounds_and_are_not_repeated():
    X, y = SMALL[0][:40], SMALL[1][:40]
    likely = KernelBilevelRegressor(criterion="marginal_likelihood", n_restarts=14, max_iter=1)
    many = likely.fit(X, y)
    assert many.history_[-1]["restart"] == 14
    same = KernelBilevelRegressor(n_restarts=3, tune="alpha", max_iter=1).fit(X, y)
    assert same.history_[-1]["restart"] == 0


def test_samples_without_weight_are_absent_from_classes_bounds_and_folds():
    X, y = load_iris(return_X_y=True)
    weight = (y < 2).astype(float)
    model = KernelBilevelClassifier(max_iter=2).fit(X, y, sample_weight=weight)
    alone = KernelBilevelClassifier(max_iter=2).fit(X[y < 2], y[y < 2])
    np.testing.assert_array_equal(model.classes_, [0, 1])
    np.testing.assert_allclose(
        model.predict_proba(X[:3]), alone.predict_proba(X[:3]), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengthscale": [1.0, 2.0]}, "lengthscale"),
        ({"lengthscale": np.inf}, "lengthscale"), ({"lengthscale": "long"}, "lengthscale"),
        ({"loss": kbo.losses.Huber}, "loss"), ({"cv": iter(())}, "cv"),
    ],
)
def test_more_bad_settings_name_the_argument(change, message):
    X, y = SMALL
    with pytest.raises(ValueError, match=message):
        KernelBilevelRegressor(**change).fit(X, y)


def test_no_warning_when_converged_and_copies_are_equal():
    X, y = SMALL
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = KernelBilevelRegressor().fit(X, y)
    assert model.status_ == "CONVERGED"
    import copy

    np.testing.assert_array_equal(copy.deepcopy(model).predict(X), model.predict(X))


def test_a_checkpoint_of_another_kernel_is_refused(tmp_path):
    X, y = SMALL
    fit = lambda kernel: KernelBilevelRegressor(
        kernel, max_iter=2, checkpoint=tmp_path / "log"
    ).fit(X, y)
    fit("matern52")
    with pytest.raises(ValueError, match="another problem"):
        fit("gaussian")


GROUPS = np.arange(120) // 7


@pytest.mark.parametrize("estimator", [
    KernelBilevelRegressor(max_iter=2, criterion="cv"),
    KernelBilevelClassifier(loss="squared", max_iter=2, criterion="cv"),
])
def test_groups_reach_the_folds(estimator):
    X, y = SMALL
    if isinstance(estimator, KernelBilevelClassifier):
        y = y > np.median(y)
    make = lambda cv: clone(estimator).set_params(cv=cv)
    splitter = GroupKFold(4)
    model = make(splitter).fit(X, y, groups=GROUPS)
    same = make(list(splitter.split(X, y, GROUPS))).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), same.predict(X))
    assert model.n_splits_ == 4
    named = make(LeaveOneGroupOut()).fit(X, y, groups=[f"patient {g % 3}" for g in GROUPS])
    assert named.n_splits_ == 3
    kind = StratifiedGroupKFold if isinstance(estimator, KernelBilevelClassifier) else GroupKFold
    given = make(kind(3, shuffle=True, random_state=0)).fit(X, y, groups=GROUPS)
    for cv in (3, None):  # a number of folds keeps groups together
        model = make(cv).fit(X, y, groups=GROUPS % 3)
        assert model.n_splits_ == 3
    np.testing.assert_array_equal(given.dual_coef_, make(3).fit(X, y, groups=GROUPS).dual_coef_)
    with pytest.raises(ValueError, match=r"groups=\.\.\."):
        make(splitter).fit(X, y)
    with pytest.raises(ValueError, match="inconsistent"):
        make(splitter).fit(X, y, groups=GROUPS[:5])
    with pytest.raises(ValueError, match="criterion='loo'"):
        make("loo").fit(X, y, groups=GROUPS)


def test_groups_follow_samples_that_have_weight():
    X, y = SMALL
    weight = (np.arange(120) % 4 > 0).astype(float)
    kept = weight > 0
    model, alone = (
        KernelBilevelRegressor(max_iter=2, cv=3).fit(X[rows], y[rows], w, groups=GROUPS[rows])
        for rows, w in ((slice(None), weight), (kept, None))
    )
    np.testing.assert_allclose(model.predict(X), alone.predict(X), rtol=1e-7)


class Tilted(kbo.kernels.Kernel):
    """A kernel whose parameter no kernel of kbo has."""

    tilt: float = 0.1

    def evaluate(self, x, z):
        return jnp.exp(-self.tilt * jnp.sum((x - z) ** 2))


def test_the_names_to_tune_are_those_of_kernel_and_loss():
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.sin(X[:, 0])
    model = KernelBilevelRegressor(Tilted(), tune="tilt", max_iter=5).fit(X, y)
    assert model.kernel_.tilt != 0.1 and model.alpha_ == 0.01
    outer = {"outer_loss": kbo.losses.Huber(1.0), "tune": ["delta"]}  # only the inner one's are
    for wrong in (
        {"tune": "tilt"}, {"tune": "period"}, {"kernel": Tilted(), "tune": "lengthscale"}, outer,
    ):
        with pytest.raises(ValueError, match="tune names"):
            KernelBilevelRegressor(**wrong).fit(X, y)


@pytest.mark.slow
def test_estimators_report_them_by_name():
    rng = np.random.default_rng(0)
    X = rng.uniform(-3, 3, size=(150, 2))
    y = np.sin(2 * X[:, 0]) + np.cos(X[:, 1]) + 0.2 * rng.normal(size=150)
    model = KernelBilevelRegressor("gaussian", ard=False, cv=4, standard_errors=True).fit(X, y)
    errors = model.standard_errors_
    assert set(errors) == {"criterion", "alpha", "lengthscale"}
    assert 0 < errors["criterion"] < model.criterion_ and 0 < errors["alpha"] < 3
    assert 0 < errors["lengthscale"] < 1
    again = model.set_params(standard_errors=False).fit(X, y)
    assert not hasattr(again, "standard_errors_")
    X, y = load_breast_cancer(return_X_y=True)
    model = KernelBilevelClassifier(loss="squared", cv="loo", ard=False, standard_errors=True)
    errors = model.fit(scale(X), y).standard_errors_
    assert set(errors) == {"criterion", "alpha", "lengthscale", "scale"}
    assert 0 < errors["criterion"] < model.criterion_
